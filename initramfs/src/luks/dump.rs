//! The header for people: what `cryptsetup luksDump` shows, shorter. Texts from the disk are quoted.

use std::fmt::Write as _;

use hermetic_init::luks::{Header, SegmentSize};
use serde_json::Value;

/// The lines.
pub fn text(header: &Header) -> String {
    let mut text = format!(
        "version    2, {} copy, sequence number {}\nuuid       {}\nlabel      {:?}\nsubsystem  {:?}\n",
        header.origin(),
        header.sequence(),
        header.uuid(),
        header.label(),
        header.subsystem()
    );
    if let Some(complaint) = header.complaint() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "complaint  {complaint}");
    }
    match header.segment() {
        Ok(segment) => {
            let size = match segment.size {
                SegmentSize::Dynamic => "to the end".into(),
                SegmentSize::Fixed(size) => format!("{} bytes", size.0),
            };
            let _ = writeln!(
                text,
                "segment    {}, from byte {}, {size}, sectors of {} bytes",
                segment.cipher, segment.offset.0, segment.sector_size
            );
        }
        Err(error) => {
            let _ = writeln!(text, "segment    refused: {error}");
        }
    }
    for (kind, members) in [("keyslot", &["kdf", "priority"][..]), ("token", &["type", "keyslots"])] {
        let objects = header.document().get(format!("{kind}s")).and_then(Value::as_object);
        for (number, object) in objects.into_iter().flatten() {
            let _ = write!(text, "{:<11}", format!("{kind} {number}"));
            for member in members {
                if let Some(value) = object.get(*member) {
                    let _ = write!(text, "{member} {value} ");
                }
            }
            let _ = writeln!(text);
        }
    }
    text
}
