//! A disk that answers until the kernel has announced it and then never again, beside the one that holds the appliance: the root is
//! made and the next program started without it, on the first boot and on the second. The process that still waits for that disk is
//! left behind, and is all that is left: it has no descriptor but those of its own, it was forked before there was a secret, and
//! the next program's sync(2) does not wait for it. Nor does systemd's shutdown, which sees its mark and spares it; without the mark it
//! would.

use super::small::{DEADLINE, ENCRYPTED, Small};
use super::{Context, TEST_INIT};
use crate::disk::Disk;
use crate::image::Image;
use crate::machine::{Exit, Running};
use crate::nbd::Server;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::File;

/// The place of btrfs's superblock: the kernel does not look there for partitions, and hermetic-init does, on a disk that has none.
const DEAD: std::ops::Range<u64> = 64 << 10..68 << 10;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let image = context.file("silent.raw");
    File::create(&image)?.set_len(64 << 20)?;
    for boot in ["first", "second"] {
        let server = Server::start(&image, &context.file("silent"), DEAD)?;
        let machine = small.machine(context)?.qemu(&server.arguments().each_ref().map(String::as_str));
        let words = format!(
            "hermetic.init={TEST_INIT} hermetic.device-timeout=3 hermetic.on-failure=panic hermetic.test.sync="
        );
        let machine = machine.disk(Disk::new(&small.disk)).cmdline(&words).deadline(DEADLINE);
        let mut running = context.start(&machine)?;
        running.wait_for("the next program", "HERMETIC-STATE-END", DEADLINE)?;
        // At its end QEMU itself would wait for the server.
        drop(server);
        let outcome = running.finish()?;
        outcome.expect(&Exit::PowerOff)?;
        outcome.line(" does not answer and is left out; check the disk")?;
        outcome.line("no answer to a read up to the end; a process of ours is left that waits for it")?;
        one_reader_is_left(&outcome.state()?).with_context(|| format!("on the {boot} boot"))?;
    }
    Ok(())
}

/// The program that ends the machine as systemd does: it becomes systemd-shutdown, which has this long for each of its waits. By the
/// word `hermetic.test.unmark` it takes the mark away first: the first letter of the arguments (field 48 of proc_pid_stat(5)).
const SHUT_DOWN: &str = "\
#!/usr/bin/sh
exec </dev/null >/dev/console 2>&1
for process in /proc/[0-9]*; do
read name <$process/comm
test $name = disk-reader || continue
if grep -q hermetic.test.unmark /proc/cmdline; then
set -- $(cut -d ')' -f 2 $process/stat)
shift 45
printf x | dd of=$process/mem bs=1 seek=$1 conv=notrunc status=none
fi
echo \"its arguments begin with $(head -c 1 $process/cmdline)\"
done
exec /usr/lib/systemd/systemd-shutdown poweroff --timeout=15s --log-level=info --log-target=console
";
const PLACE: &str = "lib/hermetic-test/shut-down";

pub fn shutdown(context: &Context<'_>) -> Result<()> {
    let recipe = context.recipe()?.repart(ENCRYPTED).file(PLACE, SHUT_DOWN, 0o755).without("lib/modules");
    let usr = context.usr(&recipe)?;
    let disk =
        context.disk("disk.raw", &Image { size: 512 << 20, ..Image::new(context.partitions(&usr)?) })?;
    let small = Small { usr, disk };
    let image = context.file("silent.raw");
    File::create(&image)?.set_len(64 << 20)?;

    let start = |words: &str| -> Result<(Server, Running)> {
        let server = Server::start(&image, &context.file("silent"), DEAD)?;
        let machine = small.machine(context)?.qemu(&server.arguments().each_ref().map(String::as_str));
        let words = format!("hermetic.init=/usr/{PLACE} hermetic.device-timeout=3 {words}");
        let machine = machine.disk(Disk::new(&small.disk)).cmdline(&words).deadline(DEADLINE);
        let mut running = context.start(&machine)?;
        let mark = if words.ends_with("unmark") { "x" } else { "@" };
        running.wait_for("the mark", &format!("its arguments begin with {mark}"), DEADLINE)?;
        Ok((server, running))
    };
    let (server, mut running) = start("")?;
    running.wait_for("the end of systemd-shutdown", "Powering off.", DEADLINE)?;
    // The kernel resets the disk before it powers off, and there QEMU itself would wait for the server.
    drop(server);
    let outcome = running.finish()?;
    outcome.expect(&Exit::PowerOff)?.line("Sending SIGKILL to remaining processes")?;
    outcome.without("Waiting for process")?;

    // The premise: it waits for what it may kill.
    let (_server, mut running) = start("hermetic.test.unmark")?;
    running.wait_for("systemd-shutdown", "Waiting for process", DEADLINE)?;
    running.cut_power()
}

fn one_reader_is_left(state: &Value) -> Result<()> {
    let processes = state.pointer("/processes/user").and_then(Value::as_array).context("no processes")?;
    let left: Vec<&Value> =
        processes.iter().filter(|process| process.get("pid").and_then(Value::as_u64) != Some(1)).collect();
    let [reader] = left.as_slice() else { anyhow::bail!("what is left: {left:?}") };
    let name = reader.get("comm").and_then(Value::as_str);
    ensure!(name == Some("disk-reader"), "{reader}");
    ensure!(reader.get("ppid").and_then(Value::as_u64) == Some(1), "{reader}");
    let open = reader.get("fds").and_then(Value::as_object).context("no descriptors")?;
    let mut open: Vec<&str> = open.values().filter_map(Value::as_str).collect();
    open.sort_unstable();
    let [disk, socket] = open.as_slice() else { anyhow::bail!("its descriptors: {open:?}") };
    ensure!(disk.starts_with("/dev/vd") && socket.starts_with("socket:"), "its descriptors: {open:?}");
    Ok(())
}
