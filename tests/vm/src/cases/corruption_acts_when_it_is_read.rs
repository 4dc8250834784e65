//! A byte of a file that the boot does not need is changed. It boots; a read of that file has the effect that
//! `systemd.verity_usr_options=` chooses: the read fails, the machine restarts, the kernel panics.

use super::Context;
use super::TEST_INIT;
use super::small::{self, PLAIN, Small, flip};
use crate::disk::Disk;
use crate::machine::Exit;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A file that is not a program: to run it is to read it, and needs no other file.
const VICTIM: &str = "lib/hermetic-test/victim";

/// The start of its content, which is nowhere else in /usr.
const SIGN: &[u8] = b"hermetic-victim: nobody reads this by accident";

/// EIO, as Rust prints it with any C library.
const EIO: &str = "(os error 5)";

pub fn run(context: &Context<'_>) -> Result<()> {
    let content: Vec<u8> = SIGN.iter().copied().cycle().take(4 * 4096).collect();
    let recipe = small::recipe(context, PLAIN)?.file(VICTIM, content, 0o755);
    let small = Small::of(context, &recipe)?;
    let read = format!("hermetic.test.run=/usr/{VICTIM}");

    let healthy = error(&small.boot(context, &read)?)?;
    if healthy.contains(EIO) {
        bail!("the file cannot be read although it is sound: {healthy}");
    }
    let data = std::fs::read(small.usr.data())?;
    let place =
        data.windows(SIGN.len()).position(|window| window == SIGN).context("the file is not in the image")?;
    flip(&small.disk, small::FIRST + u64::try_from(place)?)?;

    let corrupt = error(&small.boot(context, &read)?)?;
    if !corrupt.contains(EIO) {
        bail!("the file was changed, and reading it gives: {corrupt}");
    }
    let machine = small.machine(context)?.disk(Disk::new(&small.disk)).cmdline(&read);
    let machine = machine.cmdline(&format!("hermetic.init={TEST_INIT}"));
    for (option, exit) in [("restart-on-corruption", Exit::Reboot), ("panic-on-corruption", Exit::Panic)] {
        let outcome =
            context.run(&machine.clone().cmdline(&format!("systemd.verity_usr_options={option}")))?;
        outcome.expect(&exit).with_context(|| format!("with {option}"))?;
        outcome.line("hermetic-test/test-init").with_context(|| format!("{option} did not let it boot"))?;
        outcome.without("cannot start this system")?;
    }
    Ok(())
}

/// The reason why the file did not run.
fn error(state: &Value) -> Result<String> {
    let error = state.pointer("/runs/0/error").and_then(Value::as_str);
    Ok(error.with_context(|| format!("running the file gave no error: {:?}", state.get("runs")))?.to_owned())
}
