//! The reasons why a signature or a certificate does not count.

use core::fmt;

/// The reason why a signature or a certificate does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pkcs7Error {
    /// The bytes are not the structure that they should be; the field that is not there or not right.
    Malformed(&'static str),
    /// The text has no certificate in PEM.
    NotPem,
    /// A valid structure that uses what is not supported; the thing, and what to use.
    Unsupported(&'static str),
    /// Nobody signed.
    NoSigner,
    /// None of the certificates is that of a signer.
    UnknownSigner,
    /// The digest that was signed is not that of the content: it is a signature for something else.
    OtherContent,
    /// The signature was not made with the key of the certificate that it names.
    Mismatch,
}

impl fmt::Display for Pkcs7Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(field) => write!(f, "not in DER as it should be, or cut short: {field}"),
            Self::NotPem => f.write_str("no certificate in PEM"),
            Self::Unsupported(what) => f.write_str(what),
            Self::NoSigner => f.write_str("it has no signer"),
            Self::UnknownSigner => f.write_str("it was signed by a key whose certificate is not there"),
            Self::OtherContent => f.write_str("it signs something else"),
            Self::Mismatch => f.write_str("it was not made over this by the key of its certificate"),
        }
    }
}

impl core::error::Error for Pkcs7Error {}
