//! TPM 2.0 against swtpm, and tokens against systemd-cryptenroll.

mod common;
#[path = "tpm/newest.rs"]
mod newest;

use std::{
    cell::Cell,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use common::Scratch;
use hermetic_init::{
    luks::{self, Budget, Header},
    secret::Secret,
    tpm::{
        Bank, PcrMask, Pin, Policy, SignedPcrs, Token, Tpm, TpmError, Transport, measure::Measurement,
        signature,
    },
};
use serde_json::Value;
use zeroize::Zeroizing;

/// The time that a simulator may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// swtpm with its own state.
struct Simulator {
    child: Child,
    port: u16,
    scratch: Scratch,
}

impl Simulator {
    /// A TPM as it leaves the factory; None without the tool root.
    fn new() -> Option<Self> {
        Scratch::new().map(Self::within)
    }

    /// The same with the tools of sid.
    fn of_sid() -> Option<Self> {
        Scratch::of_sid().map(Self::within)
    }

    fn within(scratch: Scratch) -> Self {
        fs::create_dir(scratch.host("state")).unwrap();
        let mut simulator = Self { child: start(&scratch, 0), port: 0, scratch };
        simulator.kill();
        simulator.restart();
        simulator
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it on two free ports in a row: tpm2-tss looks for the control channel behind the other.
    fn restart(&mut self) {
        let begin = Instant::now();
        loop {
            let listeners = pair();
            let port = listeners.0.local_addr().unwrap().port();
            drop(listeners);
            self.child = start(&self.scratch, port);
            self.port = port;
            while begin.elapsed() < PATIENCE {
                if self.child.try_wait().unwrap().is_some() {
                    break;
                }
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(begin.elapsed() < PATIENCE, "swtpm does not listen");
        }
    }

    /// Switches it off and on: PCRs are as after a reset, persistent objects stay.
    fn reset(&mut self) {
        self.kill();
        self.restart();
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tpm<'_>) -> T) -> T {
        let mut wire = Wire(self.port);
        work(&mut Tpm::new(&mut wire, &mut random))
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _already_dead = self.child.wait();
    }
}

fn pair() -> (TcpListener, TcpListener) {
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if let Some(next) = port.checked_add(1)
            && let Ok(second) = TcpListener::bind((Ipv4Addr::LOCALHOST, next))
        {
            return (first, second);
        }
    }
}

fn start(scratch: &Scratch, port: u16) -> Child {
    let mut swtpm = scratch.tool("swtpm");
    swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
    swtpm.arg(format!("dir={}", scratch.inside("state")));
    swtpm.args(["--server", &format!("type=tcp,port={port},disconnect")]);
    swtpm.args(["--ctrl", &format!("type=tcp,port={}", port.saturating_add(1))]);
    swtpm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The simulator's data channel: bare commands and responses, a connection for each.
struct Wire(u16);

impl Transport for Wire {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let exchange = || -> std::io::Result<Zeroizing<Vec<u8>>> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0))?;
            stream.write_all(command)?;
            let mut response = Zeroizing::new(vec![0; 10]);
            stream.read_exact(&mut response)?;
            let size = u32::from_be_bytes(response[2..6].try_into().unwrap());
            response.resize(size as usize, 0);
            stream.read_exact(&mut response[10..])?;
            Ok(response)
        };
        exchange().map_err(|error| error.to_string())
    }
}

/// Bytes that are the same in every run and never the same twice.
fn random(bytes: &mut [u8]) {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) });
    for byte in bytes {
        let mut state = STATE.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        STATE.set(state);
        *byte = (state >> 32) as u8;
    }
}

fn policy(pcrs: &str, pin: bool) -> Policy {
    Policy { bank: Bank::Sha256, pcrs: PcrMask::parse(pcrs).unwrap(), signed: None, pin }
}

fn extend(tpm: &mut Tpm<'_>, pcr: u32, word: &str) {
    tpm.extend(pcr, &[(Bank::Sha256, Bank::Sha256.digest(word.as_bytes()))]).unwrap();
}

#[test]
fn a_secret_opens_while_the_pcr_is_as_it_was() {
    let Some(mut simulator) = Simulator::new() else { return };
    let (token, passphrase) = simulator.with(|tpm| {
        extend(tpm, 7, "secure boot is on");
        let (token, passphrase) = tpm.enrol(&policy("7", false), PcrMask::default(), None, None).unwrap();
        assert_eq!(passphrase.expose().len(), 44, "base64 of 32 bytes");
        let again = tpm.open(&token, &Pin::none(), None).unwrap();
        assert!(again.expose() == passphrase.expose());
        (Token::parse(&token.to_json(1)).unwrap(), passphrase)
    });
    simulator.reset();
    simulator.with(|tpm| {
        let error = tpm.open(&token, &Pin::none(), None).err().unwrap();
        assert_eq!(error, TpmError::PolicyMismatch { looked_at: "PCR 7 (sha256)".into() });
        extend(tpm, 7, "secure boot is on");
        assert!(tpm.open(&token, &Pin::none(), None).unwrap().expose() == passphrase.expose());
        extend(tpm, 7, "and then something else ran");
        assert!(matches!(tpm.open(&token, &Pin::none(), None), Err(TpmError::PolicyMismatch { .. })));
    });
}

