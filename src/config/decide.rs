//! The second stage: the words that won → one [`Config`], or the reason why not.

use core::time::Duration;
use std::prelude::v1::*;

use super::cmdline::{Word, boolean};
use super::device_spec::{DeviceSpec, Source};
use super::error::{ConfigError, Warning};
use super::luks::span;
use super::raw::Raw;
use super::{
    Config, FailureAction, FailurePolicy, Hermetic, ImagePolicy, Luks, MachineId, Mount, Root, RootSource,
    Tries, Usr, UsrSource, Verity, Volatile, Watchdog,
};
use crate::disk::filter::Filter;
use crate::level::Level;
use crate::verity::{RootHash, SignatureSource};

type Result<T> = core::result::Result<T, ConfigError>;

/// The text behind the `=`; nothing and no `=` are the same here.
fn value(word: &Word) -> &str {
    word.value.as_deref().unwrap_or_default()
}

/// A word that has a value; an empty one takes earlier ones back.
fn filled(word: &Option<Word>) -> Option<&Word> {
    word.as_ref().filter(|word| !value(word).is_empty())
}

pub(super) fn decide(raw: &Raw, warnings: &mut Vec<Warning>) -> Result<Config> {
    if let Some(word) = &raw.unknown {
        return Err(ConfigError::unknown(word));
    }
    refuse_what_we_cannot_do(raw)?;
    let luks = Luks::decide(&raw.luks_volumes, warnings)?;
    let modules = |names: &[String]| names.iter().map(|name| name.replace('-', "_")).collect();
    let (hermetic, refusal) = Hermetic::decide(&raw.hermetic);
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    Ok(Config {
        usr: usr(raw, warnings)?,
        root: root(raw, &luks)?,
        image_policy: match &raw.image_policy {
            Some(word) => ImagePolicy::parse(value(word)).map_err(|error| ConfigError::value(word, error))?,
            None => ImagePolicy::default(),
        },
        image_filter: match &raw.image_filter {
            Some(word) => Filter::parse(value(word)).map_err(|error| ConfigError::value(word, error))?,
            None => Filter::default(),
        },
        // Without a suffix a service is meant (systemd: unit_name_mangle).
        repart: !raw
            .masks
            .iter()
            .any(|unit| unit.strip_suffix(".service").unwrap_or(unit) == "systemd-repart"),
        factory_reset: raw.factory_reset.as_ref().map(flag).transpose()?,
        volatile: volatile(raw)?,
        key_file: hermetic
            .key_file
            .said
            .as_deref()
            .or(luks.common_key_file())
            .unwrap_or(&hermetic.key_file.default)
            .into(),
        luks,
        machine_id: machine_id(raw, warnings),
        init: hermetic.init.said.clone(),
        kernel_init: match filled(&raw.init).filter(|word| !value(word).starts_with('/')) {
            Some(word) => {
                warnings.push(Warning::new(word, "ignored: it must be an absolute path"));
                None
            }
            None => filled(&raw.init).map(|word| value(word).to_string()),
        },
        modules_load: modules(&raw.modules_load),
        modules_blocked: modules(&raw.modules_blocked),
        module_parameters: raw.module_parameters.clone(),
        failure: failure(raw, &hermetic, warnings),
        log: log(raw, &hermetic),
        watchdog: watchdog(raw, warnings),
        hermetic,
    })
}

/// Words that would change what is mounted or what is erased, and that are not supported here. To ignore them would be
/// to boot another system than the requested one.
fn refuse_what_we_cannot_do(raw: &Raw) -> Result<()> {
    if let Some(word) = filled(&raw.roothash) {
        return Err(ConfigError::unsupported(
            word,
            "verity protects /usr here, and the root is private; use usrhash=",
        ));
    }
    if let Some(word) = filled(&raw.initrd_unit)
        && !matches!(value(word), "initrd.target" | "default.target")
    {
        return Err(ConfigError::unsupported(
            word,
            "there are no units in this initramfs; boot without the word",
        ));
    }
    if let Some(word) = filled(&raw.initrd_mount) {
        return Err(ConfigError::unsupported(
            word,
            "nothing but /usr and the root is mounted in this initramfs; without rd. the real system mounts it",
        ));
    }
    if let Some(word) = &raw.luks
        && !flag(word)?
    {
        return Err(ConfigError::unsupported(word, "an encrypted root could not be opened; remove the word"));
    }
    match filled(&raw.luks_data) {
        Some(word) => Err(ConfigError::unsupported(word, "the LUKS2 header stands in front of its data")),
        None => Ok(()),
    }
}

