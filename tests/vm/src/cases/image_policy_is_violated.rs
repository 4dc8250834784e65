//! `systemd.image_policy=` is a floor that nothing goes below: a /usr that is not as well protected as it says is not
//! mounted, and a root that it does not allow is not made. One that it allows boots.

use super::Context;
use super::small::{self, ENCRYPTED, PLAIN, Small};
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let machine = small.machine(context)?;
    for (policy, stage, says) in [
        ("usr=signed:root=encrypted+absent", "usr", "demands a signed /usr"),
        ("usr=verity:root=encrypted", "provision", "does not allow root to be absent"),
        ("usr=verity:root=unprotected+absent", "provision", "does not allow root to be encrypted"),
    ] {
        let strict = machine.clone().cmdline(&format!("systemd.image_policy={policy}"));
        small::refuses(context, &strict, &small.disk, stage, &[says])?;
    }
    let unverified =
        small::machine(context, Some(small::KEY))?.cmdline("systemd.image_policy=usr=verity:root=open");
    small::refuses(context, &unverified, &small.disk, "usr", &["demands a verified /usr"])?;

    let plain = Small::new(context, PLAIN)?;
    let strict = plain.machine(context)?.cmdline("systemd.image_policy=usr=verity:root=encrypted+absent");
    let says = ["does not allow root to be unprotected"];
    small::refuses(context, &strict, &plain.disk, "provision", &says)?;

    let small = Small::new(context, ENCRYPTED)?;
    small.boot(context, "systemd.image_policy=usr=verity:root=encrypted+absent").map(drop)
}
