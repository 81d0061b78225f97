//! `entrabot client`: real configuration files of four clients, before and after.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Finished, Home};
use entrabot_keystore::private_keyring::Mode;
use serde_json::{Value, json};

const PROGRAM: &str = "/opt/entrabot/entrabot";
const CLIENTS: [(&str, &str); 4] = [
    ("claude-code", ".claude.json"),
    ("claude-desktop", ".config/Claude/claude_desktop_config.json"),
    ("vscode", ".config/Code/User/mcp.json"),
    ("copilot", ".copilot/mcp-config.json"),
];

fn sample(client: &str, when: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/clients/{client}.{when}.json"));
    fs::read_to_string(path).unwrap()
}

fn home() -> Home {
    let mut home = Home::new(Mode::NoProvider);
    home.set("HOME", home.dir.path().display().to_string());
    home.set("XDG_CONFIG_HOME", home.path(".config").display().to_string());
    home
}

fn put(home: &Home, file: &str, text: &str) -> PathBuf {
    let path = home.path(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn client(home: &Home, verb: &str, client: &str, more: &[&str]) -> Finished {
    let program: &[&str] = if verb == "add" { &["--command", PROGRAM] } else { &[] };
    home.run(&[&["client", verb, client], program, more].concat())
}

fn backups(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|other| other.extension().is_some_and(|extension| extension == "bak"))
        .inspect(|other| assert!(other.file_name().unwrap().to_str().unwrap().starts_with(&name)))
        .collect()
}

#[test]
fn each_clients_file_gets_the_entry_and_keeps_every_other_byte() {
    let home = home();
    for (name, file) in CLIENTS {
        let path = put(&home, file, &sample(name, "before"));
        let shown = client(&home, "add", name, &["--dry-run"]).expect(0).text();
        assert!(shown.contains("+") && shown.contains("@@ "), "{shown}");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            sample(name, "before"),
            "{name}: a dry run changes nothing"
        );

        let answer = client(&home, "add", name, &["--yes", "--json"]).expect(0).json();
        assert_eq!(fs::read_to_string(&path).unwrap(), sample(name, "after"), "{name}");
        let backup = answer["backup"].as_str().unwrap();
        assert_eq!(fs::read_to_string(backup).unwrap(), sample(name, "before"), "{name}");

        let again = client(&home, "add", name, &["--yes", "--json"]).expect(0).json();
        assert_eq!((&again["changed"], &again["backup"]), (&json!(false), &Value::Null), "{name}");
        assert_eq!(backups(&path).len(), 1, "{name}: nothing to change, nothing to keep");
    }
}

#[test]
fn taking_the_entry_out_leaves_the_rest() {
    let home = home();
    for (name, file) in CLIENTS {
        let path = put(&home, file, &sample(name, "after"));
        client(&home, "remove", name, &["--yes"]).expect(0);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("entrabot"), "{text}");
        if name == "claude-code" || name == "vscode" {
            assert_eq!(text, sample(name, "before"));
        }
        client(&home, "remove", name, &["--yes"]).expect(0);
    }
    let help = home.run(&["client", "remove", "--help"]).expect(0).text();
    assert!(
        help.contains("--config") && !help.contains("--command"),
        "what is taken out starts nothing: {help}"
    );
}

#[test]
fn a_missing_file_is_made_and_only_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut home = home();
    home.set("ENTRABOT_ENV_FILE", "settings.env");
    for (name, file) in CLIENTS {
        client(&home, "add", name, &["--yes"]).expect(0);
        let path = home.path(file);
        let made: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let entry = &made[if name == "vscode" { "servers" } else { "mcpServers" }]["entrabot"];
        assert_eq!((&entry["command"], &entry["args"]), (&json!(PROGRAM), &json!(["serve"])), "{name}");
        let env_file = entry["env"]["ENTRABOT_ENV_FILE"].as_str().unwrap();
        assert!(Path::new(env_file).is_absolute() && env_file.ends_with("settings.env"), "{env_file}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        assert!(backups(&path).is_empty());
    }
}

#[test]
fn a_file_that_is_not_understood_is_left_as_it_is() {
    let home = home();
    for text in
        ["{", "not json", "{\"mcpServers\": [\"odd\"]}", "{\"mcpServers\": {}, \"mcpServers\": {\"a\": {}}}"]
    {
        let path = put(&home, ".claude.json", text);
        let finished = client(&home, "add", "claude-code", &["--yes", "--json"]).expect(2);
        assert_eq!(finished.json()["error_type"], "ClientConfigError", "{finished:?}");
        assert!(
            finished.stderr.contains(".claude.json") && finished.stderr.contains("hint: "),
            "{finished:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(backups(&path).is_empty());
    }
    fs::write(home.path(".claude.json"), b"\xff{}").unwrap();
    client(&home, "add", "claude-code", &["--yes"]).expect(2);
}

#[test]
fn nobody_to_ask_means_no_change_and_a_link_is_followed() {
    let home = home();
    let real = put(&home, "dotfiles/claude.json", "{}\n");
    std::os::unix::fs::symlink(&real, home.path(".claude.json")).unwrap();
    client(&home, "add", "claude-code", &[]).expect(2);
    assert_eq!(fs::read_to_string(&real).unwrap(), "{}\n");
    client(&home, "add", "claude-code", &["--yes"]).expect(0);
    assert!(fs::read_to_string(&real).unwrap().contains(PROGRAM));
    assert!(fs::symlink_metadata(home.path(".claude.json")).unwrap().is_symlink());
}
