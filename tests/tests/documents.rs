//! The pages name tests as evidence, say where in the code a rule is kept, and link to each other. None of that may point
//! at nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below the repository's top with this ending, what was built excepted.
fn files(ending: &str) -> Vec<PathBuf> {
    files_in(&top(), ending)
}

/// The same for those below a directory.
fn files_in(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && name != "target" {
                    directories.push(entry.path());
                }
            } else if name.ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    assert!(found.len() > 5, "{ending}: {found:?}");
    found
}

/// Names of functions that the test harness runs.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(".rs") {
        let text = fs::read_to_string(path).unwrap();
        let mut runs = false;
        for line in text.lines().map(str::trim) {
            if line == "#[test]" {
                runs = true;
            } else if line.starts_with("#[ignore") {
                runs = false;
            } else if let Some(rest) = line.strip_prefix("fn ") {
                if runs {
                    names.insert(rest.split('(').next().unwrap().to_owned());
                }
                runs = false;
            }
        }
    }
    names
}

/// What stands between back quotes on a page, outside of blocks.
fn quoted(page: &str) -> Vec<&str> {
    let mut block = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// Whether a text has the form `<subject>_<condition>_<outcome>` that tests alone have here.
fn is_test_name(text: &str) -> bool {
    let words = text.split('_').filter(|word| !word.is_empty()).count();
    words >= 4 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn pages_name_only_tests_that_run() {
    let tests = tests();
    for (page, least) in
        [("docs/threat-model.md", 60), ("docs/spec-trace.md", 80), ("docs/past-advisories.md", 25)]
    {
        let text = fs::read_to_string(top().join(page)).unwrap();
        let named: BTreeSet<&str> = quoted(&text).into_iter().filter(|text| is_test_name(text)).collect();
        assert!(named.len() >= least, "{page} names {} tests", named.len());
        let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(missing.is_empty(), "{page}: no such test runs: {missing:?}");
    }
}

/// The cells of all tables on a page whose head has this column.
fn column<'p>(page: &'p str, title: &str) -> Vec<&'p str> {
    let mut index = None;
    let mut found = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if !line.starts_with('|') {
            index = None;
        } else if let Some(at) = cells.iter().position(|cell| *cell == title) {
            index = Some(at);
        } else if let Some(at) = index.filter(|_| !line.starts_with("|---")) {
            found.push(cells[at]);
        }
    }
    found
}

#[test]
fn every_row_of_a_trace_names_a_test_or_another_row() {
    let tests = tests();
    for (page, title, least) in
        [("docs/spec-trace.md", "shown by", 60), ("docs/past-advisories.md", "test", 25)]
    {
        let text = fs::read_to_string(top().join(page)).unwrap();
        let cells = column(&text, title);
        assert!(cells.len() >= least, "{page}: {} rows", cells.len());
        for cell in cells {
            let named = quoted(cell).iter().any(|name| tests.contains(*name));
            assert!(named || cell.starts_with("as 5."), "{page}: {cell}");
        }
    }
}

/// What the source files below a directory define: functions, types, constants, modules, fields and variants.
fn defined(directory: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files_in(&top().join(directory), ".rs") {
        names.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        for line in fs::read_to_string(path).unwrap().lines().map(str::trim) {
            let mut words = line.split(|byte: char| !byte.is_alphanumeric() && byte != '_');
            let kinds = ["fn", "const", "struct", "trait", "enum", "mod"];
            let words: Vec<&str> = words.by_ref().filter(|word| !word.is_empty()).collect();
            names.extend(words.windows(2).filter(|two| kinds.contains(&two[0])).map(|two| two[1].to_owned()));
            names.extend(words.iter().find(|word| **word != "pub").map(|word| (*word).to_owned()));
        }
    }
    names
}

#[test]
fn pages_name_only_code_that_is_there() {
    let defined: BTreeSet<String> =
        defined("client/src").into_iter().chain(defined("firmware-agent/src")).collect();
    for (page, least) in [("docs/spec-trace.md", 25), ("docs/past-advisories.md", 15)] {
        let text = fs::read_to_string(top().join(page)).unwrap();
        let is_path = |text: &&str| text.contains("::") && !text.contains([' ', '(']);
        let named: BTreeSet<&str> = quoted(&text).into_iter().filter(is_path).collect();
        assert!(named.len() >= least, "{page} names {named:?}");
        let is_there = |path: &str| path.split("::").all(|name| defined.contains(name));
        let missing: Vec<&&str> = named.iter().filter(|path| !is_there(path)).collect();
        assert!(missing.is_empty(), "{page}: no such code: {missing:?}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut counted = 0;
    for path in files(".md") {
        let page = fs::read_to_string(&path).unwrap();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(path.parent().unwrap().join(target).exists(), "{}: {link}", path.display());
            counted += 1;
        }
    }
    assert!(counted > 15, "{counted} links");
}
