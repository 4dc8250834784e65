//! X.509 certificates: the name of the issuer, the serial number and the key. Nothing else of them is looked at.
//!
//! Reference: RFC 5280, section 4.1.

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};
use spki::der::Tag;
use std::prelude::v1::*;

use super::{
    element::{Elements, context},
    error::Pkcs7Error,
    key::Key,
};

/// The lines around a certificate in PEM (RFC 7468, section 5.1), and OpenSSL's older one.
const BEGIN: [&str; 2] = ["-----BEGIN CERTIFICATE-----", "-----BEGIN X509 CERTIFICATE-----"];
const END: &str = "-----END ";

/// A certificate whose key is trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The issuer's name in DER.
    pub(super) issuer: Vec<u8>,
    /// The content of the serial number.
    pub(super) serial: Vec<u8>,
    pub(super) key: Key,
    fingerprint: [u8; 32],
}

impl Certificate {
    /// Reads the first certificate of a PEM text; what stands around it is passed over, as by OpenSSL.
    ///
    /// # Errors
    /// There is none, it is not well-formed, or its key is not RSA of 2048 to 4096 bits, P-256 or P-384.
    pub fn from_pem(text: &str) -> Result<Self, Pkcs7Error> {
        let begin = BEGIN.iter().find_map(|line| text.split_once(line)).ok_or(Pkcs7Error::NotPem)?;
        let (body, _) = begin.1.split_once(END).ok_or(Pkcs7Error::NotPem)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = Base64::decode_vec(&body).map_err(|_| Pkcs7Error::NotPem)?;
        Self::from_der(&der)
    }

    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`].
    pub fn from_der(der: &[u8]) -> Result<Self, Pkcs7Error> {
        const FIELD: &str = "certificate";
        let mut outside = Elements::new(der, FIELD)?;
        let certificate = outside.tagged(Tag::Sequence, FIELD)?;
        if !outside.is_empty() {
            return Err(Pkcs7Error::Malformed(FIELD));
        }
        let mut signed = certificate.inside(FIELD)?.tagged(Tag::Sequence, FIELD)?.inside(FIELD)?;
        signed.optional(context(0), "version")?;
        let serial = signed.tagged(Tag::Integer, "serial number")?;
        signed.tagged(Tag::Sequence, "signature algorithm")?;
        let issuer = signed.tagged(Tag::Sequence, "issuer")?;
        signed.tagged(Tag::Sequence, "validity")?;
        signed.tagged(Tag::Sequence, "subject")?;
        let key = signed.tagged(Tag::Sequence, "public key")?;
        Ok(Self {
            issuer: issuer.whole.to_vec(),
            serial: serial.content.to_vec(),
            key: Key::parse(key.whole)?,
            fingerprint: Sha256::digest(der).into(),
        })
    }

    /// SHA-256 of the certificate in DER, by which tools name it.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}
