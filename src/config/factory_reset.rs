//! The request to reset the machine to the content of its image: a word of the command line, or of the firmware.
//!
//! Source: systemd-repart(8) for the variable `FactoryReset`, which systemd sets up to 257 and heeds up to 261, systemd-factory-reset(8) and
//! systemd's docs/FACTORY_RESET.md for the variable `FactoryResetRequest` from 258 on. Both are of systemd's vendor
//! GUID, hold UTF-16 and can be set by the system that is to be reset.

use std::prelude::v1::*;

use serde_json::Value;

use super::cmdline::boolean;
use crate::os_release::OsRelease;

/// The variable of systemd up to 257: a boolean.
pub const FLAG: &str = "FactoryReset";
/// The version from which on systemd does not heed it any more: whoever can write a variable could have the system erased.
const FLAG_ENDS: u32 = 262;
/// The variable of systemd from 258 on: a JSON object that says whose request it is.
pub const REQUEST: &str = "FactoryResetRequest";

/// The request for a reset, and its origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reset {
    /// It is not.
    No,
    /// By `systemd.factory_reset=`. The word comes again at every boot of the same entry.
    ByCommandLine,
    /// By these variables, which are to be removed when it is done.
    ByFirmware(Vec<&'static str>),
}

/// The words and variables that are judged.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `systemd.factory_reset=`: it overrides the firmware.
    pub word: Option<bool>,
    /// The text of [`FLAG`].
    pub flag: Option<&'a str>,
    /// The text of [`REQUEST`].
    pub request: Option<&'a str>,
    /// The version of the systemd in /usr; None when it is not known.
    pub systemd: Option<u32>,
    /// The system in /usr: a request of another one on the same machine does not concern it.
    pub os: &'a OsRelease,
    /// The id of this boot, as the kernel prints it: a request is for the boot after the one that it was made in.
    pub boot_id: &'a str,
}

impl Asked<'_> {
    /// Judges it. Returns the verdict, and the reasons why variables were ignored. A request that is not understood
    /// erases nothing.
    pub fn judge(&self) -> (Reset, Vec<String>) {
        match self.word {
            Some(true) => return (Reset::ByCommandLine, Vec::new()),
            Some(false) => return (Reset::No, Vec::new()),
            None => {}
        }
        let (mut variables, mut complaints) = (Vec::new(), Vec::new());
        match self.flag.map(boolean) {
            None | Some(Some(false)) => {}
            Some(Some(true)) => match self.systemd {
                Some(version) if version < FLAG_ENDS => variables.push(FLAG),
                Some(version) => complaints
                    .push(format!("EFI variable {FLAG} is for systemd before {FLAG_ENDS}, and /usr has {version}")),
                None => complaints.push(format!(
                    "EFI variable {FLAG} is for systemd before {FLAG_ENDS}, and the version of that in /usr is not known"
                )),
            },
            Some(None) => complaints.push(format!("EFI variable {FLAG} is neither yes nor no")),
        }
        match self.request.map(|text| self.is_for_us(text)) {
            None => {}
            Some(Ok(())) => variables.push(REQUEST),
            Some(Err(why)) => complaints.push(format!("EFI variable {REQUEST} {why}")),
        }
        (if variables.is_empty() { Reset::No } else { Reset::ByFirmware(variables) }, complaints)
    }

    /// True when a request names this system and another boot.
    fn is_for_us(&self, text: &str) -> Result<(), &'static str> {
        let request: Value = serde_json::from_str(text).map_err(|_| "is no JSON")?;
        let field = |name: &str| request.get(name).and_then(Value::as_str);
        let (Some(id), Some(boot_id)) = (field("osReleaseId"), field("bootId").and_then(digits)) else {
            return Err("names no system or no boot");
        };
        if request.get("osReleaseImageId").is_some_and(|image| !image.is_string()) {
            return Err("names no image");
        }
        if Some(id) != self.os.get("ID") || field("osReleaseImageId") != self.os.image_id() {
            return Err("is another system's");
        }
        if Some(boot_id) == digits(self.boot_id) {
            return Err("is for the next boot");
        }
        Ok(())
    }
}

