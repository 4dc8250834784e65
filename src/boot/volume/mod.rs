//! Encrypted volumes: the sources of a key, the mapping, the limits of an unlock. A new source is a file of `sources` and its
//! place in the list there.

mod ask;
pub mod key_file;
mod limits;
mod locked;
mod map;
mod sealed;
mod source;
mod sources;
mod unlock;

pub use limits::limits;
pub use locked::Volume;
pub use map::Crypt;
pub use unlock::unlock;
