//! POSIX access control lists: the text form of `a` and `A` lines (acl(5)), and the form in which the kernel keeps them as
//! extended attributes (linux/posix_acl_xattr.h: version 2, then tag, permissions and id of each entry, little-endian).

use std::prelude::v1::*;

use crate::sort;

/// The attribute that holds the access list.
pub const ACCESS: &str = "system.posix_acl_access";
/// The attribute that holds a directory's default list.
pub const DEFAULT: &str = "system.posix_acl_default";

const VERSION: u32 = 2;
const EXECUTE: u16 = 1;
/// The id of entries that have none (`ACL_UNDEFINED_ID`).
const NO_ID: u32 = u32::MAX;

/// Whom an entry is about; in the kernel's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tag {
    /// The owner.
    Owner,
    /// A user, by id.
    User(u32),
    /// The owning group.
    OwningGroup,
    /// A group, by id.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everybody else.
    Other,
}

impl Tag {
    /// The kernel's number and the id.
    fn encoded(self) -> (u16, u32) {
        match self {
            Self::Owner => (0x01, NO_ID),
            Self::User(id) => (0x02, id),
            Self::OwningGroup => (0x04, NO_ID),
            Self::Group(id) => (0x08, id),
            Self::Mask => (0x10, NO_ID),
            Self::Other => (0x20, NO_ID),
        }
    }

    fn decoded(number: u16, id: u32) -> Option<Self> {
        Some(match number {
            0x01 => Self::Owner,
            0x02 => Self::User(id),
            0x04 => Self::OwningGroup,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return None,
        })
    }
}

/// One entry: its user or group, and the bits 4 (read), 2 (write), 1 (execute).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// Whom.
    pub tag: Tag,
    /// The permissions.
    pub permissions: u16,
}

/// A list of entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acl(pub Vec<Entry>);

/// The lists that one line asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acls {
    /// Entries of the access list.
    pub access: Option<Acl>,
    /// Further ones, with `X`: execute is given only to directories, and to files that are executable for some user
    /// already.
    pub conditional: Option<Acl>,
    /// Entries of the default list; only for directories.
    pub default: Option<Acl>,
}

/// The ids of names in a list.
pub trait Names {
    /// The id of a user.
    fn user(&self, name: &[u8]) -> Option<u32>;
    /// The id of a group.
    fn group(&self, name: &[u8]) -> Option<u32>;
}

impl Acls {
    /// Reads the argument of a line: entries with commas between them. Without `modify` lists get the mask that they need.
    /// None when it is not understood or a name is not known.
    pub fn parse(argument: &[u8], names: &dyn Names, modify: bool) -> Option<Self> {
        let mut acls = Self::default();
        // systemd's splitter takes a backslash away before anything.
        let text: Vec<u8> = argument.iter().copied().filter(|&byte| byte != b'\\').collect();
        for text in text.split(|&byte| byte == b',').filter(|text| !text.is_empty()) {
            let fields: Vec<&[u8]> = text.split(|&byte| byte == b':').collect();
            let (is_default, tag, qualifier, permissions) = match fields[..] {
                [tag, qualifier, permissions] => (false, tag, qualifier, permissions),
                [b"d" | b"default", tag, qualifier, permissions] => (true, tag, qualifier, permissions),
                _ => return None,
            };
            let entry = Entry {
                tag: parse_tag(tag, qualifier, names)?,
                permissions: parse_permissions(permissions)?,
            };
            let list = match (is_default, permissions.contains(&b'X')) {
                (true, _) => &mut acls.default,
                (false, true) => &mut acls.conditional,
                (false, false) => &mut acls.access,
            };
            list.get_or_insert_default().0.push(entry);
        }
        if !modify {
            // The conditional list gets its mask when it is known whether execute is given.
            for list in [&mut acls.access, &mut acls.default].into_iter().flatten() {
                list.add_mask();
            }
        }
        Some(acls)
    }

