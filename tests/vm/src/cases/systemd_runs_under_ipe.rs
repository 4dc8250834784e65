//! An image with a policy of IPE (Integrity Policy Enforcement, a security module of the kernel) that runs nothing but programs from a
//! /usr whose signature the kernel has verified. systemd loads it when it starts. Where the firmware has the certificate the kernel
//! vouches for /usr, and systemd comes up. Where it has not, a certificate of the initramfs vouches, which is as good for
//! `usr=signed` and nothing to the kernel: systemd starts, and may run no program.

use super::Context;
use super::volatile::{came_up, questions};
use crate::command;
use crate::definition;
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::{Exit, Machine};
use crate::repart::Built;
use crate::signer::Signer;
use crate::usr::Recipe;
use anyhow::{Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(600);

/// The name of the policy, in it and of its file.
const NAME: &str = "appliance";

/// The policy (kernel: Documentation/admin-guide/LSM/ipe.rst). What runs while it is loaded runs on.
const POLICY: &str = "policy_name=appliance policy_version=0.0.1\n\
                      DEFAULT action=ALLOW\n\
                      DEFAULT op=EXECUTE action=DENY\n\
                      op=EXECUTE dmverity_signature=TRUE action=ALLOW\n";

/// systemd's word when the kernel lets it run nothing.
const DENIED: &str = "Failed to spawn executor: Permission denied";

const PARTITIONS: [(&str, &str); 3] = [
    ("10-signature.conf", "Type=usr-verity-sig\nVerity=signature\n"),
    ("11-hash.conf", "Type=usr-verity\nVerity=hash\nMinimize=best\n"),
    ("12-usr.conf", "Type=usr\nFormat=erofs\nCopyFiles=/usr:/\nVerity=data\nMinimize=best\n"),
];

const SIZE: u64 = 2 << 30;

pub fn run(context: &Context<'_>) -> Result<()> {
    let (image, owner) = (context.signer("image")?, context.signer("policy")?);
    let recipe = context.recipe()?.repart(definition::PLAIN);
    let recipe = recipe.file(&format!("lib/ipe/{NAME}.p7b"), policy(context, &owner)?, 0o644);
    let built = build(context, &recipe, &image)?;
    let initramfs = context.initramfs(&Initramfs::new("virtio").certificate(&image.certificate()))?;
    let machine = |name: &str, db: &[&Signer]| -> Result<Machine> {
        let disk = context.file(&format!("{name}.raw"));
        built.copy(&disk, SIZE)?;
        let machine = context.machine().initramfs(&initramfs).disk(Disk::new(&disk)).deadline(DEADLINE);
        let machine = machine.firmware(&context.variables(&format!("{name}.fd"), db)?);
        Ok(machine.cmdline(&format!(
            "usrhash={} systemd.image_policy=usr=signed:root=unprotected+absent",
            built.root_hash()
        )))
    };
    let inside = questions(Inside::new(&context.file("inside")))
        .ask("active", &format!("cat /sys/kernel/security/ipe/policies/{NAME}/active"))
        .ask("enforce", "cat /sys/kernel/security/ipe/enforce")
        .ask("from-root", "cp /usr/bin/true /var/lib/true && /var/lib/true");
    let vouched = inside.equip(machine("kernel", &[&image, &owner])?)?;
    let outcome = context.run(&vouched)?;
    outcome.expect(&Exit::PowerOff)?.line("signed: the kernel vouches for it")?;
    let answers = inside.read()?;
    came_up(&answers)?;
    answers.expect("active", "1")?.expect("enforce", "1")?.refuses("from-root")?;
    ensure!(answers.get("from-root")?.err.contains("Permission denied"), "{:?}", answers.get("from-root")?);

    // Its answers would take the place of those.
    let machine = inside.equip(machine("initramfs", &[&owner])?)?;
    let mut running = context.start(&machine)?;
    running.wait_for("the kernel's refusal", DENIED, DEADLINE)?;
    running.cut_power()?;
    let outcome = running.finish()?;
    outcome.line("signed: /usr/lib/verity.d/certificate.crt vouches for it")?;
    outcome.line(DENIED)?;
    ensure!(inside.read().is_err(), "systemd ran a program");
    Ok(())
}

/// The policy, signed as the kernel wants it.
fn policy(context: &Context<'_>, owner: &Signer) -> Result<Vec<u8>> {
    let work = context.file("policy");
    fs::create_dir(&work)?;
    fs::copy(owner.key(), work.join("key.pem"))?;
    fs::copy(owner.certificate(), work.join("certificate.pem"))?;
    fs::write(work.join("text"), POLICY)?;
    let mut openssl = context.bench.tools.inside(&work, "openssl");
    openssl.args(["smime", "-sign", "-binary", "-noattr", "-nodetach", "-nosmimecap", "-outform", "der"]);
    openssl.args(["-in", "text", "-signer", "certificate.pem", "-inkey", "key.pem", "-out", "signed"]);
    command::run(&mut openssl)?;
    Ok(fs::read(work.join("signed"))?)
}

/// /usr, its hash tree and its signature.
fn build(context: &Context<'_>, recipe: &Recipe, signer: &Signer) -> Result<Built> {
    let definitions: PathBuf = context.file("definitions");
    fs::create_dir(&definitions)?;
    for (name, text) in PARTITIONS {
        let text = format!("[Partition]\n{text}VerityMatchKey=usr\nLabel=appliance_1\n");
        fs::write(definitions.join(name), text)?;
    }
    Built::make(context.bench, recipe, &definitions, signer)
}
