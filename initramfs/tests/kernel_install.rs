//! The plugin, run by Debian's own kernel-install with its other plugins beside it, in a tree like that of a host.

mod common;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::{Appliance, Scratch, hermetic, link, program, succeed};

/// The plugin.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernel-install/58-hermetic.install");

/// A host: the tool root's programs, Debian's kernel, our two programs and the plugin.
struct Host {
    root: PathBuf,
    release: String,
    scratch: Scratch,
}

impl Host {
    fn new(test: &str) -> Option<Self> {
        let (appliance, scratch) = (Appliance::find()?, Scratch::new(test)?);
        let root = scratch.host("host");
        let tools = PathBuf::from(env::var_os("HERMETIC_TOOLS")?);
        for directory in ["boot", "dev", "etc/kernel", "proc", "tmp", "run", "var/tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        succeed(Command::new("cp").args(["--archive", "--link"]).arg(tools.join("usr")).arg(&root));
        for name in ["bin", "lib", "lib64", "sbin"] {
            std::os::unix::fs::symlink(Path::new("usr").join(name), root.join(name)).unwrap();
        }
        // depmod, which a plugin of systemd calls, writes beside the modules.
        link(&appliance.modules(), &root.join("usr/lib/modules").join(&appliance.release));
        fs::copy(&appliance.kernel, root.join("usr/lib/modules").join(&appliance.release).join("vmlinuz"))
            .unwrap();
        fs::write(root.join("etc/os-release"), "ID=test\nPRETTY_NAME=\"A Test\"\n").unwrap();
        fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::write(root.join("etc/kernel/cmdline"), "mount.usr=gpt-auto\n").unwrap();
        fs::write(root.join("etc/kernel/entry-token"), "test\n").unwrap();
        let install = root.join("usr/lib/kernel/install.d/58-hermetic.install");
        fs::copy(PLUGIN, install).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_hermetic"), root.join("usr/bin/hermetic")).unwrap();
        let init = root.join("usr/bin/hermetic-init");
        fs::write(&init, program()).unwrap();
        fs::set_permissions(init, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { root, release: appliance.release, scratch })
    }

    /// install.conf.
    fn configure(&self, words: &str) {
        fs::write(self.root.join("etc/kernel/install.conf"), words).unwrap();
    }

    /// `kernel-install --verbose add RELEASE vmlinuz`, with these further words.
    fn add(&self, words: &[&str]) -> Output {
        let image = format!("/usr/lib/modules/{}/vmlinuz", self.release);
        // kernel-install looks for a file system at /boot.
        let script = "mount --bind \"$0/boot\" \"$0/boot\" && mount -t proc proc \"$0/proc\" && \
                      mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(&self.root);
        command.args(["kernel-install", "--boot-path=/boot", "--verbose", "add", &self.release, &image]);
        command.args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("SYSTEMD_RELAX_XBOOTLDR_CHECKS", "1").env("SYSTEMD_RELAX_ESP_CHECKS", "1");
        command.output().unwrap()
    }

    /// A file of /boot.
    fn boot(&self, path: &str) -> PathBuf {
        self.root.join("boot").join(path)
    }

    /// The archive that `hermetic initramfs` makes for this kernel with these words.
    fn expected(&self, words: &[&str]) -> Vec<u8> {
        let out = self.scratch.host("expected");
        let mut builder = hermetic();
        builder.arg("--init").arg(self.root.join("usr/bin/hermetic-init")).args(words);
        builder.arg("--root").arg(&self.root).arg("-o").arg(&out);
        succeed(&mut builder);
        fs::read(out).unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// The entry's initrd lines.
fn initrds(entry: &str) -> Vec<&str> {
    entry.lines().filter_map(|line| line.strip_prefix("initrd ")).map(str::trim).collect()
}

#[test]
fn the_entry_has_our_initramfs_and_no_other() {
    let Some(host) = Host::new("entry") else { return };
    let entry = format!("loader/entries/test-{}.conf", host.release);
    let stale = format!("boot/initrd.img-{}", host.release);
    // What initramfs-tools leaves, and Debian's plugin takes.
    fs::write(host.root.join(&stale), "another").unwrap();

    // The premise: without the word ours is not made, and the other one is taken.
    host.configure("layout=bls\n");
    let output = host.add(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let said = fs::read_to_string(host.boot(&entry)).unwrap();
    assert_eq!(initrds(&said), [format!("/boot/test/{0}/initrd.img-{0}", host.release)], "{said}");

    fs::remove_dir_all(host.boot("test")).unwrap();
    host.configure("layout=bls\ninitrd_generator=hermetic\n");
    fs::write(
        host.root.join("etc/kernel/hermetic.conf"),
        "# words\n--preset virtio\n --add-module *.btrfs\n",
    )
    .unwrap();
    let output = host.add(&[]);
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("--add-module *.btrfs: "), "{}", text(&output));

    fs::write(host.root.join("etc/kernel/hermetic.conf"), "# words\n--preset virtio\n --add-module btrfs\n")
        .unwrap();
    let output = host.add(&[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains(&format!("initrd.img-{} is another initramfs", host.release)),
        "{}",
        text(&output)
    );
    assert!(text(&output).contains(" kB, unpacked "), "{}", text(&output));
    let said = fs::read_to_string(host.boot(&entry)).unwrap();
    assert_eq!(initrds(&said), [format!("/boot/test/{}/initrd", host.release)], "{said}");
    let packed = fs::read(host.boot(&format!("test/{}/initrd", host.release))).unwrap();
    assert!(packed == host.expected(&["--add-module", "btrfs"]), "not what hermetic initramfs makes");

    // One that is named is taken as it is.
    fs::write(host.root.join("tmp/named"), "named").unwrap();
    fs::remove_dir_all(host.boot("test")).unwrap();
    fs::remove_file(host.root.join(&stale)).unwrap();
    let output = host.add(&["/tmp/named"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = fs::read_to_string(host.boot(&entry)).unwrap();
    assert_eq!(initrds(&said), [format!("/boot/test/{}/named", host.release)], "{said}");
}

#[test]
fn ukify_takes_it() {
    let Some(host) = Host::new("uki") else { return };
    let stub = host.root.join("usr/lib/systemd/boot/efi/linuxx64.efi.stub");
    if !host.root.join("usr/lib/kernel/install.d/60-ukify.install").exists() || !stub.exists() {
        return common::skip("ukify and systemd's stub in the tool root");
    }
    host.configure("layout=uki\ninitrd_generator=hermetic\nuki_generator=ukify\n");
    let output = host.add(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let uki = format!("/boot/EFI/Linux/test-{}.efi", host.release);
    let mut inspect = Command::new("chroot");
    inspect.arg(&host.root).args([
        "ukify",
        "inspect",
        &uki,
        "--json=short",
        "--section=.initrd:binary@/tmp/section",
    ]);
    succeed(&mut inspect);
    let section = fs::read(host.root.join("tmp/section")).unwrap();
    let expected = host.expected(&[]);
    // A section is filled up to its alignment.
    assert!(
        section.len() < expected.len() + 4096 && section.starts_with(&expected),
        "not what hermetic initramfs makes"
    );
}
