//! The parts of the README that come from the code equal the code.

use hermetic_init::config::options;

#[test]
fn the_options_of_the_readme_are_those_of_the_program() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains(&options::markdown()), "put this into README.md:\n{}", options::markdown());
}
