//! The disks: tables, names, and the content of partitions.

mod apply;
mod content;
mod disk;
mod named;
mod reads;
mod survey;

pub use apply::apply;
pub use content::{file_system, protection, superblock};
pub use disk::{Disk, Table, below as disk_below, disk_of, entry, range};
pub use named::resolve;
pub use survey::Survey;
