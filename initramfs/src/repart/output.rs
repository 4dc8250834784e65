//! The plan as systemd-repart shows it: rows in the order of definitions, then partitions without a definition, as JSON
//! or as a table.

use std::{fmt::Write as _, path::Path};

use hermetic_init::{disk::types::Identifier, printable, repart::Plan};

use super::args::{Json, partition_node};

/// A partition of the plan, ready to be shown.
#[derive(Clone)]
pub struct Row {
    kind: String,
    label: String,
    uuid: String,
    number: u32,
    file: Option<String>,
    node: String,
    pub offset: u64,
    /// 0 for a new partition.
    old_size: u64,
    pub size: u64,
    old_padding: u64,
    padding: u64,
    activity: &'static str,
    drop_ins: Option<Vec<String>>,
}

impl Row {
    /// True when the partition is on the disk already.
    pub fn is_there(&self) -> bool {
        self.activity != "create"
    }

    /// The same partition as the disk has it now, by its own name.
    pub fn before(&self) -> Self {
        Self { size: self.old_size, padding: self.old_padding, file: None, ..self.clone() }
    }
}

/// The style of the output.
#[derive(Clone, Copy)]
pub struct Style {
    pub json: Json,
    pub legend: bool,
    /// True when everything is shown, as by systemd-repart when it logs for debugging.
    pub debug: bool,
    /// True when characters beyond ASCII may be used.
    pub unicode: bool,
    /// The width of the terminal in characters.
    pub columns: usize,
}

/// The rows of a plan for the disk `node`, in the order of the disk.
pub fn rows(plan: &Plan, node: &Path) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for new in &plan.new {
        let row = Row {
            kind: Identifier(new.type_guid).to_string(),
            label: new.label.clone(),
            uuid: new.guid.to_string(),
            number: new.number.0,
            file: Some(new.definition.path.clone()),
            node: partition_node(node, new.number.0),
            offset: new.offset.0,
            old_size: 0,
            size: new.length.0,
            old_padding: 0,
            padding: new.padding.0,
            activity: "create",
            drop_ins: Some(new.definition.drop_ins.clone()),
        };
        rows.push(row);
    }
    for adopted in &plan.adopted {
        let row = Row {
            kind: Identifier(adopted.definition.type_guid).to_string(),
            label: adopted.label.clone(),
            uuid: adopted.guid.to_string(),
            number: adopted.number.0,
            file: Some(adopted.definition.path.clone()),
            node: partition_node(node, adopted.number.0),
            offset: adopted.offset.0,
            old_size: adopted.length.0,
            size: adopted.new_length.0,
            old_padding: adopted.padding.0.0,
            padding: adopted.padding.1.0,
            activity: if adopted.grows() { "resize" } else { "unchanged" },
            drop_ins: Some(adopted.definition.drop_ins.clone()),
        };
        rows.push(row);
    }
    for foreign in &plan.foreign {
        let number = foreign.partition.number.0;
        let identifier = Identifier(foreign.partition.type_guid).to_string();
        let row = Row {
            label: match foreign.partition.label.as_str() {
                "" => identifier.clone(),
                label => label.into(),
            },
            kind: identifier,
            uuid: foreign.partition.guid.to_string(),
            number,
            file: None,
            node: partition_node(node, number),
            offset: foreign.offset.0,
            old_size: foreign.length.0,
            size: foreign.length.0,
            old_padding: foreign.padding.0.0,
            padding: foreign.padding.1.0,
            activity: "unchanged",
            drop_ins: None,
        };
        rows.push(row);
    }
    rows.sort_by_key(|row| row.offset);
    rows
}