fn usr(raw: &Raw, warnings: &mut Vec<Warning>) -> Result<Usr> {
    let verity_on = raw.verity.as_ref().map(flag).transpose()?.unwrap_or(true);
    if let (Some(word), None) = (&raw.usrhash, filled(&raw.usrhash)) {
        warnings.push(Warning::new(
            word,
            "/usr is not verified: the empty word takes every root hash before it back",
        ));
    }
    let hash = match (filled(&raw.usrhash), verity_on) {
        (Some(word), true) => Some(root_hash(word)?),
        (Some(word), false) => {
            warnings.push(Warning::new(word, "/usr is not verified: systemd.verity=no is given as well"));
            None
        }
        (None, _) => None,
    };
    // Type or options alone mean a part of the root's device (a subvolume), unless a root hash means another.
    let of_root = (raw.usrfstype.is_some() || !raw.usrflags.is_empty()) && hash.is_none();
    let source = match filled(&raw.usr) {
        None => match (filled(&raw.root).and_then(|word| source(word).ok()), &raw.gpt_auto) {
            (Some(Source::Device(device)), _) if of_root => UsrSource::Device(device),
            // As for the root: root=gpt-auto was given on purpose. A root hash names its partitions by itself.
            (Some(Source::Auto { .. }), _) => UsrSource::Auto,
            (_, Some(word)) if hash.is_none() && !flag(word)? => {
                let reason = "then /usr must be named; add usrhash= or mount.usr=";
                return Err(ConfigError::conflict(word, reason));
            }
            _ => UsrSource::Auto,
        },
        Some(word) => match source(word)? {
            Source::Auto { .. } => UsrSource::Auto,
            Source::Mapper(name) if name == "usr" && hash.is_some() => UsrSource::Auto,
            Source::Mapper(name) if name == "usr" => {
                return Err(ConfigError::conflict(
                    word,
                    "names a verified device, which needs usrhash=; add it",
                ));
            }
            Source::Device(device) => UsrSource::Device(device),
            Source::Mapper(_) | Source::Tmpfs | Source::Fstab | Source::Off => {
                return Err(ConfigError::value(
                    word,
                    "/usr is a partition; write dissect, PARTUUID= or PARTLABEL=",
                ));
            }
        },
    };
    let verity = hash.map(|root_hash| verity(raw, root_hash, &source)).transpose()?;
    // A /usr that is named takes the root's type and options when it has none of its own (systemd-fstab-generator(8)).
    // One that is discovered, also by root hash or as `dissect`, does not: those words were never meant for it
    // (systemd-gpt-auto-generator(8)), and noexec would keep systemd from being started. (systemd lets a root
    // hash take rootfstype= over, and then cannot mount an erofs beside rootfstype=ext4.)
    let (fstype, flags) = match source {
        UsrSource::Device(_) => (
            raw.usrfstype.as_ref().or(raw.rootfstype.as_ref()),
            if raw.usrflags.is_empty() { &raw.rootflags } else { &raw.usrflags },
        ),
        UsrSource::Auto => (raw.usrfstype.as_ref(), &raw.usrflags),
    };
    let asked = read_write(&raw.usrflags);
    if asked == Some(true) && verity.is_some() {
        let word = Word { key: "mount.usrflags".into(), value: Some(raw.usrflags.join(",")), rd: false };
        warnings.push(Warning::new(&word, "rw is ignored: a verified /usr cannot be written to"));
    }
    let read_write = asked == Some(true) && verity.is_none();
    let (signature, verity_options) = verity_options(raw)?;
    Ok(Usr {
        source,
        verity,
        signature: verity_on.then_some(signature),
        user_space_vouches: raw.allow_userspace_verity.as_ref().map(flag).transpose()?.unwrap_or(true),
        verity_options,
        mount: mount(fstype, flags, read_write),
    })
}

/// The words of `systemd.verity_usr_options=`: the origin of the signature, and the others.
fn verity_options(raw: &Raw) -> Result<(SignatureSource, Vec<String>)> {
    let (mut source, mut others) = (SignatureSource::default(), Vec::new());
    let Some(word) = &raw.verity_usr_options else { return Ok((source, others)) };
    for option in value(word).split(',').filter(|option| !option.is_empty()) {
        match option.strip_prefix("root-hash-signature=") {
            None => others.push(option.into()),
            Some(text) => {
                source = SignatureSource::parse(text).ok_or_else(|| {
                    ConfigError::value(
                        word,
                        "root-hash-signature= is neither auto, nor a file by its absolute path, nor base64: with the signature",
                    )
                })?;
            }
        }
    }
    Ok((source, others))
}