/// PCR 7 as it is, and PCR 15 as it is before a root is opened: what a root is sealed to.
fn enrol_root(tpm: &mut Tpm<'_>) -> (Token, Secret) {
    enrol_root_in(Bank::Sha256, tpm)
}

fn enrol_root_in(bank: Bank, tpm: &mut Tpm<'_>) -> (Token, Secret) {
    let policy = Policy { bank, ..policy("7+15", false) };
    let (token, passphrase) = tpm.enrol(&policy, PcrMask::SYSTEM, None, None).unwrap();
    (Token::parse(&token.to_json(1)).unwrap(), passphrase)
}

#[test]
fn a_root_opens_until_a_root_was_opened() {
    let Some(mut simulator) = Simulator::new() else { return };
    let (token, passphrase) = simulator.with(enrol_root);
    let opens = |tpm: &mut Tpm<'_>| match tpm.open(&token, &Pin::none(), None) {
        Ok(opened) => assert!(opened.expose() == passphrase.expose()),
        Err(error) => panic!("{error}"),
    };
    simulator.with(|tpm| {
        opens(tpm);
        extend(tpm, 15, "a root");
        assert_eq!(tpm.open(&token, &Pin::none(), None).err().unwrap(), TpmError::RootWasOpened);
        // What is sealed then is sealed to PCR 15 of zeroes all the same.
        assert_eq!(enrol_root(tpm).0.digest, token.digest);
    });
    simulator.reset();
    simulator.with(|tpm| {
        opens(tpm);
        extend(tpm, 7, "another key of Secure Boot");
        let both = TpmError::PolicyMismatch { looked_at: "PCR 7+15 (sha256)".into() };
        assert_eq!(tpm.open(&token, &Pin::none(), None).err().unwrap(), both);
        extend(tpm, 15, "a root");
        assert_eq!(tpm.open(&token, &Pin::none(), None).err().unwrap(), both);
    });
}

/// The command that a boot prints for a root that is not bound enrols what we enrol, while the real system runs.
#[test]
fn systemd_cryptenroll_binds_a_root_as_we_do() {
    Bank::ALL.into_iter().for_each(binds_a_root_as_we_do);
}

fn binds_a_root_as_we_do(bank: Bank) {
    let Some(mut simulator) = Simulator::new() else { return };
    let ours = simulator.with(|tpm| enrol_root_in(bank, tpm)).0;
    simulator.with(|tpm| tpm.extend(15, &[(bank, bank.digest(b"the root that runs"))]).unwrap());
    volume(&simulator);
    let pcrs = format!("--tpm2-pcrs=7+{}", bank.unextended(15));
    let output = enroll(&simulator, &[&pcrs, "--tpm2-public-key="]);
    assert!(output.status.success(), "{output:?}");
    let theirs = &tokens(&simulator)[0];
    let as_we = ours.to_json(1);
    for member in ["tpm2-pcrs", "tpm2-pcr-bank", "tpm2-policy-hash", "tpm2-primary-alg", "tpm2_srk"] {
        assert_eq!(as_we[member], theirs[member], "{member}");
    }
    let theirs = Token::parse(theirs).unwrap();
    let error = simulator.with(|tpm| tpm.open(&theirs, &Pin::none(), None).err().unwrap());
    assert_eq!(error, TpmError::RootWasOpened);
    simulator.reset();
    simulator.with(|tpm| tpm.open(&theirs, &Pin::none(), None).unwrap());
}

/// A key's owner signs for four phases by default (systemd-measure(1)): those after the initrd release no root.
#[test]
fn a_signature_for_a_later_phase_opens_no_root() {
    let Some(simulator) = Simulator::new() else { return };
    let scratch = &simulator.scratch;
    openssl(scratch, &["genrsa", "-out", "@key.pem", "2048"]);
    openssl(scratch, &["rsa", "-in", "@key.pem", "-pubout", "-out", "@public.pem"]);
    let key = signature::PublicKey::parse(&fs::read(scratch.host("public.pem")).unwrap()).unwrap();
    let signed = Some(SignedPcrs { pcrs: PcrMask::parse("11").unwrap(), key, reference: String::new() });
    let policy = Policy { signed, ..policy("7+15", false) };
    let (initrd, later) = (sign(scratch, "enter-initrd"), sign(scratch, "enter-initrd:leave-initrd"));
    simulator.with(|tpm| {
        measure_kernel(tpm);
        extend(tpm, 11, "enter-initrd");
        let (token, passphrase) = tpm.enrol(&policy, PcrMask::SYSTEM, None, None).unwrap();
        assert!(tpm.open(&token, &Pin::none(), Some(&initrd)).unwrap().expose() == passphrase.expose());
        extend(tpm, 15, "a root");
        let error = tpm.open(&token, &Pin::none(), Some(&initrd)).err().unwrap();
        assert_eq!(error, TpmError::RootWasOpened);
        extend(tpm, 11, "leave-initrd");
        let error = tpm.open(&token, &Pin::none(), Some(&later)).err().unwrap();
        assert_eq!(error, TpmError::RootWasOpened);
    });
}

