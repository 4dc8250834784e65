//! The program that becomes PID 1: whether the kernel can start it without anything else.
//!
//! Reference: elf(5).

/// `PT_INTERP`: the program asks for a loader.
const INTERPRETER: u32 = 3;

/// The architecture (`e_machine`) of a static program.
///
/// # Errors
/// The fault and the remedy: it is not a 64-bit ELF program, or it needs a dynamic loader, which an initramfs does not
/// have.
pub fn machine(program: &[u8]) -> Result<u16, String> {
    // 64-bit, little-endian: x86_64, aarch64, riscv64.
    if program.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("no 64-bit little-endian ELF program: give the binary hermetic-init".into());
    }
    let cut = || "the ELF program is cut off: build it again".to_owned();
    let short = |at| array(program, at).map(u16::from_le_bytes).ok_or_else(cut);
    let headers = u64::from_le_bytes(array(program, 32).ok_or_else(cut)?);
    let (size, count) = (u64::from(short(54)?), u64::from(short(56)?));
    for number in 0..count {
        let at = size.checked_mul(number).and_then(|offset| headers.checked_add(offset)).ok_or_else(cut)?;
        let at = usize::try_from(at).map_err(|_| cut())?;
        if u32::from_le_bytes(array(program, at).ok_or_else(cut)?) == INTERPRETER {
            return Err(
                "dynamically linked, and an initramfs has no loader for it: build it for a musl target, or \
                        with `-C target-feature=+crt-static`"
                    .into(),
            );
        }
    }
    short(18)
}

/// The architecture of an object file, of any kind; None when it is not a little-endian ELF file.
pub fn object_machine(object: &[u8]) -> Option<u16> {
    (object.get(..4) == Some(b"\x7fELF") && object.get(5) == Some(&1)).then_some(())?;
    array(object, 18).map(u16::from_le_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program for x86_64 with one program header of that type.
    fn program(kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = 62;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn static_programs_pass_and_others_are_named() {
        assert_eq!(machine(&program(1)), Ok(62));
        assert!(machine(&program(3)).unwrap_err().starts_with("dynamically linked"));
        assert!(machine(&program(1)[..64]).unwrap_err().contains("cut off"));
        assert!(machine(b"#!/bin/sh").unwrap_err().starts_with("no 64-bit"));
        assert_eq!(object_machine(&program(1)), Some(62));
    }

    proptest! {
        #[test]
        fn no_program_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = machine(&[b"\x7fELF\x02\x01".as_slice(), &bytes].concat());
        }
    }
}
