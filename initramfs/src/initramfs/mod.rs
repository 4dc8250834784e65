//! `hermetic initramfs`: the archive that the kernel unpacks and starts hermetic-init from.
//! Its files: docs/reference/formats.md, "Files of the initramfs".
//!
//! | file | content |
//! |---|---|
//! | [`preset`] | the modules that kinds of machines need |
//! | [`selection`] | these modules against those of the kernel |
//! | [`tables`] | the tables by which PID 1 loads modules: the format and its writer |
//! | [`source`], [`kernel`], [`image`] | the kernel, and its modules |
//! | [`program`] | the check that the binary can be PID 1 |
//! | [`tree`], [`cpio`] | the files, and the archive of them |
//! | [`parts`] | the line that says what was packed |
//! | [`output`] | written complete or not at all |

mod cpio;
mod error;
mod image;
mod kernel;
mod output;
mod parts;
mod preset;
mod program;
mod selection;
mod source;
pub mod tables;
mod tree;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use hermetic_init::pkcs7::Certificate;

pub use self::error::Error;
use self::{
    image::Mounted,
    parts::kilobytes,
    preset::Preset,
    selection::Selection,
    source::Source,
    tree::{Entry, Kind, Tree},
};
use crate::{
    modules::{Index, ModuleName, file::ModuleFile},
    wait,
};

/// The path of the binary. The kernel starts it through the link /init, or by `rdinit=` and `init=` under this name.
const PROGRAM: &str = "/hermetic-init";
/// The path of the root partition's key.
const KEY: &str = "/hermetic/root.key";
/// The directory of certificates for the signature of /usr, as systemd searches it.
const CERTIFICATES: &str = "/usr/lib/verity.d";
/// A key file is not larger than what cryptsetup reads of one (its limit for key files).
const MAX_KEY_SIZE: u64 = 8 << 20;
/// The directories that PID 1 mounts over; a read-only root= partition cannot make them at boot.
const MOUNT_POINTS: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/sysroot"];

/// The words of `hermetic initramfs`.
#[derive(clap::Args)]
pub struct Args {
    /// The binary hermetic-init, statically linked [default: hermetic-init beside this program].
    #[arg(long, value_name = "PATH")]
    init: Option<PathBuf>,
    /// Which modules: `virtio`, `generic`, or `none` for a kernel that has everything built in.
    #[arg(long, value_enum, default_value_t = Preset::Virtio)]
    preset: Preset,
    /// A further module, by name or alias. May be repeated.
    #[arg(long, value_name = "NAME")]
    add_module: Vec<String>,
    /// The kernel's release, as `uname -r` prints it. Not needed when only one has modules there.
    #[arg(long, value_name = "RELEASE")]
    kernel_version: Option<String>,
    /// The kernel that will boot (bzImage, arm64 Image, UKI): its release is read out of it.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Take the modules from this tree instead of from /.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The directory that holds a directory of modules for each kernel; below --root [default: /lib/modules].
    #[arg(long, value_name = "DIR")]
    modules_dir: Option<PathBuf>,
    /// The directory with the modules of one kernel, wherever it is; its name is the release, unless another word says it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["root", "modules_dir"])]
    kernel_modules: Option<PathBuf>,
    /// Take the modules from the /usr in this image: a disk with partitions, or a file system. Takes root and a loop device.
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["root", "modules_dir", "kernel_modules"])]
    modules_from_image: Option<PathBuf>,
    /// The key of the encrypted root; goes to /hermetic/root.key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A certificate in PEM that vouches for the signature of /usr where the kernel does not; goes to
    /// /usr/lib/verity.d. May be repeated.
    #[arg(long, value_name = "FILE")]
    verity_certificate: Vec<PathBuf>,
    /// A further file, and where it goes; without DEST to its own absolute path. May be repeated.
    #[arg(long, value_name = "SRC[:DEST]")]
    add_file: Vec<String>,
    /// Pack modules without their signatures, for a kernel that does not enforce them: checking them takes half of the boot. Only
    /// where the initramfs is verified as a whole; the kernel is tainted then, and refuses them under lockdown or
    /// module.sig_enforce.
    #[arg(long)]
    strip_signatures: bool,
    /// The compression of the archive.
    #[arg(long, value_enum, default_value_t = Compression::Zstd)]
    compress: Compression,
    /// The compression level of zstd.
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
    /// The file to write the archive to.
    #[arg(short, long, value_name = "FILE", required_unless_present = "directory")]
    output: Option<PathBuf>,
    /// Write the same files into this new directory instead, for a root= partition without an initramfs.
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    directory: Option<PathBuf>,
    /// List every module with its size, alone and compressed.
    #[arg(short, long)]
    verbose: bool,
}

/// The compression of the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Compression {
    /// One zstd frame with its size and checksum.
    Zstd,
    /// Not at all: something else compresses it, or a boot loader verifies it in place.
    None,
}

