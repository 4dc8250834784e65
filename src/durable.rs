//! The order in which changes of a file system reach its disk.

/// Tells if a change is on the disk before the next one counts on it. It says nothing about waiting for other programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durable {
    /// It is: a power cut finds each file old or new, and what comes later only with what came before.
    Here,
    /// The caller flushes the whole file system before anything counts on it, as the first boot's commit does; or nobody does, as
    /// with the tools of systemd that take no care.
    Caller,
}
