//! The initramfs has no key file: the passphrase is typed. Over the serial console a wrong one first, then the right
//! one with typing errors that are taken back; over a virtual terminal by the keyboard. Typed characters are not shown.
//! Without an answer, or with wrong ones only, the failure policy acts.

use super::small::{self, DEADLINE, ENCRYPTED, IMPATIENT, Small};
use super::{Context, TEST_INIT};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::machine::{CMDLINE, Exit, Machine, Outcome, Running};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Short enough to get Argon2id.
const PASSPHRASE: &str = "correct horse";

/// The question; the partition's label is that of the header.
const QUESTION: &str = "Passphrase for root on vda3 \"luks-root\":";

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let to_test_init = format!("{} hermetic.init={TEST_INIT}", small.words());
    let first = small::machine(context, Some(PASSPHRASE.as_bytes()))?.cmdline(&to_test_init);
    context.run(&first.disk(Disk::new(&small.disk)))?.expect(&Exit::PowerOff)?;

    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let machine = |console: &str, options: &str| {
        let machine = context.machine().whole_cmdline(&format!("{console} {CMDLINE}"));
        let words = format!("{IMPATIENT} rd.luks.options={options} {to_test_init}");
        machine.initramfs(&initramfs).cmdline(&words).deadline(DEADLINE)
    };
    let with_disk = |machine: Machine| machine.disk(Disk::new(&small.disk));

    let mut running = context.start(&with_disk(machine("", "tries=3,timeout=100")))?;
    asked(&mut running)?;
    running.type_in("wrong horse\r")?;
    running.wait_for("the wrong one's refusal", "passphrase: no keyslot opens with this key", DEADLINE)?;
    asked(&mut running)?;
    // Erased by either of the keys that terminals send.
    running.type_in("correxx\x7f\x7fct hoo\x08rse\r")?;
    opened(&running.finish()?).context("over the serial console")?;

    let terminal = machine("console=tty0", "timeout=100").qemu(&["-device", "VGA"]);
    let mut running = context.start(&with_disk(terminal))?;
    asked(&mut running)?;
    for key in PASSPHRASE
        .chars()
        .map(|c| if c == ' ' { "spc".to_owned() } else { c.to_string() })
        .chain(["ret".to_owned()])
    {
        let keys = json!({ "keys": [{ "type": "qcode", "data": key }] });
        running.control().execute("send-key", &keys)?;
        // The controller of a PS/2 keyboard holds 16 bytes: each key is up again before the next goes down.
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    opened(&running.finish()?).context("over a virtual terminal")?;

    let silent = machine("", "timeout=3");
    small::refuses(context, &silent, &small.disk, "root", &["vda3", "nobody typed a passphrase within 3 s"])?;

    let mut running = context.start(&with_disk(machine("", "tries=1,timeout=100")))?;
    asked(&mut running)?;
    running.type_in("wrong horse\r")?;
    let outcome = running.finish()?;
    outcome.expect(&Exit::Reboot)?;
    small::reason(&outcome, "root", &["vda3", "passphrase: no keyslot opens with this key"])?;
    Ok(())
}

fn asked(running: &mut Running) -> Result<()> {
    running.wait_for("the question for a passphrase", QUESTION, DEADLINE).map(drop)
}

fn opened(outcome: &Outcome) -> Result<()> {
    outcome.expect(&Exit::PowerOff)?;
    outcome.line("passphrase opens keyslot 0")?;
    outcome.without("horse")?;
    let state = outcome.state()?;
    let mounts = state.get("mounts").and_then(Value::as_array).context("no mounts in the state")?;
    let source = |mount: &Value| mount.get("source").and_then(Value::as_str) == Some("/dev/mapper/root");
    if !mounts.iter().any(source) {
        bail!("the root is not what was unlocked: {mounts:?}");
    }
    Ok(())
}
