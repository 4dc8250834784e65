//! The numbers: the time of each way from /init to systemd, against the floor in the same run, and its size.
//!
//! Time is the machine's own: the kernel's time stamps from `Run /init` to systemd's banner, with instructions counted
//! as nanoseconds (QEMU's icount). A busy host therefore changes little, and runs of the ways alternate so that its
//! effect is the same for all. A machine is cut as soon as the banner was seen.

use crate::cases::{Context, TEST_INIT};
use crate::claim::{self, Claim};
use crate::definition;
use crate::disk::Disk;
use crate::floor;
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Outcome};
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The most that the `virtio` initramfs may weigh, bytes. A third of it is modules, which are signed and so must stay as
/// they are.
const MAX_INITRAMFS_SIZE: u64 = 1_000_000;

/// A processor that waits for a disk goes on counting. One that slept would, with instructions as its clock, wake at
/// its next timer at any later time: waits of a millisecond would count as seconds.
const AWAKE: &str = "idle=poll";

/// One machine may take this long until systemd's banner; only a hanging one does.
const DEADLINE: Duration = Duration::from_secs(300);

/// A way from /init to systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The floor init: modules, mount, exec.
    Floor,
    /// hermetic-init, the root is there and plain.
    PlainLater,
    /// hermetic-init, the root is there and encrypted.
    EncryptedLater,
    /// hermetic-init makes an encrypted root.
    EncryptedFirst,
}

impl Way {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::Floor, Self::PlainLater, Self::EncryptedLater, Self::EncryptedFirst];

    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: plain root, no verity",
            Self::PlainLater => "later boot, verity, plain root",
            Self::EncryptedLater => "later boot, verity, LUKS root",
            Self::EncryptedFirst => "first boot, verity, LUKS root",
        }
    }

    /// The claim about its time, in terms of the floor's time. With instructions for a clock the claim itself is the limit.
    #[must_use]
    pub fn claim(self) -> Option<Claim> {
        match self {
            Self::Floor => None,
            Self::PlainLater => Some(Claim::AtMost(1.5, 1.5)),
            Self::EncryptedLater => Some(Claim::AtMost(2.0, 2.0)),
            Self::EncryptedFirst => Some(Claim::AtMost(3.0, 3.0)),
        }
    }

    fn is_first(self) -> bool {
        self == Self::EncryptedFirst
    }
}

/// The measurements of one way.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The way.
    pub way: Way,
    /// /init to systemd's banner, sorted.
    pub times: Vec<Duration>,
    /// hermetic-init's own stages in their order: the median of each.
    pub stages: Vec<(String, Duration)>,
}

impl Measured {
    /// The median; zero when nothing was measured.
    #[must_use]
    pub fn median(&self) -> Duration {
        median(&self.times)
    }
}

/// All numbers of a run.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// One entry per way, the floor first.
    pub ways: Vec<Measured>,
    /// Bytes: hermetic-init, its `virtio` initramfs, the floor's initramfs.
    pub sizes: [u64; 3],
}

/// One side: an appliance whose first boot is done, and a copy of its disk from before.
struct Side {
    fresh: PathBuf,
    provisioned: PathBuf,
    initramfs: PathBuf,
    cmdline: String,
}

/// Measures these ways, `rounds` times each, alternating.
///
/// # Errors
/// A machine does not come up.
pub fn measure(context: &Context<'_>, ways: &[Way], rounds: u32) -> Result<Numbers> {
    let floor = floor::make(context.bench, context.products)?;
    let plain = side(context, "plain", definition::PLAIN, Initramfs::new("virtio"))?;
    let encrypted =
        side(context, "encrypted", definition::ENCRYPTED, Initramfs::new("virtio").key(&definition::KEY))?;
    let mut runs: Vec<(Way, Vec<Run>)> = ways.iter().map(|way| (*way, Vec::new())).collect();
    for _ in 0..rounds {
        for (way, runs) in &mut runs {
            let side = match way {
                Way::Floor | Way::PlainLater => &plain,
                Way::EncryptedFirst | Way::EncryptedLater => &encrypted,
            };
            let run = boot(context, *way, side, &floor).with_context(|| way.name())?;
            runs.push(run);
        }
    }
    let length = |path: &PathBuf| -> Result<u64> { Ok(fs::metadata(path)?.len()) };
    Ok(Numbers {
        ways: runs.into_iter().map(|(way, runs)| summarise(way, &runs)).collect(),
        sizes: [length(&context.products.init)?, length(&plain.initramfs)?, length(&floor)?],
    })
}

