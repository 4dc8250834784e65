//! SignedData: who signed, and what.
//!
//! Reference: RFC 5652, section 5.

use spki::{ObjectIdentifier, der::Tag};
use std::prelude::v1::*;

use super::{
    certificate::Certificate,
    digest::Digest,
    element::{Element, Elements, context},
    error::Pkcs7Error,
};

/// id-signedData (RFC 5652, section 5.1) and id-data (section 4).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
/// The attributes id-contentType and id-messageDigest (section 11).
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
/// The largest signature that is read. The kernel takes a key of 32,767 bytes at most.
const MAX_SIZE: usize = 1 << 15;
/// The most signers that are looked at.
const MAX_SIGNERS: usize = 16;

/// A signature by one or more keys, over bytes that are not in it.
pub struct SignedData<'a>(Vec<Signer<'a>>);

/// A signer: the certificate that it names, and its signature.
struct Signer<'a> {
    issuer: &'a [u8],
    serial: &'a [u8],
    digest: Digest,
    /// The attributes that were signed in place of the content.
    attributes: Option<Element<'a>>,
    algorithm: Element<'a>,
    signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    /// Reads a signature in DER.
    ///
    /// # Errors
    /// It is no SignedData, nobody signed, or by what is not supported.
    pub fn parse(der: &'a [u8]) -> Result<Self, Pkcs7Error> {
        const FIELD: &str = "signed data";
        if der.len() > MAX_SIZE {
            return Err(Pkcs7Error::Malformed("it is larger than 32 KiB"));
        }
        let mut outside = Elements::new(der, FIELD)?;
        let mut content = outside.tagged(Tag::Sequence, FIELD)?.inside(FIELD)?;
        if !outside.is_empty() || !content.next(FIELD)?.is(&SIGNED_DATA) {
            return Err(Pkcs7Error::Malformed(FIELD));
        }
        let explicit = content.tagged(context(0), FIELD)?;
        let mut data = explicit.inside(FIELD)?.tagged(Tag::Sequence, FIELD)?.inside(FIELD)?;
        data.tagged(Tag::Integer, "version")?;
        data.tagged(Tag::Set, "digest algorithms")?;
        let kind = data.tagged(Tag::Sequence, "content")?.inside("content")?.next("content")?;
        if !kind.is(&DATA) {
            return Err(Pkcs7Error::Unsupported(
                "its content is not of the type \"data\"; sign a plain file",
            ));
        }
        data.optional(context(0), "certificates")?;
        data.optional(context(1), "revocations")?;
        let mut infos = data.tagged(Tag::Set, "signers")?.inside("signers")?;
        let mut signers = Vec::new();
        while !infos.is_empty() {
            if signers.len() == MAX_SIGNERS {
                return Err(Pkcs7Error::Unsupported("it has more than 16 signers; sign with one key"));
            }
            signers.push(Signer::parse(infos.tagged(Tag::Sequence, "signer")?)?);
        }
        if signers.is_empty() { Err(Pkcs7Error::NoSigner) } else { Ok(Self(signers)) }
    }

    /// Checks every signer against the certificates, and that it signed `content`. Returns the place of the first signer's
    /// certificate among them.
    ///
    /// # Errors
    /// A signer without a certificate, a signature over something else, or by another key.
    pub fn verify(&self, content: &[u8], certificates: &[Certificate]) -> Result<usize, Pkcs7Error> {
        let mut found = Err(Pkcs7Error::NoSigner);
        for signer in self.0.iter().rev() {
            found = Ok(signer.verify(content, certificates)?);
        }
        found
    }
}

impl<'a> Signer<'a> {
    fn parse(info: Element<'a>) -> Result<Self, Pkcs7Error> {
        let mut info = info.inside("signer")?;
        info.tagged(Tag::Integer, "version of a signer")?;
        let named = info.next("name of a signer")?;
        if named.tag != Tag::Sequence {
            return Err(Pkcs7Error::Unsupported(
                "it names its signer by a key identifier; sign with the issuer's name and serial number",
            ));
        }
        let mut name = named.inside("name of a signer")?;
        let issuer = name.tagged(Tag::Sequence, "issuer of a signer")?.whole;
        let serial = name.tagged(Tag::Integer, "serial number of a signer")?.content;
        let digest = Digest::by_identifier(info.algorithm("digest of a signer")?)?;
        let attributes = info.optional(context(0), "signed attributes")?;
        let algorithm = info.algorithm("algorithm of a signer")?;
        let signature = info.tagged(Tag::OctetString, "signature")?.content;
        Ok(Self { issuer, serial, digest, attributes, algorithm, signature })
    }

