//! Input from kernel and firmware: uevents, EFI variables, module tables, machine ids.

use hermetic_init::{
    etc::machine_id::MachineId,
    sys::{
        efi,
        module::{Modules, glob},
        mount::Options,
        uevent::Uevent,
    },
};
use rustix::mount::MountFlags;

use crate::input::{Input, join, text};

/// A message of the kernel's netlink socket.
pub fn uevent(data: &[u8]) {
    if let Some(event) = Uevent::parse(data) {
        assert!(!event.action.is_empty() && !event.devpath.contains('\0'));
    }
}

pub(crate) fn uevent_seeds() -> Vec<Vec<u8>> {
    vec![
        b"add@/devices/pci0000:00/x\0ACTION=add\0DEVPATH=/devices/pci0000:00/x\0SUBSYSTEM=virtio\0MODALIAS=virtio:d1v2\0"
            .to_vec(),
        b"libudev\0\xfe\xed\xca\xfeACTION=add\0".to_vec(),
    ]
}

/// The file of an EFI variable.
pub fn efi_text(data: &[u8]) {
    if let Some(text) = efi::decode(data) {
        assert!(!text.contains('\0'));
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(data.get(4..4 + units.len()), Some(&units[..]));
    }
}

pub(crate) fn efi_text_seeds() -> Vec<Vec<u8>> {
    let text: Vec<u8> = "5a1a4b84-ä-😀\0rest".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![[&[7, 0, 0, 0], &text[..]].concat(), vec![7, 0, 0, 0, 0, 0xd8, 1, 2]]
}

/// Tables of modules, and an alias against a device: twice, once by the plainest matcher there is.
pub fn modules(data: &[u8]) {
    let [load, alias, demand, pattern, device]: [&[u8]; 5] = Input::new(data).parts();
    let tables = Modules::parse(&text(load), &text(alias), &text(demand));
    assert_eq!(tables.loaded(), 0);
    // The plain matcher takes the product of both lengths.
    let (pattern, device) = (&pattern[..pattern.len().min(256)], &device[..device.len().min(256)]);
    assert_eq!(glob(pattern, device), plain_glob(pattern, device));
    let words: Vec<String> = text(load).split(',').map(str::to_owned).collect();
    let options = Options::parse(MountFlags::NODEV, &words);
    assert!(options.data.len() <= load.len() * 3 + words.len());
}

/// For every beginning of the pattern, which beginnings of the text it matches.
fn plain_glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    let mut rest = pattern;
    while let Some((first, mut behind)) = rest.split_first() {
        let mut next = vec![false; text.len() + 1];
        if *first == b'*' {
            let mut any = false;
            for (to, from) in next.iter_mut().zip(&matched) {
                any |= *from;
                *to = any;
            }
        } else {
            let mut class = None;
            if *first == b'[' {
                let Some(end) = behind.iter().position(|byte| *byte == b']') else {
                    // A class without an end matches nothing.
                    return false;
                };
                class = Some(&behind[..end]);
                behind = &behind[end + 1..];
            }
            for (place, byte) in text.iter().enumerate() {
                next[place + 1] = matched[place]
                    && match class {
                        Some(members) => is_member(members, *byte),
                        None => *first == b'?' || first == byte,
                    };
            }
        }
        matched = next;
        rest = behind;
    }
    matched[text.len()]
}

fn is_member(mut members: &[u8], byte: u8) -> bool {
    while let Some((first, rest)) = members.split_first() {
        let (range, left) = match rest {
            [b'-', last, left @ ..] => (*first..=*last, left),
            _ => (*first..=*first, rest),
        };
        if range.contains(&byte) {
            return true;
        }
        members = left;
    }
    false
}

pub(crate) fn modules_seeds() -> Vec<Vec<u8>> {
    let load = b"/hermetic/virtio.ko\n/hermetic/dm-mod.ko\n";
    let demand = b"dm-crypt /a.ko /b.ko\nfs-ext4 /ext4.ko\n";
    [
        ("virtio:d0000001v*", "virtio:d0000001v00001af4"),
        ("pci:v*d*sv*sd*bc01sc[0-9a]i*", "pci:v00008086d00002922sv1sd1bc01sc06i01"),
        ("usb:v04??p[!a]*b[a-", "usb:v0401p!b"),
    ]
    .map(|(pattern, device)| {
        join(&[load, b"virtio:* /a.ko\n", demand, pattern.as_bytes(), device.as_bytes()])
    })
    .into()
}

/// A machine id, and one from the firmware.
pub fn machine_id(data: &[u8]) {
    let text = text(data);
    for id in [MachineId::parse(&text), MachineId::from_dmi(&text)].into_iter().flatten() {
        assert_eq!(MachineId::parse(&id.to_string()), Some(id));
        assert_eq!(MachineId::from_bytes(id.bytes()), Some(id));
    }
}

pub(crate) fn machine_id_seeds() -> Vec<Vec<u8>> {
    vec![
        b"0123456789abcdef0123456789abcdef".to_vec(),
        b"5A1A4B84-6D5E-4B47-9B5A-0D5A1F3A7B1C\n".to_vec(),
        vec![b'0'; 32],
    ]
}