    /// The access list for one file, before it is merged into the old one; None when the line has none. `old` is the list
    /// that the file has.
    pub fn access_for(&self, old: &Acl, is_directory: bool, modify: bool) -> Option<Acl> {
        let Some(conditional) = &self.conditional else { return self.access.clone() };
        let executes = |list: &Acl| list.0.iter().any(|entry| entry.permissions & EXECUTE != 0);
        let counts = |entry: &&Entry| match entry.tag {
            Tag::Mask => false,
            Tag::User(_) | Tag::Group(_) => modify,
            _ => true,
        };
        let may_execute = is_directory
            || executes(&Acl(old.0.iter().filter(counts).copied().collect()))
            || self.access.as_ref().is_some_and(executes);
        let mut acl = self.access.clone().unwrap_or_default();
        acl.0.extend(conditional.0.iter().map(|entry| Entry {
            permissions: if may_execute { entry.permissions } else { entry.permissions & !EXECUTE },
            ..*entry
        }));
        if !modify {
            acl.add_mask();
        }
        Some(acl)
    }
}

impl Acl {
    /// The list that a file without one has by its mode.
    pub fn from_mode(mode: u32) -> Self {
        let entry = |tag, shift: u32| Entry { tag, permissions: ((mode >> shift) & 7) as u16 };
        Self(vec![entry(Tag::Owner, 6), entry(Tag::OwningGroup, 3), entry(Tag::Other, 0)])
    }

