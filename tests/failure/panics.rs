//! A PID 1 that panics, built and linked as hermetic-init is: without unwinding, without its tables. The machines start it by
//! rdinit= and look where it ends.

use std::time::Duration;

use hermetic_init::{
    boot::failure::{catch_panics, set_policy},
    config::{FailureAction, FailurePolicy},
};

fn main() {
    set_policy(FailurePolicy::said(FailureAction::Poweroff, Some(Duration::ZERO)));
    catch_panics();
    let nothing: Option<u8> = std::hint::black_box(None);
    nothing.expect("something where there is nothing");
}
