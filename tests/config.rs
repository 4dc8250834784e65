//! The command line, compared with how systemd reads it: its fstab-generator, and systemd-analyze for the image policy.

mod common;

use std::{collections::BTreeMap, fs, process::Command};

use common::{Scratch, tool};
use hermetic_init::config::device_spec::{DeviceSpec, Source};
use hermetic_init::config::{Config, ImagePolicy, Mount, PartitionPolicy, RootSource, Uses, UsrSource};

/// The words that the generator wrote into a mount unit: What=, Type= and the words of Options=.
#[derive(PartialEq, Eq, Debug)]
struct Unit {
    what: String,
    fstype: Option<String>,
    options: Vec<String>,
}

/// Runs systemd's fstab-generator for the initramfs on this command line; None without the tool root.
fn generate(cmdline: &str) -> Option<BTreeMap<String, Unit>> {
    let scratch = Scratch::new()?;
    // It is not a program on the search path, so `env` calls it, which has to set its environment inside the root
    // anyway.
    let mut command: Command = tool("env")?;
    let directory = scratch.inside("units");
    fs::create_dir(scratch.host("units")).unwrap();
    let output = command
        .args(["SYSTEMD_IN_INITRD=1", &format!("SYSTEMD_PROC_CMDLINE={cmdline}")])
        .arg("/usr/lib/systemd/system-generators/systemd-fstab-generator")
        .args([&directory, &directory, &directory])
        .output()
        .unwrap();
    assert!(output.status.success(), "{cmdline}: {output:?}");
    let units = fs::read_dir(scratch.host("units")).unwrap().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().unwrap().strip_suffix(".mount")?.to_string();
        let text = fs::read_to_string(entry.path()).unwrap();
        let get =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(|it| it.replace("%%", "%"));
        let options = get("Options=").unwrap_or_default();
        let options = options.split(',').filter(|word| !word.is_empty()).map(String::from).collect();
        Some((name, Unit { what: get("What=").unwrap(), fstype: get("Type="), options }))
    });
    Some(units.collect())
}

/// The name below /dev that udev gives a device.
fn node(device: &DeviceSpec) -> String {
    let encoded = |text: &str| -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii();
        text.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\x{:02x}", c as u32) }).collect()
    };
    match device {
        DeviceSpec::Name(name) => format!("/dev/{name}"),
        DeviceSpec::Number(number) => format!("/dev/block/{number}"),
        DeviceSpec::Uuid(text) => format!("/dev/disk/by-uuid/{}", encoded(text)),
        DeviceSpec::Label(text) => format!("/dev/disk/by-label/{}", encoded(text)),
        DeviceSpec::PartUuid(text) => format!("/dev/disk/by-partuuid/{}", encoded(text)),
        DeviceSpec::PartLabel(text) => format!("/dev/disk/by-partlabel/{}", encoded(text)),
    }
}

fn compare(cmdline: &str, name: &str, unit: &Unit, what: &str, mount: &Mount) {
    // Version 257 leaves the case of a PARTUUID to udev.
    assert!(unit.what.eq_ignore_ascii_case(what), "{cmdline}: {name}: {} is not {what}", unit.what);
    assert_eq!(unit.fstype, mount.fstype, "{cmdline}: {name}");
    let options: Vec<_> = unit
        .options
        .iter()
        .filter(|word| !matches!(word.as_str(), "ro" | "rw") && !word.starts_with("x-"))
        .collect();
    assert_eq!(options, mount.options.iter().collect::<Vec<_>>(), "{cmdline}: {name}");
    let last = unit.options.iter().rev().find(|word| matches!(word.as_str(), "ro" | "rw"));
    assert_eq!(last.map(|word| word == "rw"), Some(mount.read_write), "{cmdline}: {name}");
}

