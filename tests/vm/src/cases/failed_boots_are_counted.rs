//! A boot fails while the boot loader has tries left: it says which attempt it was, restarts soon, and its reason is in a variable of the
//! firmware, as virt-fw-vars reads it. The next boot comes up, has the reason in its log, and the variable is gone. Without EFI the tries
//! are a word of the command line. systemd-boot counts three attempts of an image whose /usr is not there, and starts the one before it.

use super::small::{self, DEADLINE, LOADER, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::esp;
use crate::image::{Image, Partition, types};
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use crate::uki::Uki;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// A command line without a word about the end of a failure, and little patience.
const WORDS: &str = "console=ttyS0 no_timer_check hermetic.device-timeout=3";

/// The variable, and its owner.
const NAME: &str = "HermeticFailure";
const OWNER: &str = "9d8f1c52-6c0b-4f3e-8a57-2b7e60d4a1c3";

/// EFI_VARIABLE_NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS.
const ATTRIBUTES: u64 = 7;

const ESP: &str = "5e8f6c0d-3a41-4b7e-9d22-1f0b6a7c8e94";

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let machine = context.machine().initramfs(&initramfs).deadline(2 * DEADLINE);

    let uncounted = machine.clone().whole_cmdline(&format!("{WORDS} hermetic.tries=1"));
    let outcome = context.run(&uncounted)?;
    outcome.expect(&Exit::Reboot)?.line("Rebooting in 5 s (1 try left).")?;

    let variables = context.file("variables.fd");
    begin_with(context, &variables, "LoaderBootCountPath", LOADER, r"\EFI\Linux\appliance_2+1-2.efi")?;
    let machine = machine.firmware(&variables);
    let outcome = context.run(&machine.clone().whole_cmdline(WORDS))?;
    outcome.expect(&Exit::Reboot)?.line("Rebooting in 5 s (attempt 2 of 3).")?;
    small::reason(&outcome, "usr", &["no disk at all"])?;
    let (attributes, text) = kept(context, &variables)?.context("no reason is kept")?;
    ensure!(attributes == ATTRIBUTES, "the variable has the attributes {attributes}");
    ensure!(
        text.starts_with("1 usr: no /usr partition within 3 s: ") && text.ends_with('\0'),
        "{text:?} is kept"
    );

    let words = format!("{WORDS} panic=-1 hermetic.init={TEST_INIT} {}", small.words());
    let outcome = context.run(&machine.whole_cmdline(&words).disk(Disk::new(&small.disk)))?;
    outcome
        .expect(&Exit::PowerOff)?
        .line("the boot before this one failed: usr: no /usr partition within 3 s: ")?;
    outcome.state()?;
    ensure!(kept(context, &variables)?.is_none(), "the reason is still kept");
    Ok(())
}

/// Makes the firmware's variables, with one more that holds this text.
fn begin_with(context: &Context<'_>, variables: &Path, name: &str, vendor: &str, text: &str) -> Result<()> {
    let work = context.bench.cache.scratch("variables")?;
    let data: String =
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).map(|b| format!("{b:02x}")).collect();
    let set = json!({
        "version": 2,
        "variables": [{ "name": name, "guid": vendor, "attr": ATTRIBUTES, "data": data }],
    });
    std::fs::write(work.join("set.json"), set.to_string())?;
    let mut tool = context.bench.tools.inside(work.path(), "virt-fw-vars");
    tool.args(["--input", "/usr/share/OVMF/OVMF_VARS_4M.fd", "--set-json", "set.json", "--output", "out.fd"]);
    command::run(&mut tool)?;
    std::fs::copy(work.join("out.fd"), variables)?;
    Ok(())
}

/// The attributes and the text of the kept failure, if there is one.
fn kept(context: &Context<'_>, variables: &Path) -> Result<Option<(u64, String)>> {
    let work = context.bench.cache.scratch("variables")?;
    std::fs::copy(variables, work.join("in.fd"))?;
    let mut tool = context.bench.tools.inside(work.path(), "virt-fw-vars");
    command::run(tool.args(["--input", "in.fd", "--output-json", "out.json"]))?;
    let said: Value = serde_json::from_slice(&std::fs::read(work.join("out.json"))?)?;
    let all = said.get("variables").and_then(Value::as_array).context("virt-fw-vars lists no variables")?;
    ensure!(all.iter().any(|one| one.get("name").and_then(Value::as_str) == Some("BootOrder")), "{said}");
    let field = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(one) = all.iter().find(|one| field(one, "name").as_deref() == Some(NAME)) else {
        return Ok(None);
    };
    ensure!(field(one, "guid").as_deref() == Some(OWNER), "another's variable: {one}");
    let digits = field(one, "data").context("no data")?;
    let byte = |pair: &[u8]| -> Result<u8> { Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?) };
    let bytes: Vec<u8> = digits.as_bytes().chunks(2).map(byte).collect::<Result<_>>()?;
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let attributes = one.get("attr").and_then(Value::as_u64).context("no attributes")?;
    Ok(Some((attributes, String::from_utf16(&units)?)))
}

pub fn by_systemd_boot(context: &Context<'_>) -> Result<()> {
    let tools = &context.bench.tools;
    let signer = context.signer("programs")?;
    let usr = context.usr(&small::recipe(context, PLAIN)?)?;
    let file_system = context.file("esp.img");
    esp::make(tools, &signer, &file_system, 160 << 20)?;
    let mut partitions = vec![Partition::of(types::ESP, ESP, "esp", &file_system)?];
    partitions.extend(context.partitions(&usr)?);
    let disk = context.disk("disk.raw", &Image { size: 448 << 20, ..Image::new(partitions) })?;
    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let good = lasting::bare(context, &usr).command_line(context.bench.accelerator);
    let slow = context.machine().whole_cmdline(WORDS).command_line(context.bench.accelerator);
    let bad = format!("{slow} usrhash={}", "5a".repeat(32));
    for (version, name, words) in
        [(1, "appliance_1", format!("{good} hermetic.init={TEST_INIT}")), (2, "appliance_2+3", bad)]
    {
        let os_release =
            format!("ID=hermetic\nIMAGE_ID=appliance\nIMAGE_VERSION={version}\nVERSION_ID={version}\n");
        let image = context.file(&format!("{name}.efi"));
        Uki::new(context.bench, &initramfs, &words, &os_release).secure_boot(&signer).make(&image)?;
        esp::add(tools, &disk, small::FIRST, &image, name)?;
    }
    let machine = context.machine().secure_firmware(&context.variables("variables.fd", &[&signer])?);
    let machine = machine.disk(Disk::new(&disk)).deadline(2 * DEADLINE);
    for (attempt, delay) in [(1, 5), (2, 5), (3, 30)] {
        let outcome = context.run(&machine)?;
        outcome.expect(&Exit::Reboot)?.line(&format!("Rebooting in {delay} s (attempt {attempt} of 3)."))?;
        small::reason(&outcome, "usr", &["no partition with PARTUUID 5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a"])?;
    }
    let outcome = context.run(&machine)?;
    outcome.expect(&Exit::PowerOff)?.line("the 3 boots before this one failed, the last one: usr: ")?;
    outcome.state().map(drop)
}
