//! `AddValidateFS=` in `hermetic repart`, as debugfs sees the result.

mod common;

use std::{fs, process::Command};

use common::{Scratch, tool};
use serde_json::Value;

/// By default where it is possible, and refused when it is requested and not possible. Takes root and loop devices.
#[test]
fn a_new_file_system_says_where_it_belongs() {
    let Some(scratch) = Scratch::new("repart-validate") else { return };
    fs::create_dir_all(scratch.host("defs")).unwrap();
    fs::write(scratch.host("key"), [7; 64]).unwrap();
    let define = |name: &str, text: &str| {
        let text = format!("[Partition]\nSizeMinBytes=40M\nSizeMaxBytes=40M\nFormat=ext4\n{text}");
        fs::write(scratch.host(&format!("defs/{name}.conf")), text).unwrap();
    };
    let make = || {
        Command::new(env!("CARGO_BIN_EXE_hermetic"))
            .args(["repart", "--empty=create", "--size=auto", "--json=short", "--seed=random"])
            .arg(format!("--key-file={}", scratch.host("key").display()))
            .arg(format!("--definitions={}", scratch.host("defs").display()))
            .arg(scratch.host("disk"))
            .output()
            .unwrap()
    };
    define("10-home", "Type=home\n");
    define("20-data", "Type=linux-generic\nLabel=mine\nMountPoint=/a\nMountPoint=/b\nMakeDirectories=/x\n");
    define("30-srv", "Type=srv\nAddValidateFS=no\n");
    define("40-var", "Type=var\nEncrypt=key-file\n");
    let made = make();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    assert!(said.contains("40-var.conf: no attributes that say where it belongs"), "{said}");
    let plan: Value = serde_json::from_slice(&made.stdout).unwrap();
    let home = [r#"(4) = "home""#, r#"(36) = "933ac7e1-2eb4-4f13-b844-0e14e2aef915""#, r#"(5) = "/home""#];
    // debugfs prints a value with a NUL in hexadecimal.
    let data =
        [r#"(4) = "mine""#, r#"(36) = "0fc63daf-8483-4772-8e79-3d69d8477de4""#, "(5) = 2f 61 00 2f 62 "];
    for (index, expected) in [(0, Some(home)), (1, Some(data)), (2, None)] {
        let place = format!("{}?offset={}", scratch.inside("disk"), plan[index]["offset"]);
        let debugfs = |request: &str| {
            let output = tool("debugfs").unwrap().args(["-R", request, &place]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let all = debugfs("ea_list <2>");
        for (at, name) in ["gpt_label", "gpt_type_uuid", "mount_point"].into_iter().enumerate() {
            let Some(expected) = expected else {
                assert!(!all.contains("validatefs"), "{all}");
                continue;
            };
            let line = format!("  user.validatefs.{name} {}", expected[at]);
            assert!(all.lines().any(|said| said == line), "{line} is not in\n{all}");
        }
    }
    fs::remove_file(scratch.host("disk")).unwrap();
    define("40-var", "Type=var\nEncrypt=key-file\nAddValidateFS=yes\n");
    let refused = make();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("40-var.conf:7: AddValidateFS=yes is not"), "{said}");
    assert!(!scratch.host("disk").exists());
}