/// systemd-pcrlock of the tool root replays the log and finds the TPM as the log says, records of our own kind included.
#[test]
fn systemd_pcrlock_reads_the_log() {
    let Some(simulator) = Simulator::new() else { return };
    let key = Secret::new(b"thirty-two bytes, and one more to go".to_vec());
    let banks = simulator.with(|tpm| tpm.banks().unwrap());
    let mut log = String::new();
    for measurement in [
        Measurement::phase(&banks, "enter-initrd"),
        Measurement::root(&banks, "plain"),
        Measurement::volume_key(&banks, "root", uuid::Uuid::from_u128(1), &key),
    ] {
        simulator.with(|tpm| tpm.extend(measurement.pcr, &measurement.digests).unwrap());
        log += &measurement.record(&"0".repeat(32), 7);
    }
    let scratch = &simulator.scratch;
    fs::write(scratch.host("log"), &log).unwrap();
    let mut command = scratch.tool_with_proc("/usr/lib/systemd/systemd-pcrlock");
    command.args(["log", "--json=short", "--pcr=11,15"]);
    // There is no firmware.
    fs::write(scratch.host("none"), []).unwrap();
    command.env("SYSTEMD_TPM2_DEVICE", format!("swtpm:host=127.0.0.1,port={}", simulator.port));
    command.env("SYSTEMD_MEASURE_LOG_USERSPACE", scratch.inside("log"));
    command.env("SYSTEMD_MEASURE_LOG_FIRMWARE", scratch.inside("none"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told: Vec<&str> =
        read["log"].as_array().unwrap().iter().filter_map(|event| event["description"].as_str()).collect();
    let key = "cryptsetup:root:00000000-0000-0000-0000-000000000001";
    assert_eq!(told, ["enter-initrd", "hermetic-root:plain", key]);
    for pcr in [11, 15] {
        let state = read["pcrs"].as_array().unwrap().iter().find(|state| state["pcr"] == pcr).unwrap();
        let told = (&state["hashMatchesEventLog"], &state["noMissingComponents"]);
        assert_eq!(told, (&Value::Bool(true), &Value::Bool(true)), "{state}");
        assert_ne!(state["observedSHA256"], "0".repeat(64), "{state}");
    }
}

#[test]
fn a_pin_is_asked_for_and_a_wrong_one_locks() {
    let Some(simulator) = Simulator::new() else { return };
    let word = |text: &str| Secret::new(text.as_bytes().to_vec());
    simulator.with(|tpm| {
        let salt = [7; 32];
        assert!(!tpm.lockout().unwrap().locked);
        let pin = Pin::new(&word("1234"), Some(&salt));
        let (token, passphrase) =
            tpm.enrol(&policy("7", true), PcrMask::default(), Some(&pin), Some(&salt)).unwrap();
        assert!(tpm.open(&token, &pin, None).unwrap().expose() == passphrase.expose());
        let wrong = Pin::new(&word("12345"), Some(&salt));
        let mut errors = (0..10).map(|_| tpm.open(&token, &wrong, None).err().unwrap());
        assert!(errors.next().unwrap().is_wrong_pin());
        assert!(errors.any(|error| error.is_lockout()), "the TPM never locks");
        let error = tpm.open(&token, &pin, None).err().unwrap();
        assert!(error.is_lockout(), "{error}");
        // The values that libtpms gives to a new TPM (DAPreInstall_Init).
        let lockout = tpm.lockout().unwrap();
        assert_eq!((lockout.locked, lockout.wrong, lockout.allowed, lockout.interval), (true, 3, 3, 1000));
    });
}

#[test]
fn another_tpm_is_told_from_this_one() {
    let Some(simulator) = Simulator::new() else { return };
    let (token, _) =
        simulator.with(|tpm| tpm.enrol(&policy("7", false), PcrMask::default(), None, None).unwrap());
    let other = Simulator::new().unwrap();
    other.with(|tpm| {
        assert_eq!(tpm.open(&token, &Pin::none(), None).err().unwrap(), TpmError::OtherStorageKey);
        tpm.storage_key_or_new().unwrap();
        assert_eq!(tpm.open(&token, &Pin::none(), None).err().unwrap(), TpmError::OtherStorageKey);
    });
}

/// A command with the empty password for its first handle; the response.
fn raw(simulator: &Simulator, code: u32, handles: &[u32], params: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut body = code.to_be_bytes().to_vec();
    handles.iter().for_each(|handle| body.extend(handle.to_be_bytes()));
    body.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0]);
    body.extend(params);
    let size = u32::try_from(6 + body.len()).unwrap().to_be_bytes();
    let response = Wire(simulator.port).transmit(&[&[0x80, 2], &size[..], &body].concat()).unwrap();
    assert_eq!(response[6..10], [0; 4], "{response:?}");
    response
}

