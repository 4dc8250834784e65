//! Whole command lines, and the configurations that they mean.

mod failing;
mod refusals;
mod usr;

use proptest::prelude::*;

use super::{Strategy, *};
use crate::{disk::types::Role, tpm::PcrMask};

const HASH: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";

fn config(text: &str) -> Config {
    let (config, warnings) =
        Config::from_cmdline(text, None).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(warnings, [], "{text}");
    config
}

fn refusal(text: &str) -> String {
    match Config::from_cmdline(text, None) {
        Ok((config, _)) => panic!("{text} was accepted: {config:#?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nothing_said() {
    let plain = config(
        "BOOT_IMAGE=/vmlinuz console=ttyS0 single 3 systemd.firstboot=off rd.luks=yes resume=/dev/sda2",
    );
    assert_eq!(
        plain,
        Config {
            usr: Usr {
                source: UsrSource::Auto,
                verity: None,
                signature: Some(SignatureSource::Discovered),
                user_space_vouches: true,
                verity_options: vec![],
                mount: Mount::default(),
            },
            root: Root { source: RootSource::Auto, mount: Mount { read_write: true, ..Mount::default() } },
            image_policy: ImagePolicy::default(),
            image_filter: Filter::default(),
            repart: true,
            factory_reset: None,
            hermetic: Hermetic {
                root_policy: RootPolicy::Strict,
                etc: Strategy::Track,
                measure: Measure::Auto,
                recovery_key: Recovery::Off,
                no_tpm: NoTpm::Fail,
                device_timeout: Duration::from_secs(30),
                stage_timeout: Duration::from_secs(600),
                ..Hermetic::decide(&[]).0
            },
            volatile: Volatile::No,
            key_file: "/hermetic/root.key".into(),
            luks: Luks::default(),
            machine_id: None,
            init: None,
            kernel_init: None,
            modules_load: vec![],
            modules_blocked: vec![],
            module_parameters: vec![],
            failure: FailurePolicy {
                action: FailureAction::Reboot,
                delay: Some(Duration::from_secs(30)),
                delay_is_said: false,
                tries: None,
            },
            log: Level::Info,
            watchdog: None,
        }
    );
    assert_eq!(config(""), plain);
}

#[test]
fn the_root() {
    let device = |name: &str| RootSource::Device(DeviceSpec::Name(name.into()));
    for (text, expected) in [
        ("root=/dev/vda3", device("vda3")),
        ("root=/dev/vda3 root=/dev/vda4", device("vda4")),
        ("root=/dev/vda3 root=", RootSource::Auto),
        ("root=nfs:x root=/dev/vda4", device("vda4")),
        ("root=dissect root=tmpfs", RootSource::Tmpfs),
        ("root=gpt-auto systemd.gpt_auto=no", RootSource::Auto),
        ("root=dissect-force", RootSource::Auto),
        ("root=/dev/mapper/root", RootSource::Auto),
        ("root=\"PARTLABEL=my root\"", RootSource::Device(DeviceSpec::PartLabel("my root".into()))),
    ] {
        assert_eq!(config(text).root.source, expected, "{text}");
    }
}

/// sd-stub puts the command line of a profile in the place of the image's own, and what an addon brings behind it; the words of
/// ParticleOS's profiles, behind the whole of its own line.
#[test]
fn words_that_come_twice_are_those_of_the_profile() {
    let own = "root=dissect mount.usr=dissect rw audit=0 systemd.image_policy=usr=verity:root=encrypted:=ignore \
               systemd.image_filter=usr=ParticleOS_*:root=ParticleOS-* ipe.enforce=0";
    let live = "root=tmpfs mount.usr=dissect rd.systemd.mask=systemd-repart.service systemd.mask=systemd-repart.service \
                rw audit=0 systemd.image_policy=usr=verity:=ignore systemd.image_filter=usr=ParticleOS_* ipe.enforce=0";
    let reset = "root=dissect mount.usr=dissect systemd.factory_reset=1 rw audit=0 \
                 systemd.image_policy=usr=verity:root=encrypted:=ignore \
                 systemd.image_filter=usr=ParticleOS_*:root=ParticleOS-* ipe.enforce=0";
    for profile in [own, live, reset] {
        let usrhash = format!("usrhash={HASH}");
        let [alone, twice] = [format!("{profile} {usrhash}"), format!("{own} {usrhash} {profile} {usrhash}")];
        let (alone, twice) = (config(&alone), config(&twice));
        assert_eq!(
            alone.module_parameters.len() + 1,
            twice.module_parameters.len(),
            "ipe.enforce=0, for modprobe"
        );
        assert_eq!(
            Config { module_parameters: vec![], ..alone },
            Config { module_parameters: vec![], ..twice }
        );
    }
}

#[test]
fn ro_and_rw_are_one_switch() {
    for (text, root, usr) in [
        ("", true, false),
        ("ro", false, false),
        ("rw ro", false, false),
        ("ro rw", true, false),
        ("rootflags=ro", false, false),
        ("rootflags=ro,rw", true, false),
        ("ro rootflags=rw", false, false),
        ("ro=1", true, false),
        ("mount.usrflags=rw", true, true),
        ("mount.usrflags=rw,ro rw", true, false),
    ] {
        let config = config(text);
        assert_eq!((config.root.mount.read_write, config.usr.mount.read_write), (root, usr), "{text}");
    }
}

#[test]
fn flags_add_up_and_fall_back_to_those_of_the_root() {
    let of = |text: &str| {
        let config = config(text);
        let show = |mount: Mount| (mount.fstype.unwrap_or_default(), mount.options.join(","));
        (show(config.root.mount), show(config.usr.mount))
    };
    let pair = |fstype: &str, options: &str| (fstype.to_string(), options.to_string());
    for (text, root, usr) in [
        (
            "rootfstype=btrfs rootflags=subvol=@ rootflags=noatime,,",
            pair("btrfs", "subvol=@,noatime"),
            pair("", ""),
        ),
        ("rootfstype=ext4 rootfstype=", pair("", ""), pair("", "")),
        (
            "rootfstype=ext4 rootflags=noatime mount.usr=/dev/sda2",
            pair("ext4", "noatime"),
            pair("ext4", "noatime"),
        ),
        (
            "rootfstype=ext4 mount.usrfstype=erofs mount.usrflags=a mount.usrflags=b",
            pair("ext4", ""),
            pair("erofs", "a,b"),
        ),
        (
            "rootfstype=ext4 rootflags=a usrhash=00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f",
            pair("ext4", "a"),
            pair("", ""),
        ),
        ("rootflags=x-systemd.growfs,nofail,defaults,ro,discard", pair("", "discard"), pair("", "")),
        (
            "root=dissect mount.usr=dissect rootfstype=btrfs rootflags=noexec,nosuid",
            pair("btrfs", "noexec,nosuid"),
            pair("", ""),
        ),
        (
            "root=dissect mount.usr=gpt-auto rootflags=a mount.usrfstype=erofs",
            pair("", "a"),
            pair("erofs", ""),
        ),
    ] {
        assert_eq!(of(text), (root, usr), "{text}");
    }
}

#[test]
fn what_goes_to_the_log() {
    use Level::{Debug, Info, Warning};
    for (text, level) in [
        ("quiet", Warning),
        ("quiet debug", Debug),
        ("debug quiet", Warning),
        ("quiet loglevel=7", Info),
        ("loglevel=4", Warning),
        ("loglevel=8", Debug),
        ("systemd.log_level=debug", Debug),
        ("quiet hermetic.log=info", Info),
        ("hermetic.log=debug hermetic.log=err debug", Warning),
    ] {
        assert_eq!(config(text).log, level, "{text}");
    }
}

#[test]
fn the_smaller_words() {
    let id = uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    for text in ["00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFF"] {
        assert_eq!(config(&format!("systemd.machine_id={text}")).machine_id, Some(MachineId::Id(id)));
    }
    assert_eq!(config("systemd.machine-id=firmware").machine_id, Some(MachineId::Firmware));
    assert!(!config("rd.systemd.mask=systemd-repart.service").repart);
    assert!(!config("rd.systemd.mask=systemd-repart").repart, "systemd adds the suffix");
    assert!(config("rd.systemd.mask=systemd-repart.socket").repart);
    assert!(
        config("systemd.mask=systemd-repart.service rd.systemd.mask=x.service").repart,
        "the host's word"
    );
    assert_eq!(
        config("modules_load=dm-mod,nvme rd.modules-load=e1000").modules_load,
        ["dm_mod", "nvme", "e1000"]
    );
    assert_eq!(
        config("module_blacklist=a rd.driver.blacklist=b-c modprobe.blacklist=d").modules_blocked,
        ["a", "b_c", "d"]
    );
    let parameters =
        config("nvme-core.ps_max=0 dm_verity.require_signatures rd.a.b=c a.b=\"c d\" loop.=1 .x=2");
    let expected = [("nvme_core", "ps_max=0"), ("dm_verity", "require_signatures"), ("a", "b=\"c d\"")];
    assert_eq!(parameters.module_parameters, expected.map(|(module, text)| (module.into(), text.into())));
    assert_eq!(config("rd.luks.key=/etc/key").key_file, "/etc/key");
    assert_eq!(config("hermetic.key-file=/k rd.luks.key=/etc/key").key_file, "/k");
    for text in ["hermetic.root-policy=existing", "hermetic.root_policy=existing"] {
        assert_eq!(config(text).hermetic.root_policy, RootPolicy::Existing);
    }
    assert!(refusal("hermetic.roots").contains("hermetic.roots is no option"));
    assert_eq!(config("hermetic.measure=yes").hermetic.measure, Measure::Yes);
    for (text, pcrs) in [("", "7"), ("hermetic.tpm2-pcrs=7+11", "7+11"), ("hermetic.tpm2-pcrs=", "")] {
        assert_eq!(config(text).sealing_pcrs(None), PcrMask::parse(pcrs).unwrap(), "{text}");
        // As --tpm2-pcrs= of systemd-repart, the word of the command line is stronger than TPM2PCRs= of a definition.
        let stronger = if text.is_empty() { "11" } else { pcrs };
        let defined = PcrMask::parse("11");
        assert_eq!(config(text).sealing_pcrs(defined), PcrMask::parse(stronger).unwrap(), "{text}");
    }
    let sealing = config("hermetic.recovery-key=show hermetic.no-tpm=recovery").hermetic;
    assert_eq!((sealing.recovery_key, sealing.no_tpm), (Recovery::Show, NoTpm::Recovery));
    assert_eq!(config("hermetic.no_tpm=key-file").hermetic.no_tpm, NoTpm::KeyFile);
    assert_eq!(config("hermetic.device-timeout=0").hermetic.device_timeout, Duration::ZERO);
    assert_eq!(config("hermetic.stage-timeout=60").hermetic.stage_timeout, Duration::from_secs(60));
    let inits = config("init=/bin/a init=/bin/b hermetic.init=/bin/c hermetic.test.run=x");
    assert_eq!((inits.init.as_deref(), inits.kernel_init.as_deref()), (Some("/bin/c"), Some("/bin/b")));
    assert_eq!(config("quiet -- hermetic.nonsense root=nfs:x").root.source, RootSource::Auto);
    assert!(config("systemd.image-policy=usr=signed").image_policy.usr.allows(Uses::SIGNED));
    let filter = config("systemd.image-filter=usr=a*:root=b systemd.image_filter=usr=os_*").image_filter;
    assert!(filter.passes(Role::Usr, "os_1") && !filter.passes(Role::Usr, "a"));
    assert!(filter.passes(Role::Root, "c"));
    assert_eq!(config("systemd.image_filter=usr=a systemd.image_filter=").image_filter, Filter::default());
    config("systemd.mount-extra=/dev/sda1:/x systemd.factory_reset=0 rd.systemd.unit=initrd.target");
    for (text, volatile, is_new) in [
        ("", Volatile::No, false),
        ("systemd.volatile", Volatile::Yes, true),
        ("systemd.volatile=yes systemd.volatile=0", Volatile::No, false),
        ("systemd.volatile=1", Volatile::Yes, true),
        ("systemd.volatile=no systemd.volatile=state", Volatile::State, false),
        ("systemd.volatile=overlay", Volatile::Overlay, false),
        ("root=tmpfs", Volatile::No, true),
    ] {
        let config = config(text);
        assert_eq!((config.volatile, config.root_is_new()), (volatile, is_new), "{text}");
    }
    assert_eq!(config("").hermetic.etc, Strategy::Track);
    assert_eq!(config("hermetic.etc=copy hermetic.etc=none").hermetic.etc, Strategy::None);
}

#[test]
fn below_the_kernels_root_its_words_are_not_ours() {
    let words = "root=PARTUUID=1-2/PARTNROFF=1 rootfstype=ext4 rootflags=noload ro mount.usr=LABEL=u quiet";
    let (below, warnings) = Config::from_cmdline_below_root(words).unwrap();
    assert_eq!((below, warnings), Config::from_cmdline("mount.usr=LABEL=u quiet", None).unwrap());
    assert!(Config::from_cmdline(words, None).is_err());
}

#[test]
fn efi_options_lose_against_the_command_line() {
    let (config, warnings) = Config::from_cmdline("root=/dev/b", Some("root=/dev/a quiet\0")).unwrap();
    assert_eq!(config.root.source, RootSource::Device(DeviceSpec::Name("b".into())));
    assert_eq!((config.log, warnings), (Level::Warning, vec![]));
}

proptest! {
    #[test]
    fn any_text_is_decided_without_panic(text in any::<String>(), efi in proptest::option::of(any::<String>())) {
        let _ = Config::from_cmdline(&text, efi.as_deref());
    }

    #[test]
    fn any_words_are_decided_without_panic(words in proptest::collection::vec((
        prop_oneof!["root|rootflags|mount.usr|usrhash|panic|init|systemd.volatile|systemd.machine_id", "hermetic.[a-z-]{0,9}"],
        proptest::option::of("\\PC{0,12}"),
    ), 0..6)) {
        let words = words.into_iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key,
        });
        let _ = Config::from_cmdline(&words.collect::<Vec<_>>().join(" "), None);
    }
}
