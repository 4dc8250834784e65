//! One command with its authorizations, one response, checked.
//!
//! References: TPM 2.0 Library part 1, sections 18 (structure) and 19 (authorizations).

use std::prelude::v1::*;

use tpm2_protocol::{
    TpmMarshal, TpmUnmarshal, TpmWriter,
    data::{TpmCc, TpmRc, TpmRcBase},
};
use zeroize::Zeroizing;

use super::{
    Entity, Tpm, TpmError,
    kdf::{self, DIGEST, Direction},
    session::Session,
};

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const HEADER: usize = 10;
/// `TPM_RS_PW`: no session, a password; here always the empty one.
const PASSWORD: u32 = 0x4000_0009;
/// The largest command and the largest response (`TPM2_MAX_COMMAND_SIZE` of tpm2-tss).
const MAX_SIZE: usize = 4096;
/// The largest number of attempts at a command for which the TPM is too busy.
const TRIES: u32 = 20;

/// `TPMA_SESSION`: the session stays.
const CONTINUE: u8 = 0x01;
/// `TPMA_SESSION`: the first parameter of the command is encrypted.
pub(super) const DECRYPT: u8 = 0x20;
/// `TPMA_SESSION`: the first parameter of the response is encrypted.
pub(super) const ENCRYPT: u8 = 0x40;

/// The parameters of a command, in the order in which they are pushed. Sized at once: a buffer that grows would leave
/// copies of secrets behind.
pub(super) struct Params(Zeroizing<Vec<u8>>);

impl Params {
    pub fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(MAX_SIZE)))
    }

    /// Adds a structure.
    pub fn push(mut self, value: &impl TpmMarshal) -> Result<Self, TpmError> {
        let mut scratch = Zeroizing::new([0; MAX_SIZE]);
        let mut writer = TpmWriter::new(&mut scratch[..]);
        value.marshal(&mut writer).map_err(|_| TpmError::TooLarge("a parameter"))?;
        let length = writer.len();
        self.0.extend_from_slice(scratch.get(..length).unwrap_or_default());
        self.fits()
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Result<Self, TpmError> {
        self.0.extend_from_slice(bytes);
        self.fits()
    }

    /// Adds bytes with their length in front (`TPM2B`).
    pub fn sized(self, bytes: &[u8]) -> Result<Self, TpmError> {
        let length = u16::try_from(bytes.len()).map_err(|_| TpmError::TooLarge("a parameter"))?;
        self.raw(&length.to_be_bytes())?.raw(bytes)
    }

    /// The bytes, for a structure that stands inside another.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    fn fits(self) -> Result<Self, TpmError> {
        if self.0.len() > MAX_SIZE - HEADER { Err(TpmError::TooLarge("a command")) } else { Ok(self) }
    }
}

/// A command.
pub(super) struct Command<'a> {
    pub code: TpmCc,
    pub handles: &'a [&'a Entity],
    pub params: Params,
    /// True when the response begins with a handle.
    pub gives_handle: bool,
}

/// The authorisation of a command: the first for its first handle, and so on; one more than handles only encrypts.
pub(super) enum Auth<'a> {
    /// The empty password.
    Empty,
    /// A session.
    Session {
        session: &'a mut Session,
        /// The entity's authorization value, where the session needs it.
        value: &'a [u8],
        /// [`DECRYPT`], [`ENCRYPT`] or both.
        attributes: u8,
    },
}

/// The response to a command.
pub(super) struct Response {
    code: TpmCc,
    /// The handle, 0 when the command gives none.
    pub handle: u32,
    params: Zeroizing<Vec<u8>>,
    at: usize,
}

impl Response {
    fn rest(&self) -> &[u8] {
        self.params.get(self.at..).unwrap_or_default()
    }

    /// The next parameter.
    pub fn read<T: TpmUnmarshal>(&mut self) -> Result<T, TpmError> {
        let (value, rest) =
            T::unmarshal(self.rest()).map_err(|error| TpmError::malformed(self.code, &error))?;
        let left = rest.len();
        self.at = self.params.len().saturating_sub(left);
        Ok(value)
    }

    /// The parameters that are left, as they came.
    pub fn remainder(&self) -> &[u8] {
        self.rest()
    }

    /// The next parameter, a `TPM2B`, without its length.
    pub fn sized(&mut self) -> Result<&[u8], TpmError> {
        let (start, rest) = match self.rest() {
            [high, low, ..] => (self.at + 2, usize::from(u16::from_be_bytes([*high, *low]))),
            _ => return Err(self.short()),
        };
        let short = self.short();
        self.at = start.saturating_add(rest);
        self.params.get(start..self.at).ok_or(short)
    }

