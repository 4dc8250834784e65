//! Input from kernel and firmware: uevents, EFI variables, module tables, machine ids.

use hermetic_init::{
    etc::machine_id::MachineId,
    glob::{self, Flags},
    sys::{efi, module::Modules, mount::Options, uevent::Uevent},
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
    let tables = Modules::parse(&text(load), &text(alias), &text(demand), &text(load));
    assert_eq!(tables.loaded(), 0);
    // The plain matcher takes the product of both lengths.
    let (pattern, device) = (&pattern[..pattern.len().min(256)], &device[..device.len().min(256)]);
    assert_eq!(glob::matches(pattern, device, Flags::NONE), plain_glob(pattern, device));
    let words: Vec<String> = text(load).split(',').map(str::to_owned).collect();
    let options = Options::parse(MountFlags::NODEV, &words);
    assert!(options.data.len() <= load.len() * 3 + words.len());
}

/// One step of a pattern.
enum Step {
    /// Any text.
    Star,
    /// One byte of a set.
    One(Vec<u8>),
}

/// For every beginning of the pattern, which beginnings of the text it matches.
fn plain_glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    let mut rest = pattern;
    while !rest.is_empty() {
        let step = step(&mut rest);
        let mut next = vec![false; text.len() + 1];
        match step {
            Step::Star => {
                let mut any = false;
                for (to, from) in next.iter_mut().zip(&matched) {
                    any |= *from;
                    *to = any;
                }
            }
            Step::One(members) => {
                for (place, byte) in text.iter().enumerate() {
                    next[place + 1] = matched[place] && members.contains(byte);
                }
            }
        }
        matched = next;
    }
    matched[text.len()]
}

fn step(rest: &mut &[u8]) -> Step {
    let (first, behind) = (rest[0], &rest[1..]);
    *rest = behind;
    match (first, behind) {
        (b'*', _) => Step::Star,
        (b'?', _) => Step::One((0..=255).collect()),
        (b'\\', [escaped, behind @ ..]) => {
            *rest = behind;
            Step::One(vec![*escaped])
        }
        // Nothing is behind it that it could take the meaning of.
        (b'\\', []) => Step::One(Vec::new()),
        (b'[', _) => match set(behind) {
            Some((members, behind)) => {
                *rest = behind;
                Step::One(members)
            }
            None => Step::One(vec![b'[']),
        },
        (literal, _) => Step::One(vec![literal]),
    }
}

/// The bytes of a bracket expression, and what is behind it; None when it has no end or names no class.
fn set(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let is_negated = matches!(text, [b'!' | b'^', ..]);
    let mut rest = &text[usize::from(is_negated)..];
    let mut members = Vec::new();
    let mut is_first = true;
    while is_first || rest.first() != Some(&b']') {
        is_first = false;
        if let Some(end) =
            rest.strip_prefix(b"[:").and_then(|named| named.windows(2).position(|end| end == b":]"))
        {
            let is_member: fn(&u8) -> bool = match &rest[2..2 + end] {
                b"alnum" => u8::is_ascii_alphanumeric,
                b"alpha" => u8::is_ascii_alphabetic,
                b"blank" => |byte| b" \t".contains(byte),
                b"cntrl" => u8::is_ascii_control,
                b"digit" => u8::is_ascii_digit,
                b"graph" => u8::is_ascii_graphic,
                b"lower" => u8::is_ascii_lowercase,
                b"print" => |byte| (b' '..=b'~').contains(byte),
                b"punct" => u8::is_ascii_punctuation,
                b"space" => |byte| b" \t\n\x0b\x0c\r".contains(byte),
                b"upper" => u8::is_ascii_uppercase,
                b"xdigit" => u8::is_ascii_hexdigit,
                _ => return None,
            };
            members.extend((0..=255).filter(is_member));
            rest = &rest[end + 4..];
            continue;
        }
        let low = member(&mut rest)?;
        let mut high = low;
        if let [b'-', next, ..] = rest
            && *next != b']'
        {
            rest = &rest[1..];
            high = member(&mut rest)?;
        }
        members.extend(low..=high);
    }
    if is_negated {
        members = (0..=255).filter(|byte| !members.contains(byte)).collect();
    }
    Some((members, &rest[1..]))
}

fn member(rest: &mut &[u8]) -> Option<u8> {
    let escape = usize::from(matches!(rest, [b'\\', _, ..]));
    let byte = *rest.get(escape)?;
    *rest = &rest[escape + 1..];
    Some(byte)
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
