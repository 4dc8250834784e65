//! The conditions for the release of a secret: PCRs as they were, PCRs with a signature, a PIN.
//!
//! The same policy is computed twice: here when a secret is sealed, by the TPM when it is to be released.
//!
//! References: TPM 2.0 Library part 3, section 23; systemd 257, src/shared/tpm2-util.c (`tpm2_build_sealing_policy`).

use std::prelude::v1::*;

use tpm2_protocol::data::TpmCc;

use super::{
    Bank, PcrMask, PolicyDigest, Tpm, TpmError,
    command::{Command, Params},
    kdf::{self, DIGEST},
    session::Session,
    signature::{PublicKey, Signatures, SignedPcrs},
};

/// The conditions for the release of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The bank of all PCRs.
    pub bank: Bank,
    /// PCRs that must be as they were.
    pub pcrs: PcrMask,
    /// PCRs that must be as a signature says.
    pub signed: Option<SignedPcrs>,
    /// True when a PIN is needed.
    pub pin: bool,
}

impl Policy {
    /// The digest for these values of [`Policy::pcrs`], in their order.
    pub fn digest(&self, values: &[Vec<u8>]) -> PolicyDigest {
        let mut digest = [0; DIGEST];
        if let Some(signed) = &self.signed {
            digest = authorize(&signed.key.name(), &signed.policy_ref());
        }
        if !self.pcrs.is_empty() {
            digest = pcr(&digest, self.bank, self.pcrs, values);
        }
        if self.pin {
            digest = extend(&digest, TpmCc::PolicyAuthValue, &[]);
        }
        digest
    }

    /// The conditions, for people.
    pub fn looked_at(&self) -> String {
        let mut parts = Vec::new();
        if !self.pcrs.is_empty() {
            parts.push(format!("PCR {} ({})", self.pcrs, self.bank));
        }
        if let Some(signed) = &self.signed {
            parts.push(format!("the key that signs for PCR {}{}", signed.pcrs, signed.purpose()));
        }
        if self.pin {
            parts.push("the PIN".into());
        }
        if parts.is_empty() { "an empty policy".into() } else { parts.join(" and ") }
    }
}

fn extend(digest: &PolicyDigest, code: TpmCc, rest: &[&[u8]]) -> PolicyDigest {
    let number = (code as u32).to_be_bytes();
    let parts: Vec<&[u8]> = [digest.as_slice(), &number].into_iter().chain(rest.iter().copied()).collect();
    kdf::sha256(&parts)
}

/// `PolicyPCR` on top of a policy. Its digest of the values is SHA-256, the session's hash, for any bank.
pub fn pcr(digest: &PolicyDigest, bank: Bank, pcrs: PcrMask, values: &[Vec<u8>]) -> PolicyDigest {
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    extend(digest, TpmCc::PolicyPcr, &[&pcrs.selection(bank), &kdf::sha256(&values)])
}

/// `PolicyAuthorize` by the key of this name, with this policyRef: it replaces the policy so far.
fn authorize(key_name: &[u8], reference: &[u8]) -> PolicyDigest {
    let named = extend(&[0; DIGEST], TpmCc::PolicyAuthorize, &[key_name]);
    kdf::sha256(&[&named, reference])
}

