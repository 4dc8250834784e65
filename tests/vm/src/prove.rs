//! `cargo prove`: every check in order, from the cheapest to the machines; a failure does not stop the rest.

use crate::arguments::Arguments;
use crate::bench::Bench;
use crate::cargo::{self, Products, cargo, cargo_test};
use crate::cases::{self, Case, Context};
use crate::command;
use crate::cost;
use crate::packages;
use crate::report::{Report, Verdict, passed};
use anyhow::{Result, bail};
use std::collections::VecDeque;
use std::fs;
use std::process::Command;
use std::sync::Mutex;

/// The text of `cargo prove help`.
pub const HELP: &str = "\
cargo prove                     every check; about an hour on two cores
cargo prove --quick             without the machines
cargo prove --long              with the series that are too long for CI
    [--machines]                only the machines and what they run
    [--only 'WORDS|WORDS']      only checks whose name contains the words, or these
    [--jobs N]                  machines at the same time (default: the processors, at most 2)
    [--times N]                 boots of each series of --long, power failures of the 200
    [--list]                    names the machine tests and the series";

/// The largest size of hermetic-init in bytes: the boot itself, and the additions of the engines since.
const MAX_INIT_SIZE: u64 = 850_000 + PROVISIONING + KEYS + POPULATION + SIGNATURES + LIFE + NEWEST;
/// repart.d whole, FAT, swap and btrfs, factory reset.
const PROVISIONING: u64 = 130_000;
/// The whole of LUKS2, the console (105,000); TPM 2.0 with its elliptic curve, sealing and unsealing (115,000).
const KEYS: u64 = 220_000;
/// tmpfiles.d, sysusers.d with hashed passwords, an /etc that follows its factory.
const POPULATION: u64 = 140_000;
/// Signatures of root hashes: PKCS#7, X.509, RSA, and ECDSA with P-256 and P-384.
const SIGNATURES: u64 = 100_000;
/// Boots that fail again and again, disks that are read-only or fail, clocks that are lost.
const LIFE: u64 = 15_000;
/// Tokens and repart.d of systemd 262.
const NEWEST: u64 = 15_000;

/// The fuzz targets whose input is not trusted and decides what is written or opened: they get the most time.
const THOROUGH: [&str; 15] = [
    "gpt",
    "pkcs7",
    "repart",
    "superblock",
    "factory_reset",
    "luks_header",
    "luks_json",
    "tpm_token",
    "tpm_response",
    "tpm_signature",
    "credentials",
    "sysusers",
    "tmpfiles",
    "users",
    "manifest",
];

/// The extent of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The checks that need no machine.
    Quick,
    /// The checks of CI.
    Normal,
    /// Series that take hours.
    Long,
}

/// Makes the checks. False: one failed.
///
/// # Errors
/// The words are not understood.
pub fn prove(mut words: Arguments) -> Result<bool> {
    if words.flag("--list") {
        words.end()?;
        for case in cases::ALL {
            println!("{}", case.name);
        }
        for series in cases::SERIES {
            println!("{} (--long, {} times)", series.name, series.times);
        }
        return Ok(true);
    }
    if words.flag("help") || words.flag("--help") {
        println!("{HELP}");
        return Ok(true);
    }
    let level = match (words.flag("--quick"), words.flag("--long")) {
        (true, true) => bail!("--quick and --long exclude each other"),
        (true, false) => Level::Quick,
        (false, true) => Level::Long,
        (false, false) => Level::Normal,
    };
    let machines = words.flag("--machines");
    if machines && level == Level::Quick {
        bail!("--quick leaves the machines out, --machines everything else");
    }
    let only = words.value("--only")?;
    let jobs = match words.number("--jobs")? {
        Some(count) => usize::try_from(count)?.max(1),
        None => std::thread::available_parallelism().map_or(1, |count| count.get().min(2)),
    };
    let times = words.number("--times")?.map(u32::try_from).transpose()?;
    words.end()?;

    let proof = Proof { report: Report::default(), only };
    let mut bench = None;
    proof.report.check("set-up", || {
        let ready = Bench::open_all()?;
        let note = format!("machines run with {}", ready.accelerator.name());
        bench = Some(ready);
        Ok(Verdict::Passed(note))
    });
    if let Some(bench) = bench {
        if !machines {
            proof.source(&bench, level);
        }
        proof.binaries(&bench, level, jobs, times);
    }
    Ok(proof.report.close())
}

struct Proof {
    report: Report,
    only: Option<String>,
}

impl Proof {
    /// Makes a check unless `--only` names others.
    fn check(&self, name: &str, work: impl FnOnce() -> Result<Verdict>) {
        if self.wants(name) {
            self.report.check(name, work);
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split('|').any(|words| name.contains(words)))
    }