/// Makes the initramfs.
///
/// # Errors
/// The first error; nothing was written then.
pub fn run(args: &Args) -> Result<(), Error> {
    let init = init(args)?;
    let program = read("hermetic-init", &init)?;
    let machine = program::machine(&program).map_err(|why| unusable("hermetic-init", &init, why))?;
    let Choice { release, selection, modules } = choose(args)?;
    for (name, module) in &modules {
        if let Some(found) = program::object_machine(&module.bytes).filter(|found| *found != machine) {
            let why = format!(
                "built for ELF machine {machine}, but the module {name} for {found}: build it for the kernel's \
                 architecture"
            );
            return Err(unusable("hermetic-init", &init, why));
        }
    }
    report_selection(args, release.as_deref(), &selection, &modules)?;

    let tree = plant(args, program, release.as_deref().unwrap_or_default(), &selection, modules)?;
    let (target, result) = match (&args.directory, &args.output) {
        (Some(target), _) => (target, output::directory(target, &tree).map(|()| String::new())),
        (None, Some(target)) => {
            let archive = cpio::archive(&tree).map_err(Error::TooLarge)?;
            let packed = match args.compress {
                Compression::None => None,
                Compression::Zstd => {
                    let what = format!("compressing {}", kilobytes(archive.len()));
                    Some(wait::during(&what, || compress(&archive, args.level)).map_err(Error::Compress)?)
                }
            };
            let bytes = packed.as_deref().unwrap_or(&archive);
            let size = format!("{}, unpacked {}: ", kilobytes(bytes.len()), kilobytes(archive.len()));
            (target, output::file(target, bytes, args.key_file.is_some()).map(|()| size))
        }
        // clap refuses a command line without either.
        (None, None) => return Ok(()),
    };
    let size = result.map_err(|error| Error::Write { path: target.clone(), error })?;
    eprintln!("{}: {size}{}", target.display(), parts::line(&tree, &selection));
    Ok(())
}

/// The path of the binary that becomes PID 1.
fn init(args: &Args) -> Result<PathBuf, Error> {
    match &args.init {
        Some(path) => Ok(path.clone()),
        None => {
            std::env::current_exe().map(|own| own.with_file_name(PROGRAM.trim_start_matches('/'))).map_err(
                |error| Error::Read { what: "this program's own path", path: "/proc/self/exe".into(), error },
            )
        }
    }
}

/// The content of the initramfs and its kernel.
#[derive(Default)]
struct Choice {
    /// The kernel's release; None when no module is wanted.
    release: Option<String>,
    /// Which modules, and how they are loaded.
    selection: Selection,
    /// Their bytes.
    modules: BTreeMap<ModuleName, ModuleFile>,
}

/// Chooses the kernel and its modules. Without a preset and without names no kernel is needed.
fn choose(args: &Args) -> Result<Choice, Error> {
    let named = args.kernel_version.is_some() || args.kernel.is_some();
    if args.preset == Preset::None && args.add_module.is_empty() && !named {
        return Ok(Choice::default());
    }
    let mounted = args.modules_from_image.as_deref().map(Mounted::new).transpose()?;
    let inside = mounted.as_ref().map(Mounted::modules);
    let source = Source {
        root: args.root.as_deref(),
        modules_dir: inside.as_deref().or(args.modules_dir.as_deref()),
        kernel_modules: args.kernel_modules.as_deref(),
        release: args.kernel_version.as_deref(),
        image: args.kernel.as_deref(),
    };
    let (release, dir) = source.find()?;
    let index = Index::read(&dir, &release)?;
    let mut selection = Selection::new(&index, args.preset, &args.add_module)?;
    let mut modules = BTreeMap::new();
    for name in selection.tables.modules() {
        modules.insert(name.clone(), ModuleFile::read(&index, name)?);
    }
    if args.strip_signatures {
        modules.values_mut().for_each(ModuleFile::strip_signature);
    } else if modules.values().any(ModuleFile::is_signed_with_sha256) {
        selection.hash_modules_fast(&index);
    }
    Ok(Choice { release: Some(release), selection, modules })
}

