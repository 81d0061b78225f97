//! Each crate depends only on those below it, and what must not reach a layer does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// From the lowest layer to the highest.
const LAYERS: [&str; 5] =
    ["entrabot-keystore", "entrabot-identity", "entrabot-audit", "entrabot-a365", "entrabot-server"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Package name → (dependency name, kind), for the workspace's own packages.
fn declared_edges() -> BTreeMap<String, BTreeSet<(String, String)>> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let edges = package["dependencies"].as_array().expect("dependencies").iter().map(|dependency| {
                let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
                (dependency["name"].as_str().expect("name").to_owned(), kind)
            });
            (package["name"].as_str().expect("name").to_owned(), edges.collect())
        })
        .collect()
}

/// Our own edges of the product crates that do not point down, tests' dependencies included.
fn edges_that_do_not_point_down(edges: &BTreeMap<String, BTreeSet<(String, String)>>) -> Vec<String> {
    let height = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let mut wrong = Vec::new();
    for layer in LAYERS {
        for (dependency, kind) in edges.get(layer).into_iter().flatten() {
            let ours = dependency.starts_with("entrabot-") || dependency == "xtask";
            // A crate may take itself with its test doubles switched on.
            let own_test_double = dependency == layer && kind == "dev";
            if ours && !own_test_double && height(dependency) >= height(layer)
                || dependency == "entrabot-tests"
            {
                wrong.push(format!("{layer} -> {dependency} ({kind})"));
            }
        }
    }
    wrong
}

#[test]
fn every_edge_points_down() {
    let edges = declared_edges();
    for layer in LAYERS {
        assert!(edges.contains_key(layer), "{layer} is a package of the workspace");
    }
    let wrong = edges_that_do_not_point_down(&edges);
    assert!(wrong.is_empty(), "upward or sideways: {wrong:#?}");
}

#[test]
fn the_check_sees_an_upward_a_sideways_and_a_test_edge() {
    let edge = |to: &str, kind: &str| BTreeSet::from([(to.to_owned(), kind.to_owned())]);
    for (from, to, kind) in [
        ("entrabot-keystore", "entrabot-audit", "normal"),
        ("entrabot-identity", "entrabot-server", "build"),
        ("entrabot-audit", "entrabot-a365", "dev"),
        ("entrabot-a365", "entrabot-a365", "normal"),
        ("entrabot-server", "entrabot-tests", "normal"),
    ] {
        let edges = BTreeMap::from([(from.to_owned(), edge(to, kind))]);
        assert_eq!(edges_that_do_not_point_down(&edges).len(), 1, "{from} -> {to} must be refused");
    }
}

#[test]
fn nothing_below_the_door_speaks_http_or_oauth() {
    let forbidden = [
        "reqwest",
        "hyper",
        "h2",
        "http",
        "rustls",
        "native-tls",
        "openssl",
        "oauth2",
        "ureq",
        "curl",
        "tokio-rustls",
        "webpki",
        "rustls-webpki",
        "rmcp",
        "openidconnect",
    ];
    for package in ["entrabot-keystore", "entrabot-identity", "entrabot-audit"] {
        let tree = cargo(&["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"]);
        let found: Vec<_> = tree
            .lines()
            .filter(|line| forbidden.contains(&line.split(' ').next().unwrap_or_default()))
            .collect();
        assert!(tree.contains("entrabot-keystore"), "the tree was read");
        assert!(found.is_empty(), "{package} with default features pulls {found:?}");
    }
}

#[test]
fn one_tls_stack_and_no_openssl() {
    let tree =
        cargo(&["tree", "--package", "entrabot-server", "--edges", "normal,build", "--prefix", "none"]);
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("rustls"), "the tree was read");
    for other in ["openssl", "openssl-sys", "native-tls", "ring", "boring", "rsa"] {
        assert!(!names.contains(other), "{other} is in the binary");
    }
}

#[test]
fn the_stand_in_and_the_test_doubles_never_ship() {
    let tree = cargo(&[
        "tree",
        "--package",
        "entrabot-server",
        "--edges",
        "normal,build,features",
        "--prefix",
        "none",
    ]);
    assert!(tree.contains("entrabot-a365"), "the tree was read");
    for line in tree.lines() {
        assert!(!line.contains("entrabot-tests"), "{line}");
        assert!(!(line.contains("entrabot") && line.contains("test-util")), "{line}");
    }
}

/// Direct dependencies that only one layer may name.
#[test]
fn dangerous_dependencies_are_named_where_they_belong() {
    let owners: [(&str, &[&str]); 6] = [
        ("zbus", &["entrabot-keystore"]),
        ("keyring-core", &["entrabot-keystore"]),
        ("secret-service", &["entrabot-keystore"]),
        ("reqwest", &["entrabot-identity", "entrabot-a365"]),
        ("rmcp", &["entrabot-server"]),
        ("clap", &["entrabot-server"]),
    ];
    let edges = declared_edges();
    for (dependency, allowed) in owners {
        for layer in LAYERS.iter().filter(|layer| !allowed.contains(layer)) {
            let named = edges[*layer].iter().any(|(name, kind)| name == dependency && kind == "normal");
            assert!(!named, "{layer} names {dependency}");
        }
    }
}

/// `reqwest` is named in one module of `identity` and one of `a365`: there is no second way out.
#[test]
fn the_http_client_is_named_in_one_module_of_each_crate_that_has_it() {
    for (layer, directory) in [("identity", "crates/identity/src"), ("a365", "crates/a365/src")] {
        let files = files_that_name("reqwest", &root().join(directory));
        assert_eq!(files.len(), 1, "{layer}: {files:?}");
    }
    for directory in ["crates/keystore/src", "crates/audit/src", "crates/server/src"] {
        let files = files_that_name("reqwest", &root().join(directory));
        assert!(files.is_empty(), "{files:?}");
        let files = files_that_name("TcpStream", &root().join(directory));
        assert!(files.iter().all(|file| file.ends_with("http.rs")), "a socket of its own: {files:?}");
    }
}

/// Files in which the word stands in code; comments do not count.
fn files_that_name(word: &str, directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_that_name(word, &path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            if text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word)) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn every_package_takes_the_workspace_lints_and_forbids_unsafe_code() {
    for package in [
        "crates/keystore",
        "crates/identity",
        "crates/audit",
        "crates/a365",
        "crates/server",
        "tests",
        "xtask",
    ] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{package} takes the workspace's lints");
    }
    for file in [
        "identity/src/lib.rs",
        "audit/src/lib.rs",
        "a365/src/lib.rs",
        "server/src/lib.rs",
        "server/src/main.rs",
    ] {
        let text = fs::read_to_string(root().join("crates").join(file)).expect("a crate root");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{file} forbids unsafe code");
    }
    let keystore = root().join("crates/keystore/src");
    for file in files_that_name("unsafe ", &keystore) {
        assert!(file.contains("/platform/"), "unsafe outside the platform modules: {file}");
    }
}

/// A clone has nothing beside it.
#[test]
fn the_repository_names_nothing_outside_itself() {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    let listed = String::from_utf8(output.stdout).expect("UTF-8 names");
    let words = [["../", "shared"].concat(), ["/wo", "rk/"].concat(), ["crates", ".io/api"].concat()];
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        for word in &words {
            assert!(!text.contains(word.as_str()), "{name} names {word}");
        }
    }
}
