//! The numbers: the time of each way from /init to systemd, against the floor in the same run, and its size.
//!
//! Time is the machine's own: the kernel's time stamps from `Run /init` to the execution of systemd, to its banner, and on request
//! from the kernel's start to multi-user.target, with instructions counted as nanoseconds (QEMU's icount). A busy host therefore
//! changes little, and runs of the ways alternate so that its effect is the same for all. A machine is cut as soon as the last of
//! them was seen.

use crate::cases::{Context, TEST_INIT, lasting};
use crate::claim::{self, Claim};
use crate::command;
use crate::definition;
use crate::disk::Disk;
use crate::floor::{self, Job};
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::{Exit, Outcome};
use crate::usr::{Usr, VERITY_BLOCK};
use crate::volume::Volume;
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most that the `virtio` initramfs may weigh, bytes. A third of it is modules, which are signed and so must stay as
/// they are.
const MAX_INITRAMFS_SIZE: u64 = 1_000_000;

/// A processor that waits for a disk goes on counting. One that slept would, with instructions as its clock, wake at
/// its next timer at any later time: waits of a millisecond would count as seconds.
pub const AWAKE: &str = "idle=poll";

/// One machine may take this long; only a hanging one does.
pub const DEADLINE: Duration = Duration::from_secs(600);

/// The sector of device-mapper's tables, bytes.
const SECTOR: u64 = 512;

/// A LUKS2 header with its keyslots, and a bit of the data: what cryptsetup reads.
const LUKS_HEAD: u64 = 17 << 20;

/// A way from /init to systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The floor init does the job of [`Way::Plain`].
    FloorPlain,
    /// hermetic-init, the root is there and plain.
    Plain,
    /// The floor init does the job of [`Way::Encrypted`]; it knows the volume key.
    FloorEncrypted,
    /// hermetic-init, the root is there and encrypted.
    Encrypted,
    /// hermetic-init makes an encrypted root.
    EncryptedFirst,
}

impl Way {
    /// In the order of the table.
    pub const ALL: [Self; 5] =
        [Self::FloorPlain, Self::Plain, Self::FloorEncrypted, Self::Encrypted, Self::EncryptedFirst];

    /// The later boots.
    pub const LATER: [Self; 4] = [Self::FloorPlain, Self::Plain, Self::FloorEncrypted, Self::Encrypted];

    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FloorPlain => "floor: verity, plain root",
            Self::Plain => "later boot, verity, plain root",
            Self::FloorEncrypted => "floor: verity, LUKS root",
            Self::Encrypted => "later boot, verity, LUKS root",
            Self::EncryptedFirst => "first boot, verity, LUKS root",
        }
    }

    /// The floor beside it; None for a floor.
    #[must_use]
    pub fn floor(self) -> Option<Self> {
        match self {
            Self::FloorPlain | Self::FloorEncrypted => None,
            Self::Plain => Some(Self::FloorPlain),
            Self::Encrypted | Self::EncryptedFirst => Some(Self::FloorEncrypted),
        }
    }

    /// The claims about its times to the execution of systemd and to the banner, in terms of the floor's. Which of the kernel's
    /// tests of algorithms come first differs from boot to boot, and a volume waits for one of them.
    #[must_use]
    pub fn claims(self) -> [Option<Claim>; 2] {
        let claim = |claimed, limit| Some(Claim::AtMost(claimed, limit));
        match self {
            Self::FloorPlain | Self::FloorEncrypted => [None, None],
            Self::Plain => [claim(0.8, 1.2), claim(0.9, 1.2)],
            Self::Encrypted => [claim(0.85, 1.2), claim(0.95, 1.2)],
            Self::EncryptedFirst => [claim(1.2, 1.6), claim(1.2, 1.6)],
        }
    }
}

/// The end of a measured boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// systemd's banner.
    Banner,
    /// multi-user.target, and everything that runs then.
    MultiUser,
}

/// The times of one boot: from /init to the execution of systemd and to its banner, from the kernel's start to
/// multi-user.target.
const TIMES: [&str; 3] = ["exec", "banner", "multi-user"];

/// The measurements of one way.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The way.
    pub way: Way,
    /// The times, each sorted; the last is empty when the boots ended at the banner.
    pub times: [Vec<Duration>; 3],
    /// hermetic-init's own stages in their order: the median of each.
    pub stages: Vec<(String, Duration)>,
}

