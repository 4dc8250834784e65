//! Reads the files that count and carries them out.

use super::{Definitions, Log, Request, apply::Applier, line::Context, root::Root};
use crate::{
    fragments::search::{SearchError, find},
    level::Level,
    strerror::strerror,
    tree::Tree,
};

/// The outcome; reasons have been logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Lines that were passed over because they are wrong.
    pub invalid: usize,
    /// Lines that could not be read, and items that could not be carried out.
    pub failed: usize,
}

/// Carries out the root's tmpfiles.d.
///
/// # Errors
/// As [`read`]; then nothing was done.
pub fn run(tree: Tree<'_>, request: &Request<'_>, log: &mut dyn Log) -> Result<Outcome, SearchError> {
    let definitions = read(tree, request, log)?;
    Ok(apply(tree, &definitions, request, log))
}

/// Reads the root's tmpfiles.d, as far as the request selects its lines.
///
/// # Errors
/// A directory of the search path that exists and cannot be read.
pub fn read(tree: Tree<'_>, request: &Request<'_>, log: &mut dyn Log) -> Result<Definitions, SearchError> {
    let files = find(&tree, "tmpfiles.d")?;
    let root = Root::new(tree, request.credentials);
    let context =
        Context { specifiers: request.specifiers, surroundings: &root, selection: request.selection };
    let mut definitions = Definitions::new();
    for file in files {
        match file.read(&tree) {
            Ok(Some(content)) => definitions.parse(&file.path, &content, &context, log),
            Ok(None) => {}
            Err(errno) => {
                log.say(Level::Error, format!("Failed to read '{}': {}", file.path, strerror(&errno.into())))
            }
        }
    }
    if let Some(extra) = request.credentials.get("tmpfiles.extra") {
        definitions.parse("tmpfiles.extra", extra, &context, log);
    }
    Ok(definitions)
}

/// Carries out lines that were read already.
pub fn apply(tree: Tree<'_>, definitions: &Definitions, request: &Request<'_>, log: &mut dyn Log) -> Outcome {
    let mut applier = Applier::new(tree, definitions, request, log);
    let failed: usize = request.operations.iter().map(|&operation| applier.all(operation)).sum();
    Outcome { invalid: definitions.invalid.len(), failed: definitions.failed.len() + failed }
}
