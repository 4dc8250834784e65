//! Entities of the TPM: their names and public areas; the storage root key.
//!
//! References: TPM 2.0 Library part 1, section 16 (names), part 2, section 12 (objects); TCG EK Credential Profile,
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
    kdf::{self, DIGEST},
};

/// Where the storage root key is kept (TCG registry of reserved handles).
const STORAGE_ROOT: u32 = 0x8100_0001;
/// `TPM_RH_OWNER`.
const OWNER: u32 = 0x4000_0001;
/// `TPM_RH_NULL`.
pub(super) const NULL: u32 = 0x4000_0007;
/// tpm2-tss's type of a serialised key (`IESYSC_KEY_RSRC`).
const KEY_RESOURCE: u32 = 1;

/// Something that the TPM knows by a handle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entity {
    /// Its handle.
    pub handle: u32,
    /// Its name: of an object the digest of its public area, of everything else the handle.
    pub name: Vec<u8>,
}

impl Entity {
    /// What has its handle as its name: hierarchies, PCRs, sessions.
    pub fn permanent(handle: u32) -> Self {
        Self { handle, name: handle.to_be_bytes().into() }
    }

    pub(super) fn null() -> Self {
        Self::permanent(NULL)
    }
}

/// The name of an object: its hash algorithm and the digest of its public area.
pub(super) fn name(public: &[u8]) -> Vec<u8> {
    [&(TpmAlgId::Sha256 as u16).to_be_bytes(), kdf::sha256(&[public]).as_slice()].concat()
}

/// The storage root key: what secrets of this TPM are sealed below.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageKey {
    pub(super) entity: Entity,
    /// The `TPMT_PUBLIC`.
    public: Vec<u8>,
}

impl StorageKey {
    /// Its point of P-256.
    pub(super) fn point(&self) -> Result<([u8; DIGEST], [u8; DIGEST]), TpmError> {
        let public = TpmtPublic::unmarshal(&self.public).ok().map(|(public, _)| public);
        match public.map(|public| public.unique) {
            Some(TpmuPublicId::Ecc(point)) => Ok((coordinate(&point.x)?, coordinate(&point.y)?)),
            _ => Err(TpmError::Unsupported(
                "the TPM's storage root key is an RSA key; only an elliptic one (P-256) is supported, use another key",
            )),
        }
    }

    /// The key as tpm2-tss serialises it (`Esys_TR_Serialize`), which is what tokens keep of it.
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
/// It is none.
pub(super) fn serialized_entity(bytes: &[u8]) -> Result<Entity, TpmError> {
    let entity = || -> Option<Entity> {
        let handle = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
        let length = usize::from(u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?));
        Some(Entity { handle, name: bytes.get(6..6 + length)?.into() })
    };
    entity().ok_or_else(|| TpmError::Invalid("the token's tpm2_srk is cut short".into()))
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
        let code = TpmCc::ReadPublic;
        let handle = Entity::permanent(STORAGE_ROOT);
        let command = Command { code, handles: &[&handle], params: Params::new(), gives_handle: false };
        let mut response = match self.execute(command, &mut []) {
            Err(error) if error.code() == Some(TpmRcBase::Handle) => return Ok(None),
            other => other?,
        };
        let public = response.sized()?.to_vec();
        // The name is computed, not believed: it is what everything else hangs on.
        let entity = Entity { handle: STORAGE_ROOT, name: name(&public) };
        let key = StorageKey { entity, public };
        key.point()?;
        Ok(Some(key))
    }

    /// The storage root key, made and kept if there is none.
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
