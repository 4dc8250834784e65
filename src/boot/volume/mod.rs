//! Encrypted volumes: the sources of a key, the mapping, the limits of an unlock.

mod ask;
pub mod key_file;
mod limits;
mod locked;
mod map;
mod passphrase;
mod sealed;
mod source;
mod tpm2;
mod unlock;

pub use limits::limits;
pub use locked::Volume;
pub use map::Crypt;
pub use unlock::unlock;
