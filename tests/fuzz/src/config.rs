//! Words of a person: kernel command line, image policy, device names, os-release.

use hermetic_init::{
    config::{
        Config, cmdline,
        credentials::{Credentials, MAX_SIZE, are_wanted, is_name},
        device_spec::Source,
        factory_reset::{Asked, FLAG, REQUEST, Reset},
        image_policy::ImagePolicy,
        past::Past,
        tries::Tries,
    },
    disk::types,
    os_release::OsRelease,
    units::DeviceNumber,
};

use crate::input::{Input, join, text};

/// The EFI variables that ask for a factory reset, and the system that they must be for.
pub fn factory_reset(data: &[u8]) {
    let [flag, request, system] = Input::new(data).parts().map(text);
    let (os, boot_id) = (OsRelease::parse(&system), "0c9f8a5e-6b7c-4d1e-8f2a-3b4c5d6e7f80");
    let asked = Asked { word: None, flag: Some(&flag), request: Some(&request), systemd: Some(257), os: &os, boot_id };
    let (verdict, complaints) = asked.judge();
    assert!(complaints.iter().all(|complaint| !complaint.contains(char::is_control)));
    // Nothing is erased unless one of them says so in plain words, and each says so by itself.
    let alone = |asked: &Asked<'_>| asked.judge().0 != Reset::No;
    let by_flag = alone(&Asked { request: None, ..asked });
    let by_request = alone(&Asked { flag: None, ..asked });
    let expected: Vec<_> = [(by_flag, FLAG), (by_request, REQUEST)]
        .iter()
        .filter(|(by, _)| *by)
        .map(|(_, name)| *name)
        .collect();
    assert_eq!(verdict, if expected.is_empty() { Reset::No } else { Reset::ByFirmware(expected) });
    assert!(!by_request || os.get("ID").is_some_and(|id| !id.is_empty()), "a request of nobody's system");
    assert_eq!(Asked { word: Some(false), ..asked }.judge().0, Reset::No);
}

pub(crate) fn factory_reset_seeds() -> Vec<Vec<u8>> {
    let request =
        r#"{"osReleaseId":"box","osReleaseImageId":"img","bootId":"aabbccddeeff40118899aabbccddeeff"}"#;
    [
        ["yes", request, "ID=box\nIMAGE_ID=img\n"],
        ["0", &request.replace("aabbccddeeff4011", "0c9f8a5e6b7c4d1e"), "ID=box\nIMAGE_ID=img\n"],
        ["", &request.replace("\"osReleaseImageId\":\"img\",", ""), "ID=box\n"],
    ]
    .iter()
    .map(|parts| join(&parts.map(str::as_bytes)))
    .collect()
}

