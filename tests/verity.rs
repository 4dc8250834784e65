//! Our reading of hash trees against veritysetup, which makes them and prints their parameters.

mod common;
#[path = "verity/signatures.rs"]
mod signatures;

use common::{Scratch, tool};
use hermetic_init::{
    units::{Bytes, DeviceNumber},
    verity::{Fault, HashType, Options, RootHash, Superblock, Table, Tree},
    writes::{ReadAt, ShortImage},
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
        walk(&scratch, &superblock, &root);
        trees += 1;
    }
    eprintln!("{trees} trees");
}

/// Bytes that stand for a partition.
struct Image<'a>(&'a [u8]);

impl ReadAt for Image<'_> {
    type Error = ShortImage;

    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), ShortImage> {
        self.0.read_exact_at(offset, buffer)
    }
}

/// Walks a tree that veritysetup made, and with single bytes changed: found where they are, as `veritysetup verify` finds that
/// something is wrong. Behind the tree's last digest and in front of the tree nothing is covered.
fn walk(scratch: &Scratch, superblock: &Superblock, root: &RootHash) {
    let data = std::fs::read(scratch.host("data")).unwrap();
    let tree = std::fs::read(scratch.host("tree")).unwrap();
    let verify = |data: &[u8], hash: &[u8]| {
        let mut done = Bytes(0);
        let (data, hash) = (Image(data), Image(hash));
        let walk = Tree { superblock, root_hash: root, data: &data, hash: &hash };
        (walk.verify_first(), walk.verify(&mut |bytes| done = bytes), done)
    };
    let all = Bytes(data.len() as u64);
    assert_eq!(verify(&data, &tree), (Ok(()), Ok(()), all), "{superblock:?}");
    let changed = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let block = superblock.data_block_size as usize;
    for at in [0, block - 1, data.len() / 2, data.len() - 1] {
        let fault = Err(Fault::Data { offset: Bytes((at / block * block) as u64) });
        let first = if at < block { fault.clone() } else { Ok(()) };
        let (found_first, found, _) = verify(&changed(&data, at), &tree);
        assert_eq!((found_first, found), (first, fault), "byte {at} of the data of {superblock:?}");
    }
    let (block, start) = (superblock.hash_block_size as usize, superblock.hash_start() as usize);
    for at in
        [start * block, tree.len() - 1].into_iter().filter(|at| (start * block..tree.len()).contains(at))
    {
        let fault = Err(Fault::Hash { offset: Bytes((at / block * block) as u64) });
        assert_eq!(verify(&data, &changed(&tree, at)).1, fault, "byte {at} of the tree of {superblock:?}");
        std::fs::write(scratch.host("tree"), changed(&tree, at)).unwrap();
        let mut theirs = tool("veritysetup").unwrap();
        theirs.args(["verify", &scratch.inside("data"), &scratch.inside("tree"), &root.to_string()]);
        assert!(!theirs.output().unwrap().status.success(), "byte {at} of the tree of {superblock:?}");
    }
    // A tree that ends too early is an error of the medium.
    if tree.len() > start * block {
        assert!(matches!(verify(&data, &tree[..tree.len() - 1]).1, Err(Fault::Read(_))));
    }
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
