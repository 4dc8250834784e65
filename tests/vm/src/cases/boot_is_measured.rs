//! A measured boot: the phases go into PCR 11, the volume key into PCR 15, and systemd's log, replayed, gives the very
//! values that the TPM has. Another key gives another PCR 15. Without a TPM a boot that must be measured does not start. Without a
//! word PCR 15 is extended by every boot that has a TPM, whatever its root is: encrypted, plain, below an overlay, a tmpfs; and
//! PCR 11 where sd-stub says (here the test init, in an earlier boot) that it measured the kernel. The flags of rootflags= that bound what
//! files can do hold of every root, and not of /usr. A key that is not the one of
//! `fixate-volume-key=` is refused.

use super::small::{ENCRYPTED, Small};
use super::{Context, TEST_INIT, small};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

/// A PCR that was not extended.
const UNTOUCHED: [u8; 32] = [0; 32];

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let state = context.file("tpm");
    let boot = |words: &str| -> Result<Value> {
        let machine = small.machine(context)?.tpm(&state).disk(Disk::new(&small.disk)).cmdline(words);
        let machine = machine.cmdline(&format!("hermetic.init={TEST_INIT}"));
        context.run(&machine)?.expect(&Exit::PowerOff)?.state()
    };
    // The first boot opens its root by the code of every other: it measures the same.
    let first = measured(&boot("hermetic.measure=yes")?).context("the first boot")?;
    let second = measured(&boot("hermetic.measure=yes")?).context("the second boot")?;
    ensure!(first == second, "two boots with one key differ in PCR 15: {first} and {second}");

    let by_firmware = |word: &str| -> Result<Value> {
        let machine = small.machine(context)?.firmware(&context.file("variables.fd")).tpm(&state);
        let machine = machine.disk(Disk::new(&small.disk)).cmdline(word);
        let machine = machine.cmdline(&format!("hermetic.init={TEST_INIT}"));
        context.run(&machine)?.expect(&Exit::PowerOff)?.state()
    };
    let by_default = by_firmware(&small::efi("StubPcrKernelImage", small::LOADER, "11"))?;
    let failed = by_default.pointer("/actions/0/error").context("the variable was not written")?;
    ensure!(failed.is_null(), "the variable was not written: {failed}");
    ensure!(pcr(&by_default, "11")? == hex(&UNTOUCHED), "PCR 11 of a boot whose kernel was not measured");
    let alone = told(&by_default, &[KEY]).context("a boot that nobody measured before us")?;
    ensure!(alone == first, "PCR 15 is {alone} without phases, {first} with them");
    let found = measured(&by_firmware("")?).context("what sd-stub began to measure")?;
    ensure!(found == first, "PCR 15 is {found} by the firmware's word, {first} by ours");
    fixate(context, &small, &state, &id(&by_default)?)?;

    // A volume of another person, with the same passphrase: it opens, and PCR 15 differs.
    let other = Small::new(context, ENCRYPTED)?;
    let machine = other.machine(context)?.tpm(&state).disk(Disk::new(&other.disk));
    let machine = machine.cmdline(&format!("hermetic.measure=yes hermetic.init={TEST_INIT}"));
    let state = context.run(&machine)?.expect(&Exit::PowerOff)?.state()?;
    let third = measured(&state).context("another volume")?;
    ensure!(third != first, "PCR 15 is the same with another key");

    let machine = small.machine(context)?.cmdline("hermetic.measure=yes");
    let says = ["there is no TPM 2.0", "hermetic.measure=no"];
    small::refuses(context, &machine, &small.disk, "devices", &says)?;
    others(context, &context.file("tpm"))
}

/// The identity of the volume key, as the log has it.
fn id(state: &Value) -> Result<String> {
    let records = records(state)?;
    let key = records.first().context("an empty log")?;
    Ok(sha256(key)?.to_owned())
}

/// The volume key that the command line names, or another.
fn fixate(context: &Context<'_>, small: &Small, tpm: &Path, id: &str) -> Result<()> {
    let machine = |id: &str| -> Result<Machine> {
        let words = format!("hermetic.init={TEST_INIT} rd.luks.options=headless,fixate-volume-key={id}");
        Ok(small.machine(context)?.tpm(tpm).cmdline(&words))
    };
    context.run(&machine(id)?.disk(Disk::new(&small.disk)))?.expect(&Exit::PowerOff)?.state()?;
    let says = ["vda3", id, "not that of fixate-volume-key="];
    small::refuses(context, &machine(&hex(&UNTOUCHED))?, &small.disk, "root", &says).map(drop)
}

/// Roots without a key: each is a record of its kind, and systemd's log has it.
fn others(context: &Context<'_>, tpm: &Path) -> Result<()> {
    let plain = Small::new(context, small::PLAIN)?;
    let initramfs = context.initramfs(&Initramfs::new("virtio").key(small::KEY).module("overlay"))?;
    for (words, record) in [
        ("", "plain"),
        ("systemd.volatile=overlay", "overlay"),
        ("root=tmpfs", "tmpfs"),
        ("systemd.volatile=yes", "tmpfs"),
    ] {
        let machine = plain.machine(context)?.initramfs(&initramfs).tpm(tpm).cmdline(words);
        let machine = machine.disk(Disk::new(&plain.disk)).cmdline(&format!("hermetic.init={TEST_INIT}"));
        let machine = machine.cmdline("rootflags=noexec,nosuid");
        let state = context.run(&machine)?.expect(&Exit::PowerOff)?.state()?;
        let record = format!("15 \"root\" \"hermetic-root:{record}\"");
        told(&state, &[&record]).with_context(|| format!("a root without a key, {words}"))?;
        bounded(&state).with_context(|| format!("rootflags= beside `{words}`"))?;
    }
    Ok(())
}

