//! An image that setfiles labelled by Debian's SELinux policy, as mkosi has it done: systemd loads the policy from the /etc that the
//! first boot made, and labels whatever was made before. In the end no file of the system is `unlabeled_t`, systemd is content, and from
//! the moment that systemd has labelled no denial is about such a file. Before that moment nobody can be kept from them: the kernel
//! starts modprobe while systemd is at it.

use super::Context;
use super::volatile::{came_up, questions};
use crate::definition;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::{Answers, Inside};
use crate::machine::Exit;
use crate::selinux::Policy;
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// A whole systemd under an emulated processor, with a policy to load and thousands of files to label.
const DEADLINE: Duration = Duration::from_secs(600);

/// The files without a label; the kernel labels those of /proc and /sys by itself.
const UNLABELLED: &str =
    "find / '(' -path /proc -o -path /sys ')' -prune -o -context '*:unlabeled_t:*' -print | head --lines=50";

/// A file that has lost its label is found so.
const PREMISE: &str = "touch /var/lib/premise && chcon --type=unlabeled_t /var/lib/premise && \
                       find /var/lib -context '*:unlabeled_t:*'; rm /var/lib/premise";

/// The denials that the kernel has told.
const DENIALS: &str = "journalctl --boot --output=cat --grep='avc: +denied' || true";

/// Those about files without a label, behind systemd's word that it has labelled.
const ABOUT_UNLABELLED: &str = "journalctl --boot --output=cat | sed '1,/^Relabeled /d' | \
                                grep 'avc: *denied.*unlabeled_t' || true";

pub fn run(context: &Context<'_>) -> Result<()> {
    let answers = boot(context)?;
    came_up(&answers)?;
    holds(&answers)
}

fn boot(context: &Context<'_>) -> Result<Answers> {
    let policy = Policy::get(&context.bench.cache)?;
    let usr = context.usr(&policy.rule(context.recipe()?.repart(definition::PLAIN), "permissive")?)?;
    let hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let machine = context.machine().deadline(DEADLINE);
    let machine = machine.initramfs(&context.initramfs(&Initramfs::new("virtio"))?).disk(Disk::new(&disk));
    let machine = machine.cmdline(&format!("usrhash={hash} security=selinux"));
    let inside = questions(Inside::new(&context.file("inside")).audited())
        .ask("mode", "getenforce")
        .ask("unlabelled", UNLABELLED)
        .ask("labelled", "journalctl --boot --output=cat --grep='^Relabeled .* and additional files'")
        .ask("denials", DENIALS)
        .ask("about-unlabelled", ABOUT_UNLABELLED)
        .ask("premise", PREMISE)
        .ask("labels", "stat --format='%n %C' / /etc /etc/passwd /etc/shadow /etc/machine-id /var/lib /root");
    // The kernel would leave most of the messages out.
    let machine = inside.equip(machine)?.cmdline("sysctl.kernel.printk_ratelimit=0");
    context.run(&machine)?.expect(&Exit::PowerOff)?;
    inside.read()
}

fn holds(answers: &Answers) -> Result<()> {
    answers.expect("mode", "Permissive")?.expect("premise", "/var/lib/premise")?;
    answers.expect("unlabelled", "")?.expect("about-unlabelled", "")?;
    answers.text("labelled")?;
    let denials = answers.text("denials")?.lines().count();
    ensure!(denials > 0, "the kernel tells of no denial at all");
    let labels = answers.text("labels")?;
    for wanted in ["/etc/passwd system_u:object_r:etc_t:s0", "/etc/shadow system_u:object_r:shadow_t:s0"] {
        ensure!(labels.lines().any(|line| line == wanted), "no `{wanted}` in\n{labels}");
    }
    Ok(())
}