    fn short(&self) -> TpmError {
        TpmError::Malformed { command: self.code, problem: "it ends early".into() }
    }
}

impl Tpm<'_> {
    /// Runs a command.
    ///
    /// # Errors
    /// The TPM refuses it, or its answer is not valid.
    pub(super) fn execute(
        &mut self,
        command: Command<'_>,
        auths: &mut [Auth<'_>],
    ) -> Result<Response, TpmError> {
        let code = command.code;
        let mut params = command.params.0;
        for auth in auths.iter_mut() {
            if let Auth::Session { session, .. } = auth {
                session.nonce_caller = self.nonce();
            }
        }
        encrypt_first(auths, &mut params);
        let number = (code as u32).to_be_bytes();
        let mut hashed: Vec<&[u8]> = vec![&number];
        hashed.extend(command.handles.iter().map(|entity| entity.name.as_slice()));
        hashed.push(&params);
        let hash = kdf::sha256(&hashed);

        let mut frame = Zeroizing::new(Vec::with_capacity(MAX_SIZE));
        let tag = if auths.is_empty() { NO_SESSIONS } else { SESSIONS };
        frame.extend_from_slice(&tag.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&number);
        command.handles.iter().for_each(|entity| frame.extend_from_slice(&entity.handle.to_be_bytes()));
        if !auths.is_empty() {
            let area = authorizations(auths, &hash);
            frame.extend_from_slice(&length(area.len())?);
            frame.extend_from_slice(&area);
        }
        frame.extend_from_slice(&params);
        let size = length(frame.len())?;
        if frame.len() > MAX_SIZE {
            return Err(TpmError::TooLarge("a command"));
        }
        if let Some(place) = frame.get_mut(2..6) {
            place.copy_from_slice(&size);
        }
        let answer = self.transmit(code, &frame)?;
        take_apart(code, command.gives_handle, &answer, auths)
    }

    /// Sends the frame, again while the TPM says that it is only busy.
    fn transmit(&mut self, command: TpmCc, frame: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        for attempt in 1.. {
            let answer = self.device.transmit(frame).map_err(TpmError::Device)?;
            let (size, code) = match answer.get(..HEADER) {
                Some([_, _, s0, s1, s2, s3, c0, c1, c2, c3]) => {
                    (u32::from_be_bytes([*s0, *s1, *s2, *s3]), u32::from_be_bytes([*c0, *c1, *c2, *c3]))
                }
                _ => return Err(malformed(command, "it has no header")),
            };
            if usize::try_from(size) != Ok(answer.len()) {
                return Err(malformed(command, "its length is not what its header says"));
            }
            let code = TpmRc::try_from(code).map_err(|error| TpmError::malformed(command, &error))?;
            match code.base() {
                // No code covers the tag.
                TpmRcBase::Success if answer.get(..2) != frame.get(..2) => {
                    return Err(malformed(command, "its tag is not that of the command"));
                }
                TpmRcBase::Success => return Ok(answer),
                TpmRcBase::Retry | TpmRcBase::Yielded | TpmRcBase::Testing if attempt < TRIES => {}
                _ => return Err(TpmError::Refused { command, code }),
            }
        }
        Err(malformed(command, "it never came"))
    }
}

fn malformed(command: TpmCc, problem: &str) -> TpmError {
    TpmError::Malformed { command, problem: problem.into() }
}

fn length(bytes: usize) -> Result<[u8; 4], TpmError> {
    Ok(u32::try_from(bytes).map_err(|_| TpmError::TooLarge("a command"))?.to_be_bytes())
}

