//! The proof of /usr: the root hash of the command line, the signature of a root hash, or both.
//!
//! A signature counts where `systemd.image_policy=` allows a signed /usr, or where `root-hash-signature=` asks for it. Without
//! `usrhash=` it brings the root hash along, as in systemd's `dissect_image()`; then nothing but a vouched signature makes
//! /usr a verified one.

use super::{
    Found,
    signature::{self, Signed},
};
use crate::{
    boot::failure::Failure,
    config::{Config, Uses},
    disk::types::Role,
    units::PartitionNumber,
    verity::{RootHash, SignatureSource},
    warning,
};

/// The proof that is to be had.
pub struct Proof {
    /// The signature, if there is one that counts.
    pub signed: Option<Signed>,
    /// The reason why somebody must vouch for it; None when nobody has to.
    pub demanded: Option<&'static str>,
}

/// The reasons.
const BY_POLICY: &str = "systemd.image_policy= demands a signed /usr";
const BY_WORD: &str = "root-hash-signature= asks for it, and there is no usrhash=";

impl Proof {
    /// Looks for the signature of the /usr that was found.
    ///
    /// # Errors
    /// There is none, and the policy or the command line demands one.
    pub fn find(config: &Config, found: &Found) -> Result<Self, Failure> {
        let policy = config.image_policy.usr;
        let known = config.usr.verity.as_ref().map(|verity| &verity.root_hash);
        // The least that the policy could do without a signature.
        let enough = if known.is_some() { Uses::VERITY } else { Uses::UNPROTECTED };
        let mut demanded = if policy.allows(enough) { None } else { Some(BY_POLICY) };
        let (source, asked) = match &config.usr.signature {
            Some(source @ SignatureSource::Discovered) if policy.allows(Uses::SIGNED) => (source, false),
            None | Some(SignatureSource::Discovered) => return Ok(Self { signed: None, demanded }),
            Some(source) => (source, true),
        };
        // Without a root hash a signature that nobody vouches for would prove nothing of what the word asks for.
        if asked && known.is_none() {
            demanded = demanded.or(Some(BY_WORD));
        }
        let signed = signature::find(source, found.disk.as_ref(), &found.signatures, known);
        let signed = signed.and_then(|signed| match signed {
            Some(signed) if known.is_none() => found.names(&signed).map(|()| Some(signed)),
            signed => Ok(signed),
        });
        let name = &found.data.name;
        let reason = match signed {
            Ok(Some(signed)) => return Ok(Self { signed: Some(signed), demanded }),
            Ok(None) if demanded.is_none() && !asked => return Ok(Self { signed: None, demanded }),
            Ok(None) => match config.image_filter.pattern(Role::UsrVeritySig) {
                None => format!(
                    "{name}: no usr-verity-sig partition beside it has the signature of its root hash"
                ),
                Some(pattern) => format!(
                    "{name}: no usr-verity-sig partition beside it, with a label that matches {pattern} of \
                     systemd.image_filter=, has the signature of its root hash"
                ),
            },
            Err(reason) => format!("{name}: no signature of its root hash: {reason}"),
        };
        if let Some(why) = demanded {
            return Err(Failure::new(format!("{reason}; {why}, write a signed image")));
        }
        if asked {
            let reason =
                format!("{reason}; root-hash-signature= asks for it, sign the image or remove the word");
            return Err(Failure::new(reason));
        }
        warning!("{reason}; going on without, as systemd.image_policy= allows");
        Ok(Self { signed: None, demanded })
    }

    /// The root hash: that of the command line, or that which was signed.
    pub fn root_hash(&self, config: &Config) -> Option<RootHash> {
        let signed = self.signed.as_ref().map(|signed| &signed.signature.root_hash);
        config.usr.verity.as_ref().map(|verity| &verity.root_hash).or(signed).cloned()
    }
}

impl Found {
    /// Checks that the root hash of a signature names these partitions, as it would on the command line.
    fn names(&self, signed: &Signed) -> Result<(), String> {
        let root_hash = &signed.signature.root_hash;
        let guid = |number: Option<PartitionNumber>| {
            self.disk.as_ref()?.gpt.partition(number?).map(|partition| partition.guid)
        };
        let Some(hash) = &self.hash else { return Err("there is no usr-verity partition beside it".into()) };
        let hash = hash.partition_number();
        match guid(self.data.partition_number()) == Some(root_hash.data_guid())
            && guid(hash) == Some(root_hash.verity_guid())
        {
            true => Ok(()),
            false => Err(format!("root hash {root_hash} of the signature names other partitions")),
        }
    }
}
