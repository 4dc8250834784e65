//! The content of an encrypted volume, without a kernel that opens it: cryptsetup prints the volume key and the offset
//! of the data, the cipher is AES-XTS with plain64 vectors (IEEE 1619, Linux'
//! `Documentation/admin-guide/device-mapper/dm-crypt.rst`).

use crate::command;
use crate::toolroot::ToolRoot;
use aes::{Aes256, cipher::KeyInit};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use xts_mode::{Xts128, get_tweak_default};

/// The number of bytes that are read at once; a multiple of every sector size.
const PIECE: usize = 1 << 20;

/// The sector that vectors are counted in.
const SECTOR: u64 = 512;

/// The key of a volume, and the place of its data.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The volume key, for `aes-xts-plain64`.
    pub key: Vec<u8>,
    /// Bytes before the data.
    pub offset: u64,
    /// Bytes that are encrypted at once.
    pub sector: u64,
}

impl Volume {
    /// Lets cryptsetup open the volume in `image` by this key; of `image` the header is enough. Files with the keys are put beside
    /// `plain`.
    ///
    /// # Errors
    /// The key opens nothing, or the volume is of a kind that hermetic-init does not make.
    pub fn open(tools: &ToolRoot, image: &Path, key: &[u8], plain: &Path) -> Result<Self> {
        let (key_file, volume_key) = (plain.with_extension("key"), plain.with_extension("volume-key"));
        fs::write(&key_file, key)?;
        if volume_key.exists() {
            fs::remove_file(&volume_key)?;
        }
        let mut dump = tools.tool("cryptsetup")?;
        dump.args(["luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file"]).arg(&volume_key);
        command::run(dump.arg("--key-file").arg(&key_file).arg(image))?;
        let mut dump = tools.tool("cryptsetup")?;
        let metadata = command::output(dump.args(["luksDump", "--dump-json-metadata"]).arg(image))?;
        let metadata: Value = serde_json::from_str(&metadata).context("cryptsetup printed no JSON")?;
        let segment = metadata.pointer("/segments/0").context("the volume has no segment 0")?;
        let text = |name: &str| segment.get(name).and_then(Value::as_str).unwrap_or_default();
        ensure!(text("encryption") == "aes-xts-plain64", "the volume's cipher is {}", text("encryption"));
        let offset = text("offset").parse().context("the segment has no offset")?;
        let sector =
            segment.get("sector_size").and_then(Value::as_u64).context("the segment has no sectors")?;
        Ok(Self { key: fs::read(&volume_key)?, offset, sector })
    }
}

/// The data of an open volume.
struct Data {
    cipher: Xts128<Aes256>,
    offset: u64,
    sector: usize,
}

impl Data {
    fn open(tools: &ToolRoot, image: &Path, key: &[u8], plain: &Path) -> Result<Self> {
        let Volume { key, offset, sector } = Volume::open(tools, image, key, plain)?;
        let (data, tweak) = key.split_at_checked(32).context("the volume key is too short")?;
        let cipher =
            |half: &[u8]| Aes256::new_from_slice(half).ok().context("the volume key is not that of AES-256");
        let cipher = Xts128::new(cipher(data)?, cipher(tweak)?);
        let sector = usize::try_from(sector)?;
        ensure!(sector > 0 && PIECE.is_multiple_of(sector), "sectors have {sector} bytes");
        Ok(Self { cipher, offset, sector })
    }

    /// Turns each sector of `from` into one of `to` that is not all zeroes. Both begin with the data.
    fn turn(&self, from: &mut File, length: u64, to: &File, at: u64, how: Turn) -> Result<()> {
        let mut piece = Vec::with_capacity(PIECE);
        let mut done = 0;
        while done < length {
            piece.clear();
            from.by_ref().take((length - done).min(PIECE as u64)).read_to_end(&mut piece)?;
            ensure!(!piece.is_empty(), "a volume became shorter");
            for (number, bytes) in piece.chunks_exact_mut(self.sector).enumerate() {
                if bytes.iter().any(|byte| *byte != 0) {
                    let place = done + (number * self.sector) as u64;
                    how(&self.cipher, bytes, u128::from(place / SECTOR));
                    to.write_all_at(bytes, at + place)?;
                }
            }
            done += piece.len() as u64;
        }
        Ok(())
    }
}

/// Encryption or decryption of the sector with this number.
type Turn = fn(&Xts128<Aes256>, &mut [u8], u128);

/// Writes the content of the volume in `image` into the new file `plain`; this key opens it. Sectors of zeroes were
/// never written and stay so.
///
/// # Errors
/// The key opens nothing, or the volume is of a kind that hermetic-init does not make.
pub fn decrypt(tools: &ToolRoot, image: &Path, key: &[u8], plain: &Path) -> Result<()> {
    let data = Data::open(tools, image, key, plain)?;
    let mut source = File::open(image)?;
    let length =
        source.seek(SeekFrom::End(0))?.checked_sub(data.offset).context("the volume ends in its header")?;
    source.seek(SeekFrom::Start(data.offset))?;
    let file = File::create(plain)?;
    file.set_len(length)?;
    let decrypt: Turn = |cipher, bytes, number| cipher.decrypt_sector(bytes, get_tweak_default(number));
    data.turn(&mut source, length, &file, 0, decrypt)
}

/// Writes a file system into the volume in `image`, which cryptsetup made; this key opens it. The volume becomes as long as that.
///
/// # Errors
/// As [`decrypt`].
pub fn encrypt(tools: &ToolRoot, plain: &Path, image: &Path, key: &[u8]) -> Result<()> {
    let data = Data::open(tools, image, key, plain)?;
    let mut source = File::open(plain)?;
    let length = source.metadata()?.len();
    let file = File::options().write(true).open(image)?;
    file.set_len(data.offset + length)?;
    let encrypt: Turn = |cipher, bytes, number| cipher.encrypt_sector(bytes, get_tweak_default(number));
    data.turn(&mut source, length, &file, data.offset, encrypt)
}