/// The EFI variables by which the firmware remembers boots that failed.
pub fn history(data: &[u8]) {
    let [path, past] = Input::new(data).parts().map(text);
    if let Some(tries) = Tries::of_path(&path) {
        let counter = path.rsplit_once('.').and_then(|(name, _)| Some(name.rsplit_once('+')?.1));
        assert!(
            counter.is_some_and(|counter| counter.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
        );
        assert!(!tries.to_string().contains(char::is_control));
    }
    let past = Past::of(&past);
    assert!((30..=1800).contains(&past.delay().as_secs()));
    let next = Past::after(Some(&past), "usr", &past.reason);
    assert!(next.count > past.count || next.count == 999);
    // 1 kB with the mark at the end, and what is read back is what was written.
    let kept = next.text();
    assert!(kept.encode_utf16().count() < 512 && !kept.contains(char::is_control));
    assert_eq!(Past::of(&kept).text(), kept);
}

pub(crate) fn history_seeds() -> Vec<Vec<u8>> {
    [
        ["\\EFI\\Linux\\appliance_2+2-1.efi", "1 usr: vda1 is gone"],
        ["/loader/entries/a+3.conf", "17 root: a | b"],
    ]
    .iter()
    .map(|parts| join(&parts.map(str::as_bytes)))
    .collect()
}

/// The firmware's table and the command line, as far as they bring credentials.
pub fn credentials(data: &[u8]) {
    let [table, line]: [&[u8]; 2] = Input::new(data).parts();
    let line = text(line);
    let mut all = Credentials::new();
    all.add_smbios(table);
    let firmware: Vec<(String, Vec<u8>)> = content(&all);
    all.add_command_line(&line);
    let now = content(&all);
    // The first of a name counts, before any later one.
    assert!(firmware.iter().all(|credential| now.contains(credential)));
    assert!(now.iter().all(|(name, _)| is_name(name)));
    assert!(now.iter().map(|(_, value)| value.len()).sum::<usize>() <= MAX_SIZE);
    assert!(all.problems().iter().all(|problem| !problem.contains(char::is_control)));
    let _ = are_wanted(&line);
}

fn content(all: &Credentials) -> Vec<(String, Vec<u8>)> {
    let value = |name: &str| all.get(name).map(|secret| secret.expose().to_vec()).unwrap_or_default();
    all.names().map(|name| (name.to_owned(), value(name))).collect()
}

pub(crate) fn credentials_seeds() -> Vec<Vec<u8>> {
    let table = b"\x00\x05\x00\x00\x01BIOS\0\0\x0b\x05\x01\x00\x02io.systemd.credential:a=b\0\
        io.systemd.credential.binary:c=AAEC\0\0\x7f\x04\x02\x00\0\0";
    let line =
        b"systemd.set_credential=a:x systemd.set_credential_binary=d:AAEC systemd.import_credentials=no";
    vec![join(&[table, line]), join(&[table, b""]), join(&[b"", line])]
}

/// The command line and the EFI variable that precedes it.
pub fn command_line(data: &[u8]) {
    let [line, efi] = Input::new(data).parts().map(text);
    let decided = Config::from_cmdline(&line, Some(&efi));
    if let Err(error) = &decided {
        assert!(!error.to_string().is_empty());
    }
    // A word that is not ours changes nothing; with a dot in it, it may be meant for a module, and is left to it.
    let plain = Config::from_cmdline(&line, None);
    assert_eq!(plain, Config::from_cmdline(&format!("unknown=1 {line}"), None));
    if let (Ok((config, _)), Ok((mut more, _))) =
        (plain, Config::from_cmdline(&format!("zzz.unknown=1 {line}"), None))
    {
        assert_eq!(more.module_parameters.remove(0), ("zzz".into(), "unknown=1".into()));
        assert_eq!(more, config);
    }
    for word in cmdline::words(&line) {
        assert!(!word.folded().contains('-'));
    }
}

pub(crate) fn command_line_seeds() -> Vec<Vec<u8>> {
    let hash = "0123456789abcdef".repeat(4);
    [
        &format!("BOOT_IMAGE=/vmlinuz root=gpt-auto ro quiet usrhash={hash} panic=30 console=ttyS0"),
        &format!("mount.usr=PARTUUID=11111111-2222-3333-4444-555555555555 usrhash={hash} \
            systemd.verity_usr_options=panic-on-corruption,restart-on-error systemd.verity_usr_data=/dev/vda2"),
        "root=UUID=5a1a4b84-6d5e-4b47-9b5a-0d5a1f3a7b1c rootfstype=ext4 rootflags=noatime,discard rw init=/bin/x",
        "root=tmpfs systemd.volatile=overlay systemd.machine_id=firmware rd.break rd.systemd.mask=a.service",
        "hermetic.root-policy=existing hermetic.log-level=debug hermetic.failure=halt,5s hermetic.test.x=1",
        "systemd.image_policy=usr=verity+signed:root=encrypted+absent:=ignore luks.key=/k luks.options=discard",
        "hermetic.root-polic=x",
        "loglevel=7 \"quoted words=a b\" modules_load=a,b module_blacklist=c -- not ours",
    ]
    .iter()
    .map(|line| join(&[line.as_bytes(), b"quiet root=off"]))
    .collect()
}

/// systemd.image-policy(7).
pub fn image_policy(data: &[u8]) {
    let policy = match ImagePolicy::parse(&text(data)) {
        Ok(policy) => policy,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let again = ImagePolicy::parse(&format!("usr={}:root={}", policy.usr.uses, policy.root.uses)).unwrap();
    assert_eq!((again.usr.uses, again.root.uses), (policy.usr.uses, policy.root.uses));
}

pub(crate) fn image_policy_seeds() -> Vec<Vec<u8>> {
    [
        "*",
        "-",
        "~",
        "usr=verity+signed+read-only-on:root=encrypted+unprotected+growfs-off:=ignore+absent",
        "root=open:swap=unused",
    ]
    .map(|policy| policy.as_bytes().to_vec())
    .into()
}

/// `root=` and everything else that names a device or a type.
pub fn device(data: &[u8]) {
    let text = text(data);
    match Source::parse(&text) {
        Ok(Source::Device(spec)) => {
            let written = spec.to_string();
            // fstab(5) has no way to write a value with quotes around it.
            if !written.contains(['"', '\'']) {
                assert_eq!(Source::parse(&written), Ok(Source::Device(spec)));
            }
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(number) = text.parse::<DeviceNumber>() {
        assert_eq!(number.to_string().parse(), Ok(number));
    }
    if let Some(guid) = types::parse(&text) {
        assert_eq!(types::parse(&types::Identifier(guid).to_string()), Some(guid));
    }
}

pub(crate) fn device_seeds() -> Vec<Vec<u8>> {
    [
        "PARTUUID=11111111-2222-3333-4444-555555555555",
        "PARTLABEL=\"a b\"",
        "LABEL='x'",
        "UUID=ABCD-1234",
        "/dev/disk/by-label/a\\x20b\\x2fc",
        "/dev/disk/by-partuuid/1234abcd-02",
        "/dev/block/253:0",
        "/dev/cciss/c0d0p1",
        "/dev/mapper/root",
        "gpt-auto-force",
        "PARTUUID=1-2/PARTNROFF=1",
        "nfs:server:/path",
        "253:1\n",
        "usr-x86-64-verity",
        "root-arm64",
        "esp",
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into()
}

/// os-release(5).
pub fn os_release(data: &[u8]) {
    let text = text(data);
    let fields = OsRelease::parse(&text);
    assert!(!fields.id().is_empty() && !fields.pretty_name().is_empty());
    for name in ["ID", "IMAGE_ID", "IMAGE_VERSION", "PRETTY_NAME", "1X", "BROKEN", ""] {
        assert!(fields.value(name).len() <= text.len());
    }
    assert_eq!((fields.get("1X"), fields.get("")), (None, None));
}

pub(crate) fn os_release_seeds() -> Vec<Vec<u8>> {
    vec![
        b"NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID='13'\n# comment\nIMAGE_ID=appliance\nIMAGE_VERSION=7\\ 1\n"
            .to_vec(),
        b"PRETTY_NAME=\"a \\\"quoted\\\" \\$name\"\nID=\"\nBROKEN\n=x\n1X=y\r\n".to_vec(),
    ]
}