/// Encrypts the first parameter, which is a `TPM2B` whenever a session asks for it.
fn encrypt_first(auths: &[Auth<'_>], params: &mut [u8]) {
    for auth in auths {
        if let Auth::Session { session, value, attributes } = auth
            && attributes & DECRYPT != 0
            && let Some(data) = first_parameter(params)
        {
            let key = session.key_with(value);
            kdf::cfb(&key, &session.nonce_caller, &session.nonce_tpm, data, Direction::Encrypt);
        }
    }
}

/// The content of a `TPM2B` at the start.
fn first_parameter(params: &mut [u8]) -> Option<&mut [u8]> {
    let length = usize::from(u16::from_be_bytes(params.get(..2)?.try_into().ok()?));
    params.get_mut(2..length.checked_add(2)?)
}

/// The authorization area. The first session also vouches for the nonces of those that encrypt (part 1, 19.6.5).
fn authorizations(auths: &[Auth<'_>], hash: &[u8; DIGEST]) -> Vec<u8> {
    let nonce_of = |attribute: u8| {
        auths.iter().enumerate().find_map(|(index, auth)| match auth {
            Auth::Session { session, attributes, .. } if attributes & attribute != 0 => {
                Some((index, session.nonce_tpm.as_slice()))
            }
            _ => None,
        })
    };
    let decrypt = nonce_of(DECRYPT).filter(|(index, _)| *index != 0);
    let encrypt = nonce_of(ENCRYPT)
        .filter(|(index, _)| *index != 0 && decrypt.is_none_or(|(decrypt, _)| decrypt != *index));
    let others: Vec<&[u8]> = [decrypt, encrypt].into_iter().flatten().map(|(_, nonce)| nonce).collect();
    let mut area = Vec::new();
    let sized = |area: &mut Vec<u8>, bytes: &[u8]| {
        // Nonces and digests: 32 bytes at most.
        area.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
        area.extend_from_slice(bytes);
    };
    for (index, auth) in auths.iter().enumerate() {
        match auth {
            Auth::Empty => {
                area.extend_from_slice(&PASSWORD.to_be_bytes());
                sized(&mut area, &[]);
                area.push(CONTINUE);
                sized(&mut area, &[]);
            }
            Auth::Session { session, value, attributes } => {
                let attributes = attributes | CONTINUE;
                let others = if index == 0 { others.as_slice() } else { &[] };
                let nonces = [session.nonce_caller.as_slice(), session.nonce_tpm.as_slice()];
                area.extend_from_slice(&session.handle.to_be_bytes());
                sized(&mut area, &session.nonce_caller);
                area.push(attributes);
                let mac = session.mac(value, hash, nonces, others, attributes);
                sized(&mut area, &mac);
            }
        }
    }
    area
}

/// Splits a response, checks its authorizations and decrypts its first parameter.
fn take_apart(
    code: TpmCc,
    gives_handle: bool,
    answer: &[u8],
    auths: &mut [Auth<'_>],
) -> Result<Response, TpmError> {
    let short = || malformed(code, "it ends early");
    let word = |at: usize| -> Result<u32, TpmError> {
        let bytes = answer.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or_else(short)
    };
    let mut at = HEADER;
    let handle = if gives_handle {
        at += 4;
        word(HEADER)?
    } else {
        0
    };
    let mut response = Response { code, handle, params: Zeroizing::new(Vec::new()), at: 0 };
    if auths.is_empty() {
        response.params = Zeroizing::new(answer.get(at..).ok_or_else(short)?.to_vec());
        return Ok(response);
    }
    let size = usize::try_from(word(at)?).map_err(|_| short())?;
    at += 4;
    let end = at.checked_add(size).ok_or_else(short)?;
    let params = answer.get(at..end).ok_or_else(short)?;
    let hash = kdf::sha256(&[&0_u32.to_be_bytes(), &(code as u32).to_be_bytes(), params]);
    let mut area = answer.get(end..).unwrap_or_default();
    let mut params = Zeroizing::new(params.to_vec());
    for auth in auths {
        let nonce = take_sized(&mut area).ok_or_else(short)?;
        let (&attributes, rest) = area.split_first().ok_or_else(short)?;
        area = rest;
        let mac = take_sized(&mut area).ok_or_else(short)?;
        let Auth::Session { session, value, attributes: asked } = auth else { continue };
        let nonces = [nonce, session.nonce_caller.as_slice()];
        if !same(&session.mac(value, &hash, nonces, &[], attributes), mac) {
            return Err(TpmError::Tampered { command: code });
        }
        session.nonce_tpm = nonce.to_vec();
        if *asked & ENCRYPT != 0
            && let Some(data) = first_parameter(&mut params)
        {
            let key = session.key_with(value);
            kdf::cfb(&key, &session.nonce_tpm, &session.nonce_caller, data, Direction::Decrypt);
        }
    }
    if !area.is_empty() {
        return Err(malformed(code, "something follows its authorizations"));
    }
    response.params = params;
    Ok(response)
}

fn take_sized<'a>(area: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes(area.get(..2)?.try_into().ok()?));
    let (taken, rest) = area.get(2..)?.split_at_checked(length)?;
    *area = rest;
    Some(taken)
}

/// Compares without telling by its time where the first difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