impl Measured {
    /// The median of one of the times; zero when nothing was measured.
    #[must_use]
    pub fn median(&self, time: usize) -> Duration {
        self.times.get(time).map_or(Duration::ZERO, |times| median(times))
    }
}

/// All numbers of a run.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// One entry per way.
    pub ways: Vec<Measured>,
    /// Bytes: hermetic-init, its `virtio` initramfs, the floor's initramfs.
    pub sizes: [u64; 3],
}

/// One side: an appliance whose first boot is done, a copy of its disk from before, and the floor for it.
pub struct Side {
    /// The disk before its first boot.
    pub fresh: PathBuf,
    /// The disk after it.
    pub provisioned: PathBuf,
    /// hermetic-init's initramfs.
    pub initramfs: PathBuf,
    /// The initramfs of the floor.
    pub floor: PathBuf,
    /// The words of hermetic-init's command line.
    pub cmdline: String,
}

/// Measures these ways, `rounds` times each, alternating.
///
/// # Errors
/// A machine does not come up.
pub fn measure(context: &Context<'_>, ways: &[Way], rounds: u32, until: Until) -> Result<Numbers> {
    let plain = Side::new(context, "plain", definition::PLAIN, None)?;
    let encrypted = Side::new(context, "encrypted", definition::ENCRYPTED, Some(&definition::KEY))?;
    let mut runs: Vec<(Way, Vec<Run>)> = ways.iter().map(|way| (*way, Vec::new())).collect();
    for _ in 0..rounds {
        for (way, runs) in &mut runs {
            let side = match way {
                Way::FloorPlain | Way::Plain => &plain,
                Way::FloorEncrypted | Way::Encrypted | Way::EncryptedFirst => &encrypted,
            };
            runs.push(boot(context, *way, side, until).with_context(|| way.name())?);
        }
    }
    let length = |path: &PathBuf| -> Result<u64> { Ok(fs::metadata(path)?.len()) };
    Ok(Numbers {
        ways: runs.into_iter().map(|(way, runs)| summarise(way, &runs)).collect(),
        sizes: [length(&context.products.init)?, length(&plain.initramfs)?, length(&plain.floor)?],
    })
}

impl Side {
    /// An appliance, before its first boot and after it.
    ///
    /// # Errors
    /// The first boot does not come up, or a tool fails.
    pub fn new(context: &Context<'_>, name: &str, definition: &str, key: Option<&[u8]>) -> Result<Self> {
        let usr = context.usr(&context.recipe()?.repart(definition))?;
        let fresh = context.disk(&format!("{name}-fresh.raw"), &Image::new(context.partitions(&usr)?))?;
        let provisioned = context.file(&format!("{name}.raw"));
        image::copy(&fresh, &provisioned)?;
        let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
        let cmdline = format!("usrhash={root_hash}");
        let recipe = key.iter().fold(Initramfs::new("virtio"), |recipe, key| recipe.key(key));
        let initramfs = context.initramfs(&recipe)?;
        let machine = context
            .machine()
            .deadline(DEADLINE)
            .initramfs(&initramfs)
            .cmdline(&format!("{cmdline} hermetic.init={TEST_INIT}"))
            .disk(Disk::new(&provisioned));
        context.run(&machine)?.expect(&Exit::PowerOff)?;
        let job = job(context, &usr, &provisioned, "root-x86-64", key)?;
        let floor = floor::make(context.bench, context.products, &job)?;
        Ok(Self { fresh, provisioned, initramfs, floor, cmdline })
    }
}

