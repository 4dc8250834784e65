//! A disk of a machine: the image file, and the hardware it looks like.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The bus of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// virtio-blk over PCI: /dev/vda.
    #[default]
    Virtio,
    /// NVMe: /dev/nvme0n1.
    Nvme,
    /// SCSI over virtio: /dev/sda.
    Scsi,
    /// SATA at the board's AHCI: /dev/sda. Sectors of 512 bytes alone.
    Sata,
    /// SCSI as VMware has it: /dev/sda.
    Pvscsi,
}

impl Interface {
    /// Reads a name.
    ///
    /// # Errors
    /// The name is not known.
    pub fn parse(name: &str) -> Result<Self> {
        let known = [
            ("virtio", Self::Virtio),
            ("nvme", Self::Nvme),
            ("scsi", Self::Scsi),
            ("sata", Self::Sata),
            ("pvscsi", Self::Pvscsi),
        ];
        known
            .into_iter()
            .find(|(word, _)| *word == name)
            .map(|(_, interface)| interface)
            .with_context(|| format!("`{name}` is no disk interface: virtio, nvme, scsi, sata or pvscsi"))
    }
}

/// A disk of a machine.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    interface: Interface,
    sector: u32,
    serial: Option<String>,
    read_only: bool,
    writes: Option<PathBuf>,
}

impl Disk {
    /// A writable virtio disk with sectors of 512 bytes.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            interface: Interface::Virtio,
            sector: 512,
            serial: None,
            read_only: false,
            writes: None,
        }
    }

    /// Another interface.
    #[must_use]
    pub fn interface(mut self, interface: Interface) -> Self {
        self.interface = interface;
        self
    }

    /// Bytes of a sector, 512 or 4096.
    #[must_use]
    pub fn sector(mut self, bytes: u32) -> Self {
        self.sector = bytes;
        self
    }

    /// The serial number, instead of `disk0`, `disk1` …
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = Some(serial.to_owned());
        self
    }

    /// The machine cannot write it.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Records every write and flush in this file, in the format of the kernel's dm-log-writes.
    #[must_use]
    pub fn record(mut self, log: &Path) -> Self {
        self.writes = Some(log.to_owned());
        self
    }

    /// QEMU's arguments for the disk with this number.
    #[must_use]
    pub fn arguments(&self, number: usize) -> Vec<String> {
        let on = if self.read_only { "on" } else { "off" };
        let path = self.path.display();
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        // Writes may stay in the host's page cache: a machine that is killed keeps them, only the host's end does not.
        let file = format!("driver=file,filename={path},cache.no-flush=on,discard=unmap");
        match &self.writes {
            None => add(
                "-blockdev",
                format!(
                    "driver=raw,node-name=disk{number},read-only={on},file.{}",
                    file.replace(',', ",file.")
                ),
            ),
            Some(log) => {
                add("-blockdev", format!("{file},node-name=image{number}"));
                add("-blockdev", format!("driver=file,filename={},node-name=log{number}", log.display()));
                add(
                    "-blockdev",
                    format!(
                        "driver=blklogwrites,node-name=disk{number},file=image{number},log=log{number},log-sector-size=512"
                    ),
                );
            }
        }
        let bus = match self.interface {
            Interface::Virtio => "virtio-blk-pci".to_owned(),
            Interface::Nvme => "nvme".to_owned(),
            Interface::Scsi => {
                add("-device", format!("virtio-scsi-pci,id=scsi{number}"));
                format!("scsi-hd,bus=scsi{number}.0")
            }
            Interface::Pvscsi => {
                add("-device", format!("pvscsi,id=scsi{number}"));
                format!("scsi-hd,bus=scsi{number}.0")
            }
            Interface::Sata => format!("ide-hd,bus=ide.{number}"),
        };
        let serial = self.serial.clone().unwrap_or_else(|| format!("disk{number}"));
        let sector = self.sector;
        add(
            "-device",
            format!(
                "{bus},drive=disk{number},serial={serial},logical_block_size={sector},physical_block_size={sector}"
            ),
        );
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_the_hardware() {
        let disk = Disk::new(Path::new("/d.raw")).interface(Interface::Scsi).sector(4096).read_only();
        assert_eq!(
            disk.arguments(1),
            [
                "-blockdev",
                "driver=raw,node-name=disk1,read-only=on,file.driver=file,file.filename=/d.raw,\
                 file.cache.no-flush=on,file.discard=unmap",
                "-device",
                "virtio-scsi-pci,id=scsi1",
                "-device",
                "scsi-hd,bus=scsi1.0,drive=disk1,serial=disk1,logical_block_size=4096,physical_block_size=4096",
            ]
        );
    }
}
