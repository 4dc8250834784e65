//! Walking the header's JSON text: every step is checked, every complaint names its path.

use std::{collections::BTreeMap, prelude::v1::*};

use base64ct::{Base64, Encoding as _};
use serde_json::Value;

use super::error::{LuksError, quote};
use crate::sort;

/// The largest number of separators (`,` `:` `[` `{`) of a text. A header with 32 keyslots and 32 tokens has some 2000;
/// the bound keeps a hostile text of 4 MiB from becoming a tree of a hundred times that.
const SEPARATORS_MAX: usize = 1 << 16;

/// Parses the text of a JSON area: it begins with `{`, and behind the object there is at least one NUL and nothing but
/// NULs, as cryptsetup demands.
///
/// # Errors
/// [`LuksError::Invalid`] for everything else.
pub(super) fn parse(area: &[u8]) -> Result<Value, LuksError> {
    let invalid = |problem| LuksError::Invalid { path: "JSON area".into(), problem };
    let length = area.iter().position(|byte| *byte == 0).ok_or_else(|| invalid("no NUL ends the text"))?;
    let (text, padding) = area.split_at_checked(length).unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) {
        return Err(invalid("something follows the text"));
    }
    if text.first() != Some(&b'{') {
        return Err(invalid("the text does not begin with {"));
    }
    if text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count() > SEPARATORS_MAX {
        return Err(invalid("the text has too many members"));
    }
    serde_json::from_slice(text).map_err(|_| invalid("the text is not JSON"))
}

/// A value and where it was found.
#[derive(Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    /// The top of a document.
    pub fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// The path of this value in the document, as `keyslots/0/area`.
    pub fn path(&self) -> String {
        self.path.clone()
    }

    /// A complaint about this value.
    pub fn invalid(&self, problem: &'static str) -> LuksError {
        LuksError::Invalid { path: self.path(), problem }
    }

    /// This value is a string that is not supported.
    pub fn unsupported(&self) -> LuksError {
        let value = self.value.as_str().map_or_else(|| "of another type".into(), quote);
        LuksError::Unsupported { path: self.path(), value }
    }

    /// The member of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<Node<'a>> {
        Some(Node { value: self.value.get(name)?, path: self.below(name) })
    }

    /// The member of this name, which must be there.
    pub fn get(&self, name: &str) -> Result<Node<'a>, LuksError> {
        let missing = || LuksError::Invalid { path: self.below(name), problem: "missing" };
        self.find(name).ok_or_else(missing)
    }

    /// This value as a string.
    pub fn text(&self) -> Result<&'a str, LuksError> {
        self.value.as_str().ok_or_else(|| self.invalid("not a string"))
    }

    /// This value as a JSON integer of 32 bits.
    pub fn number(&self) -> Result<u32, LuksError> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.invalid("not an integer of 32 bits"))
    }

    /// This value as a 64-bit number, which LUKS2 writes as a string of decimal digits (JSON's own numbers lose bits).
    pub fn long(&self) -> Result<u64, LuksError> {
        decimal(self.text()?).ok_or_else(|| self.invalid("not a decimal number of 64 bits"))
    }

    /// This value as base64.
    pub fn bytes(&self) -> Result<Vec<u8>, LuksError> {
        Base64::decode_vec(self.text()?).map_err(|_| self.invalid("not base64"))
    }

    /// This value as an array of strings.
    pub fn texts(&self) -> Result<Vec<&'a str>, LuksError> {
        let array = self.value.as_array().ok_or_else(|| self.invalid("not an array"))?;
        let texts: Option<Vec<_>> = array.iter().map(Value::as_str).collect();
        texts.ok_or_else(|| self.invalid("not an array of strings"))
    }

    /// This value as an array of numbers of objects, which LUKS2 writes as strings; the set of them, in their order.
    pub fn references(&self) -> Result<Vec<u32>, LuksError> {
        let numbers: Option<Vec<_>> = self.texts()?.into_iter().map(object_number).collect();
        let mut numbers = numbers.ok_or_else(|| self.invalid("not an array of object numbers"))?;
        sort::slice(&mut numbers);
        numbers.dedup();
        Ok(numbers)
    }

    /// This value as an object of numbered objects, of which there may be `max`, numbered below `max`.
    pub fn numbered(&self, max: u32) -> Result<BTreeMap<u32, Node<'a>>, LuksError> {
        let object = self.value.as_object().ok_or_else(|| self.invalid("not an object"))?;
        let mut nodes = BTreeMap::new();
        for (name, value) in object {
            let number = object_number(name).filter(|number| *number < max);
            let number = number.ok_or_else(|| self.invalid("a member's name is not a number in range"))?;
            let node = Node { value, path: self.below(name) };
            if !value.is_object() {
                return Err(node.invalid("not an object"));
            }
            nodes.insert(number, node);
        }
        Ok(nodes)
    }

    fn below(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.into(),
            path => format!("{path}/{name}"),
        }
    }
}

/// Decimal digits and nothing else: no sign, no blank.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The number of an object, in the one spelling it has: `07` is not `7`, or two names could mean one object.
fn object_number(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with('0');
    decimal(text).filter(|_| canonical).and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_area_holds_one_object_and_nuls() {
        assert!(parse(b"{}\0\0").is_ok());
        for area in
            [&b""[..], b"\0", b"{}", b" {}\0", b"[]\0", b"{}\0x", b"{} x\0", b"{\0}\0", b"{\"a\":\xff}\0"]
        {
            assert!(parse(area).is_err(), "{area:?}");
        }
        let flood = format!("{{\"a\":[{}0]}}\0", "0,".repeat(SEPARATORS_MAX));
        assert_eq!(
            parse(flood.as_bytes()).unwrap_err().to_string(),
            "LUKS2 header: JSON area: the text has too many members"
        );
        let deep = format!("{{\"a\":{}{}}}\0", "[".repeat(5000), "]".repeat(5000));
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn numbers_have_one_spelling() {
        for (text, number) in
            [("0", Some(0)), ("31", Some(31)), ("", None), ("+1", None), ("01", None), ("00", None)]
        {
            assert_eq!(object_number(text), number, "{text:?}");
        }
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal("18446744073709551616"), None);
    }

    proptest! {
        #[test]
        fn any_area_is_parsed_or_refused(mut area: Vec<u8>) {
            area.insert(0, b'{');
            area.push(0);
            parse(&area).ok();
        }
    }
}