/// The job of a later boot of this disk, as veritysetup and cryptsetup describe it: /usr is on the first two partitions, root on the one
/// with this label.
///
/// # Errors
/// There is no such partition, or the key does not open it.
pub(crate) fn job(
    context: &Context<'_>,
    usr: &Usr,
    disk: &Path,
    label: &str,
    key: Option<&[u8]>,
) -> Result<Job> {
    let tools = &context.bench.tools;
    let hashes = usr.hashes().context("the appliance's /usr is verified")?;
    let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let dump = command::output(tools.tool("veritysetup")?.arg("dump").arg(&hashes))?;
    let salt =
        dump.lines().find_map(|line| line.strip_prefix("Salt:")).context("veritysetup prints no salt")?;
    let blocks = fs::metadata(usr.data())?.len() / VERITY_BLOCK;
    // The superblock takes the first block of the hash tree's partition.
    let mut devices = format!(
        "dm=usr {} verity 1 /dev/vda1 /dev/vda2 {VERITY_BLOCK} {VERITY_BLOCK} {blocks} 1 sha256 {root_hash} {}\n\
         usr=/dev/dm-0 erofs\n",
        blocks * VERITY_BLOCK / SECTOR,
        salt.trim(),
    );
    let mut modules = vec!["virtio_blk", "sha256-ssse3", "dm-verity", "erofs"];
    let root = lasting::find(context, disk, 512, label)?;
    match key {
        None => writeln!(devices, "root=/dev/vda{} ext4", root.number)?,
        Some(key) => {
            let head = context.file("luks-head");
            let mut source = File::open(disk)?;
            source.seek(SeekFrom::Start(root.start))?;
            std::io::copy(&mut source.take(LUKS_HEAD), &mut File::create(&head)?)?;
            let volume = Volume::open(tools, &head, key, &head)?;
            let length = root.length.checked_sub(volume.offset).context("the root ends in its header")?;
            let mut hexadecimal = String::new();
            for byte in &volume.key {
                write!(hexadecimal, "{byte:02x}")?;
            }
            writeln!(
                devices,
                "dm=root {} crypt aes-xts-plain64 {hexadecimal} 0 /dev/vda{} {} 1 sector_size:{}\nroot=/dev/dm-1 ext4",
                length / SECTOR,
                root.number,
                volume.offset / SECTOR,
                volume.sector,
            )?;
            modules.extend(["aesni-intel", "dm-crypt"]);
        }
    }
    Ok(Job { modules, devices })
}

/// The measurements of one boot.
struct Run {
    times: [Option<Duration>; 3],
    stages: Vec<(String, Duration)>,
}

fn boot(context: &Context<'_>, way: Way, side: &Side, until: Until) -> Result<Run> {
    let disk = context.file("measured.raw");
    image::copy(if way == Way::EncryptedFirst { &side.fresh } else { &side.provisioned }, &disk)?;
    let machine = context.machine().icount().cmdline(AWAKE).deadline(DEADLINE).disk(Disk::new(&disk));
    let machine = match way.floor() {
        None => machine.initramfs(&side.floor),
        Some(_) => machine.initramfs(&side.initramfs).cmdline(&side.cmdline),
    };
    let (outcome, multi_user) = match until {
        Until::Banner => {
            let mut running = context.start(&machine)?;
            running.wait_for("systemd's banner", BANNER, DEADLINE)?;
            running.cut_power()?;
            (running.finish()?, None)
        }
        Until::MultiUser => {
            let inside = Inside::new(&context.file("measured"))
                .ask("nice", "cut -d ' ' -f 19 /proc/1/stat /proc/self/stat | tr '\\n' ' '")
                .ask(
                    "when",
                    "systemctl show --property=ActiveEnterTimestampMonotonic --value multi-user.target",
                );
            let outcome = context.run(&inside.equip(machine)?)?;
            outcome.expect(&Exit::PowerOff)?;
            let answers = inside.read()?;
            answers.expect("state", "running")?.expect("nice", "0 0")?;
            let when = answers.text("when")?.parse().context("systemd gives no time of multi-user.target")?;
            (outcome, Some(Duration::from_micros(when)))
        }
    };
    let start = stamp(&outcome.line("Run /init as init process")?.text)?;
    let exec = stamp(&outcome.line(EXEC)?.text)?;
    let exec = exec.checked_sub(start).context("systemd was started before /init")?;
    let stages = if way.floor().is_none() { Vec::new() } else { stages(&outcome)? };
    Ok(Run { times: [Some(exec), Some(init_to_systemd(&outcome)?), multi_user], stages })
}

/// The end of the line before the execution of systemd, hermetic-init's and the floor's.
pub const EXEC: &str = "starting /usr/lib/systemd/systemd";

/// The first message of systemd in the real root.
const BANNER: &str = "running in system mode";

/// From the kernel's start of /init to systemd's banner, by the kernel's time stamps.
///
/// # Errors
/// One of the two lines is not there.
pub fn init_to_systemd(outcome: &Outcome) -> Result<Duration> {
    let start = stamp(&outcome.line("Run /init as init process")?.text)?;
    let end = stamp(&outcome.line(BANNER)?.text)?;
    end.checked_sub(start).context("systemd's banner is older than /init")
}

