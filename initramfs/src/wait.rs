//! The sign that something goes on: when it takes longer than a second, and a person looks, a line on standard error that turns, and goes
//! when it is done. It has no colour, and where standard error is no terminal there is none.

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A shorter time is not worth a line.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two turns.
const TURN: Duration = Duration::from_millis(120);

/// Does the work; `what` says it in the form "compressing 3 MB".
pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (done, wait) = channel::<()>();
    let what = what.to_owned();
    let turning = thread::Builder::new().spawn(move || {
        if wait.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        // Nothing is drawn where nobody looks: indicatif asks the terminal.
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            line.set_style(style);
        }
        line.set_message(what);
        line.enable_steady_tick(TURN);
        // Ends when the other side is gone.
        let _gone = wait.recv();
        line.finish_and_clear();
    });
    let result = work();
    drop(done);
    if let Ok(turning) = turning {
        // The line is cleared before anything else is written.
        drop(turning.join());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_the_work_comes_back() {
        assert_eq!(during("counting", || 1 + 1), 2);
    }
}
