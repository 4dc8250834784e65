//! Partitions that are placed, and neither made nor changed yet.

use uuid::Uuid;

use super::{Definition, vocabulary::SLOT};

/// The partitions that wait for a later run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deferred<'a> {
    /// Those of these types (`--defer-partitions=`).
    pub types: &'a [Uuid],
    /// Those with the label of a slot that an update will fill (`--defer-partitions-empty=`).
    pub empty: bool,
    /// Those that a factory reset removes (`--defer-partitions-factory-reset=`).
    pub factory_reset: bool,
}

impl Deferred<'_> {
    /// True when the partition of this definition waits.
    pub fn covers(&self, definition: &Definition) -> bool {
        self.types.contains(&definition.type_guid)
            || (self.empty && definition.label.as_deref() == Some(SLOT))
            || (self.factory_reset && definition.factory_reset)
    }
}
