//! A measured boot: the phases go into PCR 11, the volume key into PCR 15, and systemd's log, replayed, gives the very
//! values that the TPM has. Another key gives another PCR 15. Without a TPM a boot that must be measured does not start,
//! and a boot that need not be measured touches neither PCR. Without a word the firmware decides: where sd-stub says (here the
//! test init, in an earlier boot) that it measured the kernel, the boot is measured.

use super::small::{ENCRYPTED, Small};
use super::{Context, TEST_INIT, small};
use crate::disk::Disk;
use crate::machine::Exit;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

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
    let unmeasured = by_firmware(&small::efi("StubPcrKernelImage", small::LOADER, "11"))?;
    let failed = unmeasured.pointer("/actions/0/error").context("the variable was not written")?;
    ensure!(failed.is_null(), "the variable was not written: {failed}");
    for number in ["11", "15"] {
        ensure!(pcr(&unmeasured, number)? == hex(&UNTOUCHED), "PCR {number} of a boot that is not measured");
    }
    let found = measured(&by_firmware("")?).context("what sd-stub began to measure")?;
    ensure!(found == first, "PCR 15 is {found} by the firmware's word, {first} by ours");

    // A volume of another person, with the same passphrase: it opens, and PCR 15 differs.
    let other = Small::new(context, ENCRYPTED)?;
    let machine = other.machine(context)?.tpm(&state).disk(Disk::new(&other.disk));
    let machine = machine.cmdline(&format!("hermetic.measure=yes hermetic.init={TEST_INIT}"));
    let state = context.run(&machine)?.expect(&Exit::PowerOff)?.state()?;
    let third = measured(&state).context("another volume")?;
    ensure!(third != first, "PCR 15 is the same with another key");

    let machine = small.machine(context)?.cmdline("hermetic.measure=yes");
    small::refuses(
        context,
        &machine,
        &small.disk,
        "devices",
        &["there is no TPM 2.0", "hermetic.measure=no"],
    )?;
    Ok(())
}

/// Checks that the log equals the TPM's PCRs; returns PCR 15.
///
/// # Errors
/// It does not, or the order is another.
pub fn measured(state: &Value) -> Result<String> {
    let log = state.get("measured").and_then(Value::as_str).context("no log of measurements")?;
    let records: Vec<Value> = log
        .split('\u{1e}')
        .filter(|record| !record.is_empty())
        .map(|record| serde_json::from_str(record).with_context(|| format!("a record is no JSON: {record}")))
        .collect::<Result<_>>()?;
    let told: Vec<String> = records
        .iter()
        .map(|record| {
            let text = |pointer: &str| record.pointer(pointer).map(Value::to_string).unwrap_or_default();
            format!("{} {} {}", text("/pcr"), text("/content/eventType"), text("/content/string"))
        })
        .collect();
    let [enter, key, leave] = told.as_slice() else { bail!("the log has {} records: {told:?}", told.len()) };
    ensure!(enter == "11 \"phase\" \"enter-initrd\"", "the first record is {enter}");
    ensure!(key.starts_with("15 \"volume-key\" \"cryptsetup:root:"), "the second record is {key}");
    ensure!(leave == "11 \"phase\" \"leave-initrd\"", "the third record is {leave}");
    for number in ["11", "15"] {
        let replayed = replay(&records, number)?;
        let value = pcr(state, number)?;
        ensure!(value == hex(&replayed), "PCR {number} is {value}, its log gives {}", hex(&replayed));
        ensure!(replayed != UNTOUCHED, "PCR {number} was never extended");
    }
    pcr(state, "15")
}

/// The value of a PCR after the records.
fn replay(records: &[Value], number: &str) -> Result<[u8; 32]> {
    let mut value = UNTOUCHED;
    for record in
        records.iter().filter(|record| record.get("pcr").map(Value::to_string).as_deref() == Some(number))
    {
        let digests = record.get("digests").and_then(Value::as_array).context("a record without digests")?;
        let digest = digests
            .iter()
            .find(|digest| digest.get("hashAlg").and_then(Value::as_str) == Some("sha256"))
            .and_then(|digest| digest.get("digest").and_then(Value::as_str))
            .context("a record without a SHA-256 digest")?;
        value = Sha256::new().chain_update(value).chain_update(unhex(digest)?).finalize().into();
    }
    Ok(value)
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
