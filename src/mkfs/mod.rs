//! Empty file systems, made by us: each is a pure function from a few parameters to a plan of writes
//! ([`crate::writes::Writes`]). Nothing here touches a device, so the same code runs in PID 1, in the host tool and in a
//! test. What belongs here: one folder or file per file system, with its formats and its layout.

pub mod ext4;

mod crc32c;
mod record;
