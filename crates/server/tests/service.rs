//! `entrabot service`: what is written, what the service manager is told, and what its own checker says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use common::Home;
use entrabot_keystore::private_keyring::Mode;

const UNIT: &str = ".config/systemd/user/entrabot.service";
const AGENT: &str = "Library/LaunchAgents/com.entrabot.server.plist";

/// A home whose `systemctl` and `launchctl` write down what they are told.
fn home() -> Home {
    let mut home = Home::new(Mode::NoProvider);
    let bin = home.path("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["systemctl", "launchctl"] {
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> {}/told\n", home.dir.path().display());
        fs::write(bin.join(name), script).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    home.set("HOME", home.dir.path().display().to_string());
    home.set("XDG_CONFIG_HOME", home.path(".config").display().to_string());
    home.set("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    home
}

fn told(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.path("told")).unwrap_or_default();
    text.lines().map(|line| line.replace(&home.dir.path().display().to_string(), "~")).collect()
}

#[test]
fn a_unit_is_installed_enabled_and_removed_again() {
    let home = home();
    let shown = home.run(&["service", "install", "--dry-run"]).expect(0).text();
    assert!(shown.contains("+NoNewPrivileges=yes"), "{shown}");
    assert!(!home.path(UNIT).exists() && told(&home).is_empty(), "a dry run does nothing");
    home.run(&["service", "install"]).expect(2);
    assert!(!home.path(UNIT).exists(), "nobody was there to be asked");

    home.run(&["service", "install", "--yes", "--http", "127.0.0.1:9000"]).expect(0);
    let unit = fs::read_to_string(home.path(UNIT)).unwrap();
    assert!(unit.contains(&format!(
        "ExecStart=\"{}\" serve --http 127.0.0.1:9000\n",
        env!("CARGO_BIN_EXE_entrabot")
    )));
    let started = ["daemon-reload", "enable entrabot.service", "restart entrabot.service"];
    assert_eq!(told(&home), started.map(|what| format!("systemctl --user {what}")));

    fs::remove_file(home.path("told")).unwrap();
    home.run(&["service", "uninstall", "--yes"]).expect(0);
    assert!(!home.path(UNIT).exists());
    let stopped = ["disable --now entrabot.service", "daemon-reload"];
    assert_eq!(told(&home), stopped.map(|what| format!("systemctl --user {what}")));
    home.run(&["service", "uninstall", "--yes"]).expect(0);
}

#[test]
fn systemds_own_checker_takes_the_unit() {
    let mut home = home();
    home.set("ENTRABOT_ENV_FILE", home.path("odd name %h \"x\".env").display().to_string());
    home.run(&["service", "install", "--yes", "--no-start"]).expect(0);
    assert!(told(&home).is_empty());
    let unit = home.path(UNIT);
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--user", "--man=no"]).arg(&unit).env("XDG_RUNTIME_DIR", home.dir.path());
    let Ok(output) = analyze.output() else {
        eprintln!("note: systemd-analyze is not installed, so it was not asked");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("entrabot.service:"), "{said}");
}

#[test]
fn a_launch_agent_is_a_property_list_that_a_foreign_reader_understands() {
    let mut home = home();
    home.set("ENTRABOT_ENV_FILE", home.path("a & b <c>.env").display().to_string());
    home.run(&["service", "install", "--yes", "--manager", "launchd"]).expect(0);
    let list = home.path(AGENT);
    assert_eq!(told(&home), [format!("launchctl load -w ~/{AGENT}")]);
    let program = "import plistlib, sys, json; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let output = Command::new("python3").args(["-c", program]).arg(&list).output().expect("python3");
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a property list");
    assert_eq!(read["ProgramArguments"][1], "serve");
    assert_eq!(read["Umask"], 0o077);
    let env_file = read["EnvironmentVariables"]["ENTRABOT_ENV_FILE"].as_str().unwrap();
    assert!(env_file.ends_with("a & b <c>.env"), "{env_file}");
    home.run(&["service", "uninstall", "--yes", "--manager", "launchd"]).expect(0);
    assert!(!list.exists());
}

#[test]
fn a_file_that_is_not_ours_and_an_address_for_everybody_are_refused() {
    let home = home();
    let unit: PathBuf = home.path(UNIT);
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    for arguments in [["service", "install", "--yes"], ["service", "uninstall", "--yes"]] {
        let finished = home.run(&arguments).expect(2);
        assert!(finished.stderr.contains("not ours"), "{finished:?}");
    }
    assert_eq!(fs::read_to_string(&unit).unwrap(), "[Service]\nExecStart=/bin/true\n");
    home.run(&["service", "install", "--yes", "--http", "0.0.0.0:8765"]).expect(2);
    assert!(told(&home).is_empty());
}

#[test]
fn a_manager_that_refuses_is_named_with_its_command() {
    let home = home();
    fs::write(home.path("bin/systemctl"), "#!/bin/sh\nexit 1\n").unwrap();
    let finished = home.run(&["service", "install", "--yes"]).expect(1);
    assert!(finished.stderr.contains("`systemctl --user daemon-reload` failed"), "{finished:?}");
    assert!(home.path(UNIT).exists(), "the file is in its place");
    // It goes all the same.
    let finished = home.run(&["service", "uninstall", "--yes"]).expect(0);
    assert!(finished.stderr.contains("warning: "), "{finished:?}");
    assert!(!home.path(UNIT).exists());
}
