//! Encrypted volumes: the sources of a key, the mapping, the budget of an unlock. A new source is a file of `sources` and its
//! place in the list there.

mod ask;
mod attempts;
mod budget;
pub mod key_file;
mod locked;
mod map;
mod sealed;
mod source;
mod sources;
mod unlock;

pub use budget::budget;
pub use locked::Volume;
pub use map::Crypt;
pub use unlock::unlock;