    /// Reads the kernel's format. None when it is not a list of version 2.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (version, entries) = value.split_first_chunk::<4>()?;
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let decode = |&[t0, t1, p0, p1, i0, i1, i2, i3]: &[u8; 8]| {
            let tag = Tag::decoded(u16::from_le_bytes([t0, t1]), u32::from_le_bytes([i0, i1, i2, i3]))?;
            Some(Entry { tag, permissions: u16::from_le_bytes([p0, p1]) & 7 })
        };
        entries.iter().map(decode).collect::<Option<_>>().map(Self)
    }

    /// The list in the kernel's format: entries in its order.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = self.0.clone();
        sort::by_key(&mut entries, |entry| entry.tag);
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in entries {
            let (tag, id) = entry.tag.encoded();
            value.extend(tag.to_le_bytes());
            value.extend(entry.permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    /// The old list with these entries put in: in the place of the one about the same, else added, and then with a mask.
    pub fn merged_into(&self, old: &Acl) -> Self {
        let mut merged = old.clone();
        for entry in &self.0 {
            match merged.0.iter_mut().find(|other| other.tag == entry.tag) {
                Some(other) => *other = *entry,
                None => merged.0.push(*entry),
            }
        }
        merged.add_mask();
        merged
    }

    /// Adds the mask that a list with users or groups needs, unless it has one: the union of their permissions and
    /// those of the owning group.
    fn add_mask(&mut self) {
        let named = |entry: &Entry| matches!(entry.tag, Tag::User(_) | Tag::Group(_));
        if self.0.iter().any(|entry| entry.tag == Tag::Mask) || !self.0.iter().any(named) {
            return;
        }
        let masked = self.0.iter().filter(|entry| named(entry) || entry.tag == Tag::OwningGroup);
        let permissions = masked.fold(0, |all, entry| all | entry.permissions);
        self.0.push(Entry { tag: Tag::Mask, permissions });
    }

    /// Adds the entries for owner, owning group and others that the list lacks, as the mode says.
    pub fn completed(mut self, mode: u32) -> Self {
        for entry in Self::from_mode(mode).0 {
            if !self.0.iter().any(|other| other.tag == entry.tag) {
                self.0.push(entry);
            }
        }
        self
    }
}

fn parse_tag(tag: &[u8], qualifier: &[u8], names: &dyn Names) -> Option<Tag> {
    let id = |by_name: &dyn Fn(&[u8]) -> Option<u32>| match core::str::from_utf8(qualifier).map(str::parse) {
        Ok(Ok(id)) => Some(id),
        _ => by_name(qualifier),
    };
    Some(match (tag.trim_ascii(), qualifier.is_empty()) {
        (b"u" | b"user", true) => Tag::Owner,
        (b"u" | b"user", false) => Tag::User(id(&|name| names.user(name))?),
        (b"g" | b"group", true) => Tag::OwningGroup,
        (b"g" | b"group", false) => Tag::Group(id(&|name| names.group(name))?),
        (b"m" | b"mask", true) => Tag::Mask,
        (b"o" | b"other", true) => Tag::Other,
        _ => return None,
    })
}

/// One to three of `rwxX-`, no letter twice.
fn parse_permissions(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii();
    if text.is_empty() || text.len() > 3 {
        return None;
    }
    text.iter().try_fold(0, |permissions, letter| {
        let bit = match letter {
            b'r' => 4,
            b'w' => 2,
            b'x' | b'X' => EXECUTE,
            b'-' => return Some(permissions),
            _ => return None,
        };
        (permissions & bit == 0).then_some(permissions | bit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Known;

    impl Names for Known {
        fn user(&self, name: &[u8]) -> Option<u32> {
            (name == b"root").then_some(0)
        }

        fn group(&self, name: &[u8]) -> Option<u32> {
            (name == b"adm").then_some(4)
        }
    }

    fn entries(list: &[(Tag, u16)]) -> Acl {
        Acl(list.iter().map(|&(tag, permissions)| Entry { tag, permissions }).collect())
    }

    #[test]
    fn the_line_of_the_journal() {
        let acls = Acls::parse(b"d:group::r-x,d:group:adm:r-x,g:adm:rX", &Known, true).unwrap();
        assert_eq!(acls.default, Some(entries(&[(Tag::OwningGroup, 5), (Tag::Group(4), 5)])));
        assert_eq!(
            (acls.access.as_ref(), acls.conditional.as_ref()),
            (None, Some(&entries(&[(Tag::Group(4), 5)])))
        );
        let old = Acl::from_mode(0o640);
        assert_eq!(acls.access_for(&old, false, true), Some(entries(&[(Tag::Group(4), 4)])));
        assert_eq!(acls.access_for(&old, true, true), Some(entries(&[(Tag::Group(4), 5)])));
        let merged = acls.access_for(&old, false, true).unwrap().merged_into(&old);
        let expected = entries(&[
            (Tag::Owner, 6),
            (Tag::OwningGroup, 4),
            (Tag::Other, 0),
            (Tag::Group(4), 4),
            (Tag::Mask, 4),
        ]);
        assert_eq!(merged, expected);
    }

    #[test]
    fn what_is_no_list() {
        for text in [
            "u:root",
            "u:nobody-here:r",
            "x:root:r",
            "u:root:rwxr",
            "u:root:rr",
            "u:root:",
            "d:u:root:q",
            "o:1:r",
            "e:u:0:r",
        ] {
            assert_eq!(Acls::parse(text.as_bytes(), &Known, false), None, "{text}");
        }
    }

    /// The value is that of `setfacl -m u:1000:rw,g:adm:r` on a file of mode 0640, read with `getfattr -e hex`.
    #[test]
    fn the_kernels_form() {
        let value: Vec<u8> = [
            "02000000",
            "01000600ffffffff",
            "02000600e8030000",
            "04000400ffffffff",
            "0800040004000000",
            "10000600ffffffff",
            "20000000ffffffff",
        ]
        .concat()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
        let acl = Acl::decode(&value).unwrap();
        assert_eq!(acl.encode(), value);
        let asked = Acls::parse(b"u:1000:rw,g:adm:r", &Known, true).unwrap().access.unwrap();
        assert_eq!(asked.merged_into(&Acl::from_mode(0o640)).encode(), value);
        assert_eq!(Acl::decode(b""), None);
        assert_eq!(Acl::decode(&value[..21]), None);
    }

    proptest! {
        #[test]
        fn lists_come_back(value: Vec<u8>, text: Vec<u8>, plausible in "([d]:)?[ugmo]:(root|adm|7)?:[rwxX-]{1,4}") {
            if let Some(acl) = Acl::decode(&value) {
                prop_assert_eq!(Acl::decode(&acl.encode()).map(|acl| acl.0.len()), Some(acl.0.len()));
            }
            for text in [&text[..], plausible.as_bytes()] {
                if let Some(Acls { access: Some(acl), .. }) = Acls::parse(text, &Known, false) {
                    let mut sorted = acl.0.clone();
                    sorted.sort_by_key(|entry| entry.tag);
                    prop_assert_eq!(Acl::decode(&acl.encode()), Some(Acl(sorted)));
                }
            }
        }
    }
}