/// TCG EK Credential Profile, templates L-1 (RSA 2048) and L-2 (P-256), as a storage root key has them: AES-128-CFB.
#[rustfmt::skip]
const RSA: [u8; 26] = [
    0, 1, 0, 11, 0, 3, 4, 0x72, 0, 0, // RSA, SHA-256, attributes, no policy
    0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 0,
];
#[rustfmt::skip]
const RSA_1024: [u8; 26] = [
    0, 1, 0, 11, 0, 3, 4, 0x72, 0, 0,
    0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 4, 0, 0, 0, 0, 0, 0, 0,
];
#[rustfmt::skip]
const ELLIPTIC: [u8; 26] = [
    0, 0x23, 0, 11, 0, 3, 4, 0x72, 0, 0, // ECC
    0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0, 0,
];

/// Makes the TPM create a key by this template and keep it there; returns its `TPM2B_PUBLIC`.
fn keep(simulator: &Simulator, template: &[u8], place: u32) -> Vec<u8> {
    let public = [&[0, template.len() as u8], template].concat();
    let params = [&[0, 4, 0, 0, 0, 0], &public[..], &[0, 0, 0, 0, 0, 0]].concat();
    let made = raw(simulator, 0x131, &[0x4000_0001], &params);
    let handle = u32::from_be_bytes(made[10..14].try_into().unwrap());
    raw(simulator, 0x120, &[0x4000_0001, handle], &place.to_be_bytes());
    // There is no resource manager to make room: TPM2_FlushContext.
    let flush = [&[0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65][..], &handle.to_be_bytes()].concat();
    assert_eq!(Wire(simulator.port).transmit(&flush).unwrap()[6..], [0; 4]);
    let size = usize::from(u16::from_be_bytes(made[18..20].try_into().unwrap()));
    made[18..20 + size].to_vec()
}

#[test]
fn a_storage_root_key_of_another_kind_is_refused_by_name() {
    let Some(simulator) = Simulator::new() else { return };
    keep(&simulator, &RSA_1024, 0x8100_0001);
    let error =
        simulator.with(|tpm| tpm.enrol(&policy("7", false), PcrMask::default(), None, None).err().unwrap());
    let text = error.to_string();
    assert!(matches!(error, TpmError::Unsupported(_)) && text.contains("an RSA key of 2048 bits"), "{text}");
}

/// A key that its owner may duplicate, and one that decrypts for everybody: somebody else may know the private part.
#[test]
fn a_storage_root_key_that_others_may_know_is_refused() {
    let Some(simulator) = Simulator::new() else { return };
    let mut duplicable = ELLIPTIC;
    duplicable[7] = 0x60;
    #[rustfmt::skip]
    let decrypts = [0, 0x23, 0, 11, 0, 2, 4, 0x72, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0, 0];
    for template in [&duplicable[..], &decrypts] {
        keep(&simulator, template, 0x8100_0001);
        let error = simulator
            .with(|tpm| tpm.enrol(&policy("7", false), PcrMask::default(), None, None).err().unwrap());
        assert!(error.to_string().contains("could be known outside of it"), "{error}");
        // Takes it from its place.
        raw(&simulator, 0x120, &[0x4000_0001, 0x8100_0001], &0x8100_0001_u32.to_be_bytes());
    }
    keep(&simulator, &ELLIPTIC, 0x8100_0001);
    simulator.with(|tpm| tpm.enrol(&policy("7", false), PcrMask::default(), None, None).unwrap());
}

#[test]
fn an_rsa_storage_root_key_seals_and_releases() {
    let Some(simulator) = Simulator::new() else { return };
    keep(&simulator, &RSA, 0x8100_0001);
    simulator.with(|tpm| {
        let word = Secret::new(b"1234".to_vec());
        let pin = Pin::new(&word, None);
        let (token, passphrase) =
            tpm.enrol(&policy("7", true), PcrMask::default(), Some(&pin), None).unwrap();
        let token = Token::parse(&token.to_json(0)).unwrap();
        assert!(tpm.open(&token, &pin, None).unwrap().expose() == passphrase.expose());
        assert!(tpm.open(&token, &Pin::none(), None).err().unwrap().is_wrong_pin());
    });
}