/// The command lines say ro or rw, or name neither: there we mount the root rw and systemd ro, on purpose.
#[test]
fn root_and_usr_are_what_the_fstab_generator_mounts() {
    const HASH: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
    let lines = [
        "root=/dev/vda3 rw",
        "root=/dev/vda3 root=/dev/vda4 ro",
        "root=\"LABEL=my root\" rootflags=noatime rootflags=discard rootfstype=ext4 rw",
        "root=LABEL='a\"b' rw ro",
        "ro root=PARTUUID=8484680C-9521-48C6-9C11-B0720656F69E rw",
        "root=UUID=ABCD-1234 rootflags=ro",
        "root=PARTLABEL=root_1.2+3 rootflags=rw,x-foo",
        "root=/dev/vda3 rootflags=rw,commit=5 ro",
        "root=/dev/vda3 rootflags=ro rw rootfstype=btrfs rootfstype=ext4",
        "root=/dev/disk/by-label/my\\x20root rw",
        "root=/dev/vda3 ro mount.usr=/dev/vda1",
        "root=/dev/vda3 ro mount.usr=PARTLABEL=usr mount.usrfstype=erofs mount.usrflags=a mount.usrflags=b",
        "root=/dev/vda3 ro rootfstype=ext4 rootflags=noatime mount.usr=UUID=ABCD-1234",
        "root=/dev/vda3 ro mount.usr=/dev/vda1 mount.usrflags=rw",
        "root=/dev/vda3 ro rootfstype=btrfs rootflags=subvol=root mount.usrflags=subvol=usr",
        "root=/dev/vda3 ro mount.usrfstype=btrfs",
        &format!("root=/dev/vda3 ro usrhash={HASH}"),
        &format!("root=/dev/vda3 ro mount.usr=/dev/mapper/usr mount.usrfstype=erofs usrhash={HASH}"),
        &format!("root=/dev/vda3 ro systemd.verity=yes rootflags=noatime usrhash={HASH}"),
        "root=/dev/vda3 root= ro",
        "root=gpt-auto ro",
    ];
    let mut compared = 0;
    for cmdline in lines {
        let Some(units) = generate(cmdline) else { return };
        let (config, warnings) = Config::from_cmdline(cmdline, None).unwrap();
        assert_eq!(warnings, [], "{cmdline}");
        match (&config.root.source, units.get("sysroot")) {
            (RootSource::Auto, None) => {}
            (RootSource::Device(device), Some(unit)) => {
                compare(cmdline, "root", unit, &node(device), &config.root.mount);
            }
            different => panic!("{cmdline}: {different:?}"),
        }
        match (&config.usr, units.get("sysusr-usr")) {
            (usr, None) => assert_eq!((&usr.source, &usr.verity), (&UsrSource::Auto, &None), "{cmdline}"),
            (usr, Some(unit)) => {
                let what = match &usr.source {
                    UsrSource::Device(device) => node(device),
                    UsrSource::Auto => "/dev/mapper/usr".into(),
                };
                compare(cmdline, "usr", unit, &what, &usr.mount);
            }
        }
        compared += 1;
    }
    assert_eq!(compared, lines.len());
}

/// The requests that the generator leaves to the network are those that are refused here.
#[test]
fn what_systemd_leaves_to_others_is_refused() {
    for root in [
        "nfs:10.0.0.1:/srv/root",
        "nfs4:server:/root",
        "dhcp",
        "10.0.0.1:/srv/root",
        "/srv/root",
        "cifs://a/b",
    ] {
        let Some(units) = generate(&format!("root={root}")) else { return };
        assert!(!units.contains_key("sysroot"), "{root}: {units:?}");
        assert!(Source::parse(root).is_err(), "{root}");
    }
}

/// Every policy with up to two flags for /usr, with a root entry and with defaults; and what systemd does not accept.
#[test]
fn image_policies_mean_what_systemd_says() {
    let flags = [
        "verity",
        "signed",
        "encrypted",
        "unprotected",
        "unused",
        "absent",
        "open",
        "ignore",
        "read-only-on",
    ];
    let mut policies: Vec<String> =
        ["*", "-", "~", "usr=-:=absent", "root=:=absent", "=verity", "usr", "usr=veritas"]
            .iter()
            .chain(&[
                "usr=verity:usr=signed",
                "usr=verity:",
                "=open:=open",
                "usr=verity++signed",
                "usr= verity + signed ",
            ])
            .map(ToString::to_string)
            .collect();
    for one in flags {
        policies.push(format!("usr={one}:root={one}+absent"));
        policies.extend(flags.iter().map(|other| format!("usr={one}+{other}:=unprotected+growfs-off")));
    }
    for text in policies {
        let Some(mut analyze) = tool("systemd-analyze") else { return };
        let output = analyze.args(["image-policy", "--", &text]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        match ImagePolicy::parse(&text) {
            Err(error) => assert!(!output.status.success(), "{text}: we say {error}, systemd: {shown}"),
            Ok(policy) => {
                assert!(output.status.success(), "{text}: {:?}", output.stderr);
                for (name, policy) in [("usr", policy.usr), ("root", policy.root)] {
                    assert_eq!(row(&shown, name), expected(policy), "{text}: {name}\n{shown}");
                }
            }
        }
    }
}

/// MODE, READ-ONLY and GROWFS of the table's row for a partition.
fn row(table: &str, name: &str) -> [String; 3] {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.len() == 4 && row[0] == name).unwrap();
    [1, 2, 3].map(|column| row[column].to_string())
}

fn expected(policy: PartitionPolicy) -> [String; 3] {
    let demand = |flag: Option<bool>| flag.map_or("-", |on| if on { "yes" } else { "no" }).to_string();
    let mode = match policy.uses {
        Uses::OPEN => "open".to_string(),
        Uses::IGNORE => "ignore".to_string(),
        uses => uses.to_string(),
    };
    // A partition that must be absent has no attributes.
    match policy.uses {
        Uses::ABSENT => [mode, "-".into(), "-".into()],
        _ => [mode, demand(policy.read_only), demand(policy.growfs)],
    }
}
