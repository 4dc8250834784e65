//! Debian's whole systemd on a root that stands against an update of /etc: attributes of chattr(1), links where files
//! were, lines that libc passes over, a directory for a file, no room. Every boot is one of another /usr, and comes up
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
use std::fs;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(600);

/// The directory of this test's files in the factory.
const FACTORY: &str = "share/factory/etc/hermetic-test";
/// A name beside which `.hermetic-new` has no room.
const LONG: usize = 243;
/// The size of a file that every version has another one of, in bytes. The full root has room for half of it.
const LARGE: usize = 4 << 20;

/// Lines that libc passes over or that belong to nobody: a stray word, no name, no id, a negative one, a mark of a conflict.
const LINES: &str = "cd /etc && for f in passwd group shadow; do printf 'stray\\n<<<<<<< mine\\n' >>$f; done && \
    printf ':x:7:7::/:/bin/sh\\nnone:x::7::/:/bin/sh\\nless:x:-2:7::/:/bin/sh\\n' >>passwd && \
    printf ':x:7:\\nnone:x::\\nless:x:-2:\\n' >>group && printf ':!:1::::::\\n' >>shadow";
/// The state of the first root: all kinds but the full one.
const FIRST: &str = "cd /etc && mkdir -p /var/lib/ids && mv machine-id /var/lib/ids/own && ln -s ../var/lib/ids/own machine-id && \
    d=hermetic-test/$(printf 'n%.0s' $(seq 243)) && mkdir $d && touch $d/mine && \
    chattr +i hermetic-test/fixed passwd && chattr +a hermetic-test/grows && \
    cp -a /var /elsewhere && mv /var /old-var && ln -s elsewhere /var";
/// The second root is full: it has room for half of what changes.
const SECOND: &str = "cd /etc && chattr -i -a hermetic-test/fixed hermetic-test/grows passwd && rm -r hermetic-test/n* && sync && \
    { dd if=/dev/zero of=/ballast bs=64k status=none || true; } && truncate -s -2M /ballast && sync -f / && stat -c %s /ballast";
/// The passwd of the third one can only grow.
const THIRD: &str = "rm /ballast && chattr +a /etc/passwd";
/// That of the fourth one is a link.
const FOURTH: &str =
    "cd /etc && chattr -a passwd && mv passwd /own-passwd && ln -s ../own-passwd passwd && ls -l passwd";
/// Nothing is left of all this but the lines.
const FIFTH: &str = "cd /etc && rm passwd && mv /own-passwd passwd && ls -l passwd";

/// The test's files, the merged users, the lines that are none.
const LIST: &str = "cd /etc/hermetic-test && for f in fixed grows other; do echo $f $(cat $f); done; head -c 3 large; echo; \
                    cd .. && grep -E '^(old|fresh):' passwd group shadow; \
                    grep -E '^(stray|:|none:|less:|<<<<<<< mine)' passwd group shadow; true";

/// The lines that nobody touches.
const CARRIED: &str = "passwd:stray\npasswd:<<<<<<< mine\npasswd::x:7:7::/:/bin/sh\npasswd:none:x::7::/:/bin/sh\n\
                       passwd:less:x:-2:7::/:/bin/sh\ngroup:stray\ngroup:<<<<<<< mine\ngroup::x:7:\n\
                       group:none:x::\ngroup:less:x:-2:\nshadow:stray\nshadow:<<<<<<< mine\nshadow::!:1::::::";

/// A boot: the version, its name, the state that it leaves, the starts of the lines of all that does not follow it, the
/// files and users that it has.
struct Boot {
    version: usize,
    name: &'static str,
    leaves: &'static str,
    named: &'static [&'static str],
    has: &'static str,
}

const UNTOUCHED: Boot = Boot {
    version: 0,
    name: "an untouched root",
    leaves: FIRST,
    named: &[],
    has: "fixed one\ngrows one\nother one\none\npasswd:old:x:2001:2001:one::/:/usr/sbin/nologin",
};

const MOST: Boot = Boot {
    version: 1,
    name: "all kinds but one",
    leaves: SECOND,
    named: &[
        "/etc/hermetic-test/fixed: stays for this boot: cannot change",
        "/etc/hermetic-test/grows: stays for this boot: cannot change",
        "/etc/passwd: stays for this boot: cannot change",
        "/etc/hermetic-test/nnn",
    ],
    has: "fixed one\ngrows one\nother two\ntwo\npasswd:old:x:2001:2001:one::/:/usr/sbin/nologin\n\
          group:fresh:x:2002:\nshadow:fresh:!:1::::::",
};

