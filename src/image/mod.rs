//! An image, judged: the demands of the command line on its /usr and its root, the file systems that they may hold, and the
//! program that comes next. The boot asks this of devices, `hermetic check` of a file before anything is booted; so both say the
//! same, in the same words. Nothing is read here but a tree that is there.
//!
//! | file | content |
//! |---|---|
//! | `usr` | /usr: the protection that it must have, and the refusals of one that is missing or was changed |
//! | `root` | the root: the protection that it must have |
//! | `content` | the file system on a device |
//! | `next_init` | the program that becomes PID 1 after us |

mod content;
#[cfg(feature = "std")]
mod next_init;
mod root;
mod usr;

pub use content::file_system;
#[cfg(feature = "std")]
pub use next_init::{NextInit, NoInit};
pub use root::{NO_TABLE_FOR_ROOT, admit_root, no_root};
pub use usr::{
    Missing, NO_TABLE, changed, mismatch, other_version, permit_usr, subject, superblock, unreadable,
};