fn verity(raw: &Raw, root_hash: RootHash, source: &UsrSource) -> Result<Verity> {
    let device = |word: Option<&Word>| {
        word.map(|word| DeviceSpec::parse(value(word)).map_err(|error| ConfigError::value(word, error)))
            .transpose()
    };
    let data = device(filled(&raw.verity_usr_data))?;
    let hash = device(filled(&raw.verity_usr_hash))?;
    // systemd would mount the device of mount.usr= as it is, beside an unused mapping. A root hash asks for a verified
    // /usr: the device is the data device.
    let data = match (data, source, &raw.usr) {
        (Some(data), UsrSource::Device(device), Some(word)) if data != *device => {
            return Err(ConfigError::conflict(
                word,
                "is not what systemd.verity_usr_data= names; remove one of them",
            ));
        }
        (None, UsrSource::Device(device), _) => Some(device.clone()),
        (data, ..) => data,
    };
    Ok(Verity { root_hash, data, hash })
}

fn root_hash(word: &Word) -> Result<RootHash> {
    value(word).parse().map_err(|error| ConfigError::value(word, error))
}

fn root(raw: &Raw, luks: &Luks) -> Result<Root> {
    let gpt_auto = raw.gpt_auto.as_ref().map(flag).transpose()?.unwrap_or(true);
    let source = match (filled(&raw.root), &raw.gpt_auto) {
        (None, Some(word)) if !gpt_auto => {
            return Err(ConfigError::conflict(word, "then the root must be named; add root="));
        }
        (None, _) => RootSource::Auto,
        (Some(word), _) => match source_of(word, luks)? {
            // The word beats systemd.gpt_auto=no: root=gpt-auto was given on purpose.
            Source::Auto { .. } => RootSource::Auto,
            // The mapping that this program makes of the root partition.
            Source::Mapper(name) if name == "root" => RootSource::Auto,
            Source::Device(device) => RootSource::Device(device),
            Source::Tmpfs => RootSource::Tmpfs,
            Source::Fstab => {
                return Err(ConfigError::unsupported(
                    word,
                    "there is no /etc/fstab before the root; name a device",
                ));
            }
            Source::Off => {
                return Err(ConfigError::unsupported(
                    word,
                    "without a root there is nothing to boot; use root=tmpfs",
                ));
            }
            Source::Mapper(_) => {
                return Err(ConfigError::value(word, "is /usr, not the root; write gpt-auto or PARTUUID="));
            }
        },
    };
    // A bare word beats the flags, and the flags beat the default; systemd's default is ro and the real system's fstab
    // remounts, but here there need not be an fstab.
    let writable = raw.rw.or_else(|| read_write(&raw.rootflags)).unwrap_or(true);
    Ok(Root { source, mount: mount(raw.rootfstype.as_ref(), &raw.rootflags, writable) })
}

fn volatile(raw: &Raw) -> Result<Volatile> {
    let Some(word) = &raw.volatile else { return Ok(Volatile::No) };
    match value(word) {
        "state" => Ok(Volatile::State),
        "overlay" => Ok(Volatile::Overlay),
        text => match boolean(text).or(word.value.is_none().then_some(true)) {
            Some(true) => Ok(Volatile::Yes),
            Some(false) => Ok(Volatile::No),
            None => Err(ConfigError::value(word, "is not known; write yes, no, overlay or state")),
        },
    }
}

/// As [`source`]; the name of a mapping that is still to be made stands for the volume.
fn source_of(word: &Word, luks: &Luks) -> Result<Source> {
    match value(word).strip_prefix("/dev/mapper/").and_then(|name| luks.uuid_of(name)) {
        Some(uuid) => Ok(Source::Device(DeviceSpec::Uuid(uuid.to_string()))),
        None => source(word),
    }
}

fn source(word: &Word) -> Result<Source> {
    Source::parse(value(word)).map_err(|error| ConfigError::value(word, error))
}

/// The last of `ro` and `rw` among mount options: true for `rw`.
fn read_write(options: &[String]) -> Option<bool> {
    options.iter().rev().find_map(|option| match option.as_str() {
        "rw" => Some(true),
        "ro" => Some(false),
        _ => None,
    })
}

fn mount(fstype: Option<&Word>, options: &[String], read_write: bool) -> Mount {
    // The options for user space of fstab(5) and systemd.mount(5); no file system knows them.
    let for_user_space = |option: &str| {
        option.starts_with("x-")
            || option.starts_with("comment=")
            || matches!(option, "ro" | "rw" | "defaults" | "auto" | "noauto" | "fail" | "nofail" | "_netdev")
    };
    Mount {
        fstype: fstype.map(value).filter(|name| !matches!(*name, "" | "auto")).map(String::from),
        options: options.iter().filter(|option| !for_user_space(option)).cloned().collect(),
        read_write,
    }
}

