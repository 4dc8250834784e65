//! The sign that something goes on: when it takes longer than a second, and a person looks, a line on standard error that turns, or fills
//! where it is known how much there is to do, and goes when it is done. It has no colour, and where standard error is no terminal there is none.

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use hermetic_init::units::Bytes;
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

/// Does work of which `total` is to be done, and shows how far it is; the work says how much it has done.
pub fn measured<T>(what: &str, total: Bytes, work: impl FnOnce(&mut dyn FnMut(Bytes)) -> T) -> T {
    let bar = ProgressBar::with_draw_target(Some(total.0), ProgressDrawTarget::hidden());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {percent} %, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    let mut is_hidden = true;
    let result = work(&mut |done| {
        if is_hidden && bar.elapsed() > PATIENCE {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            is_hidden = false;
        }
        bar.set_position(done.0);
    });
    bar.finish_and_clear();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_the_work_comes_back() {
        assert_eq!(during("counting", || 1 + 1), 2);
        let counted = measured("counting", Bytes(2), |progress| {
            progress(Bytes(1));
            1 + 1
        });
        assert_eq!(counted, 2);
    }
}