    fn verify(&self, content: &[u8], certificates: &[Certificate]) -> Result<usize, Pkcs7Error> {
        let mut digest = self.digest.of(&[content]);
        if let Some(attributes) = self.attributes {
            if signed_digest(attributes)? != digest {
                return Err(Pkcs7Error::OtherContent);
            }
            // What is signed are the attributes as a SET, not under the tag that they have here (section 5.4).
            let rest = attributes.whole.get(1..).unwrap_or_default();
            digest = self.digest.of(&[&[0x31], rest]);
        }
        let named = |certificate: &&Certificate| {
            certificate.issuer == self.issuer && certificate.serial == self.serial
        };
        let mut result = Err(Pkcs7Error::UnknownSigner);
        // Two certificates may have one name: whoever issues them by hand counts from 1.
        for (index, certificate) in
            certificates.iter().enumerate().filter(|(_, certificate)| named(certificate))
        {
            result = certificate.key.makes(self.algorithm, self.digest).map(|()| index);
            if result.is_ok() && !certificate.key.verifies(self.digest, &digest, self.signature) {
                result = Err(Pkcs7Error::Mismatch);
            }
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// The digest of the content among signed attributes. It must be there once, and so must be the content's type.
fn signed_digest(attributes: Element<'_>) -> Result<&[u8], Pkcs7Error> {
    const FIELD: &str = "signed attributes";
    let mut rows = attributes.inside(FIELD)?;
    let (mut kind, mut digest) = (None, None);
    while !rows.is_empty() {
        let mut row = rows.tagged(Tag::Sequence, FIELD)?.inside(FIELD)?;
        let name = row.tagged(Tag::ObjectIdentifier, FIELD)?;
        let place = if name.is(&CONTENT_TYPE) {
            &mut kind
        } else if name.is(&MESSAGE_DIGEST) {
            &mut digest
        } else {
            continue;
        };
        let mut values = row.tagged(Tag::Set, FIELD)?.inside(FIELD)?;
        let value = values.next(FIELD)?;
        if place.replace(value).is_some() || !values.is_empty() {
            return Err(Pkcs7Error::Malformed(FIELD));
        }
    }
    match (kind, digest) {
        (Some(kind), Some(digest)) if kind.is(&DATA) && digest.tag == Tag::OctetString => Ok(digest.content),
        _ => Err(Pkcs7Error::Malformed(FIELD)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by OpenSSL with a key on P-256, with and without signed attributes: tests/pkcs7/make.sh.
    const CERTIFICATE: &str = include_str!("../../tests/pkcs7/signer.crt");
    const BARE: &[u8] = include_bytes!("../../tests/pkcs7/bare.p7s");
    const ATTRIBUTES: &[u8] = include_bytes!("../../tests/pkcs7/attributes.p7s");
    const CONTENT: &[u8] = include_bytes!("../../tests/pkcs7/content");

    fn certificates() -> Vec<Certificate> {
        vec![Certificate::from_pem(CERTIFICATE).unwrap()]
    }

    #[test]
    fn the_content_and_the_certificate_count() {
        for signature in [BARE, ATTRIBUTES] {
            let data = SignedData::parse(signature).unwrap();
            assert_eq!(data.verify(CONTENT, &certificates()), Ok(0));
            assert_eq!(data.verify(CONTENT, &[]), Err(Pkcs7Error::UnknownSigner));
            let other = if signature == BARE { Pkcs7Error::Mismatch } else { Pkcs7Error::OtherContent };
            assert_eq!(data.verify(b"something else", &certificates()), Err(other));
            for length in 0..signature.len() {
                assert!(SignedData::parse(&signature[..length]).is_err(), "cut at {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            bare in any::<bool>(),
            text in any::<String>(),
        ) {
            let mut signature = if bare { BARE.to_vec() } else { ATTRIBUTES.to_vec() };
            let mut certificate = CERTIFICATE.as_bytes().to_vec();
            for (place, byte) in changes {
                let (in_signature, in_certificate) = (place.index(signature.len()), place.index(certificate.len()));
                signature[in_signature] = byte;
                certificate[in_certificate] = byte;
            }
            if let Ok(data) = SignedData::parse(&signature) {
                prop_assert!(data.verify(b"something else", &certificates()).is_err());
            }
            let _total = Certificate::from_pem(&String::from_utf8_lossy(&certificate));
            let _total = Certificate::from_pem(&text);
            let _total = Certificate::from_der(text.as_bytes());
        }
    }
}
