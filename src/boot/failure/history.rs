//! The firmware's memory of boots that failed: the boot loader counts the tries of its entry there, and we keep the reason of a
//! failure until a boot comes up whose log has it.

use std::sync::OnceLock;

use crate::{
    config::{Past, Tries, past, tries},
    info, printable,
    sys::efi,
    warning,
};

/// The content of the variables; not set without them.
static HISTORY: OnceLock<History> = OnceLock::new();

/// The history of this boot.
pub struct History {
    /// The tries of the boot loader.
    pub tries: Option<Tries>,
    /// The failures before this boot.
    past: Option<Past>,
}

/// Reads the variables, once they can be read, and logs the failure before this boot.
pub fn learn() {
    if !efi::is_available() {
        return;
    }
    let read = |name, vendor| match efi::text(name, vendor) {
        Ok(text) => text,
        Err(error) => {
            warning!("EFI variable {name}: {error}; it is not heeded");
            None
        }
    };
    let tries = read(tries::VARIABLE, efi::LOADER).as_deref().and_then(Tries::of_path);
    if let Some(tries) = tries {
        info!("the boot loader counts: {tries}");
    }
    let past = read(past::VARIABLE, past::VENDOR).as_deref().map(Past::of);
    if let Some(past) = &past {
        warning!("{}", printable::line(&past.to_string()));
    }
    // The first one stays: there is no second boot.
    let _set = HISTORY.set(History { tries, past });
}

impl History {
    /// The history that was learnt.
    pub fn get() -> Option<&'static Self> {
        HISTORY.get()
    }

    /// The failures in a row, with one in this stage for this reason.
    pub fn with(&self, stage: &str, reason: &str) -> Past {
        Past::after(self.past.as_ref(), stage, reason)
    }
}

/// Keeps the failures for the next boot. A machine that fails for ever writes a few times.
pub fn keep(failures: &Past) {
    let before = HISTORY.get().and_then(|history| history.past.as_ref());
    if before.is_some_and(|before| failures.adds_nothing_to(before)) {
        return;
    }
    if let Err(error) = efi::write_text(past::VARIABLE, past::VENDOR, &failures.text()) {
        warning!("the next boot will not know of this failure: EFI variable {}: {error}", past::VARIABLE);
    }
}

/// Forgets the failures before a boot that came up. Without one the firmware is not written to.
pub fn forget() {
    if HISTORY.get().is_some_and(|history| history.past.is_some())
        && let Err(error) = efi::remove(past::VARIABLE, past::VENDOR)
    {
        warning!("the next boot will count a failure before it: EFI variable {}: {error}", past::VARIABLE);
    }
}