impl Tpm<'_> {
    /// The digest that this policy has with the PCRs as they are now, but for `zeroes`: those as if they were not yet extended.
    ///
    /// # Errors
    /// The PCRs cannot be read.
    pub fn policy_digest(&mut self, policy: &Policy, zeroes: PcrMask) -> Result<PolicyDigest, TpmError> {
        let mut values = self.read_pcrs(policy.bank, policy.pcrs)?;
        for (pcr, value) in policy.pcrs.numbers().zip(&mut values) {
            if zeroes.contains(pcr) {
                value.fill(0);
            }
        }
        Ok(policy.digest(&values))
    }

    /// Shows the TPM that the policy holds.
    ///
    /// # Errors
    /// It does not: no signature for the PCRs as they are, or another digest than `expected`.
    pub(super) fn fulfil(
        &mut self,
        session: &Session,
        policy: &Policy,
        signatures: Option<&Signatures>,
        expected: &PolicyDigest,
    ) -> Result<(), TpmError> {
        if let Some(signed) = &policy.signed {
            self.policy_pcr(session, policy.bank, signed.pcrs)?;
            let approved = self.session_digest(session)?;
            let key = &signed.key;
            let signature = signatures
                .and_then(|signatures| signatures.find(policy.bank, signed, &approved))
                .ok_or_else(|| TpmError::NoSignature {
                    looked_for: format!(
                        "PCR {} ({}) as they are now{}",
                        signed.pcrs,
                        policy.bank,
                        signed.purpose()
                    ),
                })?;
            let reference = signed.policy_ref();
            let ticket = self.verify(key, &approved, &reference, signature)?;
            let params =
                Params::new().sized(&approved)?.sized(&reference)?.sized(&key.name())?.raw(&ticket)?;
            self.policy_command(TpmCc::PolicyAuthorize, session, params)?;
        }
        if !policy.pcrs.is_empty() {
            self.policy_pcr(session, policy.bank, policy.pcrs)?;
        }
        if policy.pin {
            self.policy_command(TpmCc::PolicyAuthValue, session, Params::new())?;
        }
        if self.session_digest(session)? != *expected {
            return Err(TpmError::PolicyMismatch { looked_at: policy.looked_at() });
        }
        Ok(())
    }

    fn policy_pcr(&mut self, session: &Session, bank: Bank, pcrs: PcrMask) -> Result<(), TpmError> {
        let params = Params::new().sized(&[])?.raw(&pcrs.selection(bank))?;
        self.policy_command(TpmCc::PolicyPcr, session, params)
    }

    fn policy_command(&mut self, code: TpmCc, session: &Session, params: Params) -> Result<(), TpmError> {
        let command = Command { code, handles: &[&session.entity()], params, gives_handle: false };
        self.execute(command, &mut []).map(drop)
    }

    fn session_digest(&mut self, session: &Session) -> Result<PolicyDigest, TpmError> {
        let code = TpmCc::PolicyGetDigest;
        let command =
            Command { code, handles: &[&session.entity()], params: Params::new(), gives_handle: false };
        let mut response = self.execute(command, &mut [])?;
        let digest = response.sized()?;
        digest
            .try_into()
            .map_err(|_| TpmError::Malformed { command: code, problem: "the digest is not SHA-256".into() })
    }

    /// Makes the TPM check a signature for a policy; returns its ticket (a `TPMT_TK_VERIFIED`).
    fn verify(
        &mut self,
        key: &PublicKey,
        approved: &PolicyDigest,
        reference: &[u8],
        signature: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let loaded = self.load_external(key)?;
        let params = Params::new()
            // The digest of the policy and its reference.
            .sized(&kdf::sha256(&[approved, reference]))?
            .raw(&PublicKey::signature(signature)?)?;
        let command =
            Command { code: TpmCc::VerifySignature, handles: &[&loaded], params, gives_handle: false };
        let ticket = self.execute(command, &mut []).map(|response| response.remainder().to_vec());
        self.flush(loaded.handle)?;
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_specification() {
        let policy = |pcrs: &str, pin| Policy {
            bank: Bank::Sha256,
            pcrs: PcrMask::parse(pcrs).unwrap(),
            signed: None,
            pin,
        };
        assert_eq!(policy("", false).digest(&[]), [0; 32]);
        // SHA-256 of 32 zero bytes and 0x0000016b: TPM2_PolicyAuthValue, as `sha256sum` computes it.
        let hex: String = policy("", true).digest(&[]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "8fcd2169ab92694e0c633f1ab772842b8241bbc20288981fc7ac1eddc1fddb0e");
    }
}
