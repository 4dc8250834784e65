//! A module's bytes: read, decompressed by its first bytes, and checked to be for this kernel.
//!
//! Distributions append a signature over the whole file, and a locked-down kernel refuses a module whose signature does not
//! match: unless the builder asks for it, nothing is stripped.

use std::{fs, io::Read};

use super::{Error, Index, ModuleName};

/// No module is larger than this when decompressed; a file that claims more is damaged.
const MAX_SIZE: u64 = 256 << 20;

/// A module, decompressed.
#[derive(Clone, Debug)]
pub struct ModuleFile {
    /// Its file name, `dm-mod.ko`.
    pub file_name: String,
    /// The bytes for finit_module(2).
    pub bytes: Vec<u8>,
}

impl ModuleFile {
    /// Reads the module `name` of `index`.
    ///
    /// # Errors
    /// When it cannot be read or decompressed, or is not a module of the index's kernel.
    pub fn read(index: &Index, name: &ModuleName) -> Result<Self, Error> {
        let path = index.path(name).unwrap_or_default();
        let raw = fs::read(&path).map_err(|error| Error::Read { path: path.clone(), error })?;
        let bytes = decompress(raw).and_then(|bytes| check(&bytes, index.release()).map(|()| bytes));
        let bytes = bytes.map_err(|why| Error::Content { path: path.clone(), why })?;
        // The stem is kept as the kernel's build spells it, with its `-`.
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = file.split_once(".ko").map_or(file.as_ref(), |(stem, _)| stem);
        Ok(Self { file_name: format!("{stem}.ko"), bytes })
    }
}

/// A module that is signed ends in this; before it 12 bytes of `struct module_signature`, and before them the signature
/// (kernel/module/signing.c).
const SIGNED: &[u8] = b"~Module signature appended~\n";
/// Bytes behind a signature.
const TRAILER: usize = 12 + SIGNED.len();
/// The object identifier of SHA-256 in DER (RFC 5754, section 2.2), as the signature names its hash.
const SHA256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

impl ModuleFile {
    /// Returns true when the kernel hashes the module with SHA-256 to check its signature.
    pub fn is_signed_with_sha256(&self) -> bool {
        self.signature().is_some_and(|bytes| bytes.windows(SHA256.len()).any(|window| window == SHA256))
    }

    /// Takes the signature away. A kernel that enforces signatures refuses the module then; any other loads it unchecked and is
    /// tainted.
    pub fn strip_signature(&mut self) {
        if let Some(signature) = self.signature() {
            let end = self.bytes.len() - signature.len() - TRAILER;
            self.bytes.truncate(end);
        }
    }

    /// The signature without what follows it.
    fn signature(&self) -> Option<&[u8]> {
        let (rest, size) = self.bytes.strip_suffix(SIGNED)?.split_last_chunk::<4>()?;
        let end = rest.len().checked_sub(8)?;
        rest.get(end.checked_sub(usize::try_from(u32::from_be_bytes(*size)).ok()?)?..end)
    }
}

/// The content of `raw`, which is xz, zstd, gzip or not compressed.
///
/// # Errors
/// The error of the decoder, or that the content is larger than any module.
pub fn decompress(raw: Vec<u8>) -> Result<Vec<u8>, String> {
    match raw.get(..6).unwrap_or_default() {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => all(lzma_rust2::XzReader::new(raw.as_slice(), true), "xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            all(zstd::stream::read::Decoder::new(raw.as_slice()).map_err(|e| e.to_string())?, "zstd")
        }
        [0x1f, 0x8b, ..] => all(flate2::read::GzDecoder::new(raw.as_slice()), "gzip"),
        _ => Ok(raw),
    }
}

fn all(reader: impl Read, format: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match reader.take(MAX_SIZE + 1).read_to_end(&mut bytes) {
        Err(error) => Err(format!("{format} data is damaged: {error}: install the kernel package again")),
        Ok(_) if bytes.len() as u64 > MAX_SIZE => Err(format!(
            "{format} data holds more than {} MiB: install the kernel package again",
            MAX_SIZE >> 20
        )),
        Ok(_) => Ok(bytes),
    }
}

/// Checks that `bytes` are an ELF file whose `vermagic` begins with `release`: the kernel compares this first
/// (kernel/module/version.c, `same_magic`).
fn check(bytes: &[u8], release: &str) -> Result<(), String> {
    const KEY: &[u8] = b"vermagic=";
    if !bytes.starts_with(b"\x7fELF") {
        return Err("no ELF file: install the kernel package again".into());
    }
    let magic = bytes
        .windows(KEY.len())
        .position(|window| window == KEY)
        .and_then(|at| bytes.get(at + KEY.len()..))
        .and_then(|rest| rest.split(|byte| *byte == 0 || *byte == b' ').next())
        .ok_or("no kernel module, it has no vermagic: install the kernel package again")?;
    if magic != release.as_bytes() {
        return Err(format!(
            "made for kernel {}, expected {release}: name the directory of the kernel that will boot",
            String::from_utf8_lossy(magic)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_compression_gives_the_same_bytes() {
        let bytes = b"\x7fELF and so on ".repeat(1000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&bytes).unwrap();
        assert_eq!(decompress(gz.finish().unwrap()).as_ref(), Ok(&bytes));
        assert_eq!(decompress(zstd::bulk::compress(&bytes, 3).unwrap()).as_ref(), Ok(&bytes));
        assert_eq!(decompress(bytes.clone()).as_ref(), Ok(&bytes));
    }

    #[test]
    fn a_signature_tells_its_hash_and_can_be_taken_away() {
        let signed = |signature: &[u8], size: u32| {
            let mut bytes = b"\x7fELF".to_vec();
            bytes.extend_from_slice(signature);
            bytes.extend_from_slice(&[0, 0, 2, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(SIGNED);
            let mut module = ModuleFile { file_name: "a.ko".into(), bytes };
            let is_signed = module.is_signed_with_sha256();
            module.strip_signature();
            (is_signed, module.bytes.len())
        };
        assert_eq!(signed(SHA256, 11), (true, 4));
        assert_eq!(signed(&[0; 11], 11), (false, 4));
        assert_eq!(signed(SHA256, 10), (false, 5));
        assert_eq!(signed(SHA256, u32::MAX), (false, 4 + 11 + TRAILER));
        let bare = ModuleFile { file_name: "a.ko".into(), bytes: SHA256.to_vec() };
        assert!(!bare.is_signed_with_sha256());
    }

    #[test]
    fn damaged_data_is_an_error() {
        for damaged in [b"\xfd7zXZ\0\0\x01".as_slice(), b"\x28\xb5\x2f\xfd\xff\xff", b"\x1f\x8b\x08\0\0\0"] {
            let error = decompress(damaged.to_vec()).unwrap_err();
            assert!(error.contains("is damaged"), "{error}");
        }
    }

    #[test]
    fn a_module_of_another_kernel_is_refused() {
        let module = b"\x7fELF....\0vermagic=6.12.1-x SMP preempt\0";
        assert_eq!(check(module, "6.12.1-x"), Ok(()));
        assert_eq!(
            check(module, "6.12.1"),
            Err("made for kernel 6.12.1-x, expected 6.12.1: name the directory of the kernel that will boot"
                .into())
        );
        assert!(check(b"\x7fELF", "6.12.1").is_err());
        assert!(check(b"vermagic=6.12.1 ", "6.12.1").is_err());
    }
}