#[test]
fn whoever_changes_a_response_on_the_bus_is_found_out() {
    let Some(simulator) = Simulator::new() else { return };
    let (token, passphrase) =
        simulator.with(|tpm| tpm.enrol(&policy("7", false), PcrMask::default(), None, None).unwrap());

    /// An attacker on the bus, who turns over a bit of every response to TPM2_Unseal and keeps the traffic.
    struct Bus<'a>(Wire, &'a mut Vec<u8>, bool);
    impl Transport for Bus<'_> {
        fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
            let mut response = self.0.transmit(command)?;
            self.1.extend_from_slice(&response);
            if self.2 && command[6..10] == 0x15e_u32.to_be_bytes() {
                response[20] ^= 1;
            }
            Ok(response)
        }
    }
    let mut heard = Vec::new();
    let mut bus = Bus(Wire(simulator.port), &mut heard, true);
    let error = Tpm::new(&mut bus, &mut random).open(&token, &Pin::none(), None).err().unwrap();
    assert!(matches!(error, TpmError::Tampered { .. }), "{error}");
    let mut bus = Bus(Wire(simulator.port), &mut heard, false);
    let opened = Tpm::new(&mut bus, &mut random).open(&token, &Pin::none(), None).unwrap();
    assert!(opened.expose() == passphrase.expose());
    use base64ct::Encoding as _;
    let secret = base64ct::Base64::decode_vec(std::str::from_utf8(passphrase.expose()).unwrap()).unwrap();
    assert!(
        !heard.windows(16).any(|window| window == &secret[..16]),
        "the secret crosses the bus in the clear"
    );
}

/// The codes of commands whose responses carry a session of ours: TPM2_Create, TPM2_Unseal.
const WITH_SESSION: [u32; 2] = [0x153, 0x15e];

/// A bus on which one bit of one response is turned over, and the number of bits of each response so far.
struct Flipping {
    wire: Wire,
    /// The response and its bit; None for a quiet bus.
    target: Option<(usize, usize)>,
    /// Every response so far: the code of its command, its tag, its bits.
    heard: Vec<(u32, u16, usize)>,
}

impl Transport for Flipping {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut response = self.wire.transmit(command)?;
        if let Some((number, bit)) = self.target
            && number == self.heard.len()
        {
            let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
            assert!(bit < response.len() * 8, "{number} {bit} {code:#x} {:x?} {:?}", &*response, self.heard);
            response[bit / 8] ^= 1 << (bit % 8);
        }
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        let tag = u16::from_be_bytes(response[..2].try_into().unwrap());
        self.heard.push((code, tag, response.len() * 8));
        Ok(response)
    }
}

/// TPM2_FlushContext of everything that a broken exchange may have left behind: there is no resource manager.
fn flush_all(simulator: &Simulator) {
    for handle in [0x8000_0000_u32, 0x0200_0000, 0x0300_0000].into_iter().flat_map(|first| first..first + 3) {
        let flush = [&[0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65][..], &handle.to_be_bytes()].concat();
        Wire(simulator.port).transmit(&flush).unwrap();
    }
}

/// Of the responses whose command had an authorization, every bit in turn: one that a session of ours vouches for is refused,
/// and whatever happens to the others, no other secret comes of it.
#[test]
fn every_flipped_bit_of_a_response_with_a_session_is_found_out() {
    let Some(simulator) = Simulator::new() else { return };
    let word = Secret::new(b"1234".to_vec());
    let pin = Pin::new(&word, None);
    let (token, passphrase) =
        simulator.with(|tpm| tpm.enrol(&policy("7", true), PcrMask::default(), Some(&pin), None).unwrap());
    let opens = |tpm: &mut Tpm<'_>| {
        let opened = tpm.open(&token, &pin, None)?;
        assert!(opened.expose() == passphrase.expose(), "another secret is taken");
        Ok(())
    };
    // What was sealed on such a bus must open on a quiet one.
    let seals = |tpm: &mut Tpm<'_>| {
        let (token, passphrase) = tpm.enrol(&policy("7", true), PcrMask::default(), Some(&pin), None)?;
        flush_all(&simulator);
        let opened = simulator.with(|tpm| tpm.open(&token, &pin, None)).unwrap();
        assert!(opened.expose() == passphrase.expose(), "another secret was sealed");
        Ok(())
    };
    let mut found = 0;
    for work in [&opens as &dyn Fn(&mut Tpm<'_>) -> Result<(), TpmError>, &seals] {
        let on = |target| {
            let mut bus = Flipping { wire: Wire(simulator.port), target, heard: Vec::new() };
            let done = work(&mut Tpm::new(&mut bus, &mut random));
            flush_all(&simulator);
            (done, bus.heard)
        };
        // The first exchange may have an answer of a TPM that still tests itself.
        on(None).0.unwrap();
        let (done, quiet) = on(None);
        done.unwrap();
        for (number, (code, tag, bits)) in quiet.iter().enumerate().filter(|(_, (_, tag, _))| *tag == 0x8002)
        {
            for bit in 0..*bits {
                let (done, _) = on(Some((number, bit)));
                match done {
                    Ok(()) => assert!(!WITH_SESSION.contains(code), "bit {bit} of the response to {code:#x}"),
                    Err(TpmError::Device(words)) => panic!("{words}"),
                    Err(_) => found += 1,
                }
            }
            assert_eq!(*tag, 0x8002);
        }
    }
    println!("{found} flipped bits were refused");
    assert!(found > 4000, "{found}");
}

