//! Levels of messages, as syslog(3) counts them: the kernel log, systemd's tools and the engines that speak as they do have the same.

/// The weight of a message; the more urgent one is the lesser, and the values are syslog's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// Something was asked for and not done; of a boot: it cannot go on.
    Error = 3,
    /// Something is not as it was meant.
    Warning = 4,
    /// Normal, but worth a look every time.
    Notice = 5,
    /// The work as it is done; what would be done, in a dry run.
    Info = 6,
    /// The reasons and the ways.
    Debug = 7,
}
