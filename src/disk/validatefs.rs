//! Checks that a file system is in the place that it was made for, by extended attributes of its root
//! (systemd-validatefs(8), systemd 258 and later). A partition table is not trusted: without this check, an encrypted
//! /home whose partition was given the type of a root would be taken for the root, and be opened by the same TPM.

use std::prelude::v1::*;

use uuid::Uuid;

use super::partition::Partition;

/// One constraint; several values of it are alternatives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constraint {
    /// The mount point.
    MountPoint,
    /// The label of the partition that holds it.
    Label,
    /// The type of that partition.
    Type,
}

/// The place in which a file system was found.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The mount point in the running system.
    pub mount_point: &'a str,
    /// The partition that holds it, or the encrypted volume that it is in; None on a device without a table.
    pub partition: Option<&'a Partition>,
}

impl Constraint {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MountPoint, Self::Label, Self::Type];

    /// The name of the attribute.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::MountPoint => "user.validatefs.mount_point",
            Self::Label => "user.validatefs.gpt_label",
            Self::Type => "user.validatefs.gpt_type_uuid",
        }
    }

    /// Checks that `value`, words that a NUL ends or separates, admits the file system at this place. No word admits
    /// every place.
    ///
    /// # Errors
    /// It does not; the text names its purpose and the place where it was found.
    pub fn admits(self, value: &[u8], place: &Place) -> Result<(), String> {
        let value = value.strip_suffix(&[0]).unwrap_or(value);
        if value.is_empty() {
            return Ok(());
        }
        let words = value.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let found = match self {
            Self::MountPoint => place.mount_point.to_owned(),
            Self::Label => place.partition.map(|partition| partition.label.clone()).unwrap_or_default(),
            Self::Type => {
                place.partition.map(|partition| partition.type_guid.to_string()).unwrap_or_default()
            }
        };
        let same = |word: &str| match self {
            Self::MountPoint => word == found,
            Self::Label => place.partition.is_some() && word == found,
            Self::Type => {
                let uuid = Uuid::try_parse(word).ok();
                uuid.is_some() && uuid == place.partition.map(|partition| partition.type_guid)
            }
        };
        if words.clone().any(|word| same(&word)) {
            return Ok(());
        }
        // Words of a stranger: escaped, and not many of them.
        let wanted: Vec<String> = words.take(4).map(|word| format!("{:?}", cut(&word))).collect();
        let found = if place.partition.is_none() && self != Self::MountPoint {
            "on no partition of a GPT".to_owned()
        } else {
            format!("{found:?}")
        };
        Err(format!("{} is {}, this is {found}", self.attribute(), wanted.join(" or ")))
    }
}

/// The beginning of a word.
fn cut(word: &str) -> String {
    word.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{Lba, PartitionNumber};

    const ROOT: Uuid = Uuid::from_u128(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709);

    fn partition() -> Partition {
        Partition {
            number: PartitionNumber(3),
            type_guid: ROOT,
            guid: Uuid::from_u128(1),
            first: Lba(2048),
            last: Lba(4095),
            attributes: 0,
            label: "root".into(),
        }
    }

    #[test]
    fn a_file_system_is_where_it_belongs_or_not() {
        use Constraint::{Label, MountPoint, Type};
        let partition = partition();
        let there = Place { mount_point: "/", partition: Some(&partition) };
        let bare = Place { partition: None, ..there };
        for (constraint, value, place, expected) in [
            (MountPoint, &b"/"[..], &there, None),
            (MountPoint, b"/\0", &bare, None),
            (MountPoint, b"/usr\0/", &there, None),
            (MountPoint, b"", &there, None),
            (MountPoint, b"/home", &there, Some(r#"user.validatefs.mount_point is "/home", this is "/""#)),
            (
                MountPoint,
                b"/home\0/srv\0",
                &there,
                Some(r#"user.validatefs.mount_point is "/home" or "/srv", this is "/""#),
            ),
            (Label, b"other\0root", &there, None),
            (Label, b"home", &there, Some(r#"user.validatefs.gpt_label is "home", this is "root""#)),
            (
                Label,
                b"root",
                &bare,
                Some(r#"user.validatefs.gpt_label is "root", this is on no partition of a GPT"#),
            ),
            (Label, b"a\n<0>b", &there, Some(r#"user.validatefs.gpt_label is "a\n<0>b", this is "root""#)),
            (Type, b"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", &there, None),
            (Type, b"4F68BCE3E8CD4DB196E7FBCAF984B709", &there, None),
            (
                Type,
                b"933ac7e1-2eb4-4f13-b844-0e14e2aef915",
                &there,
                Some(
                    "user.validatefs.gpt_type_uuid is \"933ac7e1-2eb4-4f13-b844-0e14e2aef915\", this is \
                     \"4f68bce3-e8cd-4db1-96e7-fbcaf984b709\"",
                ),
            ),
            (
                Type,
                b"no uuid",
                &bare,
                Some(r#"user.validatefs.gpt_type_uuid is "no uuid", this is on no partition of a GPT"#),
            ),
        ] {
            assert_eq!(
                constraint.admits(value, place).err().as_deref(),
                expected,
                "{constraint:?} {value:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_value_admits_or_not(value: Vec<u8>) {
            let partition = partition();
            for constraint in Constraint::ALL {
                for partition in [None, Some(&partition)] {
                    let said = constraint.admits(&value, &Place { mount_point: "/", partition });
                    prop_assert!(said.err().is_none_or(|said| !said.contains('\n') && said.len() < 4096));
                }
            }
        }
    }
}
