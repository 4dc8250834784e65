//! Trees of files that a stranger may have written: a root, an image, a half-made file system.
//!
//! Everything here goes by directory descriptors that the caller opened, follows no link out of the tree, waits for no
//! FIFO and opens no device. It decides nothing: the engines above keep their policies and their messages; the results
//! here are an errno, or a step of a copy with one.
//!
//! | module | content |
//! |---|---|
//! | [`lookup`] | paths beneath a root whose /usr may be mounted elsewhere |
//! | [`fixed`] | the attributes of chattr(1) that stand against a change |
//! | [`flags`] | named sets of flags for opening |
//! | [`open`] | opening by names that lead through no link |
//! | [`read`] | small files read whole, within a limit |
//! | [`inode`] | one inode, open or by its name, and the calls that change its attributes; times |
//! | [`xattr`] | the extended attributes of an inode, access control lists among them |
//! | [`attributes`] | one inode made like another one: owner, attributes, mode, times |
//! | [`hole`] | the bytes of a file with its holes |
//! | [`replace`] | a file that takes the place of another one whole or not at all |
//! | [`remove`] | removing a file, or a directory with everything in it |
//! | [`watch`] | every change of a root, seen ahead of it |

pub mod attributes;
pub mod fixed;
pub mod flags;
pub mod hole;
pub mod inode;
pub mod lookup;
pub mod open;
pub mod read;
pub mod remove;
pub mod replace;
pub mod watch;
pub mod xattr;

pub use lookup::{Guide, Last, Tree};