/// Everything at its place.
fn plant(
    args: &Args,
    program: Vec<u8>,
    release: &str,
    selection: &Selection,
    modules: BTreeMap<ModuleName, ModuleFile>,
) -> Result<Tree, Error> {
    let own = |error| Error::Place { what: "hermetic-init's own files".into(), error };
    let mut tree = Tree::default();
    for path in MOUNT_POINTS {
        tree.directory(path).map_err(own)?;
    }
    // The kernel opens the console for the first three descriptors before it starts /init. On a machine without a
    // console they stay closed, and Rust's start opens /dev/null in their place, or aborts.
    for (path, mode, major, minor) in [("/dev/console", 0o600, 5, 1), ("/dev/null", 0o666, 1, 3)] {
        tree.add(path, Entry { mode, kind: Kind::CharDevice { major, minor } }).map_err(own)?;
    }
    tree.file(PROGRAM, 0o755, program).map_err(own)?;
    let link = Kind::Symlink(PROGRAM.trim_start_matches('/').into());
    tree.add("/init", Entry { mode: 0o777, kind: link }).map_err(own)?;

    let path = |module: &ModuleFile| format!("/lib/modules/{release}/{}", module.file_name);
    // Every module in a table was read.
    let path_of = |name: &ModuleName| modules.get(name).map(path).unwrap_or_default();
    for (table, text) in selection.tables.files(path_of) {
        tree.file(table, 0o644, text.into_bytes()).map_err(own)?;
    }
    for module in modules.into_values() {
        tree.file(&path(&module), 0o644, module.bytes).map_err(own)?;
    }
    if let Some(source) = &args.key_file {
        tree.file(KEY, 0o400, read_key(source)?).map_err(own)?;
    }
    for source in &args.verity_certificate {
        add_certificate(&mut tree, source)?;
    }
    for word in &args.add_file {
        add_file(&mut tree, word)?;
    }
    Ok(tree)
}

/// Adds a certificate under its file's name, with the ending that PID 1 looks for. One that PID 1 could not use is refused here.
fn add_certificate(tree: &mut Tree, source: &Path) -> Result<(), Error> {
    let what = "the verity certificate";
    let content = read(what, source)?;
    Certificate::from_pem(&String::from_utf8_lossy(&content)).map_err(|error| {
        unusable(what, source, format!("{error}: give a certificate, as `openssl req -x509` makes it"))
    })?;
    let name = source.file_stem().and_then(|name| name.to_str()).unwrap_or("verity");
    tree.file(&format!("{CERTIFICATES}/{name}.crt"), 0o644, content)
        .map_err(|error| Error::Place { what: source.display().to_string(), error })
}

fn read_key(path: &Path) -> Result<Vec<u8>, Error> {
    let what = "the key file";
    let key = read(what, path)?;
    match key.len() as u64 {
        0 => Err(unusable(what, path, "it is empty: make one, `head -c 32 /dev/urandom > FILE`".into())),
        size if size > MAX_KEY_SIZE => {
            Err(unusable(what, path, "larger than 8 MiB: give a key, 32 bytes do".into()))
        }
        _ => Ok(key),
    }
}

/// Adds the file that `SRC[:DEST]` names, with its permissions. A `DEST` that ends in `/` is the directory for it.
fn add_file(tree: &mut Tree, word: &str) -> Result<(), Error> {
    let (source, place) = match word.rsplit_once(':') {
        Some((source, place)) => (source, place),
        None => (word, word),
    };
    let name = source.rsplit('/').next().unwrap_or_default();
    let place = if place.ends_with('/') { format!("{place}{name}") } else { place.to_owned() };
    let path = Path::new(source);
    let what = "the added file";
    let about = fs::metadata(path).map_err(|error| Error::Read { what, path: path.into(), error })?;
    if !about.is_file() {
        return Err(unusable(what, path, "not a regular file: name files, one --add-file each".into()));
    }
    let content = read(what, path)?;
    tree.file(&place, about.permissions().mode() & 0o7777, content)
        .map_err(|error| Error::Place { what: source.to_owned(), error })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::Read { what, path: path.into(), error })
}

fn unusable(what: &'static str, path: &Path, why: String) -> Error {
    Error::Unusable { what, path: path.into(), why }
}

/// One frame, by one thread, with size and checksum: the same bytes for the same input, and the kernel checks them.
/// The window is no larger than the content, so that a small machine unpacks it.
fn compress(bytes: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

/// Reports the modules that went in, and those that did not.
fn report_selection(
    args: &Args,
    release: Option<&str>,
    selection: &Selection,
    modules: &BTreeMap<ModuleName, ModuleFile>,
) -> Result<(), Error> {
    let Some(release) = release else { return Ok(()) };
    eprintln!("kernel {release}, preset {}", args.preset.name());
    let drivers: Vec<_> = selection.tables.drivers().iter().map(ToString::to_string).collect();
    let load: Vec<_> = selection.tables.load.iter().map(ToString::to_string).collect();
    let demand: Vec<_> = selection.tables.demand.keys().cloned().collect();
    for (label, names) in [
        ("at the start", &load),
        ("for hardware", &drivers),
        ("on demand", &demand),
        ("built in", &selection.built_in),
        ("left out, not in this kernel", &selection.left_out),
    ] {
        if !names.is_empty() {
            eprintln!("  {label}: {}", names.join(" "));
        }
    }
    if args.verbose {
        for (name, module) in modules {
            let packed = compress(&module.bytes, args.level).map_err(Error::Compress)?;
            eprintln!("  {name}: {} bytes, {} compressed alone", module.bytes.len(), packed.len());
        }
    }
    Ok(())
}