/// A TPM behind something that does as it likes with each command: the response, or None to pass the command on.
struct Between<'a>(Wire, &'a mut dyn FnMut(&[u8]) -> Option<Vec<u8>>);

impl Transport for Between<'_> {
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        match (self.1)(command) {
            Some(response) => Ok(Zeroizing::new(response)),
            None => self.0.transmit(command),
        }
    }
}

const UNSEAL: [u8; 4] = 0x15e_u32.to_be_bytes();

#[test]
fn a_pcr_that_changes_meanwhile_is_looked_at_again() {
    let Some(simulator) = Simulator::new() else { return };
    let (token, passphrase) =
        simulator.with(|tpm| tpm.enrol(&policy("7", false), PcrMask::default(), None, None).unwrap());
    for changes in [3, 100] {
        let mut unseals = 0;
        // Between the check of the policy and the release of the secret, a PCR that is not the policy's is extended.
        let mut meddle = |command: &[u8]| {
            if command[6..10] == UNSEAL {
                unseals += 1;
                if unseals <= changes {
                    simulator.with(|tpm| extend(tpm, 8, "the boot loader's"));
                }
            }
            None
        };
        let mut bus = Between(Wire(simulator.port), &mut meddle);
        let opened = Tpm::new(&mut bus, &mut random).open(&token, &Pin::none(), None);
        if changes == 3 {
            assert!(opened.unwrap().expose() == passphrase.expose());
            assert_eq!(unseals, 4);
        } else {
            // As often as systemd tries.
            let error = opened.err().unwrap();
            assert!(error.is_pcr_changed() && unseals == 30, "{error} after {unseals}");
        }
    }
}

#[test]
fn a_tpm_that_is_busy_is_asked_again() {
    let Some(simulator) = Simulator::new() else { return };
    let (token, passphrase) =
        simulator.with(|tpm| tpm.enrol(&policy("7", false), PcrMask::default(), None, None).unwrap());
    // TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_RETRY; some times in a row, and then for ever.
    for (code, busy) in [(0x908_u16, 4), (0x90a, 4), (0x922, 19), (0x922, 1000)] {
        let mut unseals = 0;
        let mut yielding = |command: &[u8]| {
            let is_unseal = command[6..10] == UNSEAL;
            unseals += u32::from(is_unseal);
            let [high, low] = code.to_be_bytes();
            (is_unseal && unseals <= busy).then(|| vec![0x80, 1, 0, 0, 0, 10, 0, 0, high, low])
        };
        let mut bus = Between(Wire(simulator.port), &mut yielding);
        let opened = Tpm::new(&mut bus, &mut random).open(&token, &Pin::none(), None);
        match opened {
            Ok(opened) => assert!(busy < 20 && opened.expose() == passphrase.expose()),
            Err(error) => assert!(busy == 1000 && error.to_string().contains("TPM_RC_RETRY"), "{error}"),
        }
        assert_eq!(unseals, (busy + 1).min(20), "{code:#x}");
    }
}

/// The output of openssl of the tool root, with its files in the scratch directory.
fn openssl(scratch: &Scratch, words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| match word.strip_prefix('@') {
        Some(file) => scratch.inside(file),
        None => (*word).into(),
    });
    let output = scratch.tool("openssl").args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn a_signature_decides_which_state_is_good() {
    let Some(simulator) = Simulator::new() else { return };
    let scratch = &simulator.scratch;
    openssl(scratch, &["genrsa", "-out", "@key.pem", "2048"]);
    openssl(scratch, &["rsa", "-in", "@key.pem", "-pubout", "-out", "@public.pem"]);
    let key = signature::PublicKey::parse(&fs::read(scratch.host("public.pem")).unwrap()).unwrap();
    simulator.with(|tpm| {
        let pcrs = PcrMask::parse("11").unwrap();
        let policy = Policy {
            signed: Some(SignedPcrs { pcrs, key: key.clone(), reference: String::new() }),
            ..policy("7", false)
        };
        let (token, passphrase) = tpm.enrol(&policy, PcrMask::default(), None, None).unwrap();
        let token = Token::parse(&token.to_json(0)).unwrap();
        measure_kernel(tpm);
        extend(tpm, 11, "enter-initrd");
        let now = sign(scratch, "enter-initrd");
        assert!(tpm.open(&token, &Pin::none(), Some(&now)).unwrap().expose() == passphrase.expose());
        assert!(matches!(tpm.open(&token, &Pin::none(), None), Err(TpmError::NoSignature { .. })));
        extend(tpm, 11, "leave-initrd");
        assert!(matches!(tpm.open(&token, &Pin::none(), Some(&now)), Err(TpmError::NoSignature { .. })));
        let later = signed(scratch, "enter-initrd:leave-initrd");
        let opened = tpm.open(&token, &Pin::none(), Some(&parsed(&later))).unwrap();
        assert!(opened.expose() == passphrase.expose());
        // Another key's signature for this very state does not count, under its own name or under that of the right key.
        openssl(scratch, &["genrsa", "-out", "@key.pem", "2048"]);
        openssl(scratch, &["rsa", "-in", "@key.pem", "-pubout", "-out", "@public.pem"]);
        let mut forged = signed(scratch, "enter-initrd:leave-initrd");
        let error = tpm.open(&token, &Pin::none(), Some(&parsed(&forged))).err().unwrap();
        assert!(matches!(error, TpmError::NoSignature { .. }), "{error}");
        forged["sha256"][0]["pkfp"] = later["sha256"][0]["pkfp"].clone();
        let error = tpm.open(&token, &Pin::none(), Some(&parsed(&forged))).err().unwrap();
        assert!(error.to_string().contains("the signature does not match"), "{error}");
    });
}

