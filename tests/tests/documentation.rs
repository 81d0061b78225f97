//! What the documents promise to list, they list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use entrabot_tests::cases::CASES;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The literals that the bodies of `fn error_type` can return.
fn error_types() -> BTreeSet<String> {
    let mut files = Vec::new();
    for layer in ["keystore", "identity", "audit", "a365", "server"] {
        sources(&root().join("crates").join(layer).join("src"), &mut files);
    }
    // Tests may have errors of their own.
    files.retain(|file| !file.ends_with("tests.rs"));
    let mut types = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for body in text.split("fn error_type(").skip(1) {
            let body = body.split("\n    }").next().unwrap_or_default();
            // An attribute's text is no name: `#[cfg(feature = "...")]`.
            let code: Vec<_> = body.lines().filter(|line| !line.trim_start().starts_with("#[")).collect();
            let body = code.join("\n");
            types.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    types
}

#[test]
fn every_error_type_stands_in_the_operations_guide() {
    let guide = fs::read_to_string(root().join("docs/operations.md")).expect("the guide");
    let types = error_types();
    assert!(
        types.contains("InsecureKeyringBackendError") && types.contains("TokenExchangeError"),
        "{types:?}"
    );
    let missing: Vec<_> = types.iter().filter(|name| !guide.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/operations.md does not tell what to do about {missing:?}");
}

#[test]
fn every_crate_has_a_readme_that_its_documentation_includes() {
    for layer in ["keystore", "identity", "audit", "a365"] {
        let directory = root().join("crates").join(layer);
        let readme = fs::read_to_string(directory.join("README.md")).expect("a README");
        assert!(readme.contains("```rust"), "{layer}: the README shows how to use it");
        let library = fs::read_to_string(directory.join("src/lib.rs")).expect("a library");
        assert!(
            library.contains("include_str!(\"../README.md\")"),
            "{layer}: the README's example is compiled"
        );
    }
}

/// The cells of each row of a table, as text.
fn rows(document: &str) -> Vec<Vec<String>> {
    let lines = document.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    lines.skip(1).map(cells).collect()
}

/// What stands between backticks.
fn names(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_hostile_case_is_served_and_driven_through_the_binary_by_a_test_that_exists() {
    let document = fs::read_to_string(root().join("docs/hostile-cases.md")).expect("the table");
    let rows = rows(&document);
    let numbers: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    let all = (1..=50).flat_map(|number| match number {
        5 | 29 => vec![format!("{number}"), format!("{number}b")],
        _ => vec![format!("{number}")],
    });
    assert_eq!(numbers, all.collect::<Vec<_>>());
    for row in &rows {
        let [number, _, _, served, driven] = row.as_slice() else { panic!("five cells: {row:?}") };
        let of_the_table = CASES.iter().filter(|case| case.number == number).map(|case| case.name);
        assert_eq!(names(served), of_the_table.collect(), "case {number} is served as");
        assert!(!names(driven).is_empty(), "case {number} is driven by no test");
        for test in names(driven) {
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("FILE::name: {test}"));
            let source =
                fs::read_to_string(root().join(format!("tests/tests/{file}.rs"))).unwrap_or_default();
            let is_a_test = source.split("#[test]").skip(1).any(|text| {
                let head = text.split('{').next().unwrap_or_default();
                head.contains(&format!("fn {function}("))
            });
            assert!(is_a_test, "case {number}: there is no test {test}");
        }
    }
    let known: BTreeSet<_> = CASES.iter().map(|case| case.number).collect();
    assert!(known.iter().all(|number| numbers.iter().any(|other| other == number)), "{known:?}");
}

/// Links between the documents lead somewhere.
#[test]
fn every_relative_link_leads_to_a_file() {
    let mut documents: Vec<_> = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"]
        .map(|name| root().join(name))
        .into();
    for entry in fs::read_dir(root().join("docs")).expect("the documents") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    for layer in ["keystore", "identity", "audit", "a365", "server"] {
        documents.push(root().join("crates").join(layer).join("README.md"));
    }
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            if !document.parent().expect("a directory").join(path).exists() {
                broken.push(format!("{} -> {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
