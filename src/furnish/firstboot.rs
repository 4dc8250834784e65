//! The settings of systemd-firstboot(1) that come as credentials (systemd.system-credentials(7)): host name, language, time zone,
//! keymap.
//!
//! They come before the factory's /etc, which replaces nothing: where systemd fills an empty /etc alone, none of these files is the
//! factory's, and the credential counts. That program writes them at the end of a first boot's start; systemd reads host name, language
//! and time zone at its beginning, and goes by them on the first boot only because they are there by then. Nothing reads the keymap so
//! early, and the program knows which layout of X11 belongs to one: it finds its place free.

use std::os::fd::AsFd as _;

use rustix::{
    fs::{AtFlags, FileType, statat, symlinkat},
    io::Errno,
};

use super::{Report, Request};
use crate::{
    etc::EtcError,
    level::Level,
    sysusers::Credentials,
    tree::{
        attributes::{Attributes, Failed},
        open, replace,
    },
};

/// The program that writes what is left to it, as seen from /usr.
const PROGRAM: &str = "bin/systemd-firstboot";
/// The time zone for which there is no file.
const UTC: &str = "UTC";

/// Writes them. Returns the paths below /etc that stay free.
///
/// # Errors
/// A file that could not be written.
pub(super) fn write(request: &Request<'_>, report: &mut Report) -> Result<Vec<&'static [u8]>, EtcError> {
    let has = |path: &str| {
        let found = statat(request.usr, path, AtFlags::empty());
        found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
    };
    let is_zone = |name: &str| is_zone(name) && (name == UTC || has(&["share/zoneinfo/", name].concat()));
    let mut settings = Settings { credentials: request.credentials, problems: Vec::new() };
    let host_name = settings.get("firstboot.hostname", &is_host_name);
    let language = settings.get("firstboot.locale", &is_locale);
    let messages =
        settings.get("firstboot.locale-messages", &is_locale).filter(|text| language != Some(*text));
    let zone = settings.get("firstboot.timezone", &is_zone);
    report.say(Level::Warning, settings.problems);

    let etc = open::directory(request.root, "etc").map_err(EtcError::call("open", "/etc"))?;
    let put = |file: &str, content: &[&str]| {
        let attributes = Attributes { mode: Some(0o644), ..Attributes::default() };
        replace::new(etc.as_fd(), file.as_bytes(), content.concat().as_bytes(), &attributes).map(drop)
    };
    if let Some(name) = host_name {
        unless_there("hostname", put("hostname", &[name, "\n"]))?;
    }
    let written = match (language, messages) {
        (None, None) => Ok(()),
        (Some(language), None) => put("locale.conf", &["LANG=", language, "\n"]),
        (None, Some(messages)) => put("locale.conf", &["LC_MESSAGES=", messages, "\n"]),
        (Some(language), Some(messages)) => {
            put("locale.conf", &["LANG=", language, "\nLC_MESSAGES=", messages, "\n"])
        }
    };
    unless_there("locale.conf", written)?;
    let mut free: Vec<&'static [u8]> = Vec::new();
    match zone {
        None => {}
        Some(UTC) => free.push(b"localtime"),
        Some(zone) => {
            let target = ["../usr/share/zoneinfo/", zone].concat();
            let made = symlinkat(target, &etc, "localtime").map_err(Failed::target("create link"));
            unless_there("localtime", made)?;
        }
    }
    if request.credentials.get("firstboot.keymap").is_some() && has(PROGRAM) {
        free.push(b"vconsole.conf");
    }
    Ok(free)
}

/// Passes over a file of the root that has the name already.
fn unless_there(file: &str, made: Result<(), Failed>) -> Result<(), EtcError> {
    match made {
        Err(Failed { errno: Errno::EXIST, .. }) => Ok(()),
        made => made.map_err(|failed| EtcError::call(failed.step, ["/etc/", file].concat())(failed.errno)),
    }
}

/// The credentials, and those that say nothing.
struct Settings<'a> {
    credentials: &'a dyn Credentials,
    problems: Vec<String>,
}

impl<'a> Settings<'a> {
    /// The value of a credential. One that is not valid is left to systemd-firstboot.
    fn get(&mut self, name: &str, is_valid: &dyn Fn(&str) -> bool) -> Option<&'a str> {
        let value = core::str::from_utf8(self.credentials.get(name)?).ok();
        let value = value.map(|text| text.strip_suffix('\n').unwrap_or(text)).filter(|text| is_valid(text));
        if value.is_none() {
            self.problems
                .push(format!("the credential {name} is not valid; it is left to systemd-firstboot"));
        }
        value
    }
}

/// Returns true for a host name (hostname(5)). Patterns with `?` are those of systemd 258, which fills them in.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 64 && text.split('.').all(is_label)
}

/// Returns true for the name of a locale (locale(7)) that is a file's as well.
fn is_locale(text: &str) -> bool {
    (1..128).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@=".contains(&byte))
}

/// Returns true for the name of a time zone: a relative path without `.` and `..`.
fn is_zone(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte))
    };
    text.len() < 128 && text.split('/').all(is_part)
}
