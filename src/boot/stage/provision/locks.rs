//! Locks of the new encrypted partitions: the key file, the TPM2, a recovery key. All of them are made, and the TPM's
//! part is tried, before the first write: a partition that could not be opened again is not made.

use std::time::Duration;

use serde_json::Value;

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{stub, tpm},
        random::Random,
    },
    config::{Config, RootBond},
    info,
    luks::{NewKdf, RecoveryKey},
    notice,
    repart::{Creation, EncryptKdf, NewPartition, Openers},
    secret::Secret,
    sys::{clock::Deadline, tpm::Device, tty::Tty},
    tpm::{PcrMask, Pin, Policy, SignedPcrs, TpmError, measure::PHASE_PCR, signature},
    units::PartitionNumber,
    warning,
};

/// The time that a console may take to print a recovery key: at 9600 baud, twice.
const PATIENCE: Duration = Duration::from_secs(1);

/// A passphrase of one keyslot.
pub struct Lock<'a> {
    /// Its passphrase.
    pub secret: &'a Secret,
    /// The function that derives its key from that.
    pub kdf: NewKdf,
    /// The token that names the holder of the passphrase.
    pub token: Option<Value>,
}

/// The locks of all new partitions.
#[derive(Default)]
pub struct Locks {
    key_file: Option<Secret>,
    sealed: Vec<Sealed>,
    recovery: Option<RecoveryKey>,
    /// The keys of each partition, and the derivation of the key file's.
    openers: Vec<(PartitionNumber, Openers, Option<EncryptKdf>)>,
}

/// The secret that the TPM keeps for one partition.
struct Sealed {
    number: PartitionNumber,
    token: Value,
    passphrase: Secret,
}

impl Locks {
    /// Makes the locks of these partitions.
    ///
    /// # Errors
    /// No key file, no TPM and no other policy for that, a TPM that refuses or that would not release the secret that
    /// it sealed, no console to show a recovery key on.
    pub fn make(
        config: &Config,
        creations: &[Creation<'_>],
        key_file: Option<Secret>,
        tpm: Option<Device>,
    ) -> Result<Self, Failure> {
        let opened = |Creation { new, opened_by, .. }: &Creation<'_>| {
            Some((new.number, (*opened_by)?, new.definition.encrypt_kdf))
        };
        let openers = creations.iter().filter_map(opened).collect();
        let mut locks = Self { key_file, openers, ..Self::default() };
        match tpm {
            Some(mut device) => locks.seal(config, creations, &mut device)?,
            None if creations.iter().any(|creation| creation.new.definition.encrypt.asks_for_tpm()) => {
                notice!("{}: nothing is sealed (hermetic.no-tpm=)", tpm::missing());
            }
            None => {}
        }
        if locks.openers.iter().any(|(_, openers, _)| openers.recovery) {
            if Tty::consoles().is_empty() {
                return Err(Failure::new("there is no console to show a recovery key on; add console="));
            }
            let mut random = Random::default();
            locks.recovery = Some(RecoveryKey::random(&mut |bytes| random.fill(bytes)));
            random.check()?;
        }
        Ok(locks)
    }

