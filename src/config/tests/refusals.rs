//! The words that are passed over with a warning, and those that refuse.

use super::*;

#[test]
fn words_that_are_left_out_of_account_warn() {
    for text in [
        "root",
        "mount.usr",
        "rd.emergency",
        "rd.emergency=shell",
        "rd.break=pre-mount",
        "panic=soon",
        "systemd.machine_id=123",
        "systemd.machine_id=00000000000000000000000000000000",
        "init=relative",
        "rd.luks.name=a=b",
    ] {
        let (_, warnings) = Config::from_cmdline(text, None).unwrap();
        assert_eq!(warnings.iter().map(|warning| warning.word.as_str()).collect::<Vec<_>>(), [text]);
    }
}

#[test]
fn policy_that_we_do_not_understand_or_cannot_do_refuses() {
    for (text, why) in [
        (
            "hermetic.on-falure=halt",
            "hermetic.on-falure=halt is no option of hermetic-init; correct it or leave it out",
        ),
        ("hermetic.log=loud", "hermetic.log=loud: is not known; write err, info, debug"),
        ("hermetic.log", "hermetic.log: is not known; write err, info, debug"),
        ("hermetic.root-policy=lax", "write strict, existing"),
        ("hermetic.device-timeout=1h", "is no number of seconds"),
        ("hermetic.init=sh", "is no absolute path"),
        ("hermetic.key-file=/", "is no absolute path"),
        ("usrhash=xyz", "a root hash has"),
        ("usrhash=abc", "a root hash has"),
        ("usrhash=abcd", "a root hash has"),
        ("roothash=abcd", "use usrhash="),
        ("systemd.verity=perhaps", "neither yes nor no"),
        ("systemd.verity_usr_options=root-hash-signature=usr.p7s", "is neither auto"),
        ("systemd.verity_usr_options=root-hash-signature=", "is neither auto"),
        ("systemd.allow_userspace_verity=perhaps", "neither yes nor no"),
        ("mount.usr=/dev/mapper/usr", "needs usrhash="),
        ("mount.usr=tmpfs", "/usr is a partition"),
        ("mount.usr=nfs:a:/b", "is in the network"),
        ("root=dhcp", "root=dhcp: is in the network"),
        ("root=off", "not supported yet"),
        ("root=fstab", "not supported yet"),
        ("root=bind:/x", "bind mount"),
        ("root=/dev/mapper/vg-root", "only udev or LVM"),
        ("systemd.gpt_auto=no", "add usrhash= or mount.usr="),
        ("mount.usr=/dev/vda1 systemd.gpt_auto=no", "add root="),
        ("systemd.image_policy=usr=veritas", "is not known"),
        ("systemd.image_filter=usr", "has no ="),
        ("systemd.image_filter=user=x*", "is not the name of partitions"),
        ("systemd.volatile=often", "write yes, no, overlay or state"),
        ("hermetic.etc=mirror", "write track, copy, symlink, none"),
        ("systemd.factory_reset=maybe", "neither yes nor no"),
        ("rd.systemd.unit=factory-reset.target", "not supported yet"),
        ("rd.systemd.mount-extra=/dev/sda1:/x", "without rd."),
        ("rd.luks=no", "not supported yet"),
        ("rd.luks.options=header=/h", "not supported yet"),
        ("luks.data=a=/dev/sda", "not supported yet"),
        ("luks.key=aa=/key:LABEL=usb", "not supported yet"),
    ] {
        let line = refusal(text);
        assert!(
            line.starts_with("command line: ") && line.contains(why) && !line.contains('\n'),
            "{text}: {line}"
        );
    }
    let text = format!("usrhash={HASH} mount.usr=/dev/a systemd.verity_usr_data=/dev/b");
    assert!(refusal(&text).contains("is not what systemd.verity_usr_data= names"));
}
