//! The request that a run carries out.

use super::{Operation, Selection, Specifiers};
use crate::{durable::Durable, sysusers::Credentials, tree::watch::Watch};

/// The work, and how it is to be done.
pub struct Request<'a> {
    /// The values of specifiers.
    pub specifiers: &'a Specifiers,
    /// Contents of files (`^`), and lines that come last (`tmpfiles.extra`).
    pub credentials: &'a dyn Credentials,
    /// The lines that count.
    pub selection: &'a Selection,
    /// The operations, in their order.
    pub operations: &'a [Operation],
    /// Nothing is changed; the changes are only logged.
    pub is_dry_run: bool,
    /// With `Here` a copy is on the disk before it takes its place, so that a power cut finds it whole or not at all.
    pub durable: Durable,
    /// Sees links and copies ahead of their making.
    pub watch: &'a dyn Watch,
}