    /// The checks of the source alone.
    fn source(&self, bench: &Bench, level: Level) {
        self.check("format of the source", format);
        self.check("clippy", || {
            quiet(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])
        });
        self.check("formats and plans build without std", || {
            quiet(&[
                "build",
                "--quiet",
                "--package",
                "hermetic-init",
                "--lib",
                "--no-default-features",
                "--target",
                "x86_64-unknown-none",
            ])
        });
        self.check("licences, bans and sources of the crates", crates);
        self.check("documentation", || {
            let mut doc = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
            command::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
            passed()
        });
        let (thorough, rest) = if level == Level::Long { ("600", "60") } else { ("8", "1") };
        self.check(&format!("fuzz targets, {thorough} s each"), || {
            fuzz(thorough, &["--only", &THOROUGH.join(",")])
        });
        self.check(&format!("all fuzz targets, {rest} s each"), || fuzz(rest, &[]));
        self.check("the tests beside systemd of sid", || match bench.newest.release() {
            Ok(_) => passed(),
            Err(why) => Ok(Verdict::Skipped(why)),
        });
        self.check("unit, property and differential tests", || {
            Ok(Verdict::Passed(format!("{} tests", tests(bench)?)))
        });
    }

    /// The checks of the release binaries, and the machines that run them.
    fn binaries(&self, bench: &Bench, level: Level, jobs: usize, times: Option<u32>) {
        self.check("release build for aarch64", || {
            cargo::release("hermetic-init", "aarch64-unknown-linux-musl")?;
            passed()
        });
        let mut products = None;
        self.report.check("release builds for x86-64", || {
            products = Some(Products::build()?);
            passed()
        });
        let Some(products) = products else { return };
        self.check("size of hermetic-init", || size(&products));
        self.check("hermetic runs in an empty tree", || runs_alone(bench, &products));
        self.check("cost of /etc beside systemd's tools", || cost::compare(bench, &products));
        for format in cost::mkfs::FORMATS {
            self.check(format.check, || format.compare(bench, &products));
        }
        self.check("cost of an unlock beside cryptsetup", || cost::unlock::compare(bench, &products));
        if level == Level::Long {
            self.check("cost of an unlock that a stranger's header may ask for", || {
                cost::budget::spend(bench, &products)
            });
            self.check("the same source gives the same bytes", || packages::same_bytes(bench, &products));
            self.check("packages are installed, used and purged", || packages::judge(bench, &products));
        }
        let wanted = |case: &&Case| case.level <= level && self.wants(case.name);
        let queue: VecDeque<&Case> = cases::ALL.iter().filter(wanted).collect();
        self.machines(bench, &products, &Mutex::new(queue), jobs, times);
        for series in cases::SERIES.iter().filter(|_| level == Level::Long) {
            self.check(series.name, || series.run(bench, &products, times.unwrap_or(series.times), jobs));
        }
    }

    /// Works the queue off, a few machines at a time.
    fn machines(
        &self,
        bench: &Bench,
        products: &Products,
        queue: &Mutex<VecDeque<&Case>>,
        jobs: usize,
        times: Option<u32>,
    ) {
        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(case) = next() {
                        self.report.check(case.name, || {
                            let bench = match bench.of(case.suite) {
                                Ok(bench) => bench,
                                Err(why) => return Ok(Verdict::Skipped(why)),
                            };
                            let context = Context::new(&bench, products, case.name)?.repeating(times, jobs);
                            (case.run)(&context).map_err(|error| context.explain(error))?;
                            Ok(Verdict::Passed(context.note()))
                        });
                    }
                });
            }
        });
    }
}

fn quiet(words: &[&str]) -> Result<Verdict> {
    command::run(&mut cargo(words))?;
    passed()
}

/// cargo-deny's word on .cargo/deny.toml; it is no part of the toolchain.
fn crates() -> Result<Verdict> {
    if command::run(&mut cargo(&["deny", "--version"])).is_err() {
        return Ok(Verdict::Skipped("cargo-deny is not installed".to_owned()));
    }
    quiet(&["deny", "--all-features", "--offline", "check", "licenses", "bans", "sources"])
}

/// rustfmt finds the files of modules that stand in the source as such; those of the table of cases are named to it.
fn format() -> Result<Verdict> {
    let mut fmt = cargo(&["fmt", "--all", "--check", "--"]);
    for entry in fs::read_dir(cargo::repository().join("tests/vm/src/cases"))? {
        fmt.arg(entry?.path());
    }
    command::run(&mut fmt)?;
    passed()
}

