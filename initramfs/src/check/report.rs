//! Findings, and the report of them.

use std::fmt::Display;

use hermetic_init::printable;
use serde_json::{Value, json};

/// The weight of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Weight {
    /// The boot ends with this line.
    Refusal,
    /// The boot does not read it at once; what reads it later fails.
    Damage,
    /// The boot goes on, and says so.
    Warning,
    /// So it is.
    Fact,
}

impl Weight {
    fn word(self) -> &'static str {
        match self {
            Self::Refusal => "refused",
            Self::Damage => "damaged",
            Self::Warning => "warning",
            Self::Fact => "",
        }
    }
}

/// Something that was found, and the stage of the boot that finds it.
#[derive(Debug)]
struct Finding {
    weight: Weight,
    stage: &'static str,
    line: String,
}

/// All findings, in the order of the boot.
#[derive(Default, Debug)]
pub struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, weight: Weight, stage: &'static str, line: &dyn Display) {
        self.0.push(Finding { weight, stage, line: line.to_string() });
    }

    /// The boot ends with this line.
    pub fn refuse(&mut self, stage: &'static str, line: impl Display) {
        self.add(Weight::Refusal, stage, &line);
    }

    /// The boot passes by, and what reads it later fails.
    pub fn damage(&mut self, stage: &'static str, line: impl Display) {
        self.add(Weight::Damage, stage, &line);
    }

    /// The boot goes on, and says so.
    pub fn warn(&mut self, stage: &'static str, line: impl Display) {
        self.add(Weight::Warning, stage, &line);
    }

    /// So it is.
    pub fn fact(&mut self, stage: &'static str, line: impl Display) {
        self.add(Weight::Fact, stage, &line);
    }

    /// True when nothing is refused and nothing is damaged.
    pub fn is_clean(&self) -> bool {
        !self.0.iter().any(|finding| matches!(finding.weight, Weight::Refusal | Weight::Damage))
    }

    /// For people; unless it is whole, the check could not go on. Labels and names come from the disk: they are shown as a terminal may see them.
    pub fn text(&self, is_whole: bool) -> String {
        let mut text = String::new();
        for Finding { weight, stage, line } in &self.0 {
            let line = printable::line(line);
            text += &format!("{:<8} {stage:<10} {line}\n", weight.word());
        }
        let verdict = match self.0.iter().find(|finding| finding.weight == Weight::Refusal) {
            Some(first) => format!("this image does not boot: the boot ends in stage {}", first.stage),
            None if !self.is_clean() => "this image is damaged".into(),
            None if is_whole => "nothing stands against a boot of this image".into(),
            None => "the check ends here".into(),
        };
        text + "\n" + &verdict + "\n"
    }

    /// For programs; as [`Report::text`].
    pub fn json(&self, is_whole: bool) -> String {
        let lines = |weight| -> Vec<Value> {
            let of_weight = self.0.iter().filter(|finding| finding.weight == weight);
            of_weight.map(|Finding { stage, line, .. }| json!({ "stage": stage, "line": line })).collect()
        };
        let value = json!({
            "boots": is_whole && self.is_clean(),
            "refusals": lines(Weight::Refusal),
            "damages": lines(Weight::Damage),
            "warnings": lines(Weight::Warning),
            "facts": lines(Weight::Fact),
        });
        format!("{value:#}\n")
    }
}