/// The time stamp of a kernel message: `[    1.234567] text`.
///
/// # Errors
/// There is no time stamp.
pub fn stamp(line: &str) -> Result<Duration> {
    let parse = || {
        let (seconds, micros) = line.strip_prefix('[')?.split_once(']')?.0.trim().split_once('.')?;
        let micros = if micros.len() == 6 { micros.parse().ok()? } else { return None };
        Some(Duration::new(seconds.parse().ok()?, 0) + Duration::from_micros(micros))
    };
    parse().with_context(|| format!("`{line}` has no time stamp"))
}

/// hermetic-init's stages, from the line with which it hands over: `…; early 12 us, …, total 99 us; …`.
///
/// # Errors
/// There is no such line.
pub fn stages(outcome: &Outcome) -> Result<Vec<(String, Duration)>> {
    let line = &outcome.line(" us, total ")?.text;
    parse_stages(line).with_context(|| format!("`{line}` lists no stages"))
}

fn parse_stages(line: &str) -> Option<Vec<(String, Duration)>> {
    let list = line.split("; ").find(|part| part.contains(" us, total "))?;
    list.split(", ")
        .map(|stage| {
            let (name, micros) = stage.strip_suffix(" us")?.rsplit_once(' ')?;
            Some((name.to_owned(), Duration::from_micros(micros.parse().ok()?)))
        })
        .collect()
}

fn summarise(way: Way, runs: &[Run]) -> Measured {
    let times = [0, 1, 2].map(|which: usize| {
        let mut times: Vec<Duration> =
            runs.iter().filter_map(|run| run.times.get(which).copied().flatten()).collect();
        times.sort_unstable();
        times
    });
    let mut stages: Vec<(String, Duration)> = Vec::new();
    for (name, _) in runs.first().map_or(&[][..], |run| &run.stages) {
        let mut took: Vec<Duration> = runs
            .iter()
            .filter_map(|run| run.stages.iter().find(|(other, _)| other == name).map(|(_, took)| *took))
            .collect();
        took.sort_unstable();
        stages.push((name.clone(), median(&took)));
    }
    Measured { way, times, stages }
}

fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

impl Numbers {
    /// One of the times of a way as a multiple of its floor's.
    #[must_use]
    pub fn ratio(&self, way: &Measured, time: usize) -> Option<f64> {
        let beside = way.way.floor()?;
        let floor = self.ways.iter().find(|measured| measured.way == beside)?.median(time);
        (!floor.is_zero() && !way.median(time).is_zero()).then(|| claim::ratio(way.median(time), floor))
    }

    /// Fails when a way takes more of the floor's time than is claimed.
    ///
    /// # Errors
    /// It does, or nothing was measured.
    pub fn check_ratios(&self) -> Result<()> {
        for way in &self.ways {
            for (time, claim) in way.way.claims().into_iter().enumerate() {
                let Some(claim) = claim else { continue };
                let ratio =
                    self.ratio(way, time).with_context(|| format!("no floor beside: {}", way.way.name()))?;
                claim.check(ratio).with_context(|| {
                    let which = TIMES.get(time).copied().unwrap_or_default();
                    format!("{}, {which}: too much of the floor's time", way.way.name())
                })?;
            }
        }
        Ok(())
    }

    /// Fails when multi-user.target is reached later than after the floor, by more than a hundredth: work that was only put off
    /// is none that was saved.
    ///
    /// # Errors
    /// It is, or nothing was measured.
    pub fn check_multi_user(&self) -> Result<()> {
        for way in self.ways.iter().filter(|way| matches!(way.way, Way::Plain | Way::Encrypted)) {
            let ratio = self.ratio(way, 2).with_context(|| format!("no floor beside: {}", way.way.name()))?;
            let claim = Claim::AtMost(1.0, 1.01);
            claim.check(ratio).with_context(|| format!("{}: multi-user.target is late", way.way.name()))?;
        }
        Ok(())
    }

    /// Fails when the initramfs is larger than it may be.
    ///
    /// # Errors
    /// It is.
    pub fn check_sizes(&self) -> Result<()> {
        let [_, initramfs, _] = self.sizes;
        if initramfs > MAX_INITRAMFS_SIZE {
            bail!("the virtio initramfs has {initramfs} bytes, more than {MAX_INITRAMFS_SIZE}");
        }
        Ok(())
    }
}

