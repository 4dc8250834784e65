//! `luks.uuid=`, `luks.name=`, `luks.key=` and `luks.options=`, with and without `rd.`: systemd-cryptsetup's options of
//! the volume that holds the root.
//!
//! References: systemd-cryptsetup-generator(8), crypttab(5).

use core::time::Duration;
use std::prelude::v1::*;

use uuid::Uuid;

use super::cmdline::{Word, boolean};
use super::error::{ConfigError, Warning};

/// The number of times that a passphrase is asked for (crypttab(5), `tries=`).
const TRIES: u32 = 3;

/// The time that an answer may take, in seconds. systemd waits for ever and leaves it to other jobs' timeouts to end the boot; here
/// every wait has an end of its own, after which the failure policy runs.
const TIMEOUT: u64 = 90;

/// The words of the command line about LUKS2 volumes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Luks {
    /// The volumes that are named, and the names that they shall have.
    names: Vec<(Uuid, Option<String>)>,
    keys: Vec<(Option<Uuid>, String)>,
    options: Vec<(Option<Uuid>, VolumeOptions)>,
}

/// The way in which one volume is opened, from the options of crypttab(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeOptions {
    /// `discard`.
    pub discard: bool,
    /// `same-cpu-crypt`.
    pub same_cpu_crypt: bool,
    /// `submit-from-crypt-cpus`.
    pub submit_from_crypt_cpus: bool,
    /// `no-read-workqueue`.
    pub no_read_workqueue: bool,
    /// `no-write-workqueue`.
    pub no_write_workqueue: bool,
    /// `read-only`.
    pub read_only: bool,
    /// `headless`: no question is asked.
    pub headless: bool,
    /// `tries=`: the number of questions; None: until it opens.
    pub tries: Option<u32>,
    /// `timeout=`: how long an answer may take; None: for ever.
    pub timeout: Option<Duration>,
    /// `keyfile-offset=`, in bytes.
    pub key_file_offset: u64,
    /// `keyfile-size=`, in bytes; None: all of it.
    pub key_file_size: Option<u64>,
    /// `tpm2-signature=`: the file with PCR signatures; None: where systemd's tools look for it.
    pub tpm2_signature: Option<String>,
    /// `fixate-volume-key=`: the identity of the volume key, 64 hexadecimal digits (systemd 260).
    pub fixate_volume_key: Option<String>,
}

impl Default for VolumeOptions {
    fn default() -> Self {
        Self {
            discard: false,
            same_cpu_crypt: false,
            submit_from_crypt_cpus: false,
            no_read_workqueue: false,
            no_write_workqueue: false,
            read_only: false,
            headless: false,
            tries: Some(TRIES),
            timeout: Some(Duration::from_secs(TIMEOUT)),
            key_file_offset: 0,
            key_file_size: None,
            tpm2_signature: None,
            fixate_volume_key: None,
        }
    }
}

/// The words of one command line, in their order.
#[derive(Clone, Default, Debug)]
pub(super) struct Words {
    pub uuid: Vec<Word>,
    pub name: Vec<Word>,
    pub key: Vec<Word>,
    pub options: Vec<Word>,
}

impl Luks {
    pub(super) fn decide(words: &Words, warnings: &mut Vec<Warning>) -> Result<Self, ConfigError> {
        let mut luks = Self::default();
        for word in &words.uuid {
            let text = value(word);
            match uuid(text.strip_prefix("luks-").unwrap_or(text)) {
                Some(uuid) => luks.names.push((uuid, None)),
                None => warnings.push(Warning::new(word, "ignored: it is not a UUID")),
            }
        }
        for word in &words.name {
            match value(word).split_once('=').map(|(text, name)| (uuid(text), name)) {
                Some((Some(uuid), name)) if is_name(name) => luks.names.push((uuid, Some(name.into()))),
                _ => warnings.push(Warning::new(word, "ignored: it is not UUID=NAME")),
            }
        }
        for word in &words.key {
            let (uuid, path) = scoped(value(word));
            if path.contains(':') {
                return Err(ConfigError::unsupported(word, "name a file of the initramfs, without :KEYDEV"));
            }
            match path {
                // As in systemd: an empty text, `-` and `none` mean that there is no file.
                "" | "-" | "none" => {}
                _ if path.starts_with('/') && !path.ends_with('/') => luks.keys.push((uuid, path.into())),
                _ => return Err(ConfigError::value(word, "is no absolute path of a file")),
            }
        }
        for word in &words.options {
            let (uuid, list) = scoped(value(word));
            luks.options.push((uuid, VolumeOptions::parse(word, list, warnings)?));
        }
        Ok(luks)
    }

    /// The UUID of the volume that shall have this name: by `luks.name=`, or because the name is `luks-UUID`.
    pub fn uuid_of(&self, name: &str) -> Option<Uuid> {
        let named =
            self.names.iter().find(|(_, given)| given.as_deref() == Some(name)).map(|(uuid, _)| *uuid);
        named.or_else(|| uuid(name.strip_prefix("luks-")?))
    }

