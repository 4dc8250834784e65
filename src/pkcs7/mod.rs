//! Signatures of PKCS#7 over bytes that stand elsewhere, checked against the keys of certificates that are trusted as they are.
//!
//! That is the check that systemd makes of a root hash's signature in user space (src/shared/dissect-image.c,
//! `validate_signature_userspace`: `PKCS7_verify` with `PKCS7_NOINTERN` and `PKCS7_NOVERIFY`). Every signer must be one of the given
//! certificates; certificates in the signature count for nothing, a certificate vouches for no other, and neither validity nor
//! use of a certificate is looked at.
//!
//! | file | content |
//! |---|---|
//! | `element` | DER, element by element |
//! | `signed_data` | signers, what they signed, and the check |
//! | `certificate` | names, serial number and key of an X.509 certificate |
//! | `key`, `rsa` | RSA (PKCS#1 v1.5) and ECDSA with P-256 and P-384 |
//! | `digest` | SHA-256, SHA-384, SHA-512 |
//!
//! References: RFC 5652 (RFC 2315 for the older form), RFC 5280, RFC 5480, RFC 8017. systemd-repart(8) makes such signatures.

mod certificate;
mod digest;
mod element;
mod error;
mod key;
mod rsa;
mod signed_data;

pub use certificate::Certificate;
pub use error::Pkcs7Error;
pub use signed_data::SignedData;
