//! What stands in the way before anything is recorded or sent.

use std::fs;
use std::path::{Path, PathBuf};

use entrabot_a365::{A365Error, Diagnose as _, Severity, lint_manifest};
use entrabot_tests::stand_in::Options;

use crate::harness::{Door, config};

fn with_manifest(path: PathBuf) -> Door {
    Door::open_with(Options::default(), move |_| {
        vec![("ENTRABOT_A365_TOOLING_MANIFEST", path.display().to_string())]
    })
}

async fn refused(path: &Path) -> A365Error {
    let door = with_manifest(path.to_owned());
    let error = door.create("x").await.unwrap_err();
    assert!(door.cloud.requests().is_empty(), "nothing is sent, and no token is fetched");
    assert!(door.log().is_empty());
    assert_eq!(error.recorded(), None);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_regular_file_of_a_sensible_size_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let good = r#"{"mcpServers":[{"mcpServerName":"mcp_WordServer"}]}"#;
    fs::write(at("good.json"), good).unwrap();
    std::os::unix::fs::symlink(at("good.json"), at("link.json")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("large.json"), " ".repeat(1024 * 1024 + 1)).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    for (path, words) in [
        (at("link.json"), "symbolic link"),
        (at("directory"), "not a regular file"),
        (at("fifo"), "not a regular file"),
        (PathBuf::from("/dev/zero"), "not a regular file"),
        (at("large.json"), "larger than 1 MiB"),
    ] {
        let error = refused(&path).await;
        assert_eq!(error.error_type(), "A365ManifestInvalidError");
        assert!(error.to_string().contains(words), "{}: {error}", path.display());
    }
    let error = refused(&at("absent.json")).await;
    assert_eq!(error.error_type(), "A365ManifestNotFoundError");
    assert!(error.to_string().contains("ENTRABOT_A365_TOOLING_MANIFEST"), "{error}");
    assert!(error.to_string().contains("./.a365/ToolingManifest.json"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_points_elsewhere_gets_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ToolingManifest.json");
    for url in
        ["https://evil.example/agents/servers/mcp_WordServer", "http://localhost/x", "https://127.0.0.1/x"]
    {
        fs::write(&path, format!(r#"{{"mcpServers":[{{"mcpServerName":"mcp_WordServer","url":"{url}"}}]}}"#))
            .unwrap();
        let error = refused(&path).await;
        assert_eq!(error.error_type(), "A365ManifestInvalidError", "{url}");
        assert!(error.to_string().contains("mcpServers[0].url"), "{error}");
        assert!(!error.to_string().contains("evil"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_and_load_agree() {
    let door = Door::open();
    let config = config(&door.cloud, door.directory(), Vec::new());
    assert_eq!(
        lint_manifest(&door.cloud.info().manifest, &config)
            .unwrap()
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count(),
        0
    );
    let path = door.directory().join("bad.json");
    fs::write(&path, r#"{"mcpServers":[{"mcpServerName":"a","url":"x"},{"mcpServerName":"A"},{}]}"#).unwrap();
    let findings = lint_manifest(&path, &config).unwrap();
    assert!(findings.len() >= 2, "every finding is listed: {findings:?}");
}