    /// The name under which the volume is mapped; None when the command line does not speak of it.
    pub fn name(&self, uuid: Uuid) -> Option<String> {
        let mut said = self.names.iter().rev().filter(|(named, _)| *named == uuid);
        let named = said.clone().find_map(|(_, name)| name.clone());
        named.or_else(|| said.next().map(|_| format!("luks-{uuid}")))
    }

    /// Its key file: the last word that is for it alone, or else the last that is for every volume.
    pub fn key_file(&self, uuid: Uuid) -> Option<&str> {
        latest(&self.keys, uuid).map(String::as_str)
    }

    /// All key files that are named, for any volume.
    pub fn key_files(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(_, path)| path.as_str())
    }

    /// The key file that is for every volume.
    pub fn common_key_file(&self) -> Option<&str> {
        self.keys.iter().rev().find(|(scope, _)| scope.is_none()).map(|(_, path)| path.as_str())
    }

    /// Its options, chosen in the same way.
    pub fn options(&self, uuid: Uuid) -> VolumeOptions {
        latest(&self.options, uuid).cloned().unwrap_or_default()
    }
}

impl VolumeOptions {
    fn parse(word: &Word, list: &str, warnings: &mut Vec<Warning>) -> Result<Self, ConfigError> {
        let mut options = Self::default();
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let wrong = || ConfigError::value(word, format!("{option} is not understood"));
            let number = || value.and_then(|value| value.parse::<u64>().ok()).ok_or_else(wrong);
            let flag = || value.map_or(Some(true), boolean).ok_or_else(wrong);
            match name {
                "discard" => options.discard = true,
                "same-cpu-crypt" => options.same_cpu_crypt = true,
                "submit-from-crypt-cpus" => options.submit_from_crypt_cpus = true,
                "no-read-workqueue" => options.no_read_workqueue = true,
                "no-write-workqueue" => options.no_write_workqueue = true,
                "read-only" | "readonly" => options.read_only = true,
                "headless" => options.headless = flag()?,
                "tries" => {
                    let tries = u32::try_from(number()?).map_err(|_| wrong())?;
                    options.tries = (tries > 0).then_some(tries);
                }
                "timeout" => {
                    let timeout = value.and_then(span).ok_or_else(wrong)?;
                    options.timeout = (!timeout.is_zero()).then_some(timeout);
                }
                "keyfile-offset" => options.key_file_offset = number()?,
                "keyfile-size" => options.key_file_size = Some(number()?).filter(|size| *size > 0),
                // The kind of volume that is supported, and options that are in effect anyway: files of the initramfs
                // are erased, and typed characters are not shown.
                "luks" | "keyfile-erase" | "x-initrd.attach" | "password-echo" | "noauto" | "nofail"
                | "_netdev" => {}
                // A header's own tokens are asked with any value here, and say what they need.
                "tpm2-device" if matches!(value, Some("auto" | "/dev/tpmrm0")) => {}
                "tpm2-device" => {
                    warnings.push(Warning::new(word, "tpm2-device is ignored: /dev/tpmrm0 is asked"));
                }
                "tpm2-signature" => {
                    let path = value.filter(|path| path.starts_with('/') && !path.ends_with('/'));
                    options.tpm2_signature = Some(path.ok_or_else(wrong)?.into());
                }
                "fixate-volume-key" => {
                    let id = value
                        .filter(|id| id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
                    options.fixate_volume_key = Some(id.ok_or_else(wrong)?.into());
                }
                "tpm2-pin" | "token-timeout" => {}
                "header" | "plain" | "tcrypt" | "tcrypt-hidden" | "tcrypt-system" | "tcrypt-veracrypt"
                | "bitlk" | "swap" | "tmp" => {
                    return Err(ConfigError::unsupported(
                        word,
                        format!("{option}: the root is a LUKS2 volume with its header in front"),
                    ));
                }
                _ if name.starts_with("tpm2-") => {
                    warnings.push(Warning::new(word, "ignored: the tokens of the header say what the TPM is asked; hermetic.measure= says what is measured"));
                }
                // As systemd does it.
                _ => warnings.push(Warning::new(word, &format!("{option} is ignored: it is not known"))),
            }
        }
        Ok(options)
    }
}

fn value(word: &Word) -> &str {
    word.value.as_deref().unwrap_or_default()
}

fn latest<T>(list: &[(Option<Uuid>, T)], uuid: Uuid) -> Option<&T> {
    let last = |wanted| list.iter().rev().find(|(scope, _)| *scope == wanted).map(|(_, item)| item);
    last(Some(uuid)).or_else(|| last(None))
}

/// `UUID=REST` or `REST`: a beginning that is not a UUID is part of the rest (`tries=1`).
fn scoped(text: &str) -> (Option<Uuid>, &str) {
    match text.split_once('=').and_then(|(scope, rest)| Some((uuid(scope)?, rest))) {
        Some((uuid, rest)) => (Some(uuid), rest),
        None => (None, text),
    }
}