/// The content of the section `.linux` of a UKI.
const KERNEL: &str = "a kernel";

/// Extends PCR 11 as systemd-stub(7) does for a UKI that has a kernel and nothing else. It stands for the stub, and no test takes its
/// word: every signature in this file is systemd-measure's, for the state that it computes itself of the same kernel, and the
/// simulator compares. Were the events here others than the stub's, nothing would open. A real stub's are in the machine case of
/// signed UKIs.
fn measure_kernel(tpm: &mut Tpm<'_>) {
    extend(tpm, 11, ".linux\0");
    extend(tpm, 11, KERNEL);
}

/// The state of PCR 11 for which there are signatures.
fn enter_initrd(simulator: &Simulator) {
    simulator.with(|tpm| {
        measure_kernel(tpm);
        extend(tpm, 11, "enter-initrd");
    });
}

/// Returns the signature file that systemd-measure(1) makes for that UKI in this phase, with `key.pem` and `public.pem` of the
/// scratch directory.
fn signed(scratch: &Scratch, phase: &str) -> Value {
    signed_with(scratch, &[&format!("--phase={phase}")])
}

/// As [`signed`], with these options.
fn signed_with(scratch: &Scratch, words: &[&str]) -> Value {
    fs::write(scratch.host("linux"), KERNEL).unwrap();
    let mut measure = scratch.tool("systemd-measure");
    measure.args(["sign", "--bank=sha256"]).args(words);
    for (option, file) in [("linux", "linux"), ("private-key", "key.pem"), ("public-key", "public.pem")] {
        measure.arg(format!("--{option}={}", scratch.inside(file)));
    }
    let output = measure.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn parsed(file: &Value) -> signature::Signatures {
    signature::Signatures::parse(file.to_string().as_bytes()).unwrap()
}

/// As [`signed`], read by us.
fn sign(scratch: &Scratch, phase: &str) -> signature::Signatures {
    parsed(&signed(scratch, phase))
}

/// systemd-cryptenroll of the tool root on a volume there, with its own /proc.
fn enroll(simulator: &Simulator, words: &[&str]) -> std::process::Output {
    let mut command = simulator.scratch.tool_with_proc("systemd-cryptenroll");
    command.env("NEWPIN", "1234");
    command.arg(format!("--unlock-key-file={}", simulator.scratch.inside("key")));
    if !words.iter().any(|word| word.starts_with("--tpm2-device-key=")) {
        command.arg(format!("--tpm2-device=swtpm:host=127.0.0.1,port={}", simulator.port));
    }
    command.args(words).arg(simulator.scratch.inside("disk")).output().unwrap()
}

/// A volume that cryptsetup formatted with the file `key`.
fn volume(simulator: &Simulator) {
    let scratch = &simulator.scratch;
    fs::write(scratch.host("key"), b"thirty-two bytes of random, say.").unwrap();
    fs::File::create(scratch.host("disk")).unwrap().set_len(20 << 20).unwrap();
    let mut cryptsetup = scratch.tool("cryptsetup");
    cryptsetup.args(["luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2"]);
    cryptsetup.args(["--pbkdf-force-iterations", "1000", "--key-file", &scratch.inside("key")]);
    let output = cryptsetup.arg(scratch.inside("disk")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The tokens of the volume, as cryptsetup prints them.
fn tokens(simulator: &Simulator) -> Vec<Value> {
    let mut cryptsetup = simulator.scratch.tool("cryptsetup");
    let output =
        cryptsetup.args(["luksDump", "--dump-json-metadata"]).arg(simulator.scratch.inside("disk")).output();
    let metadata: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    metadata["tokens"].as_object().unwrap().values().cloned().collect()
}

/// Tokens of systemd-cryptenroll open their keyslots, with any binding.
#[test]
fn tokens_of_systemd_cryptenroll_open_their_keyslots() {
    let Some(simulator) = Simulator::new() else { return };
    let scratch = &simulator.scratch;
    openssl(scratch, &["genrsa", "-out", "@key.pem", "2048"]);
    openssl(scratch, &["rsa", "-in", "@key.pem", "-pubout", "-out", "@public.pem"]);
    let public = format!("--tpm2-public-key={}", scratch.inside("public.pem"));
    enter_initrd(&simulator);
    for (words, pin) in [
        (&["--tpm2-pcrs=7"][..], None),
        (&["--tpm2-pcrs=7+14"], None),
        (&["--tpm2-pcrs="], None),
        (&["--tpm2-pcrs=7", "--tpm2-with-pin=yes"], Some("1234")),
        (&["--tpm2-pcrs=7", &public, "--tpm2-public-key-pcrs=11"], None),
    ] {
        opens_what_it_enrols(&simulator, words, pin);
    }
}

/// The storage root key may be an RSA key, the key another persistent one, and the TPM somewhere else when it is sealed.
#[test]
fn tokens_of_other_keys_open_their_keyslots() {
    let Some(simulator) = Simulator::new() else { return };
    let public = keep(&simulator, &RSA, 0x8100_0001);
    opens_what_it_enrols(&simulator, &["--tpm2-pcrs=7"], None);
    opens_what_it_enrols(&simulator, &["--tpm2-pcrs=7", "--tpm2-with-pin=yes"], Some("1234"));
    let pcr7 = format!("--tpm2-pcrs=7:sha256={}", "00".repeat(32));
    fs::write(simulator.scratch.host("srk"), public).unwrap();
    let key = format!("--tpm2-device-key={}", simulator.scratch.inside("srk"));
    opens_what_it_enrols(&simulator, &[&key, &pcr7], None);

    let simulator = Simulator::new().unwrap();
    let public = keep(&simulator, &ELLIPTIC, 0x8100_0001);
    fs::write(simulator.scratch.host("srk"), public).unwrap();
    let key = format!("--tpm2-device-key={}", simulator.scratch.inside("srk"));
    opens_what_it_enrols(&simulator, &[&key, &pcr7], None);
    opens_what_it_enrols(&simulator, &[&key, &pcr7, "--tpm2-with-pin=yes"], Some("1234"));
    keep(&simulator, &ELLIPTIC, 0x8100_0002);
    opens_what_it_enrols(&simulator, &["--tpm2-pcrs=7", "--tpm2-seal-key-handle=0x81000002"], None);
}

/// KiB of memory for Argon2.
const MEMORY: u32 = 128 << 10;

/// The PIN as the TPM is shown it for this token.
fn shown(token: &Token, typed: &str) -> Pin {
    let (typed, salt) = (Secret::new(typed.as_bytes().to_vec()), token.salt.as_deref());
    match token.argon2id {
        None => Pin::new(&typed, salt),
        Some(cost) => {
            let mut budget = Budget::with_memory(MEMORY);
            Pin::hardened(&luks::harden(&typed, salt.unwrap(), cost, &mut budget).unwrap())
        }
    }
}

/// Enrols by these words, in place of the old token, and opens the keyslot.
fn opens_what_it_enrols(simulator: &Simulator, words: &[&str], pin: Option<&str>) {
    let scratch = &simulator.scratch;
    volume(simulator);
    let without_key = words.iter().all(|word| !word.contains("public-key"));
    let words = if without_key { [words, &["--tpm2-public-key="]].concat() } else { words.to_vec() };
    let output = enroll(simulator, &words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    let tokens = tokens(simulator);
    let token = Token::parse(&tokens[0]).unwrap_or_else(|error| panic!("{words:?}: {error}: {tokens:?}"));
    let pin = pin.map_or_else(Pin::none, |pin| shown(&token, pin));
    let signatures = token.policy.signed.as_ref().map(|policy| {
        let reference = format!("--policyref={}", policy.reference);
        let words = ["--phase=enter-initrd", &reference];
        parsed(&signed_with(scratch, &words[..if policy.reference.is_empty() { 1 } else { 2 }]))
    });
    let passphrase = simulator
        .with(|tpm| tpm.open(&token, &pin, signatures.as_ref()))
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let disk = fs::File::open(scratch.host("disk")).unwrap();
    let header = Header::read(&disk).unwrap();
    let key = header.unlock(&disk, &passphrase, &mut Budget::with_memory(MEMORY)).unwrap();
    assert_eq!(key.keyslot, 1, "{words:?}");
    // The token that would be written for the same key has the same members.
    let ours = token.to_json(1);
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let theirs = &tokens[0];
    for member in members(&ours) {
        assert_eq!(ours[&member], theirs[&member], "{words:?}: {member} of {theirs}");
    }
}
