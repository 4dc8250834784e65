//! A Rust panic takes the road of every failure. The test runs itself in a separate process, with the policy that waits
//! for ever: only that process is ended.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use hermetic_init::{
    boot::failure::{catch_panics, set_policy},
    config::{FailureAction, FailurePolicy},
};

const CHILD: &str = "HERMETIC_TEST_PANICS";

/// In the child: panics as PID 1 would. Otherwise nothing.
#[test]
fn the_child_that_panics() {
    if std::env::var_os(CHILD).is_some() {
        // Without a delay to pass, the action is never come to.
        set_policy(FailurePolicy::said(FailureAction::Halt, None));
        catch_panics();
        let nothing: Option<u8> = std::hint::black_box(None);
        nothing.expect("something where there is nothing");
    }
}

#[test]
fn a_panic_shows_its_reason_and_waits_as_the_policy_says() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_that_panics", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    let last = lines.find(|line| {
        said.push(line.clone());
        line.contains("Waiting for somebody to look")
    });
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let said = said.join("\n");
    assert!(last.is_some(), "it never came to the policy:\n{said}");
    assert_eq!(ended, None, "it ended by itself:\n{said}");
    assert!(said.lines().any(|line| line == "  stage   panic"), "{said}");
    let reason = said.lines().find(|line| line.starts_with("  reason  ")).expect("a reason");
    for part in ["something where there is nothing at tests/failure.rs:", "please report it"] {
        assert!(reason.contains(part), "{reason}");
    }
}
