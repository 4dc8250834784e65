//! One inode made like another one in all that is not its content.

use rustix::{fs::Timestamps, io::Errno};

use super::{inode::Inode, xattr::Xattrs};

/// The tree in which a step of a copy failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The tree that is written.
    Target,
    /// The tree that is read.
    Source,
}

/// A step of a copy that failed, without the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed {
    /// The step, as a verb: `set the owner of`.
    pub step: &'static str,
    /// The tree in which it failed.
    pub side: Side,
    /// The error that came back.
    pub errno: Errno,
}

impl Failed {
    /// The error of one system call on the tree that is read, ready for `map_err`.
    pub fn source(step: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { step, side: Side::Source, errno }
    }

    /// The error of one system call on the tree that is written, ready for `map_err`.
    pub fn target(step: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { step, side: Side::Target, errno }
    }
}

/// The attributes that an inode is given; one that is None stays unchanged.
#[derive(Default)]
pub struct Attributes<'a> {
    /// User id and group id.
    pub owner: Option<(u32, u32)>,
    /// Extended attributes, access control lists among them. Those that it has besides stay.
    pub xattrs: Option<&'a Xattrs>,
    /// Permissions with the set-id and sticky bits.
    pub mode: Option<u32>,
    /// Access and modification time.
    pub times: Option<Timestamps>,
    /// A file system without extended attributes is not a failure.
    pub may_lack_xattrs: bool,
}

impl Attributes<'_> {
    /// Gives them to an inode, in the order in which they do not undo each other: a new owner takes set-user-id and capabilities away, a
    /// mode without write permission keeps users from setting attributes, and every change but the last moves a time.
    ///
    /// # Errors
    /// The first step that failed; those behind it were not tried.
    pub fn give(&self, to: Inode<'_>) -> Result<(), Failed> {
        if let Some(owner) = self.owner {
            to.set_owner(owner).map_err(Failed::target("set the owner of"))?;
        }
        for (name, value) in self.xattrs.into_iter().flat_map(Xattrs::iter) {
            match to.set_xattr(name, value) {
                Err(Errno::NOTSUP) if self.may_lack_xattrs => {}
                set => set.map_err(Failed::target("set an attribute of"))?,
            }
        }
        if let Some(mode) = self.mode {
            to.set_mode(mode).map_err(Failed::target("set the mode of"))?;
        }
        match &self.times {
            Some(times) => to.set_times(times).map_err(Failed::target("set the times of")),
            None => Ok(()),
        }
    }
}
