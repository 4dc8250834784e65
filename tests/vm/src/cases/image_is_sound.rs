//! Images are made by our composition of real tools. sfdisk must find no fault in the table, for both sector sizes, and
//! veritysetup must verify the content of the partitions; with one byte changed it must refuse, or its check would
//! prove nothing.

use super::Context;
use crate::command;
use crate::image::{self, Image};
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, copy};
use std::path::{Path, PathBuf};

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?)?;
    let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
    for sector in [512, 4096] {
        let image = Image { sector, ..Image::new(context.partitions(&usr)?) };
        let disk = context.disk("disk.raw", &image)?;
        let sfdisk = || -> Result<_> {
            let mut sfdisk = context.bench.tools.tool("sfdisk")?;
            sfdisk.args(["--sector-size", &sector.to_string()]);
            Ok(sfdisk)
        };
        let verdict = command::output(sfdisk()?.arg("--verify").arg(&disk))?;
        if !verdict.contains("No errors detected") {
            bail!("sfdisk finds fault with sectors of {sector} bytes:\n{verdict}");
        }
        let table: serde_json::Value =
            serde_json::from_str(&command::output(sfdisk()?.arg("--json").arg(&disk))?)?;
        let cut = |index: usize, name: &str| -> Result<PathBuf> {
            let field = |field: &str| {
                table.pointer(&format!("/partitiontable/partitions/{index}/{field}")).and_then(|v| v.as_u64())
            };
            let (Some(start), Some(size)) = (field("start"), field("size")) else {
                bail!("sfdisk lists no partition {index}: {table}");
            };
            let path = context.file(name);
            extract(&disk, start * u64::from(sector), size * u64::from(sector), &path)?;
            Ok(path)
        };
        let (data, hashes) = (cut(0, "data")?, cut(1, "hashes")?);
        let verify = || -> Result<()> {
            command::run(
                context.bench.tools.tool("veritysetup")?.arg("verify").args([&data, &hashes]).arg(root_hash),
            )
        };
        verify()?;
        image::overwrite(&data, 4096, b"x")?;
        if verify().is_ok() {
            bail!("veritysetup verifies a changed /usr");
        }
    }
    Ok(())
}

/// Copies a range of a disk into a file.
fn extract(disk: &Path, offset: u64, length: u64, to: &Path) -> Result<()> {
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(offset))?;
    copy(&mut source.take(length), &mut File::create(to)?)?;
    Ok(())
}