fn machine_id(raw: &Raw, warnings: &mut Vec<Warning>) -> Option<MachineId> {
    let word = filled(&raw.machine_id)?;
    match (value(word), uuid::Uuid::try_parse(value(word))) {
        ("firmware", _) => Some(MachineId::Firmware),
        (text, Ok(id)) if matches!(text.len(), 32 | 36) && !id.is_nil() => Some(MachineId::Id(id)),
        _ => {
            // systemd passes over it as well, so both choose another one.
            warnings.push(Warning::new(
                word,
                "ignored: it is not a machine id (32 hexadecimal digits, not all 0)",
            ));
            None
        }
    }
}

/// The failure policy without those words that are invalid.
pub(super) fn failure_as_understood(raw: &Raw) -> FailurePolicy {
    failure(raw, &Hermetic::decide(&raw.hermetic).0, &mut Vec::new())
}

/// Every quantity is taken from the first that gives it: an option of hermetic-init, then one of the kernel or systemd,
/// then the default.
fn failure(raw: &Raw, hermetic: &Hermetic, warnings: &mut Vec<Warning>) -> FailurePolicy {
    use FailureAction::{Halt, Poweroff, Reboot};
    let ours = hermetic.on_failure.said;
    let emergency = raw.emergency.as_ref().and_then(|word| match value(word) {
        "reboot" => Some(Reboot),
        "poweroff" => Some(Poweroff),
        "halt" => Some(Halt),
        _ => {
            warnings.push(Warning::new(
                word,
                "ignored: there is no shell; write rd.emergency=reboot, poweroff or halt",
            ));
            None
        }
    });
    let crash = raw.crash_action.as_ref().map(value);
    let crash_action = crash.and_then(|action| match action {
        "reboot" => Some(Reboot),
        "poweroff" => Some(Poweroff),
        "freeze" => Some(Halt),
        _ => None,
    });
    // The kernel waits for ever at 0 and not at all below it.
    let panic = raw.panic.as_ref().and_then(|word| match value(word).parse::<i32>() {
        Ok(0) => Some(None),
        Ok(seconds) => Some(Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))),
        Err(_) => {
            warnings.push(Warning::new(word, "ignored: it is not a number of seconds"));
            None
        }
    });
    let freeze = (crash == Some("freeze") && ours.or(emergency).is_none()).then_some(None);
    let delay = hermetic.failure_delay.said.map(Some).or(panic).or(freeze);
    FailurePolicy {
        action: ours.or(emergency).or(crash_action).unwrap_or(hermetic.on_failure.default),
        delay: delay.unwrap_or(Some(hermetic.failure_delay.default)),
        delay_is_said: delay.is_some(),
        tries: hermetic.tries.map(|left| Tries { left, done: None }),
    }
}

fn watchdog(raw: &Raw, warnings: &mut Vec<Warning>) -> Option<Watchdog> {
    let word = raw.watchdog_sec.as_ref()?;
    let time = match value(word) {
        "off" => return None,
        "default" | "infinity" => None,
        text => match span(text) {
            Some(Duration::ZERO) => return None,
            None => {
                warnings.push(Warning::new(word, "ignored: it is no time, as 30s or 1min"));
                return None;
            }
            time => time,
        },
    };
    Some(Watchdog { time, device: raw.watchdog_device.as_ref().map(|word| value(word).to_owned()) })
}

/// Failures and warnings (`err`), also one line for a boot (`info`), also every step (`debug`).
fn log(raw: &Raw, hermetic: &Hermetic) -> Level {
    use Level::{Debug, Info, Warning};
    if let Some(level) = hermetic.log.said {
        return level;
    }
    let Some(word) = &raw.verbosity else { return hermetic.log.default };
    match (word.key.as_str(), value(word)) {
        ("quiet", _) => Warning,
        ("debug", _) => Debug,
        // loglevel=N shows messages more urgent than N: information is 6, debugging 7.
        ("loglevel", "8") => Debug,
        ("loglevel", "7") => Info,
        ("loglevel", _) => Warning,
        (_, "debug" | "7") => Debug,
        (_, "info" | "notice" | "6" | "5") => Info,
        _ => Warning,
    }
}

/// A boolean; the word alone means yes.
fn flag(word: &Word) -> Result<bool> {
    match &word.value {
        None => Ok(true),
        Some(text) => boolean(text).ok_or_else(|| ConfigError::value(word, "is neither yes nor no")),
    }
}