impl fmt::Display for Numbers {
    /// The table, then the stages of each way, then the sizes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "    /init to … , median, and of the floor   exec (least most)                 banner                   \
             (from the kernel's start) multi-user"
        )?;
        for way in &self.ways {
            write!(f, "    {:<32}", way.way.name())?;
            for (time, times) in way.times.iter().enumerate().filter(|(_, times)| !times.is_empty()) {
                write!(f, " {:>10}", milliseconds(way.median(time)))?;
                write!(f, " ({:>7} {:>7})", plain(times.first()), plain(times.last()))?;
                let Some(ratio) = self.ratio(way, time) else { continue };
                write!(f, " {ratio:>5.2}")?;
                if let Some(claim) = way.way.claims().get(time).copied().flatten() {
                    let verdict = if claim.is_met(ratio) { "" } else { "NOT MET: " };
                    write!(f, " {verdict}{claim}")?;
                }
            }
            writeln!(f)?;
        }
        writeln!(f, "    where hermetic-init's time goes, milliseconds:")?;
        for way in self.ways.iter().filter(|way| !way.stages.is_empty()) {
            write!(f, "    {:<32}", way.way.name())?;
            for (name, took) in &way.stages {
                write!(f, " {name} {:.1}", took.as_secs_f64() * 1e3)?;
            }
            writeln!(f)?;
        }
        let [init, initramfs, floor] = self.sizes;
        write!(
            f,
            "    bytes: hermetic-init {init}, its virtio initramfs {initramfs}, the floor's initramfs {floor}"
        )
    }
}

/// As people compare short times.
#[must_use]
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn plain(time: Option<&Duration>) -> String {
    format!("{:.1}", time.copied().unwrap_or_default().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_the_kernels() {
        assert_eq!(stamp("[    1.204567] Run /init").unwrap(), Duration::from_micros(1_204_567));
        assert_eq!(stamp("[12345.000001] x").unwrap(), Duration::from_micros(12_345_000_001));
        for line in ["Run /init", "[  OK  ] Reached target", "[ 1.2] x"] {
            assert!(stamp(line).is_err(), "{line}");
        }
    }

    #[test]
    fn stages_are_those_of_the_hand_over() {
        let line = "[ 2.5] hermetic-init[1]: /usr verified on vda1 (erofs), root on vda3; early 1200 us, devices 80 us, \
                    total 1280 us; starting /usr/lib/systemd/systemd";
        let micros = |name: &str, micros| (name.to_owned(), Duration::from_micros(micros));
        assert_eq!(
            parse_stages(line).unwrap(),
            [micros("early", 1200), micros("devices", 80), micros("total", 1280)]
        );
        assert_eq!(parse_stages("hermetic-init[1]: nothing"), None);
    }

    #[test]
    fn ratios_are_of_medians() {
        let millis =
            |times: &[u64]| times.iter().map(|time| Duration::from_millis(*time)).collect::<Vec<_>>();
        let way = |way, exec: &[u64], banner: &[u64]| Measured {
            way,
            times: [millis(exec), millis(banner), Vec::new()],
            stages: Vec::new(),
        };
        let floor = way(Way::FloorPlain, &[90, 100, 500], &[200]);
        let numbers = Numbers {
            ways: vec![floor, way(Way::Plain, &[1, 125, 126], &[180])],
            sizes: [1, MAX_INITRAMFS_SIZE + 1, 3],
        };
        assert!((numbers.ratio(&numbers.ways[1], 0).unwrap() - 1.25).abs() < 1e-9);
        assert!((numbers.ratio(&numbers.ways[1], 1).unwrap() - 0.9).abs() < 1e-9);
        assert_eq!(numbers.ratio(&numbers.ways[1], 2), None);
        assert_eq!(numbers.ratio(&numbers.ways[0], 0), None);
        assert!(
            numbers.to_string().contains("  1.25 NOT MET: claimed at most 0.8, fails above 1.2"),
            "{numbers}"
        );
        assert!(numbers.check_sizes().is_err());
        assert_eq!(
            format!("{:#}", numbers.check_ratios().unwrap_err()),
            "later boot, verity, plain root, exec: too much of the floor's time: 1.25 times, claimed at most 0.8, fails above 1.2"
        );
    }
}
