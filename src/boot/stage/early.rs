//! Stage "early": the API file systems, the log, the console, the command line.

use std::fs;

use crate::{
    boot::{
        disks::Survey,
        failure::{self, Failure, OrFail as _},
        machine::{
            borrowed::Borrowed,
            credentials::Imported,
            next_init,
            run::{OURS, is_second_start},
            stub,
        },
        means::Early,
        story::VERSION,
        watch,
    },
    config::{Config, FailurePolicy},
    image::NextInit,
    info,
    sys::{console, kmsg, mount, rootfs::OldRoot},
    warning,
};

/// Prepares what every boot needs. When this boot was handed over before, nothing is left to do: then the next init is
/// executed at once.
///
/// # Errors
/// An API file system that will not mount; a word of the command line that we do not understand; the next init of a second
/// start cannot be executed.
pub fn prepare() -> Result<Early, Failure> {
    mount_all()?;
    kmsg::open();
    if let Err(error) = console::open() {
        warning!("no console: {error}");
    }
    let borrowed = Borrowed::take();
    fs::create_dir_all(OURS).or_fail(|| format!("cannot create {OURS}"))?;
    // A word that is invalid UTF-8 is not one of the known words; it must not disable the others.
    let words = fs::read("/proc/cmdline").or_fail(|| "cannot read /proc/cmdline".into())?;
    let words = String::from_utf8_lossy(&words);
    let config = read(&words)?;
    let next = NextInit::of(&config);
    if is_second_start() {
        borrowed.give_back();
        return Err(next_init::pass_through(&next));
    }
    info!("{VERSION} starts");
    // A reader may be left behind: it is forked before there is a secret, and before there is another thread.
    let survey = Survey::new().or_fail(|| "cannot start the process that reads disks".into())?;
    watch::begin(&config);
    stub::hand_over();
    Ok(Early { config, next, credentials: Imported::of(&words), borrowed, survey })
}

/// Mounts the API file systems that are not mounted.
fn mount_all() -> Result<(), Failure> {
    for fs in &mount::API {
        if !mount::is_mount_point(fs.target) {
            mount::api(fs).or_fail(|| format!("cannot mount {} on {}", fs.fstype, fs.target))?;
        }
    }
    Ok(())
}

/// Reads the command line, and sets the level of the log and the failure policy by it.
fn read(words: &str) -> Result<Config, Failure> {
    let in_initramfs = OldRoot::is_temporary().or_fail(|| "cannot look at /".into())?;
    let read =
        if in_initramfs { Config::from_cmdline(words, None) } else { Config::from_cmdline_below_root(words) };
    let (config, warnings) = read.map_err(|error| {
        failure::set_policy(FailurePolicy::from_refused_cmdline(words));
        Failure::new(error.to_string())
    })?;
    kmsg::set_level(config.log);
    for warning in warnings {
        warning!("{warning}");
    }
    failure::set_policy(config.failure);
    Ok(config)
}
