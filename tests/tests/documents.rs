//! The pages name tests as evidence, and link to each other. Neither may point at nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below the repository's top with this ending, what was built excepted.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![top()];
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
    for (page, least) in [("docs/threat-model.md", 60), ("docs/spec-trace.md", 40)] {
        let text = fs::read_to_string(top().join(page)).unwrap();
        let named: BTreeSet<&str> = quoted(&text).into_iter().filter(|text| is_test_name(text)).collect();
        assert!(named.len() >= least, "{page} names {} tests", named.len());
        let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(missing.is_empty(), "{page}: no such test runs: {missing:?}");
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
