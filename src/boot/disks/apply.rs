//! Plans of writes, carried out on a device.

use crate::{
    boot::failure::{Failure, OrFail as _},
    sys::block::Node,
    writes::Writes,
};

/// Carries a plan out and waits until it is on the medium.
///
/// # Errors
/// The device cannot be written.
pub fn apply(plan: &Writes, node: &Node) -> Result<(), Failure> {
    plan.apply(node.file())
        .and_then(|()| node.sync())
        .or_fail(|| format!("cannot write {}; check the disk", node.path().display()))
}
