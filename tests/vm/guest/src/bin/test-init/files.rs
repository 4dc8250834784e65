//! Files as facts: type, mode, owner, size, link target, checksum, attributes, and the content of those that matter.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use serde_json::{Map, Value, json};

/// The files of /etc whose content a test looks at.
pub const ETC: [&str; 14] = [
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "passwd-",
    "group-",
    "machine-id",
    "hostname",
    "os-release",
    "fstab",
    "nsswitch.conf",
    ".updated",
    "subuid",
    "subgid",
];

/// No more than this of a file is shown or summed.
const SHOWN: u64 = 64 * 1024;

/// No tree has more entries than this; a loop of mounts must not fill the memory.
const ENTRIES: usize = 20_000;

/// Whose content is shown.
#[derive(Clone, Copy)]
pub enum Contents {
    /// That of every file.
    All,
    /// That of the files at these paths below the top.
    Named(&'static [&'static str]),
    /// None.
    None,
}

/// Everything below `top`, sorted by path; symbolic links are not followed.
pub fn tree(top: &str, contents: Contents) -> Vec<Value> {
    let top = Path::new(top);
    let mut entries = Vec::new();
    let mut directories = vec![top.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for path in children(&directory) {
            if entries.len() >= ENTRIES {
                break;
            }
            if std::fs::symlink_metadata(&path).is_ok_and(|stat| stat.is_dir()) {
                directories.push(path.clone());
            }
            let below = path.strip_prefix(top).unwrap_or(&path);
            let shown = match contents {
                Contents::All => true,
                Contents::Named(names) => names.iter().any(|name| Path::new(name) == below),
                Contents::None => false,
            };
            entries.push((path.clone(), file(&path, shown)));
        }
    }
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.into_iter().map(|(_, value)| value).collect()
}

/// The entries of `directory` itself.
pub fn list(directory: &str) -> Vec<Value> {
    let mut paths = children(Path::new(directory));
    paths.sort();
    paths.iter().map(|path| file(path, false)).collect()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn file(path: &Path, shown: bool) -> Value {
    let mut facts = Map::new();
    facts.insert("path".into(), json!(path.to_string_lossy()));
    let stat = match std::fs::symlink_metadata(path) {
        Ok(stat) => stat,
        Err(error) => {
            facts.insert("error".into(), json!(error.to_string()));
            return Value::Object(facts);
        }
    };
    let kind = stat.file_type();
    let name = match kind {
        _ if kind.is_file() => "file",
        _ if kind.is_dir() => "dir",
        _ if kind.is_symlink() => "symlink",
        _ if kind.is_char_device() => "char",
        _ if kind.is_block_device() => "block",
        _ if kind.is_fifo() => "fifo",
        _ => "socket",
    };
    facts.insert("type".into(), json!(name));
    facts.insert("mode".into(), json!(format!("{:04o}", stat.mode() & 0o7777)));
    facts.insert("uid".into(), json!(stat.uid()));
    facts.insert("gid".into(), json!(stat.gid()));
    facts.insert("mtime".into(), json!(stat.mtime()));
    if kind.is_file() {
        facts.insert("size".into(), json!(stat.len()));
        if stat.len() <= SHOWN {
            content(path, shown, &mut facts);
        }
    }
    if kind.is_char_device() || kind.is_block_device() {
        facts.insert("device".into(), json!(format!("{}:{}", major(stat.rdev()), minor(stat.rdev()))));
    }
    if let Ok(target) = std::fs::read_link(path) {
        facts.insert("target".into(), json!(target.to_string_lossy()));
    }
    let names = attributes(path);
    if !names.is_empty() {
        facts.insert("xattrs".into(), json!(names));
    }
    Value::Object(facts)
}

fn content(path: &Path, shown: bool, facts: &mut Map<String, Value>) {
    match std::fs::read(path) {
        Err(error) => {
            facts.insert("error".into(), json!(error.to_string()));
        }
        Ok(bytes) => {
            facts.insert("crc32".into(), json!(format!("{:08x}", crc32(&bytes))));
            if shown {
                match String::from_utf8(bytes) {
                    Ok(text) => facts.insert("text".into(), json!(text)),
                    Err(error) => facts.insert("hex".into(), json!(hex(error.as_bytes()))),
                };
            }
        }
    }
}

fn attributes(path: &Path) -> Vec<String> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    String::from_utf8_lossy(names.get(..length).unwrap_or_default())
        .split_terminator('\0')
        .map(String::from)
        .collect()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The CRC that gzip and zlib use, as `crc32(1)` and Python's `zlib.crc32` print it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32/ISO-HDLC in the catalogue of CRCs.
    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_tree_is_listed_whole() {
        let top = std::env::temp_dir().join(format!("test-init-{}", std::process::id()));
        std::fs::create_dir_all(top.join("b")).unwrap();
        std::fs::write(top.join("b/f"), "x").unwrap();
        std::os::unix::fs::symlink("f", top.join("a")).unwrap();
        let tree = tree(top.to_str().unwrap(), Contents::Named(&["b/f"]));
        std::fs::remove_dir_all(&top).unwrap();
        let kinds: Vec<_> = tree.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["symlink", "dir", "file"]);
        assert_eq!((&tree[0]["target"], &tree[2]["text"]), (&json!("f"), &json!("x")));
    }
}