/// Checks the flags of the root, and that they say nothing of /usr.
fn bounded(state: &Value) -> Result<()> {
    let mounts = state.get("mounts").and_then(Value::as_array).context("no mounts in the state")?;
    let has = |at: &str, flag: &str| -> Result<bool> {
        let mount =
            mounts.iter().rev().find(|mount| mount.get("mountpoint").is_some_and(|place| place == at));
        let options = mount.and_then(|mount| mount.get("options")?.as_array());
        Ok(options
            .with_context(|| format!("nothing is mounted at {at}"))?
            .iter()
            .any(|option| option == flag))
    };
    for flag in ["noexec", "nosuid"] {
        ensure!(has("/", flag)? && !has("/usr", flag)?, "{flag}: {mounts:?}");
    }
    Ok(())
}

/// The records of phases and keys, as [`told`] takes them.
const ENTER: &str = "11 \"phase\" \"enter-initrd\"";
const KEY: &str = "15 \"volume-key\" \"cryptsetup:root:";
const LEAVE: &str = "11 \"phase\" \"leave-initrd\"";

/// Checks that the log of a boot whose phases are measured equals the TPM's PCRs; returns PCR 15.
///
/// # Errors
/// It does not, or the order is another.
pub fn measured(state: &Value) -> Result<String> {
    told(state, &[ENTER, KEY, LEAVE])
}

/// Checks that the log of a boot that nobody measured before us equals the TPM's PCRs; returns PCR 15.
///
/// # Errors
/// It does not, or has other records.
pub fn measured_alone(state: &Value) -> Result<String> {
    told(state, &[KEY])
}

/// Checks that the log of a boot whose kernel sd-stub measured has what was measured behind it, and that the TPM has this PCR 11, and
/// the log's PCR 15; returns PCR 15.
///
/// # Errors
/// It does not, or the order is another.
pub fn measured_behind_the_stub(state: &Value, eleven: &str) -> Result<String> {
    let records = records(state)?;
    begin_with(&records, &[ENTER, KEY, LEAVE])?;
    let value = pcr(state, "11")?;
    ensure!(value == eleven, "PCR 11 is {value}, systemd-measure says {eleven}");
    let (value, replayed) = (pcr(state, "15")?, hex(&replay(&records, "15")?));
    ensure!(value == replayed, "PCR 15 is {value}, its log gives {replayed}");
    Ok(value)
}

/// The records of the log.
fn records(state: &Value) -> Result<Vec<Value>> {
    let log = state.get("measured").and_then(Value::as_str).context("no log of measurements")?;
    log.split('\u{1e}')
        .filter(|record| !record.is_empty())
        .map(|record| serde_json::from_str(record).with_context(|| format!("a record is no JSON: {record}")))
        .collect()
}

/// Checks that the log has these records, by how they begin, and equals the TPM's PCRs; returns PCR 15.
fn told(state: &Value, expected: &[&str]) -> Result<String> {
    let records = records(state)?;
    begin_with(&records, expected)?;
    for number in ["11", "15"] {
        let replayed = replay(&records, number)?;
        let value = pcr(state, number)?;
        ensure!(value == hex(&replayed), "PCR {number} is {value}, its log gives {}", hex(&replayed));
        let extended = expected.iter().any(|record| record.starts_with(number));
        ensure!((replayed != UNTOUCHED) == extended, "PCR {number} is {value} after {expected:?}");
    }
    pcr(state, "15")
}

/// Checks that these are the records, by how they begin.
fn begin_with(records: &[Value], expected: &[&str]) -> Result<()> {
    let told: Vec<String> = records
        .iter()
        .map(|record| {
            let text = |pointer: &str| record.pointer(pointer).map(Value::to_string).unwrap_or_default();
            format!("{} {} {}", text("/pcr"), text("/content/eventType"), text("/content/string"))
        })
        .collect();
    ensure!(told.len() == expected.len(), "the log has {} records: {told:?}", told.len());
    for (record, expected) in told.iter().zip(expected) {
        ensure!(record.starts_with(expected), "a record is {record} instead of {expected}");
    }
    Ok(())
}

/// The value of a PCR after the records.
fn replay(records: &[Value], number: &str) -> Result<[u8; 32]> {
    let mut value = UNTOUCHED;
    for record in
        records.iter().filter(|record| record.get("pcr").map(Value::to_string).as_deref() == Some(number))
    {
        let digest = sha256(record)?;
        value = Sha256::new().chain_update(value).chain_update(unhex(digest)?).finalize().into();
    }
    Ok(value)
}

/// The SHA-256 digest of a record.
fn sha256(record: &Value) -> Result<&str> {
    let digests = record.get("digests").and_then(Value::as_array).context("a record without digests")?;
    digests
        .iter()
        .find(|digest| digest.get("hashAlg").and_then(Value::as_str) == Some("sha256"))
        .and_then(|digest| digest.get("digest").and_then(Value::as_str))
        .context("a record without a SHA-256 digest")
}

fn pcr(state: &Value, number: &str) -> Result<String> {
    let value = state.pointer(&format!("/pcrs/{number}")).and_then(Value::as_str);
    Ok(value.with_context(|| format!("the machine shows no PCR {number}"))?.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    text.as_bytes().chunks(2).map(byte).collect()
}