const FULL: Boot = Boot {
    version: 0,
    name: "a full root",
    leaves: THIRD,
    named: &["/etc: stays for this boot: the root partition is full"],
    ..MOST
};

const APPEND_ONLY: Boot = Boot {
    version: 1,
    name: "an append-only passwd",
    leaves: FOURTH,
    named: &["/etc/passwd: stays for this boot: cannot change"],
    has: "fixed two\ngrows two\nother two\ntwo\npasswd:old:x:2001:2001:one::/:/usr/sbin/nologin\n\
          group:fresh:x:2002:\nshadow:fresh:!:1::::::",
};

const LINK: Boot = Boot {
    version: 0,
    name: "a link to passwd",
    leaves: FIFTH,
    named: &["/etc/passwd: "],
    has: "fixed one\ngrows one\nother one\none\npasswd:old:x:2001:2001:one::/:/usr/sbin/nologin\n\
          group:fresh:x:2002:\nshadow:fresh:!:1::::::",
};

const FREE: Boot = Boot {
    version: 1,
    name: "a root against which nothing stands any more",
    leaves: "true",
    named: &[],
    has: "fixed two\ngrows two\nother two\ntwo\npasswd:old:x:2001:2001:two::/:/usr/sbin/nologin\n\
          passwd:fresh:x:2002:2002::/:/usr/sbin/nologin\ngroup:fresh:x:2002:\nshadow:fresh:!:1::::::",
};

/// Twelve kinds in three boots.
pub fn most(context: &Context<'_>) -> Result<()> {
    series(context, &[UNTOUCHED, MOST, FULL])
}

/// All of them, until everything has followed.
pub fn all(context: &Context<'_>) -> Result<()> {
    series(context, &[UNTOUCHED, MOST, FULL, APPEND_ONLY, LINK, FREE])
}

fn series(context: &Context<'_>, boots: &[Boot]) -> Result<()> {
    let versions = [version(context, "one", "")?, version(context, "two", "fresh")?];
    let mut partitions = image::usr_partitions(&versions[0], "appliance_1")?;
    partitions.extend(image::usr_partitions(&versions[1], "appliance_2")?);
    let disk = context.disk("disk.raw", &Image::new(partitions))?;
    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let mut id = None;
    for (number, boot) in boots.iter().enumerate() {
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
        .ask("lines", if number == 0 { LINES } else { "true" })
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
    let carried = if number == 0 { "" } else { CARRIED };
    answers.expect("list", format!("{}\n{carried}", boot.has).trim_end())?;
    came_up(&answers)?;
    answers.text("lines")?;
    answers.text("leaves")?;
    Ok(answers)
}

/// A version of /usr, and a user that it has and the other one has not.
fn version(context: &Context<'_>, text: &str, user: &str) -> Result<Usr> {
    let factory = "share/factory/etc";
    let repart = format!("{}SizeMaxBytes=256M\n", definition::PLAIN);
    let mut recipe = Recipe::new().repart(&repart);
    let mut lines = [
        ("passwd", format!("old:x:2001:2001:{text}::/:/usr/sbin/nologin\n"), 0o644),
        ("group", String::new(), 0o644),
        ("shadow", String::new(), 0o640),
    ];
    if !user.is_empty() {
        recipe = recipe.file(&format!("{FACTORY}/{}", "n".repeat(LONG)), format!("{text}\n"), 0o644);
        let [passwd, group, shadow] = lines.each_mut().map(|(_, lines, _)| lines);
        *passwd += &format!("{user}:x:2002:2002::/:/usr/sbin/nologin\n");
        *group += &format!("{user}:x:2002:\n");
        *shadow += &format!("{user}:!:1::::::\n");
    }
    for (name, more, mode) in lines {
        let there = fs::read_to_string(context.bench.appliance.usr().join(factory).join(name))?;
        recipe = recipe.file(&format!("{factory}/{name}"), there + &more, mode);
    }
    for file in ["fixed", "grows", "other"] {
        recipe = recipe.file(&format!("{FACTORY}/{file}"), format!("{text}\n"), 0o644);
    }
    let mut large = text.as_bytes().to_vec();
    large.resize(LARGE, b' ');
    context.usr(&recipe.file(&format!("{FACTORY}/large"), large, 0o644))
}
