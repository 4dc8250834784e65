//! The kernel's announcements of devices, over netlink (lib/kobject_uevent.c). They wake the boot when a disk appears,
//! so nothing polls.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with},
};

use crate::progress::Bounded;

/// One announcement.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Uevent {
    /// `add`, `remove`, `change`, ...
    pub action: String,
    /// Path below /sys.
    pub devpath: String,
    /// `block`, `pci`, `virtio`, ...
    pub subsystem: String,
    /// The text by which a driver is looked up, on buses that have one.
    pub modalias: Option<String>,
}

impl Uevent {
    /// Reads one message: `ACTION@DEVPATH`, then `KEY=VALUE` strings, each ended by NUL. None for anything else
    /// (udevd's own messages begin with `libudev`).
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut strings =
            message.split(|byte| *byte == 0).map(|s| core::str::from_utf8(s).unwrap_or_default());
        strings.next()?.split_once('@')?;
        let mut event = Self::default();
        for string in strings {
            match string.split_once('=') {
                Some(("ACTION", value)) => event.action = value.into(),
                Some(("DEVPATH", value)) => event.devpath = value.into(),
                Some(("SUBSYSTEM", value)) => event.subsystem = value.into(),
                Some(("MODALIAS", value)) => event.modalias = Some(value.into()),
                _ => {}
            }
        }
        (!event.action.is_empty()).then_some(event)
    }
}

/// The group that the kernel itself sends to (group 2 is udevd's).
const KERNEL_GROUP: u32 = 1;

/// The largest message the kernel makes (UEVENT_BUFFER_SIZE is 2048, plus the header line).
const MESSAGE: usize = 8192;

/// A subscription to the kernel's announcements.
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Subscribes. Earlier events are not reported; scan sysfs after this.
    ///
    /// # Errors
    /// The kernel has no netlink, or CAP_NET_ADMIN is missing.
    pub fn subscribe() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::KOBJECT_UEVENT),
        )?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(socket))
    }

    /// The next announcement, None when `timeout` passed without one. An overrun of the socket's buffer is reported as
    /// an empty announcement: the caller rescans after any.
    ///
    /// # Errors
    /// The error of poll(2) or recv(2).
    pub fn next(&self, timeout: Duration) -> io::Result<Option<Uevent>> {
        let deadline = super::clock::Deadline::after(timeout);
        let mut message = [0; MESSAGE];
        loop {
            match recv(&self.0, &mut message, RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some(event) = Uevent::parse(message.get(..length).unwrap_or_default()) {
                        return Ok(Some(event));
                    }
                    continue;
                }
                Err(Errno::NOBUFS) => return Ok(Some(Uevent::default())),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
            let Some(left) = deadline.left() else { return Ok(None) };
            let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            let _ends_in_time = Bounded::begin();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_messages_are_read_and_others_are_not() {
        let message = b"add@/devices/pci0000:00/0000:00:03.0/virtio0\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=virtio\0MODALIAS=virtio:d00000002v00001AF4\0SEQNUM=1\0";
        let event = Uevent::parse(message).unwrap();
        assert_eq!(
            event,
            Uevent {
                action: "add".into(),
                devpath: "/devices/x".into(),
                subsystem: "virtio".into(),
                modalias: Some("virtio:d00000002v00001AF4".into()),
            }
        );
        assert_eq!(Uevent::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        assert_eq!(Uevent::parse(b""), None);
    }
}