    /// Seals a secret for each partition that it is to open.
    fn seal(
        &mut self,
        config: &Config,
        creations: &[Creation<'_>],
        device: &mut Device,
    ) -> Result<(), Failure> {
        let (bank, signed) = (tpm::bank(device)?, signed_pcrs()?);
        let signatures = stub::find(stub::PCR_SIGNATURES).map_err(Failure::new)?;
        let signatures = signatures
            .map(|(content, path)| signature::Signatures::parse(&content).or_fail(|| path))
            .transpose()?;
        for Creation { new, opened_by, .. } in creations {
            if !opened_by.is_some_and(|openers| openers.tpm) {
                continue;
            }
            let zeroes = bond(config, new);
            let pcrs = config.sealing_pcrs(new.definition.tpm2_pcrs).with(zeroes);
            let policy = Policy { bank, pcrs, signed: signed.clone(), pin: false };
            let sealed = tpm::ask(device, |tpm| {
                let (token, passphrase) = tpm.enrol(&policy, zeroes, None, None)?;
                let opened = tpm.open(&token, &Pin::none(), signatures.as_ref())?;
                if opened.expose() != passphrase.expose() {
                    return Err(TpmError::Invalid("the TPM gives another secret than it sealed".into()));
                }
                Ok((token, passphrase))
            })?;
            let what = || format!("{}: cannot be sealed to {}", new.label, policy.looked_at());
            let (token, passphrase) = sealed.or_fail(what)?;
            info!("{}: sealed to {}", new.label, policy.looked_at());
            if new.definition.is_root() && zeroes.is_empty() {
                warning!(
                    "{}: hermetic.tpm2-root-bond=no: the TPM gives its key to a stranger's root as well",
                    new.label
                );
            }
            self.sealed.push(Sealed { number: new.number, token: token.to_json(0), passphrase });
        }
        Ok(())
    }

    /// The locks of a partition, in the order of its keyslots; none for one that is not encrypted.
    pub fn of(&self, number: PartitionNumber) -> Vec<Lock<'_>> {
        let found = self.openers.iter().find(|(opened, ..)| *opened == number);
        let (openers, asked) =
            found.map_or((Openers::default(), &None), |(_, openers, asked)| (*openers, asked));
        let key_file = self.key_file.as_ref().filter(|_| openers.key_file).map(|secret| Lock {
            secret,
            kdf: EncryptKdf::of_key_file(*asked, secret.expose().len()),
            token: None,
        });
        let sealed = self.sealed.iter().find(|sealed| sealed.number == number).map(|sealed| Lock {
            secret: &sealed.passphrase,
            kdf: NewKdf::MACHINE,
            token: Some(sealed.token.clone()),
        });
        let recovery = self.recovery.as_ref().filter(|_| openers.recovery).map(|key| Lock {
            secret: key.passphrase(),
            kdf: NewKdf::MACHINE,
            token: Some(RecoveryKey::token()),
        });
        [key_file, sealed, recovery].into_iter().flatten().collect()
    }

    /// Shows the recovery key, if there is one, on the consoles and nowhere else. It is shown before the table is
    /// written: a key that was shown and opens nothing does less harm than a volume whose key was not seen.
    pub fn show_recovery_key(&self) {
        let Some(key) = &self.recovery else { return };
        // Letters and dashes.
        let Ok(text) = core::str::from_utf8(key.passphrase().expose()) else { return };
        for console in Tty::consoles() {
            console.print("\r\n  recovery key  ");
            console.print(text);
            console.print("\r\n  It opens this system when the TPM does not, and is shown only now: write it down.\r\n\r\n");
            // The next line of the log would tear it.
            console.drain(Deadline::after(PATIENCE));
        }
    }
}

/// The PCRs that the key of a new partition is sealed to as they are before anything extends them. Of the root that is PCR 15, which
/// every boot extends before it looks at a root: a stranger's root may run, but what opens the true one is out of its reach.
/// Other volumes are opened by the real system.
pub fn bond(config: &Config, new: &NewPartition) -> PcrMask {
    match config.hermetic.tpm2_root_bond {
        RootBond::Yes if new.definition.is_root() => PcrMask::SYSTEM,
        _ => PcrMask::default(),
    }
}

/// The PCRs that a key vouches for, when the image brings one: those of the boot's phases, as systemd has it.
fn signed_pcrs() -> Result<Option<SignedPcrs>, Failure> {
    let found = stub::find(stub::PCR_PUBLIC_KEY).map_err(Failure::new)?;
    let Some((pem, path)) = found else { return Ok(None) };
    let key = signature::PublicKey::parse(&pem).or_fail(|| path)?;
    // Of no PCR at all the key would vouch for any system.
    let pcrs = PcrMask::of([PHASE_PCR]).ok_or_else(|| Failure::new("the TPM has no PCR of phases"))?;
    Ok(Some(SignedPcrs { pcrs, key, reference: String::new() }))
}
