//! Debian's whole systemd on a root that stands against an update of /etc: attributes of chattr(1), links where files
//! were, lines that libc passes over, a directory for a file. Every boot is one of another /usr, and comes up
//! without a failed unit; everything that can follow does, everything else is named, and is tried again when nothing stands
//! against it any more.

use super::Context;
use super::volatile::{came_up, questions};
use crate::definition;
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::inside::{Answers, Inside};
use crate::machine::{Exit, Machine};
use crate::usr::{Recipe, Usr};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(600);

/// The directory of this test's files in the factory.
const FACTORY: &str = "share/factory/etc/hermetic-test";
/// A name beside which `.hermetic-new` has no room.
const LONG: usize = 243;
/// The size of a file that every version has another one of, in bytes.
const LARGE: usize = 4 << 20;

/// The state of the first root: eight kinds.
const FIRST: &str = "cd /etc && mkdir -p /var/lib/ids && mv machine-id /var/lib/ids/own && ln -s ../var/lib/ids/own machine-id && \
    echo stray >>passwd && printf ':x:7:\\nnobodys:x:-2:\\n' >>group && echo '<<<<<<< mine' >>shadow && \
    d=hermetic-test/$(printf 'n%.0s' $(seq 243)) && mkdir $d && touch $d/mine && \
    chattr +i hermetic-test/fixed && chattr +a hermetic-test/grows && \
    cp -a /var /elsewhere && mv /var /old-var && ln -s elsewhere /var";
/// The second root's passwd is immutable, everything else is as it should be.
const SECOND: &str = "cd /etc && chattr -i -a hermetic-test/fixed hermetic-test/grows && rm -r hermetic-test/n* && chattr +i passwd";

/// The test's files, the merged users, the lines that are none.
const LIST: &str = "cd /etc/hermetic-test && for f in fixed grows other; do echo $f $(cat $f); done; head -c 3 large; echo; \
                    grep -hE '^(old|fresh):' /etc/passwd; \
                    grep -hE '^(stray|:x:7:|nobodys|<<<<<<< mine)' /etc/passwd /etc/group /etc/shadow | sort";

/// The lines that libc passes over.
const CARRIED: &str = ":x:7:\n<<<<<<< mine\nnobodys:x:-2:\nstray";

/// A boot: the version, its name, the state that it leaves, the starts of the lines of all that does not follow it, the
/// files and users that it has.
struct Boot {
    version: usize,
    name: &'static str,
    leaves: &'static str,
    named: &'static [&'static str],
    has: &'static str,
}

const BOOTS: [Boot; 3] = [
    Boot {
        version: 0,
        name: "an untouched root",
        leaves: FIRST,
        named: &[],
        has: "fixed one\ngrows one\nother one\none\nold:x:2001:2001:one::/:/usr/sbin/nologin",
    },
    Boot {
        version: 1,
        name: "eight kinds",
        leaves: SECOND,
        named: &[
            "/etc/hermetic-test/fixed: stays for this boot: cannot change",
            "/etc/hermetic-test/grows: stays for this boot: cannot change",
            "/etc/hermetic-test/nnn",
        ],
        has: "fixed one\ngrows one\nother two\ntwo\nold:x:2001:2001:two::/:/usr/sbin/nologin\n\
              fresh:x:2002:2002::/:/usr/sbin/nologin",
    },
    Boot {
        version: 0,
        name: "an immutable passwd",
        leaves: "true",
        named: &["/etc/passwd: stays for this boot: cannot change"],
        has: "fixed one\ngrows one\nother one\none\nold:x:2001:2001:two::/:/usr/sbin/nologin\n\
              fresh:x:2002:2002::/:/usr/sbin/nologin",
    },
];

pub fn run(context: &Context<'_>) -> Result<()> {
    let versions =
        [version(context, "one", "")?, version(context, "two", "fresh:x:2002:2002::/:/usr/sbin/nologin\n")?];
    let mut partitions = image::usr_partitions(&versions[0], "appliance_1")?;
    partitions.extend(image::usr_partitions(&versions[1], "appliance_2")?);
    let disk = context.disk("disk.raw", &Image::new(partitions))?;
    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let mut id = None;
    for (number, boot) in BOOTS.iter().enumerate() {
        let version = versions.get(boot.version).context("no such version")?;
        let hash = version.root_hash().context("the appliance's /usr is verified")?;
        let machine = context.machine().deadline(DEADLINE).initramfs(&initramfs);
        let machine = machine.cmdline(&format!("usrhash={hash}")).disk(Disk::new(&disk));
        let answers =
            one(context, &machine, number, boot).with_context(|| format!("boot {number}: {}", boot.name))?;
        let own = answers.text("machine-id")?.to_owned();
        ensure!(
            id.get_or_insert_with(|| own.clone()) == &own,
            "boot {number}: the machine id is {own}, it was {id:?}"
        );
    }
    Ok(())
}

fn one(context: &Context<'_>, machine: &Machine, number: usize, boot: &Boot) -> Result<Answers> {
    let inside = questions(Inside::new(&context.file(&format!("boot{number}"))))
        .ask("list", LIST)
        .ask("told", "cat /run/hermetic-init/etc || true")
        .ask("messages", "journalctl --boot --identifier=hermetic-init --output=cat")
        .ask("leaves", boot.leaves);
    let outcome = context.run(&inside.equip(machine.clone())?)?;
    outcome.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    let told = answers.text("told")?;
    let named = told.lines().count() == boot.named.len()
        && told.lines().zip(boot.named).all(|(line, start)| line.starts_with(start));
    ensure!(named, "`{told}` does not begin with {:#?}", boot.named);
    for line in told.lines() {
        answers.contains("messages", line)?;
    }
    let carried = if number == 0 { String::new() } else { format!("\n{CARRIED}") };
    answers.expect("list", &format!("{}{carried}", boot.has))?;
    came_up(&answers)?;
    answers.text("leaves")?;
    Ok(answers)
}

fn version(context: &Context<'_>, text: &str, user: &str) -> Result<Usr> {
    let etc = context.bench.appliance.usr().join("share/factory/etc");
    let passwd = std::fs::read_to_string(etc.join("passwd"))?;
    let passwd = format!("{passwd}old:x:2001:2001:{text}::/:/usr/sbin/nologin\n{user}");
    let mut recipe = Recipe::new().repart(definition::PLAIN).file("share/factory/etc/passwd", passwd, 0o644);
    for file in ["fixed", "grows", "other"] {
        recipe = recipe.file(&format!("{FACTORY}/{file}"), format!("{text}\n"), 0o644);
    }
    if !user.is_empty() {
        recipe = recipe.file(&format!("{FACTORY}/{}", "n".repeat(LONG)), format!("{text}\n"), 0o644);
    }
    let mut large = text.as_bytes().to_vec();
    large.resize(LARGE, b' ');
    context.usr(&recipe.file(&format!("{FACTORY}/large"), large, 0o644))
}
