//! Objects of the TPM: their public areas; the storage root key.
//!
//! References: TPM 2.0 Library part 2, section 12 (objects); TCG EK Credential Profile,
//! template L-2; TCG TPM v2.0 Provisioning Guidance, section 7.5.1.

use std::prelude::v1::*;

use tpm2_protocol::{
    TpmUnmarshal as _,
    basic::TpmUint16,
    data::{
        Tpm2bDigest, TpmAlgId, TpmCc, TpmEccCurve, TpmRcBase, TpmaObject, TpmsEccParms, TpmsEccPoint,
        TpmtPublic, TpmtSymDef, TpmuPublicId, TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode,
    },
};

use super::{
    Tpm, TpmError,
    command::{Auth, Command, Params},
    entity::{Entity, name},
    kdf::DIGEST,
};

/// The handle of the storage root key (TCG registry of reserved handles).
const STORAGE_ROOT: u32 = 0x8100_0001;
/// `TPM_RH_OWNER`.
const OWNER: u32 = 0x4000_0001;
/// `TPM_HT_PERSISTENT`: the first byte of the handle of a key that is kept.
const PERSISTENT: u32 = 0x81;
/// tpm2-tss's type of a serialised key (`IESYSC_KEY_RSRC`).
const KEY_RESOURCE: u32 = 1;

/// The attributes (`TPMA_OBJECT`) of every key that is trusted with a secret: made by this TPM of its own randomness
/// (sensitiveDataOrigin), never to leave it or its parent (fixedTPM, fixedParent), and good for nothing but to be a parent
/// (restricted, decrypt). Of any other key somebody else may know the private part.
const TRUSTED: u32 = 0x0003_0032;

/// The storage root key: secrets of this TPM are sealed below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageKey {
    pub(super) entity: Entity,
    /// The `TPMT_PUBLIC`.
    public: Vec<u8>,
}

/// The modulus of an RSA key of 2048 bits.
pub(super) type Rsa = [u8; 256];

/// The key that a secret is encrypted to.
pub(super) enum Recipient {
    /// A point of P-256.
    Point { x: [u8; DIGEST], y: [u8; DIGEST] },
    /// An RSA key.
    Rsa(Rsa),
}

impl StorageKey {
    /// The part of the key that a secret is encrypted to.
    ///
    /// # Errors
    /// It is neither an elliptic key nor an RSA key of 2048 bits and the usual exponent.
    pub(super) fn recipient(&self) -> Result<Recipient, TpmError> {
        let public = TpmtPublic::unmarshal(&self.public).ok().map(|(public, _)| public);
        match public.map(|public| (public.unique, public.parameters)) {
            Some((TpmuPublicId::Ecc(point), _)) => {
                Ok(Recipient::Point { x: coordinate(&point.x)?, y: coordinate(&point.y)? })
            }
            Some((TpmuPublicId::Rsa(modulus), TpmuPublicParms::Rsa(parms)))
                if matches!(parms.exponent.value(), 0 | 65537)
                    && let Ok(modulus) = Rsa::try_from(modulus.as_ref()) =>
            {
                Ok(Recipient::Rsa(modulus))
            }
            _ => Err(TpmError::Unsupported(
                "the TPM's storage root key is neither a point of P-256 nor an RSA key of 2048 bits, use another key",
            )),
        }
    }

    /// Checks that the TPM alone has the private part.
    ///
    /// # Errors
    /// An attribute that says so is missing.
    fn check(&self) -> Result<(), TpmError> {
        // Behind type and nameAlg of a TPMT_PUBLIC.
        let attributes =
            self.public.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        match attributes {
            Some(attributes) if attributes & TRUSTED == TRUSTED => Ok(()),
            _ => Err(TpmError::Unsupported(
                "the TPM's storage root key could be known outside of it (fixedTPM, fixedParent, sensitiveDataOrigin, \
                 restricted or decrypt is missing); remove it with `tpm2_evictcontrol`, or clear the TPM",
            )),
        }
    }

    /// The name of its kind in `tpm2-primary-alg` of a token.
    pub(super) fn algorithm(&self) -> &'static str {
        // A TPMT_PUBLIC begins with it.
        if self.public.starts_with(&(TpmAlgId::Rsa as u16).to_be_bytes()) { "rsa" } else { "ecc" }
    }

    /// The key as tpm2-tss serialises it (`Esys_TR_Serialize`), which is the form in tokens.
    pub fn serialize(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.entity.handle.to_be_bytes());
        sized(&mut bytes, &self.entity.name);
        bytes.extend_from_slice(&KEY_RESOURCE.to_be_bytes());
        sized(&mut bytes, &self.public);
        bytes
    }
}

