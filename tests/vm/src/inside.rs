//! Questions to a running systemd and the real tools, asked from inside without any change to the appliance.
//!
//! systemd takes units and credentials from SMBIOS strings (systemd.system-credentials(7), `systemd.extra-unit.*` of
//! systemd-debug-generator(8)). One unit runs a list of shell commands when the machine has come up, writes a line of
//! JSON for each to a second serial port, where no console message gets between, and switches the machine off.

use crate::base64;
use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The unit that answers.
const UNIT: &str = "hermetic-report.service";

/// The line before the answers: firmware writes to every serial port.
const BEGIN: &str = "BEGIN";

/// The last line of the answers.
const END: &str = "END";

/// Commands for the inside of a machine, and their files.
#[derive(Clone, Debug)]
pub struct Inside {
    questions: Vec<(&'static str, String)>,
    credentials: Vec<(String, Vec<u8>)>,
    is_audited: bool,
    place: PathBuf,
}

impl Inside {
    /// Nothing is asked but `state`: systemd's own word when everything has started. `place` names files of this run.
    #[must_use]
    pub fn new(place: &Path) -> Self {
        let place = place.to_owned();
        Self { questions: Vec::new(), credentials: Vec::new(), is_audited: false, place }
            .ask("state", "systemctl is-system-running --wait")
    }

    /// Adds a question: the output of this shell command. They run in the order of the questions.
    #[must_use]
    pub fn ask(mut self, name: &'static str, command: &str) -> Self {
        self.questions.push((name, command.to_owned()));
        self
    }

    /// Commands find this content in `$CREDENTIALS_DIRECTORY/hermetic.NAME`.
    #[must_use]
    pub fn credential(mut self, name: &str, content: &[u8]) -> Self {
        self.credentials.push((format!("hermetic.{name}"), content.to_owned()));
        self
    }

    /// The machine has this credential, under its whole name.
    #[must_use]
    pub fn system_credential(mut self, name: &str, content: &[u8]) -> Self {
        self.credentials.push((name.to_owned(), content.to_owned()));
        self
    }

    /// The kernel's audit is on, by which security modules tell what they deny.
    #[must_use]
    pub fn audited(self) -> Self {
        Self { is_audited: true, ..self }
    }

    /// Adds a unit to systemd; it is started only by name.
    #[must_use]
    pub fn unit(mut self, name: &str, text: &str) -> Self {
        self.credentials.push((format!("systemd.extra-unit.{name}"), text.as_bytes().to_owned()));
        self
    }

    /// The machine, with all of this in its firmware's strings.
    ///
    /// # Errors
    /// The strings cannot be written.
    pub fn equip(&self, machine: Machine) -> Result<Machine> {
        let mut all = self.credentials.clone();
        all.push((format!("systemd.extra-unit.{UNIT}"), unit().into_bytes()));
        all.push(("hermetic.questions".to_owned(), script(&self.questions).into_bytes()));
        let mut words = vec!["-serial".to_owned(), format!("file:{}", self.answers().display())];
        for (number, (name, content)) in all.iter().enumerate() {
            let path = self.place.with_extension(format!("credential{number}"));
            let text = format!("io.systemd.credential.binary:{name}={}", base64::encode(content));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            words.extend(["-smbios".to_owned(), format!("type=11,path={}", path.display())]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let audit = u8::from(self.is_audited);
        Ok(machine.qemu(&words).cmdline(&format!("systemd.wants={UNIT} audit={audit}")))
    }

    /// The answers of the machine.
    ///
    /// # Errors
    /// An answer is missing or damaged.
    pub fn read(&self) -> Result<Answers> {
        let path = self.answers();
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let answers = parse(&String::from_utf8_lossy(&text))?;
        for (name, _) in &self.questions {
            answers.get(name)?;
        }
        Ok(answers)
    }

    fn answers(&self) -> PathBuf {
        self.place.with_extension("answers")
    }
}

/// The unit. It waits for no unit and no unit waits for it, so that it does not change what it describes.
fn unit() -> String {
    "[Unit]\n\
     Description=What this machine says about itself\n\
     [Service]\n\
     Type=exec\n\
     ImportCredential=hermetic.*\n\
     ExecStart=/bin/sh %d/hermetic.questions\n"
        .to_owned()
}

fn script(questions: &[(&str, String)]) -> String {
    let mut script = "export LC_ALL=C.UTF-8 SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat\n\
                      stty -F /dev/ttyS1 raw -echo\n\
                      exec >/dev/ttyS1\n\
                      out=/run/hermetic-report.out err=/run/hermetic-report.err\n\
                      say() { printf '{\"name\":\"%s\",\"status\":%d,\"out\":\"%s\",\"err\":\"%s\"}\\n' \
                      \"$1\" \"$2\" \"$(base64 --wrap=0 $out)\" \"$(base64 --wrap=0 $err)\"; }\n"
        .to_owned();
    script += &format!("echo; echo {BEGIN}\n");
    for (name, command) in questions {
        script += &format!("( {command}\n) >$out 2>$err </dev/null; say {name} $?\n");
    }
    script + &format!("echo {END}\nsystemctl poweroff --no-block\n")
}

/// The result of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub status: i64,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// The answers of one run, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<String, Answer>);

impl Answers {
    /// The answer to this question.
    ///
    /// # Errors
    /// It was not asked.
    pub fn get(&self, name: &str) -> Result<&Answer> {
        self.0.get(name).with_context(|| format!("the machine did not answer `{name}`"))
    }

    /// The output of the command, without blanks around it; it must have succeeded.
    ///
    /// # Errors
    /// It failed.
    pub fn text(&self, name: &str) -> Result<&str> {
        let answer = self.get(name)?;
        if answer.status != 0 {
            bail!("{name} failed with {}: {}{}", answer.status, answer.out, answer.err);
        }
        Ok(answer.out.trim())
    }

    /// The JSON that the command printed.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn json(&self, name: &str) -> Result<Value> {
        let text = self.text(name)?;
        serde_json::from_str(text).with_context(|| format!("{name} printed no JSON: {text}"))
    }

    /// The lines `KEY=VALUE` that the command printed.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn pairs(&self, name: &str) -> Result<BTreeMap<&str, &str>> {
        let lines = self.text(name)?.lines().filter(|line| !line.is_empty());
        lines.map(|line| line.split_once('=').with_context(|| format!("{name} printed `{line}`"))).collect()
    }

