//! Compiles a source against the workspace's own crates and reads rustc's JSON diagnostics.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// An error of the compiler.
#[derive(Debug)]
pub(crate) struct Diagnostic {
    pub(crate) code: String,
    pub(crate) text: String,
}

/// The library artifacts of the workspace, as `cargo test` built them.
pub(crate) struct Workspace {
    root: PathBuf,
    /// Package id → (crate name, library file).
    libraries: BTreeMap<String, (String, PathBuf)>,
    metadata: Value,
}

impl Workspace {
    /// Asks cargo for the libraries; after a test build they are all fresh.
    pub(crate) fn built() -> Self {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned();
        let messages = cargo(&root, &["test", "--workspace", "--no-run", "--message-format", "json"]);
        let mut libraries = BTreeMap::new();
        for line in messages.lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            let is_library = message["target"]["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib" || kind == "proc-macro"));
            if message["reason"] != "compiler-artifact" || !is_library || message["profile"]["test"] == true {
                continue;
            }
            let files = message["filenames"].as_array().expect("filenames");
            let file = files
                .iter()
                .filter_map(Value::as_str)
                .find(|file| file.ends_with(".rlib") || file.ends_with(".so"))
                .expect("a library has a file");
            let name = message["target"]["name"].as_str().expect("a name").replace('-', "_");
            let id = message["package_id"].as_str().expect("an id").to_owned();
            // What build scripts and macros link is built apart, without debug information: not the one we want.
            let debuginfo = &message["profile"]["debuginfo"];
            let for_the_target = !(debuginfo.is_null() || *debuginfo == 0);
            if for_the_target || !libraries.contains_key(&id) {
                libraries.insert(id, (name, PathBuf::from(file)));
            }
        }
        let metadata = cargo(&root, &["metadata", "--format-version", "1"]);
        let metadata = serde_json::from_str(&metadata).expect("cargo metadata prints JSON");
        Self { root, libraries, metadata }
    }

    /// The errors of a program that may use the product's crates.
    pub(crate) fn compile(&self, source: &str) -> Vec<Diagnostic> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("case.rs");
        fs::write(&file, source).expect("the case is written");
        let externs = self.libraries.values().filter(|(name, _)| name.starts_with("entrabot_"));
        self.rustc(&file, "bin", externs.cloned(), directory.path(), &[])
    }

    /// The errors of a copy of a package's library with `source` added as one more module.
    pub(crate) fn compile_inside(&self, package: &str, source: &str) -> Vec<Diagnostic> {
        let described = self.metadata["packages"].as_array().expect("packages");
        let described =
            described.iter().find(|one| one["name"] == package).expect("a package of the workspace");
        let id = described["id"].as_str().expect("an id");
        let manifest = Path::new(described["manifest_path"].as_str().expect("a path"));
        let nodes = self.metadata["resolve"]["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|node| node["id"] == id).expect("a node");

        let directory = tempfile::tempdir().expect("a temporary directory");
        let copy = directory.path().join("copy");
        copy_directory(manifest.parent().expect("a directory"), &copy);
        let library = copy.join("src/lib.rs");
        let text = fs::read_to_string(&library).expect("a library");
        fs::write(&library, format!("{text}\n#[allow(dead_code)]\nmod intruder;\n")).expect("written");
        fs::write(copy.join("src/intruder.rs"), source).expect("written");

        let externs = node["deps"].as_array().expect("deps").iter().filter_map(|dependency| {
            let (_, file) = self.libraries.get(dependency["pkg"].as_str()?)?;
            Some((dependency["name"].as_str()?.to_owned(), file.clone()))
        });
        let features: Vec<_> =
            node["features"].as_array().expect("features").iter().filter_map(Value::as_str).collect();
        self.rustc(&library, "lib", externs, directory.path(), &features)
    }

    fn rustc(
        &self,
        file: &Path,
        kind: &str,
        externs: impl Iterator<Item = (String, PathBuf)>,
        out: &Path,
        features: &[&str],
    ) -> Vec<Diagnostic> {
        let dependencies =
            self.libraries.values().next().expect("libraries").1.parent().expect("a directory");
        let mut command = Command::new("rustc");
        command
            .args(["--edition", "2024", "--error-format", "json", "--emit", "metadata", "--crate-type", kind])
            .args(["--crate-name", "case", "--cap-lints", "allow"])
            .arg("--out-dir")
            .arg(out)
            .arg("-L")
            .arg(flag("dependency=", dependencies.join("../deps").canonicalize().expect("deps")))
            .arg(file)
            .env("CARGO_PKG_VERSION", "0.0.0")
            .env("CARGO_PKG_NAME", "case")
            .current_dir(&self.root);
        for (name, library) in externs {
            command.arg("--extern").arg(flag(&format!("{name}="), library));
        }
        for feature in features {
            command.args(["--cfg", &format!("feature=\"{feature}\"")]);
        }
        let output = command.output().expect("rustc runs");
        let said = String::from_utf8(output.stderr).expect("rustc prints UTF-8");
        let diagnostics = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let errors = diagnostics.filter(|one| one["level"] == "error").filter_map(|one| {
            let text = one["message"].as_str().unwrap_or_default();
            // The closing line that only counts the errors.
            let summary = text.starts_with("aborting due to");
            (!summary).then(|| Diagnostic {
                code: one["code"]["code"].as_str().unwrap_or("none").to_owned(),
                text: text.to_owned(),
            })
        });
        let errors: Vec<_> = errors.collect();
        assert_eq!(output.status.success(), errors.is_empty(), "rustc failed without an error: {said}");
        errors
    }
}

fn flag(prefix: &str, path: PathBuf) -> OsString {
    let mut flag = OsString::from(prefix);
    flag.push(path);
    flag
}

fn cargo(root: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
