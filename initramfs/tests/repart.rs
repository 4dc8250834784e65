//! `hermetic repart` against systemd-repart 262: the same definitions, copies of the same disk, the same words, the same
//! table and the same refusals; the same plans.

mod common;
mod generate;

use std::{fs, path::Path, process::Command};

use common::{Scratch, tool};
use generate::{Case, Random};
use serde_json::Value;

/// Runs every case in sid's tool root: systemd-repart on one copy of the disk, hermetic on the other, sfdisk on both. It gets
/// a /proc of its own, by which systemd-repart opens its files again.
const SCRIPT: &str = r#"
head --bytes=3145728 /dev/zero | tr '\\0' x > /tmp/hermetic-blob
part() { # of the cases: every second one, beginning with the first or the second
for case in "$1"/case-??[$2]; do
    cd "$case"
    truncate --size="$(cat size)" theirs
    if [ -e table ]; then sfdisk --quiet --sector-size="$(cat block)" theirs < table || exit 3; fi
    truncate --size="$(cat grown)" theirs
    cp --sparse=always theirs ours
    eval "set -- $(cat words)"
    systemd-repart "$@" theirs > theirs.out 2> theirs.err
    echo $? > theirs.status
    ../hermetic repart "$@" ours > ours.out 2> ours.err
    echo $? > ours.status
    for side in theirs ours; do sfdisk --json --sector-size="$(cat block)" $side > $side.json 2> /dev/null; done
    sfdisk --verify --sector-size="$(cat block)" ours > ours.verify 2>&1
    rm theirs ours
    cd ..
done
}
part "$1" 02468 & even=$!
part "$1" 13579 && wait $even
"#;

/// Runs the rest in the tree `$0`, which has no mount(8), with /proc and a /var/tmp of its own.
const MOUNTED: &str =
    "mount -t proc proc \"$0/proc\" && mount -t tmpfs tmpfs \"$0/var/tmp\" && exec chroot \"$0\" \"$@\"";

