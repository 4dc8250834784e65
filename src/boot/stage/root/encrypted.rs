//! The root's encrypted volume: unlocked, measured, mapped.

use std::path::PathBuf;

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::udev,
        means::Means,
        random::Random,
        volume::{self, Crypt, Volume},
    },
    config::{Config, RootBond, VolumeOptions},
    luks::{Flags, Header},
    notice,
    sys::{
        block::{BlockDevice, Node},
        dm::Mapping,
    },
    tpm::{
        Bank, Entry, PcrMask, Token,
        measure::{SYSTEM_PCR, volume_key_id},
    },
    warning,
};

/// The name of the mapping, unless the command line gives it another.
const NAME: &str = "root";

/// Opens the LUKS2 volume on `device` and maps it. A damaged copy of the header is mended once the volume has opened: before,
/// nothing says that it is ours. Returns the mapping, and true when it refuses writes: because the device is `protected`, as
/// with cryptsetup, or because the command line says so.
///
/// # Errors
/// No key that opens it, a header that may not be opened, a measurement that fails, a kernel without dm-crypt.
pub fn unlock(
    means: &mut Means,
    device: &BlockDevice,
    protected: bool,
    pcrs: Option<PcrMask>,
) -> Result<(Mapping, bool), Failure> {
    let Means { config, credentials, key, devices, measurements, .. } = means;
    let node = Node::open(device.node()).or_fail(|| format!("cannot open {}", device.name))?;
    let header = Header::read(node.file()).or_fail(|| device.name.clone())?;
    let uuid = header.uuid();
    let name = config.luks.name(uuid).unwrap_or_else(|| NAME.into());
    let options = config.luks.options(uuid);
    let key_file = config.luks.key_file(uuid).map_or_else(|| key.path().to_owned(), PathBuf::from);
    let volume = Volume { device, node: &node, header: &header, name: &name, options: &options, key_file };
    let tokens = Token::all(header.document());
    if !tokens.is_empty() {
        measurements.require()?;
    }
    let key = volume::unlock(&volume, credentials, devices)?;
    // Before the content of the volume is read: an attacker who exchanged the volume cannot have its key measured as
    // the true one.
    measurements.volume_key(&name, uuid, &key.key, devices)?;
    if let Some(expected) = &options.fixate_volume_key {
        let found = volume_key_id(&name, uuid, &key.key);
        if !found.eq_ignore_ascii_case(expected) {
            let line = format!("{}: its volume key is {found}, not that of fixate-volume-key=", device.name);
            return Err(Failure::new(line + "; this is another disk, or the word has to follow a new root"));
        }
    }
    let read_only = options.read_only || protected;
    // Without a TPM that says, the bank that systemd takes first.
    let bank = measurements.bank().unwrap_or(Bank::Sha256);
    advise(config, device, &tokens, key.keyslot, (bank, config.sealing_pcrs(pcrs)));
    if let Some(complaint) = header.complaint() {
        warning!("{}: {complaint}", device.name);
        if !read_only {
            repair(&header, device)?;
        }
    }
    let flags = with_options(header.flags(), &options);
    let crypt = Crypt { header: &header, key: &key, device, node: &node, flags, read_only };
    let mapping = crypt.map(&name, devices)?;
    udev::link(&mapping).or_fail(|| format!("cannot link {}", mapping.link().display()))?;
    Ok((mapping, read_only))
}

/// Warns of a key that the TPM would give to a stranger's root as well, or that it no longer gives. The command is the builder's
/// word and the TPM's, never the header's.
fn advise(
    config: &Config,
    device: &BlockDevice,
    tokens: &[Entry],
    keyslot: u32,
    (bank, pcrs): (Bank, PcrMask),
) {
    let opened = tokens.iter().find(|entry| entry.keyslots.contains(&keyslot));
    let is_bound = |entry: &Entry| {
        matches!(&entry.token, Ok(token) if token.policy.pcrs.contains(SYSTEM_PCR))
            || config.hermetic.tpm2_root_bond == RootBond::No
    };
    let why = match opened {
        _ if tokens.is_empty() => return,
        Some(entry) if is_bound(entry) => return,
        Some(_) => {
            "the key that opened it is not bound to PCR 15, and the TPM gives it to a stranger's root as well:"
        }
        None => "the TPM did not open it; if that stays so,",
    };
    let pcrs = pcrs.without(PcrMask::SYSTEM);
    let (plus, bond) = match config.hermetic.tpm2_root_bond {
        RootBond::No => ("", String::new()),
        RootBond::Yes if pcrs.is_empty() => ("", bank.unextended(SYSTEM_PCR)),
        RootBond::Yes => ("+", bank.unextended(SYSTEM_PCR)),
    };
    let (name, node) = (&device.name, device.node());
    warning!(
        "{name}: {why} seal it anew in the running system: systemd-cryptenroll --wipe-slot=tpm2 --tpm2-device=auto --tpm2-pcrs={pcrs}{plus}{bond} {}",
        node.display()
    );
}

/// Writes the damaged copy again. A copy that cannot be written does not keep the machine from booting from the good
/// one.
fn repair(header: &Header, device: &BlockDevice) -> Result<(), Failure> {
    let mut random = Random::default();
    let plan = header.repair(&mut |bytes| random.fill(bytes));
    random.check()?;
    let Some(plan) = plan.or_fail(|| device.name.clone())? else { return Ok(()) };
    let written = Node::open_exclusive(device.node()).and_then(|node| plan.apply(node.file()));
    match written {
        Ok(()) => notice!("{}: the LUKS2 header was repaired from its other copy", device.name),
        Err(error) => warning!("{}: the LUKS2 header cannot be repaired: {error}", device.name),
    }
    Ok(())
}

/// The flags that the header asks for, and those that the command line adds.
fn with_options(flags: Flags, options: &VolumeOptions) -> Flags {
    Flags {
        allow_discards: flags.allow_discards || options.discard,
        same_cpu_crypt: flags.same_cpu_crypt || options.same_cpu_crypt,
        submit_from_crypt_cpus: flags.submit_from_crypt_cpus || options.submit_from_crypt_cpus,
        no_read_workqueue: flags.no_read_workqueue || options.no_read_workqueue,
        no_write_workqueue: flags.no_write_workqueue || options.no_write_workqueue,
        ..flags
    }
}
