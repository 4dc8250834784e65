//! A volume in an image file, used by cryptsetup and by this library in turn.

use std::{fs, path::PathBuf, process::Output};

use crate::common::{Scratch, tool};
use hermetic_init::{
    luks::{Budget, FormatParams, Header, LuksError, NewKdf, VolumeKey, format},
    secret::Secret,
    units::Bytes,
    writes::Writes,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub const KEY: &[u8; 32] = b"thirty-two bytes of random, say.";
pub const SIZE: u64 = 20 << 20;
/// The memory that these tests spare, in KiB.
pub const MEMORY: u32 = 128 << 10;
pub const CHEAP: [&str; 4] = ["--pbkdf-force-iterations", "4", "--pbkdf-memory", "32768"];

/// An image file that both sides see, and the key files for it.
pub struct Volume {
    pub scratch: Scratch,
}

impl Volume {
    pub fn empty() -> Option<Self> {
        let scratch = Scratch::new()?;
        fs::File::create(scratch.host("disk")).unwrap().set_len(SIZE).unwrap();
        fs::write(scratch.host("key"), KEY).unwrap();
        fs::write(scratch.host("other"), b"a word").unwrap();
        Some(Self { scratch })
    }

    /// One that cryptsetup formatted with `key`.
    pub fn by_cryptsetup(options: &[&str]) -> Option<Self> {
        let volume = Self::empty()?;
        let output =
            volume.cryptsetup("luksFormat", &[&["--type", "luks2", "--key-file", "@key"], options].concat());
        assert!(output.status.success(), "{output:?}");
        Some(volume)
    }

    /// One that we formatted with `key`.
    pub fn by_us(sector_size: u32, kdf: NewKdf, noise: u8) -> Option<(Self, VolumeKey)> {
        let volume = Self::empty()?;
        fs::write(volume.disk(), vec![noise; SIZE as usize]).unwrap();
        let key = volume.format(sector_size, kdf);
        Some((volume, key))
    }

    /// Formats the disk as it is with `key`.
    pub fn format(&self, sector_size: u32, kdf: NewKdf) -> VolumeKey {
        let (writes, key) = format(FormatParams {
            uuid: UUID,
            label: "root-x86-64",
            subsystem: "hermetic",
            sector_size,
            allow_discards: false,
            passphrase: &Secret::new(KEY.to_vec()),
            kdf,
            random: &mut random,
            device_size: Bytes(SIZE),
        })
        .unwrap();
        writes.apply(&fs::File::options().write(true).open(self.disk()).unwrap()).unwrap();
        key
    }

    pub fn disk(&self) -> PathBuf {
        self.scratch.host("disk")
    }

    /// Runs `cryptsetup ACTION OPTIONS disk`; a word that begins with @ names a file.
    pub fn cryptsetup(&self, action: &str, options: &[&str]) -> Output {
        let words = options.iter().map(|word| match word.strip_prefix('@') {
            Some(file) => self.scratch.inside(file),
            None => (*word).into(),
        });
        let mut command = tool("cryptsetup").unwrap();
        command.arg(action).arg("--batch-mode").args(words);
        // luksAddKey and the like take the device first and then their file.
        if !options.contains(&"@disk") {
            command.arg(self.scratch.inside("disk"));
        }
        command.output().unwrap()
    }

    /// The output of cryptsetup; it must succeed.
    pub fn print(&self, action: &str, options: &[&str]) -> String {
        let output = self.cryptsetup(action, options);
        assert!(output.status.success(), "{action} {options:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The volume key as cryptsetup knows it.
    pub fn volume_key(&self) -> Vec<u8> {
        let _there_may_be_none = fs::remove_file(self.scratch.host("vk"));
        self.print("luksDump", &["--dump-volume-key", "--volume-key-file", "@vk", "--key-file", "@key"]);
        fs::read(self.scratch.host("vk")).unwrap()
    }

    pub fn opens(&self, key_file: &str) -> bool {
        self.cryptsetup("open", &["--test-passphrase", "--key-file", key_file]).status.success()
    }

    pub fn header(&self) -> Result<Header, LuksError> {
        Header::read(&fs::File::open(self.disk()).unwrap())
    }

    pub fn unlock(&self, key: &[u8]) -> Result<VolumeKey, LuksError> {
        let disk = fs::File::open(self.disk()).unwrap();
        self.header()?.unlock(&disk, &Secret::new(key.to_vec()), &mut Budget::with_memory(MEMORY))
    }

    /// Overwrites bytes of the disk.
    pub fn damage(&self, offset: usize, length: usize) {
        let mut disk = fs::read(self.disk()).unwrap();
        disk[offset..offset + length].fill(0x55);
        fs::write(self.disk(), disk).unwrap();
    }

    /// Carries a plan out.
    pub fn apply(&self, plan: &Writes) {
        plan.apply(&fs::File::options().write(true).open(self.disk()).unwrap()).unwrap();
    }

    /// Changes the JSON text of both copies and makes their checksums right again.
    pub fn edit(&self, change: impl Fn(&mut Value)) {
        let mut disk = fs::read(self.disk()).unwrap();
        for copy in disk[..0x8000].chunks_mut(0x4000) {
            let forged = Self::forge(copy, &change);
            copy.copy_from_slice(&forged);
        }
        fs::write(self.disk(), disk).unwrap();
    }

    /// A copy of the header with another text and a right checksum.
    pub fn forge(copy: &[u8], change: impl Fn(&mut Value)) -> Vec<u8> {
        let mut copy = copy.to_vec();
        let text = copy[4096..].split(|byte| *byte == 0).next().unwrap();
        let mut document: Value = serde_json::from_slice(text).unwrap();
        change(&mut document);
        let text = document.to_string();
        copy[4096..].fill(0);
        copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
        Self::seal(&mut copy);
        copy
    }

    /// Makes the checksum of a copy right.
    pub fn seal(copy: &mut [u8]) {
        copy[448..512].fill(0);
        let checksum = Sha256::digest(&*copy);
        copy[448..480].copy_from_slice(&checksum);
    }
}

pub const UUID: Uuid = Uuid::from_u128(0x2dfe5bf9_1c0e_4b43_9a7e_61ab1b0e4d3c);

pub fn random(buffer: &mut [u8]) {
    use std::io::Read;
    fs::File::open("/dev/urandom").unwrap().read_exact(buffer).unwrap();
}

/// The error of an unlock, without the key that it would have given.
pub fn refusal(result: Result<VolumeKey, LuksError>) -> LuksError {
    result.err().expect("this must be refused")
}