/// Runs the cases and says where they lie.
fn run(name: &str, cases: &[Case]) -> Option<Scratch> {
    let scratch = Scratch::of_sid(name)?;
    fs::copy(env!("CARGO_BIN_EXE_hermetic"), scratch.host("hermetic")).unwrap();
    for (index, case) in cases.iter().enumerate() {
        case.write(&scratch.host(&format!("case-{index:03}")));
    }
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", MOUNTED])
        .arg(scratch.root())
        .args(["sh", "-c", SCRIPT, "sh", &scratch.inside("")])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .status();
    assert!(status.unwrap().success());
    Some(scratch)
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

/// The table of a disk by sfdisk, without the disk's name.
fn table(directory: &Path, side: &str) -> Value {
    let text = read(directory, &format!("{side}.json"));
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(&text.replace(&format!("\"{side}"), "\"disk")).unwrap()
}

#[test]
fn tables_and_refusals_are_those_of_systemd_repart() {
    let mut random = Random::new(0x00c0_ffee_1234_5678);
    let cases: Vec<Case> = (0..540).map(|_| Case::random(&mut random)).collect();
    let Some(scratch) = run("repart", &cases) else { return };
    let (mut equal, mut refused, mut unchanged, mut aborted, mut differ) = (0, 0, 0, 0, Vec::new());
    for (index, case) in cases.iter().enumerate() {
        let directory = scratch.host(&format!("case-{index:03}"));
        let statuses = ["theirs", "ours"].map(|side| read(&directory, &format!("{side}.status")));
        let mut tables = ["theirs", "ours"].map(|side| table(&directory, side));
        // 262 trips over assertions, as of a partition without label that cannot grow and stays as it is.
        if statuses[0] == "134\n" {
            aborted += 1;
            continue;
        }
        // 262 has let the table take the space that --size= adds before it refuses; we have written nothing.
        if statuses == ["1\n", "1\n"] && case.words.iter().any(|word| word.starts_with("--size=")) {
            for table in &mut tables {
                if let Some(fields) = table.get_mut("partitiontable").and_then(Value::as_object_mut) {
                    fields.remove("lastlba");
                }
            }
        }
        if statuses[0] != statuses[1] || tables[0] != tables[1] {
            differ.push(format!(
                "case {index}: {case:?}\ntheirs {}{}{}\nours {}{}{}\n",
                statuses[0],
                read(&directory, "theirs.err"),
                tables[0],
                statuses[1],
                read(&directory, "ours.err"),
                tables[1],
            ));
            continue;
        }
        if statuses[0] != "0\n" {
            let said = ["theirs", "ours"].map(|side| read(&directory, &format!("{side}.err")));
            let about_space = [said[0].contains("Can't fit requested"), said[1].contains("needs")];
            assert_eq!(about_space[0], about_space[1], "case {index}: {said:?}");
            refused += 1;
        } else if read(&directory, "ours.err").contains("No changes.") {
            unchanged += 1;
        } else {
            let verified = read(&directory, "ours.verify");
            assert!(verified.contains("No errors detected"), "case {index}: {verified}");
            equal += 1;
        }
    }
    eprintln!(
        "{equal} equal tables, {unchanged} equally unchanged, {refused} equal refusals; systemd-repart aborted in {aborted}"
    );
    assert!(
        differ.is_empty(),
        "{} differ, the first ones:\n{}",
        differ.len(),
        differ[..differ.len().min(9)].join("\n")
    );
    assert!(equal >= 300 && refused >= 40 && unchanged >= 10 && aborted <= 5, "the cases are one-sided");
}

/// The intended differences: the request, the result of 262, the result by its own manual (or by our rule).
#[test]
fn disagreements_are_those_that_are_listed() {
    let plain = |definitions: &[(&str, &str)]| Case {
        definitions: definitions
            .iter()
            .map(|(name, text)| (format!("{name}.conf"), (*text).to_owned()))
            .collect(),
        words: vec!["--dry-run=no".into(), "--empty=force".into()],
        ..Case::empty(200 << 20)
    };
    let cases = [
        // repart.d(5): GrowFileSystem= overrides the default; the code of 262 sets the bit with any value.
        plain(&[("50-root", "Type=root\nGrowFileSystem=no\n")]),
        // repart.d(5): Flags= are the partition's flags; 262 loses all of them when one is below bit 48.
        plain(&[("50-root", "Type=root\nFlags=4\n")]),
        // repart.d(5): SizeMinBytes= uses the larger of the two values; the code takes an unset one for the larger.
        plain(&[
            ("10-esp", "Type=esp\nSizeMinBytes=60M\nWeight=0\n"),
            ("20-boot", "Type=xbootldr\nSupplementFor=10-esp\nWeight=0\n"),
            ("30-home", "Type=home\n"),
        ]),
        // A word of policy that is not understood refuses, where systemd reads over it.
        plain(&[("50-root", "Type=root\nEncrypt=perhaps\n")]),
        plain(&[("50-root", "Type=root\nVerity=perhaps\n")]),
        plain(&[("50-root", "Type=root\nCopyBlocks=relative\n")]),
        // A damaged file is not a policy.
        plain(&[("50-root", "Type=root\nwords\n")]),
    ];
    let Some(scratch) = run("repart-apart", &cases) else { return };
    let place = |index: usize| scratch.host(&format!("case-{index:03}"));
    let first =
        |index: usize, side: &str| table(&place(index), side)["partitiontable"]["partitions"][0].clone();
    assert_eq!((&first(0, "theirs")["attrs"], &first(0, "ours")["attrs"]), (&"GUID:59".into(), &Value::Null));
    let bootable = Value::from("LegacyBIOSBootable GUID:59");
    assert_eq!((&first(1, "theirs")["attrs"], &first(1, "ours")["attrs"]), (&Value::Null, &bootable));
    let sectors = |side: &str| first(2, side)["size"].as_u64().unwrap();
    assert_eq!((sectors("theirs"), sectors("ours")), (10 << 11, 60 << 11));
    for index in 3..7 {
        let statuses = ["theirs", "ours"].map(|side| read(&place(index), &format!("{side}.status")));
        assert_eq!(statuses, ["0\n", "1\n"], "case {index}");
        assert_eq!(table(&place(index), "ours"), Value::Null, "case {index}");
    }
}

/// The definitions of ParticleOS in /usr/lib/repart.d, without the copying: /usr twice with dm-verity and its
/// signature, swap and root that the TPM opens, home.
const PARTICLE: [(&str, &str); 10] = [
    ("00-esp", "Type=esp\nFormat=vfat\nSizeMinBytes=1G\nSizeMaxBytes=1G\n"),
    (
        "10-usr-verity-sig",
        "Type=usr-verity-sig\nLabel=ParticleOS_1_verity_sig\nSizeMinBytes=16K\nSizeMaxBytes=16K\n",
    ),
    ("11-usr-verity", "Type=usr-verity\nLabel=ParticleOS_1_verity\nSizeMinBytes=100M\nSizeMaxBytes=100M\n"),
    ("12-usr", "Type=usr\nLabel=ParticleOS_1\nSizeMinBytes=5G\nSizeMaxBytes=5G\nReadOnly=yes\n"),
    ("20-usr-verity-sig", "Type=usr-verity-sig\nLabel=_empty\nSizeMinBytes=16K\nSizeMaxBytes=16K\n"),
    ("21-usr-verity", "Type=usr-verity\nLabel=_empty\nSizeMinBytes=100M\nSizeMaxBytes=100M\n"),
    ("22-usr", "Type=usr\nLabel=_empty\nSizeMinBytes=5G\nSizeMaxBytes=5G\nReadOnly=yes\n"),
    (
        "30-swap",
        "Type=swap\nFormat=swap\nEncrypt=tpm2\nSizeMinBytes=64M\nSizeMaxBytes=4G\nPriority=1\nWeight=250\nFactoryReset=yes\n",
    ),
    (
        "40-root",
        "Type=root\nFormat=btrfs\nEncrypt=tpm2\nSizeMinBytes=2G\nFactoryReset=yes\nSubvolumes=/var\nMakeDirectories=/var\nDefaultSubvolume=/var\nWeight=500\n",
    ),
    ("50-home", "Type=home\nFormat=btrfs\nEncrypt=tpm2\nSizeMinBytes=2G\nFactoryReset=yes\nWeight=2000\n"),
];

#[test]
fn plans_of_particleos_are_those_of_systemd_repart() {
    let mut cases = Vec::new();
    for size in [32_u64 << 30, 512 << 30] {
        for block in [512, 4096] {
            for installed in [false, true] {
                let mut case = Case { block, ..Case::empty(size) };
                case.definitions = PARTICLE
                    .iter()
                    .map(|(name, text)| (format!("{name}.conf"), (*text).to_owned()))
                    .collect();
                // An installed machine has the partitions of the image; the rest is to be made.
                let unit = (1 << 20) / u64::from(block);
                let gib = (1 << 30) / u64::from(block);
                case.table = installed.then(|| {
                    format!(
                        "label: gpt\nstart={unit}, size={gib}, type=U\n\
                         start={}, size={}, type=E7BB33FB-06CF-4E81-8273-E543B413E2E2, name=\"ParticleOS_1_verity_sig\"\n\
                         start={}, size={}, type=77FF5F63-E7B6-4633-ACF4-1565B864C0E6, name=\"ParticleOS_1_verity\"\n\
                         start={}, size={}, type=8484680C-9521-48C6-9C11-B0720656F69E, name=\"ParticleOS_1\"\n",
                        gib + 2 * unit,
                        16384 / u64::from(block),
                        gib + 4 * unit,
                        100 * unit,
                        gib + 200 * unit,
                        5 * gib,
                    )
                });
                case.words =
                    vec!["--json=short".into(), format!("--sector-size={block}"), "--dry-run=yes".into()];
                if !installed {
                    case.words.push("--empty=allow".into());
                }
                cases.push(case);
            }
        }
    }
    let Some(scratch) = run("repart-particle", &cases) else { return };
    for index in 0..cases.len() {
        let directory = scratch.host(&format!("case-{index:03}"));
        let plans = ["theirs", "ours"].map(|side| {
            assert_eq!(
                read(&directory, &format!("{side}.status")),
                "0\n",
                "{}",
                read(&directory, &format!("{side}.err"))
            );
            let out = read(&directory, &format!("{side}.out")).replace(side, "disk");
            serde_json::from_str::<Value>(&out).unwrap()
        });
        assert!(plans[0].as_array().unwrap().len() >= 10, "{}", plans[0]);
        assert_eq!(plans[0], plans[1], "case {index}");
    }
    assert!(tool("systemd-repart").is_some());
}

/// The output for people: the table before the change and the bar below it, with and without the head; and the answer
/// to --can-factory-reset, which is an exit status.
#[test]
fn what_is_shown_is_what_systemd_repart_shows() {
    let unit = |definitions: &[(&str, &str)], words: &[&str], table: Option<&str>| Case {
        definitions: definitions
            .iter()
            .map(|(name, text)| (format!("{name}.conf"), (*text).to_owned()))
            .collect(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        table: table.map(str::to_owned),
        ..Case::empty(200 << 20)
    };
    let home =
        "label: gpt\nstart=2048, size=102400, type=933AC7E1-2EB4-4F13-B844-0E14E2AEF915, name=\"old home\"\n";
    let stays = [("40-root", "Type=root\nSizeMinBytes=64M\n"), ("50-home", "Type=home\n")];
    let goes = [("40-root", "Type=root\n"), ("50-home", "Type=home\nFactoryReset=yes\n")];
    let pretty = ["--pretty=yes", "--dry-run=yes"];
    let cases = [
        unit(&stays, &[&pretty[..], &["--empty=allow"]].concat(), None),
        unit(&stays, &pretty, Some(home)),
        unit(&stays, &[&pretty[..], &["--no-legend"]].concat(), Some(home)),
        unit(&stays, &["--dry-run=yes", "--pretty=no"], Some(home)),
        unit(&goes, &["--can-factory-reset"], Some(home)),
        unit(&stays, &["--can-factory-reset"], Some(home)),
        unit(&goes, &["--can-factory-reset"], Some("label: gpt\n")),
        // Without writing 262 does not see that the disk has grown; the plan here is the one that would be carried out.
        Case { grown: 300 << 20, ..unit(&stays, &pretty, Some(home)) },
        // systemd-repart(8): off when the output is not a terminal; the code of 262 shows it there as well.
        unit(&stays, &["--dry-run=yes"], Some(home)),
    ];
    let (grown, unseen) = (cases.len() - 2, cases.len() - 1);
    let Some(scratch) = run("repart-shown", &cases) else { return };
    let of = |index: usize, side: &str, what: &str| {
        read(&scratch.host(&format!("case-{index:03}")), &format!("{side}.{what}"))
    };
    for index in 0..grown {
        assert_eq!(of(index, "ours", "status"), of(index, "theirs", "status"), "case {index}");
        assert_eq!(of(index, "ours", "out"), of(index, "theirs", "out"), "case {index}");
    }
    let shows = |index: usize, text: &str| of(index, "theirs", "out").contains(text);
    assert!(shows(1, "LABEL") && shows(1, "old home") && !shows(2, "LABEL") && !shows(3, "old home"));
    let resets = [4, 5, 6].map(|index| of(index, "theirs", "status"));
    assert_eq!(resets, ["0\n", "1\n", "1\n"]);
    assert!(shows(unseen, "old home") && of(unseen, "ours", "out").is_empty());
    assert!(
        of(grown, "theirs", "out").contains("S = 198.9M") && of(grown, "ours", "out").contains("S = 298.9M")
    );
}

/// The machine id and the names of a root that has them behind links from /: UUIDs and labels follow from its own files, not
/// from those that the links lead to outside.
#[test]
fn the_identity_of_a_root_is_behind_links_that_stay_in_it() {
    let Some(scratch) = Scratch::of_sid("repart-identity") else { return };
    fs::copy(env!("CARGO_BIN_EXE_hermetic"), scratch.host("hermetic")).unwrap();
    let root = scratch.host("root");
    for directory in ["etc", "ids", "usr/lib/repart.d"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("ids/machine"), "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::write(root.join("usr/lib/os-release"), "ID=inside\nVERSION_ID=42\n").unwrap();
    std::os::unix::fs::symlink("/ids/machine", root.join("etc/machine-id")).unwrap();
    std::os::unix::fs::symlink("/usr/lib/os-release", root.join("etc/os-release")).unwrap();
    fs::write(root.join("usr/lib/repart.d/50-home.conf"), "[Partition]\nType=home\nLabel=%o %w\n").unwrap();
    fs::write(root.join("usr/lib/repart.d/60-srv.conf"), "[Partition]\nType=srv\nLabel=%m\n").unwrap();
    let script = r#"
cd "$1"
set -- --root="$1/root" --empty=create --size=100M --dry-run=no
systemd-repart "$@" theirs || exit 3
./hermetic repart "$@" ours || exit 4
for side in theirs ours; do sfdisk --json $side > $side.json; done
"#;
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", MOUNTED])
        .arg(scratch.root())
        .args(["sh", "-c", script, "sh", &scratch.inside("")])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .status();
    assert!(status.unwrap().success());
    let [theirs, ours] = ["theirs", "ours"].map(|side| table(&scratch.host(""), side));
    let label = |number: usize| theirs["partitiontable"]["partitions"][number]["name"].as_str();
    assert_eq!([0, 1].map(label), [Some("inside 42"), Some("0123456789abcdef0123456789abcdef")]);
    assert_eq!(theirs, ours);
}

/// An encrypted partition of an image, opened by cryptsetup without the kernel: it decrypts the volume in place.
#[test]
fn an_encrypted_file_system_is_sound_to_cryptsetup_and_e2fsck() {
    let Some(scratch) = Scratch::new("repart-luks") else { return };
    fs::create_dir_all(scratch.host("defs")).unwrap();
    let text = "[Partition]\nType=root\nEncrypt=key-file\nLabel=mine\nSizeMinBytes=96M\nSizeMaxBytes=96M\n";
    fs::write(scratch.host("defs/50-root.conf"), text).unwrap();
    fs::write(scratch.host("key"), [7; 64]).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_hermetic"))
        .args([
            "repart",
            "--empty=create",
            "--size=auto",
            "--json=short",
            "--seed=750b6cd5c4ae4012a15e7be3c29e6a47",
        ])
        .arg(format!("--key-file={}", scratch.host("key").display()))
        .arg(format!("--definitions={}", scratch.host("defs").display()))
        .arg(scratch.host("disk"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let plan: Value = serde_json::from_slice(&made.stdout).unwrap();
    let number = |name: &str| plan[0][name].as_u64().unwrap();
    let (offset, size) = (number("offset"), number("raw_size"));
    let disk = fs::read(scratch.host("disk")).unwrap();
    fs::write(scratch.host("volume"), &disk[offset as usize..(offset + size) as usize]).unwrap();
    let run = |name: &str, words: &[&str]| {
        let output = tool(name).unwrap().args(words).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (volume, header, key) = (scratch.inside("volume"), scratch.inside("header"), scratch.inside("key"));
    let words = ["reencrypt", "--decrypt", "--force-offline-reencrypt", "--batch-mode", "--key-file", &key];
    run("cryptsetup", &[&words[..], &["--header", &header, &volume]].concat());
    run("e2fsck", &["-fn", &volume]);
    let listed = run("dumpe2fs", &["-h", &volume]);
    // systemd derives this from the partition's UUID with the token "file-system-uuid".
    let guid = uuid::Uuid::parse_str(plan[0]["uuid"].as_str().unwrap()).unwrap();
    let fs_uuid = hermetic_init::repart::file_system_uuid(guid).to_string();
    assert!(listed.contains(&fs_uuid) && listed.contains("mine"), "{listed}");
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let scratch = common::Scratch::here("refused");
    let (disk, defs) = (scratch.host("disk"), scratch.host("defs"));
    fs::create_dir_all(&defs).unwrap();
    let program = scratch.host("hermetic");
    fs::copy(env!("CARGO_BIN_EXE_hermetic"), &program).unwrap();
    let repart = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["repart", "--dry-run=no"]).arg(format!("--definitions={}", defs.display())).args(words);
        command
    };
    let definition =
        |text: &str| fs::write(defs.join("50-root.conf"), format!("[Partition]\nType=root\n{text}")).unwrap();
    let before = vec![0_u8; 64 << 20];
    fs::write(&disk, &before).unwrap();
    fs::set_permissions(&disk, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let refuses = |mut command: Command, says: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(says), "{says:?}: {output:?}");
        assert!(fs::read(&disk).unwrap() == before, "{says:?}: the disk was changed");
    };
    let path = disk.display().to_string();
    let image = format!("--image={path}");
    definition("");
    refuses(repart(&["--empty=force", &image]), "say --seed=ID or --seed=random with --image=");
    definition("CopyFiles=/etc\n");
    refuses(
        repart(&["--empty=force", "--seed=random", &image]),
        "50-root.conf: CopyFiles= would copy from the image",
    );
    // A user without the right to mount gets the error before the disk is cleared.
    let mut nobody = repart(&["--empty=force", "--seed=random", &path]);
    std::os::unix::process::CommandExt::uid(&mut nobody, 65_534);
    refuses(nobody, "cannot fill a file system with files");
    // Facts of the host are not facts of the image.
    definition("Label=of-%m\n");
    let output = repart(&["--empty=force", "--seed=random", "--json=short", &image]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("50-root.conf:3:"), "{output:?}");
    // A source that is the image itself is read under the image's own lock.
    fs::write(&disk, &before).unwrap();
    definition("SizeMaxBytes=8M\n");
    assert!(repart(&["--empty=force", "--seed=random", &image]).status().unwrap().success());
    fs::write(defs.join("60-root.conf"), "[Partition]\nType=root\nCopyBlocks=auto\n").unwrap();
    let twice = repart(&["--seed=random", "--json=short", &image]).output().unwrap();
    let rows: Value = serde_json::from_slice(&twice.stdout).unwrap();
    assert!(
        twice.status.success() && rows[1]["activity"] == "create" && rows[1]["uuid"] == rows[0]["uuid"],
        "{twice:?}"
    );
    fs::remove_file(defs.join("60-root.conf")).unwrap();
    // A lock that is held for a moment is waited for.
    fs::write(&disk, &before).unwrap();
    let held = fs::File::open(&disk).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockShared).unwrap();
    let mut waits = repart(&["--empty=force", "--seed=random", &path]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(waits.try_wait().unwrap().is_none(), "the lock was not waited for");
    drop(held);
    assert!(waits.wait().unwrap().success());
}
