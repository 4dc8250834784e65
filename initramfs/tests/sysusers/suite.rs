//! systemd 257's own suites, with our tool in the place of theirs.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bench::executable,
    common::{Scratch, skip},
};

/// As Debian configures systemd (`meson`): the values for the suite's template.
const CONFIGURATION: [(&str, &str); 4] = [
    ("@SYSTEM_UID_MAX@", "999"),
    ("@SYSTEM_GID_MAX@", "999"),
    ("@NOLOGIN@", "/usr/sbin/nologin"),
    ("@ENABLE_COMPAT_MUTABLE_UID_BOUNDARIES@", "0"),
];

fn source() -> Option<PathBuf> {
    let source = env::var_os("HERMETIC_SYSTEMD_SOURCE").map(PathBuf::from);
    if source.is_none() {
        skip("HERMETIC_SYSTEMD_SOURCE");
    }
    source
}

/// `test/test-sysusers.sh`: 16 inputs from files, stdin, with --replace, with login.defs, --inline, and wrong ones.
#[test]
fn test_sysusers_sh() {
    let Some(source) = source() else { return };
    let scratch = Scratch::here("suite");
    let mut script = fs::read_to_string(source.join("test/test-sysusers.sh.in")).unwrap();
    for (name, value) in CONFIGURATION {
        script = script.replace(name, value);
    }
    let data = source.join("test").display().to_string();
    script = script.replace("@SYSTEMD_TEST_DATA@", &data);
    assert!(!script.contains("=@") && !script.contains("[ @"), "the template asks for more:\n{script}");
    let path = scratch.host("test-sysusers.sh");
    executable(&path, &script);
    symlink(env!("CARGO_BIN_EXE_hermetic"), scratch.host("systemd-sysusers")).unwrap();
    let run = |tool: &Path| Command::new("bash").arg(&path).arg(tool).output().unwrap();
    let output = run(&scratch.host("systemd-sysusers"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let cases = said.lines().filter(|line| line.starts_with("*** ")).count();
    assert!(
        output.status.success(),
        "after {cases} cases:\n{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(cases, 91, "{said}");
    // A tool that does nothing does not pass.
    assert!(!run(Path::new("/bin/true")).status.success());
}

/// `TEST-74-AUX-UTILS.sysusers.sh`, in a throw-away copy of the tool root where our tool comes first: it works on the
/// machine's own root, userdbctl and jq say whether the locked user is locked, and a name service that does not answer
/// does not matter.
#[test]
fn test_74_aux_utils_sysusers_sh() {
    const SCRIPT: &str = r#"
        set -eu
        mount -t overlay overlay -o "lowerdir=$EXTRA:$TOOLS,upperdir=$PLACE/upper,workdir=$PLACE/work" "$PLACE/root"
        mount -t proc proc "$PLACE/root/proc"
        mkdir -p "$PLACE/root/run/systemd/userdb" "$PLACE/root/usr/local/sbin" "$PLACE/root/test"
        cp -r "$SOURCE/test/units" "$PLACE/root/test/"
        cp "$HERMETIC" "$PLACE/root/usr/local/sbin/systemd-sysusers"
        exec chroot "$PLACE/root" bash -euc '
            systemd-sysusers --version | grep -q hermetic
            bash /test/units/TEST-74-AUX-UTILS.sysusers.sh'
    "#;
    let (Some(source), Some(tools)) = (source(), env::var_os("HERMETIC_TOOLS")) else { return };
    let Some(extra) = env::var_os("HERMETIC_JUDGES") else {
        skip("HERMETIC_JUDGES");
        return;
    };
    let scratch = Scratch::here("test-74");
    for name in ["upper", "work", "root"] {
        fs::create_dir(scratch.host(name)).unwrap();
    }
    let output = Command::new("unshare")
        .args(["--mount", "bash", "-c", SCRIPT])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs([
            ("EXTRA", extra),
            ("TOOLS", tools),
            ("SOURCE", source.into()),
            ("PLACE", scratch.host("").into()),
        ])
        .env("HERMETIC", env!("CARGO_BIN_EXE_hermetic"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    // The last command of the suite.
    assert!(said.contains("grep -q foobarbaz /etc/passwd"), "{said}");
}