/// Runs the driver of tests/fuzz, which is a separate workspace, two targets at a time. A finding fails with the input
/// in its message.
fn fuzz(seconds: &str, words: &[&str]) -> Result<Verdict> {
    let mut driver =
        cargo(&["run", "--quiet", "--release", "--manifest-path", "tests/fuzz/Cargo.toml", "--"]);
    let said = command::output(driver.args(["--jobs", "2", "--seconds", seconds]).args(words))?;
    Ok(Verdict::Passed(format!("{} targets", said.lines().count())))
}

fn size(products: &Products) -> Result<Verdict> {
    let bytes = fs::metadata(&products.init)?.len();
    if bytes > MAX_INIT_SIZE {
        bail!("hermetic-init has {bytes} bytes, more than {MAX_INIT_SIZE}");
    }
    Ok(Verdict::Passed(format!("{bytes} of {MAX_INIT_SIZE} bytes")))
}

/// Image builders run the host tool in trees of other distributions.
fn runs_alone(bench: &Bench, products: &Products) -> Result<Verdict> {
    let tree = bench.cache.scratch("empty")?;
    let bytes = fs::copy(&products.hermetic, tree.join("hermetic"))?;
    let said = command::output(Command::new("chroot").arg(tree.path()).args(["/hermetic", "--version"]))?;
    Ok(Verdict::Passed(format!("{}, {bytes} bytes", said.trim())))
}

/// Runs all tests of the workspace and counts them. Most of the long ones keep one processor busy: the host tool's run
/// beside the others. All have the workspace's features, so that nothing is built twice.
fn tests(bench: &Bench) -> Result<u32> {
    let [tools, others] = cargo::integration_tests()?;
    let words = |first: &[&'static str], names: &[String]| -> Vec<String> {
        let tests = names.iter().flat_map(|name| ["--test".to_owned(), name.clone()]);
        ["--workspace", "--no-fail-fast"]
            .iter()
            .chain(first)
            .map(|&word| word.to_owned())
            .chain(tests)
            .collect()
    };
    let run = |words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        command::output(&mut cargo_test(bench, &words)).map(|said| tests_passed(&said))
    };
    run(words(&["--no-run"], &[]))?;
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| run(words(&[], &tools)));
        let own = run(words(&["--lib", "--bins"], &others))
            .and_then(|count| Ok(count + run(words(&["--doc"], &[]))?));
        let beside =
            beside.join().map_err(|_| anyhow::anyhow!("the thread of the host tool's tests panicked"))?;
        match (own, beside) {
            (Ok(own), Ok(beside)) => Ok(own + beside),
            (Err(own), Err(beside)) => bail!("{own:#}\n{beside:#}"),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    })
}

/// The sum of what each test binary reported.
fn tests_passed(said: &str) -> u32 {
    let counts = said.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    counts.filter_map(|count| count.parse::<u32>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_all_binaries_are_counted() {
        let said = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored\n\n\
                    test result: ok. 40 passed; 0 failed\n";
        assert_eq!(tests_passed(said), 42);
    }

    #[test]
    fn case_names_are_unique() {
        let series = cases::SERIES.iter().map(|series| series.name);
        let mut names: Vec<_> = cases::ALL.iter().map(|case| case.name).chain(series).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
    /// True when a list of tests is files in backticks and beginnings of names of cases. A name may have a comma in it.
    fn names_cases(list: &str) -> bool {
        let is_named = |words: &str| match words.strip_prefix('`') {
            Some(file) => file.strip_suffix('`').is_some_and(|file| cargo::repository().join(file).is_file()),
            None => !words.is_empty() && cases::ALL.iter().any(|case| case.name.starts_with(words)),
        };
        let ends = list.match_indices(", ").map(|(end, _)| (end, end + 2));
        is_named(list)
            || ends.into_iter().any(|(end, next)| is_named(&list[..end]) && names_cases(&list[next..]))
    }

    /// The table of what others write names a test for each of its rows.
    #[test]
    fn words_of_the_world_are_shown_by_cases_that_exist() {
        let name = "a signed /usr boots, and one that nobody vouches for does not";
        assert!(names_cases(&format!("{name}, `tests/verity.rs`, a signed UKI")));
        for wrong in ["", "a signed moon", "a signed UKI, a signed moon", "`tests/moon.rs`", "a signed UKI, "]
        {
            assert!(!names_cases(wrong), "{wrong}");
        }
        let page = fs::read_to_string(cargo::repository().join("docs/reference/world.md")).unwrap();
        let rows = page.lines().filter(|line| line.starts_with('|')).skip(2);
        let tests: Vec<&str> =
            rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next()).map(str::trim).collect();
        assert!(tests.len() > 30, "the table has gone");
        let strange: Vec<&&str> = tests.iter().filter(|list| !names_cases(list)).collect();
        assert!(strange.is_empty(), "no test is named so: {strange:?}");
    }
}
