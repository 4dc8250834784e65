//! os-release(5) as the specifiers show it: quotes, escapes, and lines that assign nothing.

use std::{fs, path::Path};

use crate::bench::{Round, compare};

/// Values of BUILD_ID.
const VALUES: [&str; 22] = [
    "plain",
    "\"a\\nb\"",
    "'a \"b\" \\c'",
    "\"a \\\"b\\\" \\$c \\\\ \\d \\` \\n\"",
    "a\\ b",
    "a\\ ",
    "",
    "\" \"",
    "\"a\\\nb\"",
    "a\\\nb",
    " x",
    "a b \t",
    "a #b",
    "a'b'\"c\"",
    "'a'b\"c\"",
    "\"a\" \"b\" ",
    "a\rIMAGE_ID=j",
    "\"open",
    "'open",
    "a\\",
    "a  \\",
    "\\\"a",
];

/// Whole files.
const FILES: [&str; 9] = [
    "BUILD_ID =x\n",
    " BUILD_ID=x",
    "export BUILD_ID=x\n",
    "1BUILD_ID=x\n",
    "#c\\\nBUILD_ID=x\n;BUILD_ID=y\n",
    "BUILD_ID=x\\",
    "BUILD_ID=x\nBUILD_ID=\n",
    "BUILD_ID\n=x\n==y\n",
    "",
];

#[test]
fn os_release_is_read_as_by_systemd() {
    let values = VALUES.map(|value| format!("BUILD_ID={value}\nIMAGE_ID=i\n"));
    for text in values.into_iter().chain(FILES.map(str::to_owned)) {
        let round = Round {
            name: format!("{text:?}"),
            lines: Some("f /file 0644 - - - [%B][%M]\n".to_owned()),
            words: "--create",
        };
        let lay = |root: &Path| {
            fs::create_dir(root.join("etc")).unwrap();
            fs::write(root.join("etc/os-release"), &text).unwrap();
        };
        let Some(pairs) = compare(&[round], &lay) else { return };
        let [theirs, _] = &pairs[0];
        assert!(theirs.tree.contains_key("/file/"), "{text:?}: {}", theirs.said);
    }
}
