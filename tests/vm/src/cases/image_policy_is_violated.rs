//! `systemd.image_policy=` is a floor that nothing goes below: a /usr that is not as well protected as it says is not
//! mounted, and a root that it does not allow is not made. One that it allows boots. What `systemd.image_filter=` hides is not there.

use super::Context;
use super::small::{self, ENCRYPTED, PLAIN, Small};
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let machine = small.machine(context)?;
    for (policy, stage, says) in [
        ("usr=signed:root=encrypted+absent", "usr", "demands a signed /usr"),
        (
            "usr=verity+squashfs:root=encrypted",
            "usr",
            "holds erofs, which systemd.image_policy= does not allow",
        ),
        ("usr=verity:root=unprotected+absent", "provision", "does not allow root to be encrypted"),
        ("usr=verity:root=encryptedwithintegrity", "provision", "does not allow root to be encrypted"),
        ("usr=verity:root=encrypted+btrfs", "provision", "does not allow root to be ext4"),
    ] {
        let strict = machine.clone().cmdline(&format!("systemd.image_policy={policy}"));
        // A demand for a signature is nothing that `hermetic check` judges.
        let refuses = if says.contains("signed") { small::refuses } else { small::foretold };
        refuses(context, &strict, &small.disk, stage, &[says])?;
    }
    for (filter, stage, says) in [
        ("usr=other_*", "usr", "which systemd.image_filter= does not let pass"),
        ("usr=appliance_*:root=other-*", "provision", "systemd.image_filter= hides"),
        ("user=x", "early", "is not the name of partitions"),
    ] {
        let strict = machine.clone().cmdline(&format!("systemd.image_filter={filter}"));
        small::foretold(context, &strict, &small.disk, stage, &[says])?;
    }
    let unverified =
        small::machine(context, Some(small::KEY))?.cmdline("systemd.image_policy=usr=verity:root=open");
    small::foretold(context, &unverified, &small.disk, "usr", &["demands a verified /usr"])?;

    let plain = Small::new(context, PLAIN)?;
    let strict = plain.machine(context)?.cmdline("systemd.image_policy=usr=verity:root=encrypted+absent");
    let says = ["does not allow root to be unprotected"];
    small::foretold(context, &strict, &plain.disk, "provision", &says)?;

    let small = Small::new(context, ENCRYPTED)?;
    // The words of ParticleOS in 2025, with what is absent left out, and the filter of 2026.
    let words = "systemd.image_policy=esp=unprotected:xbootldr=unprotected+unused+absent:usr=verity+erofs:root=encrypted:\
                 swap=encrypted+unused+absent:=ignore systemd.image_filter=usr=appliance_*:usr-verity=appliance_*:root=root";
    context.doctor_is_content(&small.machine(context)?.cmdline(words), &small.disk)?;
    small.boot(context, words).map(drop)
}