/// A UUID as people write it: with its dashes, so that nothing else is taken for one.
fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

/// Names of device-mapper that need no escapes in /dev/mapper, and are not a path.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte);
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && name != "."
        && name != ".."
        && name != "control"
}

/// systemd.time(7): numbers with units, seconds without one.
pub(super) fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(end)?;
        let tail = tail.trim_start();
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end)?;
        let number: u32 = number.parse().ok()?;
        let unit = match unit {
            "ms" | "msec" => Duration::from_millis(1),
            "" | "s" | "sec" | "second" | "seconds" => Duration::from_secs(1),
            "m" | "min" | "minute" | "minutes" => Duration::from_secs(60),
            "h" | "hr" | "hour" | "hours" => Duration::from_secs(3600),
            _ => return None,
        };
        sum = sum.checked_add(unit.checked_mul(number)?)?;
        rest = tail.trim_start();
    }
    (!text.trim().is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DeviceSpec, RootSource};

    const ID: &str = "bc5e8cf8-78c9-4eef-a5d6-8f3a59cfb448";

    fn luks(words: &str) -> (Luks, usize) {
        let (config, warnings) = Config::from_cmdline(words, None).unwrap();
        (config.luks, warnings.len())
    }

    #[test]
    fn words_are_for_one_volume_or_for_all() {
        let id = Uuid::try_parse(ID).unwrap();
        let other = Uuid::nil();
        let (config, warnings) = luks(&format!(
            "rd.luks.key=/all rd.luks.key={ID}=/one luks.options=tries=1,headless rd.luks.options={ID}=discard,timeout=2min"
        ));
        assert_eq!((config.key_file(id), config.key_file(other)), (Some("/one"), Some("/all")));
        assert_eq!(
            config.options(other),
            VolumeOptions { tries: Some(1), headless: true, ..Default::default() }
        );
        let timeout = Some(Duration::from_secs(120));
        assert_eq!(config.options(id), VolumeOptions { discard: true, timeout, ..Default::default() });
        assert_eq!((config.name(id), warnings), (None, 0));
    }

    #[test]
    fn names_are_those_of_systemd() {
        let id = Uuid::try_parse(ID).unwrap();
        for (words, name) in [
            (format!("rd.luks.uuid={ID}"), format!("luks-{ID}")),
            (format!("luks.uuid=luks-{ID} luks.name={ID}=vault"), "vault".into()),
            (format!("luks.name={ID}=vault luks.uuid={ID}"), "vault".into()),
        ] {
            assert_eq!(luks(&words).0.name(id), Some(name.clone()), "{words}");
            let (config, _) =
                Config::from_cmdline(&format!("{words} root=/dev/mapper/{name}"), None).unwrap();
            assert_eq!(config.root.source, RootSource::Device(DeviceSpec::Uuid(ID.into())), "{words}");
        }
        assert_eq!(luks("luks.uuid=x luks.name=y").1, 2, "warnings");
        assert_eq!(luks(&format!("luks.name={ID}=../x luks.name={ID}=control")).1, 2, "warnings");
        assert!(Config::from_cmdline("root=/dev/mapper/vault", None).is_err());
    }

    #[test]
    fn options_are_understood_ignored_or_refused() {
        for (list, warnings) in [
            ("luks,x-initrd.attach,password-echo=no", 0),
            ("tpm2-device=auto,tpm2-pin=yes,tries=0,timeout=0", 0),
            ("tpm2-pcrs=7", 1),
            ("tpm2-device=/dev/tpmrm7", 1),
            ("tpm2-signature=/etc/signatures.json", 0),
            ("from-the-future", 1),
        ] {
            assert_eq!(luks(&format!("luks.options={list}")).1, warnings, "{list}");
        }
        assert_eq!(luks("luks.options=tries=0,timeout=0").0.options(Uuid::nil()).tries, None);
        let id = "0123456789abcdef".repeat(4);
        let fixed = luks(&format!("luks.options=fixate-volume-key={id}")).0.options(Uuid::nil());
        assert_eq!(fixed.fixate_volume_key, Some(id));
        let signature = luks("luks.options=tpm2-signature=/a/b").0.options(Uuid::nil()).tpm2_signature;
        assert_eq!(signature.as_deref(), Some("/a/b"));
        for list in [
            "tries=x",
            "timeout=soon",
            "headless=perhaps",
            "keyfile-size=-1",
            "header=/x",
            "plain",
            "swap",
            "tpm2-signature=x",
            "tpm2-signature",
            "fixate-volume-key",
            "fixate-volume-key=00",
        ] {
            assert!(Config::from_cmdline(&format!("luks.options={list}"), None).is_err(), "{list}");
        }
    }

    #[test]
    fn spans_are_those_of_systemd() {
        for (text, seconds) in [
            ("90", Some(90)),
            ("1min 30s", Some(90)),
            ("1h", Some(3600)),
            ("5 sec", Some(5)),
            ("", None),
            ("1x", None),
            ("s", None),
        ] {
            assert_eq!(span(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(span("99999999999999"), None);
    }
}
