//! The errors of a TPM, in words that a person can act on.

use core::fmt;
use std::prelude::v1::*;

use tpm2_protocol::{
    TpmError as ProtocolError,
    data::{TpmCc, TpmRc, TpmRcBase},
};

/// The reason why an operation that needs the TPM failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TpmError {
    /// The device could not be written or read; its own words.
    Device(String),
    /// The TPM refused a command.
    Refused {
        /// The command.
        command: TpmCc,
        /// The response code.
        code: TpmRc,
    },
    /// A response is not a valid answer to its command.
    Malformed {
        /// The command.
        command: TpmCc,
        /// The fault.
        problem: String,
    },
    /// A response's authorization does not match: something between us and the TPM changed it.
    Tampered {
        /// The command.
        command: TpmCc,
    },
    /// A value does not fit into the TPM's structures; the text names it.
    TooLarge(&'static str),
    /// A blob, a token, a key or a signature file is not valid; the text names the fault.
    Invalid(String),
    /// The storage root key is another one than when the secret was sealed.
    OtherStorageKey,
    /// The policy at this moment is not the one that the secret was sealed with.
    PolicyMismatch {
        /// The conditions of the policy, for people: `PCR 7 (sha256)`.
        looked_at: String,
    },
    /// The policy wants PCR 15 as it is before a root is opened, and it was extended before this kernel started.
    RootWasOpened,
    /// No signature is for the PCRs as they are now.
    NoSignature {
        /// The object that was looked for.
        looked_for: String,
    },
    /// Something that we do not do; what, and what to do instead.
    Unsupported(&'static str),
}

impl TpmError {
    /// The code that the TPM answered with, without the number of the parameter or session it complains about.
    pub fn code(&self) -> Option<TpmRcBase> {
        match self {
            Self::Refused { code, .. } => Some(code.base()),
            _ => None,
        }
    }

    /// Returns true when a PIN or a password was wrong.
    pub fn is_wrong_pin(&self) -> bool {
        matches!(self.code(), Some(TpmRcBase::AuthFail | TpmRcBase::BadAuth))
    }

    /// Returns true when the TPM has locked itself after too many wrong PINs.
    pub fn is_lockout(&self) -> bool {
        self.code() == Some(TpmRcBase::Lockout)
    }

    /// Returns true when a PCR changed while the policy was being fulfilled: then another attempt is useful.
    pub fn is_pcr_changed(&self) -> bool {
        self.code() == Some(TpmRcBase::PcrChanged)
    }

    pub(super) fn malformed(command: TpmCc, error: &ProtocolError) -> Self {
        Self::Malformed { command, problem: error.to_string() }
    }
}

/// The advice for a response code; empty for most.
fn advice(code: TpmRcBase) -> &'static str {
    match code {
        TpmRcBase::AuthFail | TpmRcBase::BadAuth => ": the PIN is wrong",
        TpmRcBase::Lockout => {
            ": locked after too many wrong PINs; wait for the TPM's recovery time or use another key"
        }
        TpmRcBase::PolicyFail | TpmRcBase::Policy => {
            ": the machine is not in the state the secret is sealed to"
        }
        TpmRcBase::PcrChanged => ": a PCR was extended meanwhile",
        TpmRcBase::Integrity | TpmRcBase::Parent => {
            ": sealed by another TPM, or before this one was cleared; enrol again"
        }
        TpmRcBase::Failure => ": the TPM is in failure mode; switch the machine off and on",
        TpmRcBase::Initialize => ": the firmware has not started the TPM",
        TpmRcBase::Hierarchy => ": the firmware has disabled the owner hierarchy",
        TpmRcBase::NvSpace => ": no room for another persistent key; remove one",
        TpmRcBase::Signature => ": the signature does not match the public key",
        _ => "",
    }
}

/// The reason why a machine without a TPM 2.0 seals nothing.
pub const NO_TPM: &str = "there is no TPM 2.0 (/dev/tpmrm0)";

/// The reason why no key for a root is released or sealed: the TPM knows of one that was opened already.
pub const ROOT_WAS_OPENED: &str = "PCR 15 was extended before this kernel (by kexec, or a boot loader that measures): the TPM takes it that a \
                                   root was opened already; start the machine from its firmware";

impl fmt::Display for TpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(words) => write!(f, "TPM: {words}"),
            Self::Refused { command, code } => write!(f, "{command}: {code}{}", advice(code.base())),
            Self::Malformed { command, problem } => {
                write!(f, "{command}: the TPM's response is malformed: {problem}")
            }
            Self::Tampered { command } => {
                write!(f, "{command}: the response was changed on its way from the TPM")
            }
            Self::TooLarge(what) => write!(f, "{what} is too large for a TPM"),
            Self::Invalid(what) => f.write_str(what),
            Self::OtherStorageKey => {
                f.write_str("the TPM has another storage root key than at enrolment; it was cleared or replaced, enrol again")
            }
            Self::PolicyMismatch { looked_at } => {
                write!(f, "{looked_at} not as at enrolment: firmware, boot loader or their settings changed; use another key and enrol again")
            }
            Self::RootWasOpened => f.write_str(ROOT_WAS_OPENED),
            Self::NoSignature { looked_for } => write!(
                f,
                "no signature for {looked_for}: the UKI was not signed for this state of the boot"
            ),
            Self::Unsupported(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for TpmError {}
