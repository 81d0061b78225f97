//! A user unit of systemd.

use super::{MARK, Program};

pub(super) const UNIT: &str = "entrabot.service";

/// What needs no namespace: a user's manager can make one only inside a user namespace, where the guard's look at the
/// keyring's process is not to be relied on.
const HARDENING: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
LimitCORE=0
";

pub(super) fn unit(program: &Program) -> String {
    let environment = program.env_file.as_deref().map_or_else(String::new, |file| {
        format!("Environment={}\n", quoted(&format!("ENTRABOT_ENV_FILE={file}")))
    });
    format!(
        "# {MARK}; `entrabot service uninstall` removes it.
[Unit]
Description=entrabot: an MCP server for an agent with its own Entra identity
Documentation=man:entrabot(1)
After=dbus.socket

[Service]
ExecStart={} serve --http {}
{environment}Restart=on-failure
RestartSec=5
# Wrong settings stay wrong.
RestartPreventExitStatus=2
TimeoutStopSec=10
{HARDENING}
[Install]
WantedBy=default.target
",
        quoted(&program.path),
        program.address
    )
}

/// One word of an environment, or the first of a command line (systemd.syntax): there only specifiers are expanded.
fn quoted(text: &str) -> String {
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' => word.extend([c, c]),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

fn systemctl(arguments: &[&str]) -> Vec<String> {
    ["systemctl", "--user"].iter().chain(arguments).map(ToString::to_string).collect()
}

pub(super) fn start() -> Vec<Vec<String>> {
    vec![systemctl(&["daemon-reload"]), systemctl(&["enable", UNIT]), systemctl(&["restart", UNIT])]
}

pub(super) fn stop() -> Vec<Vec<String>> {
    vec![systemctl(&["disable", "--now", UNIT])]
}

pub(super) fn reload() -> Vec<Vec<String>> {
    vec![systemctl(&["daemon-reload"])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_every_special_character_is_one_word() {
        assert_eq!(quoted(r#"/a b/"c"\d%h$HOME"#), r#""/a b/\"c\"\\d%%h$HOME""#);
    }
}
