//! The diffs of CONTRIBUTING.md apply: the lines that they remove or stand beside are in the files that they name. The rust blocks are
//! documentation tests of this package.

use std::{fs, path::Path};

#[test]
fn the_lines_around_each_change_of_a_worked_example_are_in_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let diffs = text.split("```diff\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let mut checked = 0;
    for diff in diffs {
        let (mut path, mut file) = ("", String::new());
        for line in diff.lines() {
            if let Some(named) = line.strip_prefix("+++ b/") {
                path = named;
                file = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            } else if let Some(present) = line.strip_prefix("@@").or(line.strip_prefix([' ', '-']))
                && !line.starts_with("---")
            {
                assert!(file.contains(present.trim()), "{path} has no line {:?}", present.trim());
                checked += 1;
            }
        }
    }
    assert!(checked >= 10, "{checked} lines were checked");
}
