//! Our reading of hash trees against veritysetup, which makes them and prints their parameters.

mod common;
#[path = "verity/signatures.rs"]
mod signatures;

use common::{Scratch, tool};
use hermetic_init::{
    units::{Bytes, DeviceNumber},
    verity::{HashType, Options, RootHash, Superblock, Table},
};

/// One line `Key:   value` of veritysetup.
fn field<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {text}"));
    line[key.len()..].trim()
}

fn output(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn trees_of_veritysetup_are_read_as_it_dumps_them() {
    let Some(scratch) = Scratch::new() else { return };
    let mut trees = 0;
    for (blocks, hash, data_block, hash_block, format, salt) in [
        (1_u64, "sha256", 4096_u32, 4096_u32, 1, "-"),
        (2, "sha256", 4096, 4096, 1, "00ff"),
        (128, "sha256", 4096, 4096, 1, "ab"),
        (129, "sha256", 4096, 4096, 1, "ab"),
        (1000, "sha512", 4096, 4096, 1, "random"),
        (1000, "sha384", 1024, 4096, 1, "random"),
        (4097, "sha256", 512, 512, 1, "random"),
        (5000, "sha512", 2048, 1024, 1, "random"),
        (777, "sha256", 4096, 512, 0, "random"),
        (20_000, "sha384", 512, 2048, 0, "0123"),
    ] {
        let (data, tree) = (scratch.host("data"), scratch.host("tree"));
        std::fs::write(&data, vec![7; (blocks * u64::from(data_block)) as usize]).unwrap();
        let _fresh = std::fs::remove_file(&tree);
        let mut format_tree = tool("veritysetup").unwrap();
        format_tree.args(["format", &format!("--hash={hash}"), &format!("--format={format}")]);
        format_tree
            .args([format!("--data-block-size={data_block}"), format!("--hash-block-size={hash_block}")]);
        if salt != "random" {
            format_tree.arg(format!("--salt={salt}"));
        }
        let made = output(format_tree.args([scratch.inside("data"), scratch.inside("tree")]));
        let dump = output(tool("veritysetup").unwrap().args(["dump", &scratch.inside("tree")]));

        let bytes = std::fs::read(&tree).unwrap();
        let superblock = Superblock::parse(&bytes).unwrap();
        let salt_text: String = superblock.salt.iter().map(|byte| format!("{byte:02x}")).collect();
        let salt_text = if salt_text.is_empty() { "-".into() } else { salt_text };
        assert_eq!(superblock.uuid.to_string(), field(&dump, "UUID:"));
        assert_eq!(superblock.hash_type.number().to_string(), field(&dump, "Hash type:"));
        assert_eq!(superblock.hash_type == HashType::Normal, format == 1);
        assert_eq!(superblock.data_blocks.to_string(), field(&dump, "Data blocks:"));
        assert_eq!(
            superblock.data_block_size.to_string(),
            field(&dump, "Data block size:").replace(" [bytes]", "")
        );
        assert_eq!(
            superblock.hash_block_size.to_string(),
            field(&dump, "Hash block size:").replace(" [bytes]", "")
        );
        assert_eq!(superblock.algorithm.name(), field(&dump, "Hash algorithm:"));
        assert_eq!(salt_text, field(&dump, "Salt:"));
        // veritysetup writes the tree and not a byte more.
        assert_eq!(superblock.hash_length(), Bytes(bytes.len() as u64), "{dump}");

        let root: RootHash = field(&made, "Root hash:").parse().unwrap();
        superblock.check(&root, superblock.data_length(), superblock.hash_length()).unwrap();
        let device = |minor| DeviceNumber { major: 254, minor };
        let table = Table::new(&superblock, &root, device(1), device(2), &Options::default(), None);
        assert_eq!(table.sectors.0 * 512, blocks * u64::from(data_block));
        assert_eq!(
            table.params,
            format!(
                "{format} 254:1 254:2 {data_block} {hash_block} {blocks} {} {hash} {} {salt_text}",
                superblock.hash_start(),
                field(&made, "Root hash:"),
            )
        );
        trees += 1;
    }
    eprintln!("{trees} trees");
}

#[test]
fn a_tree_of_a_weak_hash_is_refused() {
    let Some(scratch) = Scratch::new() else { return };
    std::fs::write(scratch.host("data"), vec![0; 8192]).unwrap();
    output(tool("veritysetup").unwrap().args([
        "format",
        "--hash=sha1",
        &scratch.inside("data"),
        &scratch.inside("tree"),
    ]));
    let error = Superblock::parse(&std::fs::read(scratch.host("tree")).unwrap()).unwrap_err();
    assert!(error.to_string().contains("sha1"), "{error}");
}
