//! A kernel that is given no root panics. The driver must see that and not call it a reboot: later tests rely on the
//! difference.

use super::Context;
use crate::machine::Exit;
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let outcome = context.run(&context.machine())?;
    outcome.expect(&Exit::Panic)?;
    outcome.line("Unable to mount root fs")?;
    Ok(())
}
