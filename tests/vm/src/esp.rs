//! An EFI system partition: a FAT with systemd-boot and the images that it lists.

use crate::command;
use crate::signer::Signer;
use crate::toolroot::ToolRoot;
use anyhow::Result;
use std::fs::{self, File};
use std::path::Path;

/// The boot loader of Debian.
const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// Makes a file system of this many bytes in a file, with systemd-boot where the firmware looks for it, signed by this signer. It
/// boots the newest image without asking.
///
/// # Errors
/// A tool fails.
pub fn make(tools: &ToolRoot, signer: &Signer, path: &Path, size: u64) -> Result<()> {
    File::create(path)?.set_len(size)?;
    command::run(tools.tool("mkfs.vfat")?.args(["-F", "32", "-n", "ESP"]).arg(path))?;
    let signed = path.with_extension("loader");
    signer.sign(tools, LOADER, &signed)?;
    let directories = ["::EFI", "::EFI/BOOT", "::EFI/Linux"];
    command::run(tools.tool("mmd")?.arg("-i").arg(path).args(directories))?;
    command::run(tools.tool("mcopy")?.arg("-i").arg(path).arg(&signed).arg("::EFI/BOOT/BOOTX64.EFI"))?;
    Ok(fs::remove_file(&signed)?)
}

/// Adds a unified kernel image, in a partition of a disk that begins at this byte.
///
/// # Errors
/// There is no room for it.
pub fn add(tools: &ToolRoot, disk: &Path, start: u64, image: &Path, name: &str) -> Result<()> {
    let at = format!("{}@@{start}", disk.display());
    command::run(tools.tool("mcopy")?.args(["-i", &at]).arg(image).arg(format!("::EFI/Linux/{name}.efi")))
}