/// A value of JSON.
enum Value<'a> {
    Null,
    Number(u64),
    Text(&'a str),
    List(&'a [String]),
}

/// The rows as an array of objects, in systemd's order of members and with its white space.
pub fn json(rows: &[Row], style: Style) -> String {
    let pretty = style.json == Json::Pretty;
    let (line, colon) = if pretty { ("\n", " : ") } else { ("", ":") };
    let tabs = |count: usize| if pretty { "\t".repeat(count) } else { String::new() };
    let has_drop_ins = rows.iter().any(|row| row.drop_ins.as_ref().is_some_and(|list| !list.is_empty()));
    if rows.is_empty() {
        return "[]\n".into();
    }
    let mut text = format!("[{line}");
    for (at, row) in rows.iter().enumerate() {
        let (size, padding) = (row.size_change(style), row.padding_change(style));
        let mut members = vec![
            ("type", Value::Text(&row.kind)),
            ("label", Value::Text(if row.label.is_empty() { "-" } else { &row.label })),
            ("uuid", Value::Text(&row.uuid)),
            ("partno", Value::Number(u64::from(row.number.saturating_sub(1)))),
            ("file", row.file.as_deref().map_or(Value::Null, Value::Text)),
            ("node", Value::Text(&row.node)),
            ("offset", Value::Number(row.offset)),
            ("old_size", Value::Number(row.old_size)),
            ("raw_size", Value::Number(row.size)),
            ("size", Value::Text(&size)),
            ("old_padding", Value::Number(row.old_padding)),
            ("raw_padding", Value::Number(row.padding)),
            ("padding", Value::Text(&padding)),
            ("activity", Value::Text(row.activity)),
        ];
        if has_drop_ins {
            members.push(("drop-in_files", row.drop_ins.as_deref().map_or(Value::Null, Value::List)));
        }
        if !style.debug {
            members.retain(|(name, _)| *name != "size" && *name != "padding");
        }
        let _infallible = write!(text, "{}{{{line}", tabs(1));
        for (place, (name, value)) in members.iter().enumerate() {
            let comma = if place + 1 < members.len() { "," } else { "" };
            let value = match value {
                Value::Null => "null".into(),
                Value::Number(number) => number.to_string(),
                Value::Text(text) => quoted(text),
                Value::List([]) => "[]".into(),
                Value::List(list) => {
                    let items: Vec<_> =
                        list.iter().map(|item| format!("{}{}", tabs(3), quoted(item))).collect();
                    format!("[{line}{}{line}{}]", items.join(&format!(",{line}")), tabs(2))
                }
            };
            let _infallible = write!(text, "{}\"{name}\"{colon}{value}{comma}{line}", tabs(2));
        }
        let comma = if at + 1 < rows.len() { "," } else { "" };
        let _infallible = write!(text, "{}}}{comma}{line}", tabs(1));
    }
    text.push_str("]\n");
    text
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            control if u32::from(control) < 32 => {
                let _infallible = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

impl Row {
    fn size_change(&self, style: Style) -> String {
        change((self.old_size > 0).then_some(self.old_size), self.size, style)
    }

    fn padding_change(&self, style: Style) -> String {
        change((self.old_size > 0).then_some(self.old_padding), self.padding, style)
    }
}

/// `10M`, `10M -> 20M`, or `-> 20M` for a new one.
fn change(old: Option<u64>, new: u64, style: Style) -> String {
    let arrow = if style.unicode { "→" } else { "->" };
    match old {
        Some(old) if old == new => bytes(old),
        Some(old) => format!("{} {arrow} {}", bytes(old), bytes(new)),
        None => format!("{arrow} {}", bytes(new)),
    }
}

/// A size as systemd writes it: with one digit behind the point, which is cut and not rounded.
pub fn bytes(size: u64) -> String {
    let units = [(60, 'E'), (50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    for (shift, letter) in units {
        let unit = 1_u64 << shift;
        if size >= unit {
            let tenth = u128::from(size % unit) * 10 / u128::from(unit);
            return match tenth {
                0 => format!("{}{letter}", size / unit),
                _ => format!("{}.{tenth}{letter}", size / unit),
            };
        }
    }
    format!("{size}B")
}

/// The rows as a table, with the sums below.
pub fn table(rows: &[Row], style: Style) -> String {
    let has_drop_ins = rows.iter().any(|row| row.drop_ins.as_ref().is_some_and(|list| !list.is_empty()));
    let sum = |value: fn(&Row) -> u64| {
        let sigma = if style.unicode { "Σ" } else { "S" };
        format!("{sigma} = {}", bytes(rows.iter().map(value).fold(0, u64::saturating_add)))
    };
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut lines: Vec<[String; 9]> = Vec::new();
    if style.legend {
        let titles =
            ["TYPE", "LABEL", "UUID", "PART", "FILE", "RAW SIZE", "SIZE", "PADDING", "DROP-IN FILES"];
        lines.push(titles.map(str::to_owned));
    }
    for row in rows {
        lines.push([
            row.kind.clone(),
            if row.label.is_empty() { "-".into() } else { printable::line(&row.label) },
            row.uuid.clone(),
            row.number.saturating_sub(1).to_string(),
            row.file.as_deref().map(base).unwrap_or_default(),
            row.size.to_string(),
            row.size_change(style),
            row.padding_change(style),
            row.drop_ins.as_deref().map(|list| list.join("\n")).unwrap_or_default(),
        ]);
    }
    let mut last: [String; 9] = Default::default();
    let [.., size, padding, _] = &mut last;
    (*size, *padding) = (sum(|row| row.size), sum(|row| row.padding));
    lines.push(last);
    let columns = if has_drop_ins { 9 } else { 8 };
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                // Numbers stand to the right.
                3 | 5 | 6 | 7 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        text.push_str(cells.join(" ").trim_end());
        text.push('\n');
    }
    text
}

/// The disk as a line, and below it whose each part is.
pub fn bar(rows: &[Row], total: u64, style: Style) -> String {
    let columns = style.columns.saturating_sub(2).max(1);
    let (used, free, branch, corner, along) =
        if style.unicode { ('▓', '░', "├", "└", "│") } else { ('X', '-', "|-", "`-", "|") };
    let place = |at: u64| (u128::from(at) * columns as u128 / u128::from(total.max(1))) as usize;
    let mut line = vec![free; columns];
    for row in rows {
        let (from, to) = (place(row.offset), place(row.offset.saturating_add(row.size)));
        line.iter_mut().take(to).skip(from).for_each(|cell| *cell = used);
    }
    let mut text = format!(" {}\n", line.into_iter().collect::<String>());
    let starts: Vec<usize> = rows.iter().map(|row| place(row.offset)).collect();
    // From the last to the first: each gets a line, crossed by those that are still to come.
    for (named, row) in rows.iter().enumerate().rev() {
        let mut cells: Vec<(usize, String)> = Vec::new();
        for (start, _) in starts.iter().zip(rows).take(named) {
            match cells.iter_mut().find(|(at, _)| at == start) {
                Some(_) => {}
                None => cells.push((*start, along.into())),
            }
        }
        let start = starts.get(named).copied().unwrap_or(0);
        let hint = match &row.file {
            Some(file) => file.rsplit('/').next().unwrap_or_default(),
            None if !row.label.is_empty() => &printable::line(&row.label),
            None => &row.node,
        };
        match cells.iter_mut().find(|(at, _)| *at == start) {
            Some((_, cell)) => *cell = format!("{branch} {hint}"),
            None => cells.push((start, format!("{corner} {hint}"))),
        }
        cells.sort_by_key(|(at, _)| *at);
        let mut drawn = String::from(" ");
        let mut at = 0;
        for (start, cell) in cells {
            while at < start {
                drawn.push(' ');
                at += 1;
            }
            at += cell.chars().count();
            drawn.push_str(&cell);
        }
        drawn.extend(std::iter::repeat_n(' ', columns.saturating_sub(at)));
        text.push_str(&drawn);
        text.push('\n');
    }
    text
}
