//! Entries of the udev database: what udevd of the real system must find about the devices that we mapped.
//!
//! Without these entries its rules take a mapped device for one that a tool has not finished, and every unit that waits
//! for dev-mapper-usr.device or dev-mapper-root.device waits until its timeout.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use crate::sys::{clock, dm::Mapping};

const DATABASE: &str = "/run/udev/data";
const TAGS: &str = "/run/udev/tags/systemd";

/// The sticky bit says `db_persist`: `udevadm info --cleanup-db` keeps the entry.
const PERSISTENT: u32 = 0o1644;

/// The entry of a mapped device, in the format of systemd's src/libsystemd/sd-device/device-private.c, with the
/// properties that LVM2's 10-dm.rules imports.
fn entry(mapping: &Mapping, initialized_usec: u128) -> String {
    let Mapping { name, uuid, .. } = mapping;
    format!(
        "S:mapper/{name}\nS:disk/by-id/dm-name-{name}\nS:disk/by-id/dm-uuid-{uuid}\nI:{initialized_usec}\n\
         E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\nE:DM_UDEV_DISABLE_LIBRARY_FALLBACK_FLAG=1\nE:DM_UDEV_RULES_VSN=3\n\
         E:DM_ACTIVATION=1\nE:DM_NAME={name}\nE:DM_UUID={uuid}\nE:DM_SUSPENDED=0\n\
         G:systemd\nQ:systemd\nV:1\n"
    )
}

/// Writes the entry and the tag of `mapping`, each whole or not at all.
///
/// # Errors
/// /run cannot be written.
pub fn record(mapping: &Mapping) -> io::Result<()> {
    let id = format!("b{}", mapping.number);
    fs::create_dir_all(DATABASE)?;
    fs::create_dir_all(TAGS)?;
    let (draft, path) = (Path::new(DATABASE).join(format!(".#{id}")), Path::new(DATABASE).join(&id));
    fs::write(&draft, entry(mapping, clock::monotonic().as_micros()))?;
    fs::set_permissions(&draft, Permissions::from_mode(PERSISTENT))?;
    fs::rename(&draft, &path)?;
    fs::write(Path::new(TAGS).join(&id), "")
}

/// Makes the link in /dev/mapper, as udev would.
///
/// # Errors
/// /dev cannot be written, or the name is taken by something else.
pub fn link(mapping: &Mapping) -> io::Result<()> {
    fs::create_dir_all("/dev/mapper")?;
    symlink(format!("../{}", mapping.kernel_name()), mapping.link())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::DeviceNumber;

    #[test]
    fn an_entry_says_what_the_rules_ask_for() {
        let mapping = Mapping {
            name: "usr".into(),
            uuid: "CRYPT-VERITY-0123-usr".into(),
            number: DeviceNumber { major: 253, minor: 0 },
        };
        let text = entry(&mapping, 7);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        // The properties that 10-dm.rules reads back and udevd itself keeps of a device, no more and no less.
        let expected = [
            "E:DM_ACTIVATION=1",
            "E:DM_NAME=usr",
            "E:DM_SUSPENDED=0",
            "E:DM_UDEV_DISABLE_LIBRARY_FALLBACK_FLAG=1",
            "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1",
            "E:DM_UDEV_RULES_VSN=3",
            "E:DM_UUID=CRYPT-VERITY-0123-usr",
            "G:systemd",
            "I:7",
            "Q:systemd",
            "S:disk/by-id/dm-name-usr",
            "S:disk/by-id/dm-uuid-CRYPT-VERITY-0123-usr",
            "S:mapper/usr",
            "V:1",
        ];
        assert_eq!(lines, expected);
    }
}
