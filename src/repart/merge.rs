//! Merges a key of a supplement into that of its definition (repart.d(5), `SupplementFor=`).

use std::prelude::v1::*;

/// The definition's own value stays.
pub(super) fn kept<T>(_: &mut T, _: &T) {}

/// The supplement's value counts.
pub(super) fn replaced<T: Copy>(field: &mut T, supplement: &T) {
    *field = *supplement;
}

/// The greater value counts.
pub(super) fn greater(field: &mut Option<u64>, supplement: &Option<u64>) {
    *field = (*field).max(*supplement);
}

/// The lesser value counts.
pub(super) fn lesser(field: &mut Option<u64>, supplement: &Option<u64>) {
    *field = [*field, *supplement].into_iter().flatten().min();
}

/// The values of both count.
pub(super) fn joined<T: Clone>(field: &mut Vec<T>, supplement: &[T]) {
    field.extend_from_slice(supplement);
}
