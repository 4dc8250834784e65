//! Tokens of the newest systemd-cryptenroll, Debian sid's: PINs that go through Argon2id, signatures for a purpose, and TPMs without
//! the bank that is usual. The lockout counter is read by tpm2-tools.

use super::*;

/// Little to compute, so that no benchmark runs.
const CHEAP: [&str; 3] =
    ["--tpm2-argon2id-memory=8M", "--tpm2-argon2id-iterations=3", "--tpm2-argon2id-parallelism=2"];

/// tpm2-tools on the simulator.
fn ask(simulator: &Simulator, name: &str, words: &[&str]) -> String {
    let mut tool = simulator.scratch.tool(name);
    tool.arg("--tcti").arg(format!("swtpm:host=127.0.0.1,port={}", simulator.port)).args(words);
    let output = tool.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Wrong PINs that the TPM has counted.
fn wrong_pins(simulator: &Simulator) -> u32 {
    let said = ask(simulator, "tpm2_getcap", &["properties-variable"]);
    let line = said.lines().find_map(|line| line.trim().strip_prefix("TPM2_PT_LOCKOUT_COUNTER: 0x")).unwrap();
    u32::from_str_radix(line, 16).unwrap()
}

/// A simulator with a key whose signatures count, in the state that is signed, and the option that enrols for the key.
fn with_signer() -> Option<(Simulator, String)> {
    let simulator = Simulator::of_sid()?;
    let scratch = &simulator.scratch;
    openssl(scratch, &["genrsa", "-out", "@key.pem", "2048"]);
    openssl(scratch, &["rsa", "-in", "@key.pem", "-pubout", "-out", "@public.pem"]);
    enter_initrd(&simulator);
    let option = format!("--tpm2-public-key={}", scratch.inside("public.pem"));
    Some((simulator, option))
}

#[test]
fn tokens_of_the_newest_systemd_cryptenroll_open_their_keyslots() {
    let Some((simulator, public)) = with_signer() else { return };
    let [memory, passes, lanes] = CHEAP;
    for (words, pin) in [
        (&["--tpm2-pcrs=7"][..], None),
        (&["--tpm2-pcrs=7+14"], None),
        (&["--tpm2-pcrs="], None),
        (&["--tpm2-pcrs=7", "--tpm2-with-pin=direct"], Some("1234")),
        (&["--tpm2-pcrs=7", "--tpm2-with-pin=yes", memory, passes, lanes], Some("1234")),
        // No whole number of KiB, as the benchmark of systemd-cryptenroll may choose it.
        (
            &["--tpm2-pcrs=", "--tpm2-with-pin=yes", "--tpm2-argon2id-memory=9000000", passes, lanes],
            Some("1234"),
        ),
        (&["--tpm2-pcrs=7", &public, "--tpm2-public-key-pcrs=11"], None),
        (&["--tpm2-pcrs=7", &public, "--tpm2-public-key-policyref=initrd"], None),
        (
            &[
                "--tpm2-pcrs=",
                &public,
                "--tpm2-public-key-policyref=a b",
                "--tpm2-with-pin=yes",
                memory,
                passes,
                lanes,
            ],
            Some("1234"),
        ),
    ] {
        opens_what_it_enrols(&simulator, words, pin);
        assert_eq!(wrong_pins(&simulator), 0, "{words:?}");
    }
}

#[test]
fn a_wrong_pin_through_argon2id_is_counted_once() {
    let Some(simulator) = Simulator::of_sid() else { return };
    volume(&simulator);
    let words = [&["--tpm2-pcrs=7", "--tpm2-with-pin=yes", "--tpm2-public-key="], &CHEAP[..]].concat();
    let output = enroll(&simulator, &words);
    assert!(output.status.success(), "{output:?}");
    let token = Token::parse(&tokens(&simulator)[0]).unwrap();
    let error = simulator.with(|tpm| tpm.open(&token, &shown(&token, "4321"), None)).err().unwrap();
    assert!(error.is_wrong_pin(), "{error}");
    assert_eq!(wrong_pins(&simulator), 1);
    simulator.with(|tpm| tpm.open(&token, &shown(&token, "1234"), None)).unwrap();
}

/// A file may have signatures for several purposes of one state.
#[test]
fn a_signature_for_another_purpose_opens_nothing() {
    let Some((simulator, public)) = with_signer() else { return };
    let scratch = &simulator.scratch;
    let of = |words: &[&str]| {
        volume(&simulator);
        let output = enroll(&simulator, &[&["--tpm2-pcrs=7", &public], words].concat());
        assert!(output.status.success(), "{output:?}");
        Token::parse(&tokens(&simulator)[0]).unwrap()
    };
    let (plain, initrd) = (of(&[]), of(&["--tpm2-public-key-policyref=initrd"]));
    assert_eq!(initrd.policy.signed.as_ref().unwrap().reference, "initrd");
    let signed = |words: &[&str]| signed_with(scratch, &[&["--phase=enter-initrd"], words].concat());
    let (without, with) = (signed(&[]), signed(&["--policyref=initrd"]));
    let mut both = with.clone();
    both["sha256"].as_array_mut().unwrap().push(without["sha256"][0].clone());
    let open = |token: &Token, file: &Value| {
        simulator.with(|tpm| tpm.open(token, &Pin::none(), Some(&parsed(file))))
    };
    open(&plain, &without).unwrap();
    open(&initrd, &with).unwrap();
    open(&plain, &both).unwrap();
    open(&initrd, &both).unwrap();
    let error = open(&plain, &with).err().unwrap();
    assert!(matches!(error, TpmError::NoSignature { .. }), "{error}");
    let error = open(&initrd, &without).err().unwrap();
    assert!(error.to_string().contains("with the reference \"initrd\""), "{error}");
    // Renamed, it is no signature for that purpose.
    let mut renamed = without.clone();
    renamed["sha256"][0]["ref"] = "initrd".into();
    let error = open(&initrd, &renamed).err().unwrap();
    assert!(error.to_string().contains("the signature does not match"), "{error}");
}

/// The firmware may have switched the bank of SHA-256 off.
#[test]
fn any_bank_of_pcrs_may_be_the_only_one() {
    for bank in [Bank::Sha384, Bank::Sha1, Bank::Sha512] {
        let Some(mut simulator) = Simulator::of_sid() else { return };
        let wanted: Vec<String> = Bank::ALL
            .iter()
            .map(|other| format!("{}:{}", other.name(), if *other == bank { "all" } else { "none" }))
            .collect();
        ask(&simulator, "tpm2_pcrallocate", &[&wanted.join("+")]);
        simulator.reset();
        assert_eq!(simulator.with(|tpm| tpm.banks()).unwrap(), [bank]);
        let [memory, passes, lanes] = CHEAP;
        opens_what_it_enrols(&simulator, &["--tpm2-pcrs=7"], None);
        opens_what_it_enrols(
            &simulator,
            &["--tpm2-pcrs=7", "--tpm2-with-pin=yes", memory, passes, lanes],
            Some("1234"),
        );
        assert_eq!(Token::parse(&tokens(&simulator)[0]).unwrap().policy.bank, bank);
    }
}

/// The newest systemd-cryptenroll's PIN with a member of a systemd to come.
#[test]
fn a_member_that_is_not_known_is_named_before_the_pin_is_shown() {
    let Some(simulator) = Simulator::of_sid() else { return };
    volume(&simulator);
    let words = [&["--tpm2-pcrs=7", "--tpm2-with-pin=yes", "--tpm2-public-key="], &CHEAP[..]].concat();
    assert!(enroll(&simulator, &words).status.success());
    let mut token = tokens(&simulator).remove(0);
    token["tpm2_fido2"] = true.into();
    let error = Token::parse(&token).unwrap_err().to_string();
    assert_eq!(
        error,
        "the TPM token has the member \"tpm2_fido2\", which is not known: its PIN is not asked for, use another key"
    );
}