/// An appliance, before its first boot and after it.
fn side(context: &Context<'_>, name: &str, definition: &str, initramfs: Initramfs) -> Result<Side> {
    let usr = context.usr(&context.recipe()?.repart(definition))?;
    let fresh = context.disk(&format!("{name}-fresh.raw"), &Image::new(context.partitions(&usr)?))?;
    let provisioned = context.file(&format!("{name}.raw"));
    image::copy(&fresh, &provisioned)?;
    let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let side = Side {
        fresh,
        provisioned,
        initramfs: context.initramfs(&initramfs)?,
        cmdline: format!("usrhash={root_hash}"),
    };
    let machine = context
        .machine()
        .deadline(DEADLINE)
        .initramfs(&side.initramfs)
        .cmdline(&format!("{} hermetic.init={TEST_INIT}", side.cmdline))
        .disk(Disk::new(&side.provisioned));
    context.run(&machine)?.expect(&Exit::PowerOff)?;
    Ok(side)
}

/// The measurements of one boot.
struct Run {
    time: Duration,
    stages: Vec<(String, Duration)>,
}

fn boot(context: &Context<'_>, way: Way, side: &Side, floor: &std::path::Path) -> Result<Run> {
    let disk = context.file("measured.raw");
    image::copy(if way.is_first() { &side.fresh } else { &side.provisioned }, &disk)?;
    let machine = context.machine().icount().cmdline(AWAKE).deadline(DEADLINE).disk(Disk::new(&disk));
    let machine = match way {
        Way::Floor => machine.initramfs(floor),
        _ => machine.initramfs(&side.initramfs).cmdline(&side.cmdline),
    };
    let mut running = context.start(&machine)?;
    running.wait_for("systemd's banner", BANNER, DEADLINE)?;
    running.cut_power()?;
    let outcome = running.finish()?;
    let stages = if way == Way::Floor { Vec::new() } else { stages(&outcome)? };
    Ok(Run { time: init_to_systemd(&outcome)?, stages })
}

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
    let mut times: Vec<Duration> = runs.iter().map(|run| run.time).collect();
    times.sort_unstable();
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
    /// The time of a way as a multiple of the floor's time.
    #[must_use]
    pub fn ratio(&self, way: &Measured) -> Option<f64> {
        let floor = self.ways.iter().find(|measured| measured.way == Way::Floor)?.median();
        (!floor.is_zero()).then(|| claim::ratio(way.median(), floor))
    }

    /// Fails when a way takes more of the floor's time than is claimed.
    ///
    /// # Errors
    /// It does, or nothing was measured.
    pub fn check_ratios(&self) -> Result<()> {
        for way in &self.ways {
            let Some(claim) = way.way.claim() else { continue };
            let ratio = self.ratio(way).with_context(|| format!("no floor beside: {}", way.way.name()))?;
            claim
                .check(ratio)
                .with_context(|| format!("{}: too much of the floor's time", way.way.name()))?;
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
        writeln!(f, "    /init to systemd                    median   (  least    most)    of the floor")?;
        for way in &self.ways {
            let (least, most) = (way.times.first(), way.times.last());
            write!(f, "    {:<32} {:>10}", way.way.name(), milliseconds(way.median()))?;
            write!(f, "   ({:>7} {:>7})", plain(least), plain(most))?;
            if let (Some(ratio), true) = (self.ratio(way), way.way != Way::Floor) {
                write!(f, "    {ratio:>5.2}")?;
                if let Some(claim) = way.way.claim() {
                    let verdict = if claim.is_met(ratio) { "" } else { "NOT MET: " };
                    write!(f, "  {verdict}{claim}")?;
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
        let way = |way, times: &[u64]| Measured {
            way,
            times: times.iter().map(|time| Duration::from_millis(*time)).collect(),
            stages: Vec::new(),
        };
        let numbers = Numbers {
            ways: vec![way(Way::Floor, &[90, 100, 500]), way(Way::PlainLater, &[1, 160, 161])],
            sizes: [1, MAX_INITRAMFS_SIZE + 1, 3],
        };
        assert!((numbers.ratio(&numbers.ways[1]).unwrap() - 1.6).abs() < 1e-9);
        assert!(numbers.to_string().contains(" 1.60  NOT MET: claimed at most 1.5\n"), "{numbers}");
        assert!(numbers.check_sizes().is_err());
        assert_eq!(
            format!("{:#}", numbers.check_ratios().unwrap_err()),
            "later boot, verity, plain root: too much of the floor's time: 1.60 times, claimed at most 1.5"
        );
    }
}