    /// The command must have printed exactly this.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn expect(&self, name: &str, text: &str) -> Result<&Self> {
        let said = self.text(name)?;
        if said != text {
            bail!("{name} is `{said}` instead of `{text}`");
        }
        Ok(self)
    }

    /// The command's output must contain this.
    ///
    /// # Errors
    /// It failed, or does not.
    pub fn contains(&self, name: &str, text: &str) -> Result<&Self> {
        let said = self.text(name)?;
        if !said.contains(text) {
            bail!("{name} does not say `{text}`:\n{said}");
        }
        Ok(self)
    }

    /// The command must have failed.
    ///
    /// # Errors
    /// It succeeded.
    pub fn refuses(&self, name: &str) -> Result<&Self> {
        let answer = self.get(name)?;
        if answer.status == 0 {
            bail!("{name} succeeded, which must not be: {}", answer.out);
        }
        Ok(self)
    }
}

fn parse(text: &str) -> Result<Answers> {
    let mut answers = BTreeMap::new();
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r')).skip_while(|line| *line != BEGIN);
    for line in lines.by_ref().skip(1) {
        if line == END {
            return match lines.next() {
                None => Ok(Answers(answers)),
                Some(line) => bail!("`{line}` comes after the last answer"),
            };
        }
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("the machine answered `{line}`"))?;
        let word = |key: &str| {
            let word = value.get(key).and_then(Value::as_str);
            word.with_context(|| format!("an answer lacks `{key}`: {line}"))
        };
        let plain = |key: &str| -> Result<String> {
            String::from_utf8(base64::decode(word(key)?)?)
                .with_context(|| format!("`{key}` is no text: {line}"))
        };
        let status = value.get("status").and_then(Value::as_i64).context("an answer lacks `status`")?;
        let answer = Answer { status, out: plain("out")?, err: plain("err")? };
        if answers.insert(word("name")?.to_owned(), answer).is_some() {
            bail!("the machine answered twice: {line}");
        }
    }
    bail!("the answers end early, after {} of them", answers.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"name":"a","status":0,"out":"Zm9v","err":""}"#;

    #[test]
    fn answers_are_read_strictly() {
        let answers = parse(&format!("the firmware's\nBEGIN\r\n{LINE}\r\nEND\n")).unwrap();
        assert_eq!(answers.text("a").unwrap(), "foo");
        assert!(answers.get("b").is_err());
        assert!(answers.expect("a", "fo").is_err() && answers.refuses("a").is_err());
        let cases =
            [LINE.to_owned(), format!("{LINE}\n{LINE}\nEND"), format!("{LINE}\nEND\nx"), "noise\nEND".into()];
        for text in cases {
            assert!(parse(&format!("BEGIN\n{text}")).is_err(), "{text}");
        }
        assert!(parse(&format!("{LINE}\nEND\n")).is_err());
    }

    #[test]
    fn the_script_prints_what_is_read() {
        let script = script(&[("one", "echo 'a \"b\"'; echo c >&2; exit 3".into()), ("two", "cat".into())]);
        let place = std::env::temp_dir().join(format!("hermetic-inside-{}", std::process::id()));
        let script = script
            .replace("/run/", &format!("{}-", place.display()))
            .replace("stty -F /dev/ttyS1 raw -echo\nexec >/dev/ttyS1\n", "")
            .replace("systemctl poweroff --no-block\n", &format!("rm {}-*\n", place.display()));
        let said = crate::command::output(std::process::Command::new("sh").args(["-c", &script])).unwrap();
        let answers = parse(&said).unwrap();
        let one = Answer { status: 3, out: "a \"b\"\n".into(), err: "c\n".into() };
        assert_eq!(answers.get("one").unwrap(), &one);
        assert_eq!(answers.text("two").unwrap(), "");
    }
}
