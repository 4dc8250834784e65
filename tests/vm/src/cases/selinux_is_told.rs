//! An image with SELinux: systemd loads the policy when it starts, so files that were made before that have no label. A
//! first boot lists the top directory; an update lists the files that it made, and the user databases. systemd labels the paths that
//! are listed in /run/systemd/relabel-extra.d, and what is below them on the same mount (systemd: src/shared/mount-setup.c).

use super::small::{self, PLAIN};
use super::{Context, TEST_INIT, lasting};
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::machine::Exit;
use crate::usr::Usr;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const LIST: &str = "/run/systemd/relabel-extra.d/hermetic-init.relabel";

/// The write by which systemd commits the machine id at the end of a first boot.
const COMMIT: &str = "hermetic.test.write=/etc/machine-id:0123456789abcdef0123456789abcdef";

pub fn run(context: &Context<'_>) -> Result<()> {
    let (one, two) = (version(context, "one")?, version(context, "two")?);
    let mut partitions = image::usr_partitions(&one, "appliance_1")?;
    partitions.extend(image::usr_partitions(&two, "appliance_2")?);
    let disk = context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(partitions) })?;
    let boot = |usr: &Usr, words: &str| -> Result<Vec<String>> {
        let hash = usr.root_hash().context("/usr is verified")?;
        let words = format!("usrhash={hash} hermetic.init={TEST_INIT} {words}");
        let machine = small::machine(context, None)?.cmdline(&words).disk(Disk::new(&disk));
        list(&context.run(&machine)?.expect(&Exit::PowerOff)?.state()?)
    };

    let first = boot(&one, COMMIT).context("first boot")?;
    ensure!(first == ["/"], "first boot: {first:?}");

    let update = boot(&two, "").context("update")?;
    for path in ["/etc/hermetic-test", "/etc/passwd", "/var/lib/hermetic-init"] {
        ensure!(update.iter().any(|line| line == path), "update: {path} is not in {update:?}");
    }
    let is_new = |line: &String| line.starts_with("/etc/") || line == "/var/lib/hermetic-init";
    ensure!(update.iter().all(is_new), "update: {update:?}");
    ensure!(update.iter().all(|line| !line.starts_with("/etc/selinux")), "update: {update:?}");
    Ok(())
}

fn list(state: &Value) -> Result<Vec<String>> {
    let text = lasting::file(state, LIST).and_then(|file| file.get("text")?.as_str());
    Ok(text.context("nothing is listed for labelling")?.lines().map(str::to_owned).collect())
}

fn version(context: &Context<'_>, text: &str) -> Result<Usr> {
    let recipe = small::recipe(context, PLAIN)?
        .file("share/factory/etc/selinux/config", "SELINUX=permissive\nSELINUXTYPE=default\n", 0o644)
        .file("share/factory/etc/hermetic-test", text, 0o644);
    context.usr(&recipe)
}