/// An id in either of systemd's spellings, with and without dashes; None when it is not an id.
fn digits(id: &str) -> Option<u128> {
    let id = id.trim_end();
    let plain: String = id.chars().filter(|digit| *digit != '-').collect();
    let shape = matches!((id.len(), plain.len()), (32 | 36, 32)) && plain.is_ascii();
    u128::from_str_radix(&plain, 16).ok().filter(|_| shape && !plain.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OS: &str = "ID=particle\nIMAGE_ID=box\nVERSION_ID=7\n";
    const NOW: &str = "0c9f8a5e-6b7c-4d1e-8f2a-3b4c5d6e7f80\n";

    fn judge(word: Option<bool>, flag: Option<&str>, request: Option<&str>) -> (Reset, Vec<String>) {
        Asked { word, flag, request, systemd: Some(257), os: &OsRelease::parse(OS), boot_id: NOW }.judge()
    }

    /// As `systemd-factory-reset request` of 258 formats it (src/factory-reset/factory-reset-tool.c).
    const GOOD: &str = r#"{"osReleaseId":"particle","osReleaseVersionId":"6","osReleaseImageId":"box","bootId":"aabbccddeeff40118899aabbccddeeff"}"#;

    #[test]
    fn the_command_line_overrides_the_firmware_and_both_variables_count() {
        let none = (Reset::No, vec![]);
        let by = |variables: &[&'static str]| (Reset::ByFirmware(variables.to_vec()), vec![]);
        for (word, flag, request, expected) in [
            (None, None, None, none.clone()),
            (Some(true), None, None, (Reset::ByCommandLine, vec![])),
            (Some(true), Some("yes"), Some(GOOD), (Reset::ByCommandLine, vec![])),
            (Some(false), Some("yes"), Some(GOOD), none.clone()),
            (None, Some("yes"), None, by(&[FLAG])),
            (None, Some("0"), None, none),
            (None, None, Some(GOOD), by(&[REQUEST])),
            (None, Some("1"), Some(GOOD), by(&[FLAG, REQUEST])),
        ] {
            assert_eq!(judge(word, flag, request), expected);
        }
    }

    #[test]
    fn what_is_not_understood_or_not_for_us_erases_nothing_and_says_why() {
        let other = |from: &str, to: &str| GOOD.replace(from, to);
        for (request, why) in [
            ("{".into(), "is no JSON"),
            ("[]".into(), "names no system or no boot"),
            (other("particle", "debian"), "is another system's"),
            (other("\"box\"", "\"can\""), "is another system's"),
            (other("\"osReleaseImageId\":\"box\",", ""), "is another system's"),
            (other("\"box\"", "7"), "names no image"),
            (other("aabb", "aab"), "names no system or no boot"),
            (other("aabb", "+abb"), "names no system or no boot"),
            (other("aabbccddeeff40118899aabbccddeeff", NOW.trim_end()), "is for the next boot"),
            (
                other("aabbccddeeff40118899aabbccddeeff", &NOW.trim_end().replace('-', "")),
                "is for the next boot",
            ),
        ] {
            let expected = (Reset::No, vec![format!("EFI variable {REQUEST} {why}")]);
            assert_eq!(judge(None, None, Some(&request)), expected, "{request}");
        }
        let expected = (Reset::No, vec![format!("EFI variable {FLAG} is neither yes nor no")]);
        assert_eq!(judge(None, Some("perhaps"), None), expected);
    }

    #[test]
    fn a_system_without_image_id_takes_requests_without_one() {
        let request = GOOD.replace("\"osReleaseImageId\":\"box\",", "");
        let os = OsRelease::parse("ID=particle\n");
        let asked = Asked {
            word: None,
            flag: None,
            request: Some(&request),
            systemd: Some(262),
            os: &os,
            boot_id: NOW,
        };
        assert_eq!(asked.judge().0, Reset::ByFirmware(vec![REQUEST]));
        // A system without an identity has no requests of its own.
        let nobody = OsRelease::default();
        let asked = Asked { request: Some(&request.replace("particle", "linux")), os: &nobody, ..asked };
        assert_eq!(asked.judge().0, Reset::No);
    }

    /// systemd-repart(8) of 262 does not name the variable any more.
    #[test]
    fn the_flag_is_for_an_older_systemd() {
        let os = OsRelease::parse(OS);
        let asked =
            Asked { word: None, flag: Some("yes"), request: None, systemd: None, os: &os, boot_id: NOW };
        for (systemd, erases) in [(Some(257), true), (Some(261), true), (Some(262), false), (None, false)] {
            let (verdict, complaints) = Asked { systemd, ..asked }.judge();
            assert_eq!(verdict == Reset::ByFirmware(vec![FLAG]), erases, "{systemd:?}");
            assert_eq!(complaints.is_empty(), erases, "{systemd:?}");
        }
        let newer = Asked { request: Some(GOOD), systemd: Some(262), ..asked }.judge();
        assert_eq!(newer.0, Reset::ByFirmware(vec![REQUEST]));
        assert_eq!(newer.1, ["EFI variable FactoryReset is for systemd before 262, and /usr has 262"]);
    }

    proptest! {
        #[test]
        fn any_text_is_judged(flag in any::<String>(), request in any::<String>()) {
            let (verdict, _) = judge(None, Some(&flag), Some(&request));
            prop_assert!(verdict == Reset::No || boolean(&flag) == Some(true));
        }
    }
}
