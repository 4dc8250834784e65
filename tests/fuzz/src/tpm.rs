//! Input from a TPM token, a signature file or a TPM itself.

use hermetic_init::{
    secret::Secret,
    tpm::{
        Bank, PcrMask, Pin, Policy, Token, Tpm, Transport,
        signature::{PublicKey, Signatures},
    },
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::input::Input;

/// A token as it stands in a LUKS2 header.
pub fn tpm_token(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    match Token::parse(&value) {
        Err(error) => crate::one_line(&error),
        Ok(token) => {
            let keyslots = value.get("keyslots").and_then(Value::as_array).map_or(0, Vec::len);
            let found = Token::all(&serde_json::json!({ "tokens": { "3": value } }));
            assert!(found.iter().all(|entry| (1..=keyslots).contains(&entry.keyslots.len())));
            let again = token.to_json(7);
            assert!(Token::is_one(&again));
            assert_eq!(Token::parse(&again), Ok(token), "what is written is read back");
        }
    }
}

pub(crate) fn tpm_token_seeds() -> Vec<Vec<u8>> {
    let hash = "8b5682d81b29435d08d79278150611dc7e5923b2fefcce684a09577b40130a8b";
    vec![
        format!(
            r#"{{"type":"systemd-tpm2","keyslots":["1"],"tpm2-blob":"AAEBAAEC","tpm2-pcr-bank":"sha256",
            "tpm2-pcrs":[7],"tpm2-policy-hash":"{hash}","tpm2-primary-alg":"ecc","tpm2-pin":true,
            "tpm2_salt":"AQID","tpm2_srk":"gQAAAQAA","tpm2_pubkey_pcrs":[11]}}"#
        )
        .into_bytes(),
        format!(
            r#"{{"type":"systemd-tpm2","keyslots":["1"],"tpm2-blob":"AAEBAAEC","tpm2-pcrs":[7],"tpm2-policy-hash":"{hash}",
            "tpm2-pin":true,"tpm2_salt":"AQID","tpm2_argon2id_memcost":67108864,"tpm2_argon2id_iterations":8,
            "tpm2_argon2id_lanes":4,"tpm2_pubkey_pcrs":[11],"tpm2_pubkey_ref":"initrd"}}"#
        )
        .into_bytes(),
        br#"{"type":"systemd-tpm2","tpm2_pcrlock":true}"#.to_vec(),
    ]
}

/// A signature file and the key that signs.
pub fn tpm_signature(data: &[u8]) {
    if let Err(error) = Signatures::parse(data) {
        crate::one_line(&error);
    }
    match PublicKey::parse(data) {
        Err(error) => crate::one_line(&error),
        Ok(key) => assert_eq!(key.name().len(), 34),
    }
}

pub(crate) fn tpm_signature_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"sha256":[{"pcrs":[11],"pkfp":"aa","pol":"bb","sig":"AQID"}],"sha1":[]}"#.to_vec(),
        // A key of 512 bits, made by `openssl genrsa 512 | openssl rsa -pubout`.
        b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANkuBYjfmrzYLtP0O+30sVRvOOl98ek0\n\
          gN+ZUYezHgqoquwFzg+erqNNqKS5SlgWKjUWQyad/dQ+6SX5/+au9QUCAwEAAQ==\n-----END PUBLIC KEY-----\n"
            .to_vec(),
    ]
}

/// A TPM that answers with the fuzzer's bytes, and with the right length in front.
struct Dreamer<'a>(Input<'a>);

impl Transport for Dreamer<'_> {
    fn transmit(&mut self, _command: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        if self.0.is_empty() {
            return Err("no more dreams".into());
        }
        let length = usize::from(self.0.short()) % 512;
        let mut response: Vec<u8> = (0..length).map(|_| self.0.byte()).collect();
        let size = (response.len() as u32).to_be_bytes();
        if let Some(place) = response.get_mut(2..6) {
            place.copy_from_slice(&size);
        }
        Ok(Zeroizing::new(response))
    }
}

/// Responses of a TPM, or of an attacker in front of it. A response without authentication is not trusted.
pub fn tpm_response(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut counter = 0_u8;
    let mut random = move |bytes: &mut [u8]| {
        for byte in bytes {
            counter = counter.wrapping_add(1);
            *byte = counter;
        }
    };
    let mut dreamer = Dreamer(input);
    let mut tpm = Tpm::new(&mut dreamer, &mut random);
    let policy = Policy {
        bank: Bank::Sha256,
        pcrs: PcrMask::parse("7").expect("a PCR"),
        signed: None,
        pin: choice & 1 != 0,
    };
    let result = match choice % 6 {
        0 => tpm.storage_key_or_new().map(drop),
        1 => tpm.banks().map(drop),
        2 => tpm.read_pcrs(Bank::Sha256, policy.pcrs).map(drop),
        3 => tpm.lockout().map(drop),
        4 => tpm.enrol(&policy, PcrMask::default(), None, None).map(drop),
        _ => {
            let token = Token::parse(&serde_json::from_slice(&tpm_token_seeds()[0]).expect("a seed"));
            let pin = Pin::new(&Secret::new(b"1234".to_vec()), None);
            tpm.open(&token.expect("a token"), &pin, None).map(drop)
        }
    };
    match result {
        Err(error) => crate::one_line(&error),
        // A session's key is not to be guessed: neither sealing nor unsealing can end well here.
        Ok(()) => assert!(choice % 6 < 4),
    }
}

pub(crate) fn tpm_response_seeds() -> Vec<Vec<u8>> {
    let response = |body: &[u8]| {
        let mut bytes = ((10 + body.len()) as u16).to_le_bytes().to_vec();
        bytes.extend([0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    };
    // TPML_PCR_SELECTION of one bank, behind moreData and the capability.
    let banks = response(&[0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 11, 3, 0xff, 0xff, 0xff]);
    let mut value = vec![0, 0, 0, 9, 0, 0, 0, 1, 0, 11, 3, 0x80, 0, 0, 0, 0, 0, 1, 0, 32];
    value.extend([7; 32]);
    // TPM_PT_PERMANENT behind moreData, the capability and how many there are.
    let permanent = response(&[0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 2, 0]);
    vec![
        [&[1][..], &banks].concat(),
        [&[2][..], &response(&value)].concat(),
        [&[3][..], &permanent].concat(),
        vec![0],
        vec![4],
        vec![5],
    ]
}
