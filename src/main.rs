//! PID 1: start, panic and failure policy, nothing else. The stages are in [`hermetic_init::boot`].
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hermetic_init::boot;

fn main() {
    if std::process::id() != 1 {
        eprintln!(
            "hermetic-init {} is the init of an initramfs: the kernel starts it as /init, rdinit= or init=.\n\
             `hermetic initramfs` of the same project builds one around it.",
            boot::VERSION
        );
        std::process::exit(2);
    }
    boot::failure::catch_panics();
    let failure = boot::run();
    boot::failure::act(&failure)
}
