//! The initramfs has another key file than the one that locked the root, or no key file: the root is an error to report
//! and never a reason to format. Without a key file the first boot makes nothing either.

use super::Context;
use super::small::{self, ENCRYPTED, KEY, Small};
use anyhow::{Context as _, Result};

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let without = small::machine(context, None)?.cmdline(&small.words());
    let other = small::machine(context, Some(&KEY.to_ascii_uppercase()))?.cmdline(&small.words());
    let missing = ["key file /hermetic/root.key is missing", "--key-file"];
    small::refuses(context, &without, &small.disk, "provision", &missing).context("on the first boot")?;
    small.boot(context, "hermetic.test.write=/var/kept:kept")?;
    small::refuses(context, &without, &small.disk, "root", &missing).context("on the second boot")?;
    small::refuses(context, &other, &small.disk, "root", &["vda3", "no keyslot opens with this key"])?;
    let state = small.boot(context, "").context("with the right key again")?;
    let var = state.get("var").and_then(|var| var.as_array()).context("no /var in the state")?;
    var.iter()
        .find(|file| file.get("path").is_some_and(|path| path == "/var/kept"))
        .context("/var/kept is gone")?;
    Ok(())
}
