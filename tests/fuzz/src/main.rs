//! Runs the targets without coverage and without tools: seeds and the kept corpus first, then mutations of them, the
//! same inputs in every run. With several targets each has a process of its own, so that the memory of one is not taken
//! for that of another.
//!
//! Findings are a panic, an input that takes more than a second, one that takes more than 256 MiB, one that never ends.
//! Each prints the input in hexadecimal and how to repeat it, and ends with status 1.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    process::{Command, exit},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fuzz::{TARGETS, Target, mutate::Mutator};

/// The longest time that one input may take.
const MAX_TIME: Duration = Duration::from_secs(1);
/// After this an input counts as endless.
const ENDLESS: Duration = Duration::from_secs(20);
/// The most memory that one input may take, in KiB.
const MOST_MEMORY: u64 = 256 << 10;
/// Less time than this is too short to touch 256 MiB: the kernel is asked only about inputs that take longer.
const SUSPICIOUS: Duration = Duration::from_millis(20);

const HELP: &str = "\
cargo run --release -- [--seconds N]   N seconds for each target (5)
    [--only NAME[,NAME...]]            these targets
    [--jobs N]                         so many targets at the same time (1)
    [--seed N]                         other inputs (1)
    [--input HEX]                      this input alone
    [--corpus DIRECTORY]               writes the seeds there, for libFuzzer

Inputs in corpus/NAME beside this program's source are tried as well.";

/// Inputs that were worth keeping: findings, and what no seed and no change of one reaches soon.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");

/// The current input, for the thread that reports it.
struct Running {
    target: &'static str,
    input: Vec<u8>,
    since: Option<Instant>,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { target: "", input: Vec::new(), since: None });

fn running() -> std::sync::MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() {
    let (mut seconds, mut seed, mut jobs, mut only, mut input, mut corpus) = (5.0, 1, 1, None, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next();
        let understood = match (word.as_str(), value) {
            ("--seconds", Some(value)) => value.parse().map(|value| seconds = value).is_ok(),
            ("--seed", Some(value)) => value.parse().map(|value| seed = value).is_ok(),
            ("--jobs", Some(value)) => value.parse().map(|value: usize| jobs = value.max(1)).is_ok(),
            ("--only", Some(value)) => {
                only = Some(value);
                true
            }
            ("--input", Some(value)) => {
                input = from_hex(&value);
                input.is_some()
            }
            ("--corpus", Some(value)) => {
                corpus = Some(value);
                true
            }
            _ => false,
        };
        if !understood {
            eprintln!("{HELP}");
            exit(2);
        }
    }
    let names: Vec<&str> = only.as_deref().unwrap_or_default().split(',').filter(|n| !n.is_empty()).collect();
    let known = |name: &&str| TARGETS.iter().any(|target| target.name == *name);
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|target| names.is_empty() || names.contains(&target.name)).collect();
    if !names.iter().all(known) || (input.is_some() && targets.len() > 1) {
        eprintln!(
            "--only NAME, one of {}",
            TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(" ")
        );
        exit(2);
    }
    if let Some(directory) = corpus {
        return write_corpus(&directory, &targets);
    }
    if targets.len() > 1 {
        let arguments = ["--seconds", &seconds.to_string(), "--seed", &seed.to_string()].map(str::to_owned);
        exit(apart(&targets, jobs, &arguments));
    }
    thread::spawn(watch);
    for target in targets {
        match &input {
            Some(input) => println!("{} passed in {:?}", target.name, run(target, input)),
            None => fuzz(target, Duration::from_secs_f64(seconds), seed),
        }
    }
}

/// Runs each target in a separate process, `jobs` at a time. Returns the exit status: every target is run, and one
/// finding is enough for a failure.
fn apart(targets: &[&Target], jobs: usize, arguments: &[String]) -> i32 {
    let ourselves = std::env::current_exe().expect("no path of our own");
    let (queue, failed) = (Mutex::new(targets.iter()), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(target) = next else { return };
                    let status =
                        Command::new(&ourselves).args(["--only", target.name]).args(arguments).status();
                    if !status.is_ok_and(|status| status.success()) {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    i32::from(failed.into_inner())
}

/// The kept inputs of a target, in an order of their own.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let files = fs::read_dir(format!("{CORPUS}/{}", target.name)).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("an input of the corpus cannot be read")).collect()
}

/// One target for so long.
fn fuzz(target: &'static Target, time: Duration, seed: u64) {
    let mut seeds = (target.seeds)();
    seeds.extend(kept(target));
    let (mut mutator, start) = (Mutator::new(seed), Instant::now());
    let (mut count, mut slowest) = (0u64, Duration::ZERO);
    for input in &seeds {
        slowest = slowest.max(run(target, input));
        count += 1;
    }
    while start.elapsed() < time {
        let input = mutator.input(&seeds, target.longest);
        slowest = slowest.max(run(target, &input));
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("{:12} {count:9} inputs, {rate:8.0} a second, slowest {slowest:.1?}", target.name);
}

/// One input, and how long it took.
fn run(target: &'static Target, input: &[u8]) -> Duration {
    let start = Instant::now();
    {
        let mut running = running();
        running.target = target.name;
        running.input.clear();
        running.input.extend_from_slice(input);
        running.since = Some(start);
    }
    let ended = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let taken = start.elapsed();
    running().since = None;
    if ended.is_err() {
        report("it panics");
    }
    if taken > MAX_TIME {
        // The machine may have been busy with other work: a slow input is slow every time.
        let again = (0..3).map(|_| {
            let start = Instant::now();
            (target.run)(input);
            start.elapsed()
        });
        if let Some(least) = again.min().filter(|least| *least > MAX_TIME) {
            report(&format!("it takes {least:?}"));
        }
    }
    if taken > SUSPICIOUS
        && let Some(memory) = peak_memory(target, input)
    {
        report(&format!("it takes {} MiB of memory", memory >> 10));
    }
    taken
}

/// The memory that the input takes beyond the memory in use before, when that is too much; in KiB.
fn peak_memory(target: &Target, input: &[u8]) -> Option<u64> {
    // 5 sets the peak back to the memory in use now (Documentation/filesystems/proc.rst, clear_refs).
    fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = high_water()?;
    (target.run)(input);
    high_water()?.checked_sub(before).filter(|taken| *taken > MOST_MEMORY)
}

fn high_water() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// Ends the program when an input does not end.
fn watch() {
    loop {
        thread::sleep(MAX_TIME);
        if running().since.is_some_and(|since| since.elapsed() > ENDLESS) {
            report("it does not end");
        }
    }
}

fn report(what: &str) -> ! {
    let running = running();
    let hex: String = running.input.iter().map(|byte| format!("{byte:02x}")).collect();
    eprintln!("FOUND: {}: {what}; repeat it with --only {0} --input {hex}", running.target);
    exit(1);
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    digits.map(|digits| {
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
    })
}

fn write_corpus(directory: &str, targets: &[&Target]) {
    for target in targets {
        let place = format!("{directory}/{}", target.name);
        fs::create_dir_all(&place).expect("the directory cannot be made");
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(format!("{place}/seed-{number}"), seed).expect("the seed cannot be written");
        }
    }
}
