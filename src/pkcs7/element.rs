//! DER, element by element: a tag, a length, a content. Only what is asked for is looked into.

use spki::{
    ObjectIdentifier,
    der::{Decode as _, Reader as _, SliceReader, Tag, TagNumber, asn1::AnyRef},
};

use super::error::Pkcs7Error;

/// One element.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    /// Its tag.
    pub tag: Tag,
    /// Its content.
    pub content: &'a [u8],
    /// The element with its tag and length.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements in its content.
    pub fn inside(self, field: &'static str) -> Result<Elements<'a>, Pkcs7Error> {
        Elements::new(self.content, field)
    }

    /// True when it is this object identifier.
    pub fn is(self, identifier: &ObjectIdentifier) -> bool {
        self.tag == Tag::ObjectIdentifier && self.content == identifier.as_bytes()
    }
}

/// The tag `[number]` of an element that holds others.
pub(super) const fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// Elements that follow each other.
pub(super) struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    pub fn new(bytes: &'a [u8], field: &'static str) -> Result<Self, Pkcs7Error> {
        SliceReader::new(bytes).map(Self).map_err(|_| Pkcs7Error::Malformed(field))
    }

    /// True when there are no more.
    pub fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// The next one.
    pub fn next(&mut self, field: &'static str) -> Result<Element<'a>, Pkcs7Error> {
        let whole = self.0.tlv_bytes().map_err(|_| Pkcs7Error::Malformed(field))?;
        let element = AnyRef::from_der(whole).map_err(|_| Pkcs7Error::Malformed(field))?;
        Ok(Element { tag: spki::der::Tagged::tag(&element), content: element.value(), whole })
    }

    /// The next one, which must have this tag.
    pub fn tagged(&mut self, tag: Tag, field: &'static str) -> Result<Element<'a>, Pkcs7Error> {
        self.next(field).and_then(|element| match element.tag == tag {
            true => Ok(element),
            false => Err(Pkcs7Error::Malformed(field)),
        })
    }

    /// The next one, when it has this tag.
    pub fn optional(&mut self, tag: Tag, field: &'static str) -> Result<Option<Element<'a>>, Pkcs7Error> {
        let here = self.0.clone();
        if !self.is_empty() {
            let element = self.next(field)?;
            if element.tag == tag {
                return Ok(Some(element));
            }
        }
        self.0 = here;
        Ok(None)
    }

    /// The first element of the next one, which must be a sequence: the algorithm of an AlgorithmIdentifier.
    pub fn algorithm(&mut self, field: &'static str) -> Result<Element<'a>, Pkcs7Error> {
        self.tagged(Tag::Sequence, field)?.inside(field)?.tagged(Tag::ObjectIdentifier, field)
    }
}