/// Handle and name out of a serialised key.
///
/// # Errors
/// The text is not a serialised key, or the key is not persistent.
pub(super) fn serialized_entity(bytes: &[u8]) -> Result<Entity, TpmError> {
    let entity = || -> Option<Entity> {
        let handle = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
        let length = usize::from(u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?));
        Some(Entity { handle, name: bytes.get(6..6 + length)?.into() })
    };
    let entity = entity().ok_or_else(|| TpmError::Invalid("the token's tpm2_srk is cut short".into()))?;
    if entity.handle >> 24 != PERSISTENT {
        return Err(TpmError::Unsupported(
            "the token's tpm2_srk is not a persistent key; enrol below the storage root key",
        ));
    }
    Ok(entity)
}

fn sized(bytes: &mut Vec<u8>, part: &[u8]) {
    // Names and public areas of the TPM: some hundred bytes at most.
    bytes.extend_from_slice(&u16::try_from(part.len()).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(part);
}

/// A coordinate, with the leading zeroes that a TPM may leave out.
fn coordinate(bytes: &[u8]) -> Result<[u8; DIGEST], TpmError> {
    let mut coordinate = [0; DIGEST];
    let start = DIGEST.checked_sub(bytes.len()).and_then(|start| coordinate.get_mut(start..));
    start
        .ok_or_else(|| TpmError::Invalid("the TPM's storage root key is not on P-256".into()))?
        .copy_from_slice(bytes);
    Ok(coordinate)
}

/// The template of a storage root key.
fn template() -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::USER_WITH_AUTH
            | TpmaObject::NO_DA
            | TpmaObject::RESTRICTED
            | TpmaObject::DECRYPT,
        auth_policy: Tpm2bDigest::default(),
        parameters: TpmuPublicParms::Ecc(TpmsEccParms {
            symmetric: TpmtSymDef {
                algorithm: TpmAlgId::Aes,
                key_bits: TpmuSymKeyBits::Aes(TpmUint16::from(128)),
                mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
            },
            curve_id: TpmEccCurve::NistP256,
            ..TpmsEccParms::default()
        }),
        unique: TpmuPublicId::Ecc(TpmsEccPoint::default()),
    }
}

impl Tpm<'_> {
    /// The storage root key, if there is one at its place.
    ///
    /// # Errors
    /// The TPM does not answer, or the key there is not of a kind that we can use.
    pub fn storage_key(&mut self) -> Result<Option<StorageKey>, TpmError> {
        self.persistent_key(STORAGE_ROOT)
    }

    /// The key at this place of persistent ones, if there is one.
    ///
    /// # Errors
    /// As [`Tpm::storage_key`].
    pub(super) fn persistent_key(&mut self, handle: u32) -> Result<Option<StorageKey>, TpmError> {
        let code = TpmCc::ReadPublic;
        let place = Entity::permanent(handle);
        let command = Command { code, handles: &[&place], params: Params::new(), gives_handle: false };
        let mut response = match self.execute(command, &mut []) {
            Err(error) if error.code() == Some(TpmRcBase::Handle) => return Ok(None),
            other => other?,
        };
        let public = response.sized()?.to_vec();
        // The name is computed, not believed: it is what everything else hangs on.
        let entity = Entity { handle, name: name(&public) };
        let key = StorageKey { entity, public };
        key.check()?;
        key.recipient()?;
        Ok(Some(key))
    }

    /// The storage root key, made and kept if it is missing.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn storage_key_or_new(&mut self) -> Result<StorageKey, TpmError> {
        if let Some(key) = self.storage_key()? {
            return Ok(key);
        }
        let owner = Entity::permanent(OWNER);
        let public = Params::new().push(&template())?.into_bytes();
        // inSensitive with neither authorization value nor data, the template, no outside data, no PCRs.
        let params = Params::new().sized(&[0; 4])?.sized(&public)?.sized(&[])?.raw(&0_u32.to_be_bytes())?;
        let command = Command { code: TpmCc::CreatePrimary, handles: &[&owner], params, gives_handle: true };
        let mut response = self.execute(command, &mut [Auth::Empty])?;
        let transient = Entity { handle: response.handle, name: name(response.sized()?) };
        let params = Params::new().raw(&STORAGE_ROOT.to_be_bytes())?;
        let command = Command {
            code: TpmCc::EvictControl,
            handles: &[&owner, &transient],
            params,
            gives_handle: false,
        };
        let kept = self.execute(command, &mut [Auth::Empty]).map(drop);
        self.flush(transient.handle)?;
        kept?;
        self.storage_key()?.ok_or_else(|| {
            TpmError::Invalid("the TPM kept a storage root key and then has none; it is faulty".into())
        })
    }
}
