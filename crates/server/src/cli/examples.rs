//! Examples for every command, in one place, so that a test can see that each has one and that each is understood.

use clap::Command;

/// The command, and lines that can be typed.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "serve",
        &["entrabot serve", "entrabot serve --http 127.0.0.1:8765", "entrabot serve --expose mcp_MailTools"],
    ),
    ("whoami", &["entrabot whoami", "entrabot whoami --json"]),
    ("sign-in", &["entrabot sign-in", "entrabot sign-in --device-code"]),
    ("sign-out", &["entrabot sign-out"]),
    ("status", &["entrabot status --json"]),
    ("config show", &["entrabot config show", "entrabot config show --json"]),
    (
        "token check",
        &["entrabot token check", "entrabot token check --resource https://graph.microsoft.com/.default"],
    ),
    (
        "call",
        &[
            "entrabot call mcp_MeServer getMyProfile",
            "entrabot call mcp_WordServer GetDocumentContent --args @arguments.json",
        ],
    ),
    ("tools", &["entrabot tools", "entrabot tools mcp_WordServer --json"]),
    ("manifest lint", &["entrabot manifest lint ToolingManifest.json"]),
    ("a365 trust", &["entrabot a365 trust mcp_WordServer"]),
    ("keystore get", &["entrabot keystore get entrabot http-bearer --reveal"]),
    ("keystore set", &["entrabot keystore set entrabot blueprint-private-key < key.pem"]),
    ("keystore delete", &["entrabot keystore delete entrabot http-bearer"]),
    ("keystore list", &["entrabot keystore list entrabot"]),
    ("keystore probe", &["entrabot keystore probe --json"]),
    (
        "audit append",
        &[
            "entrabot audit append --action report.sent --resource 4711 --outcome success --metadata kind=weekly",
        ],
    ),
    ("audit tail", &["entrabot audit tail -n 50", "entrabot audit tail --follow --json"]),
    (
        "audit verify",
        &["entrabot audit verify", "entrabot audit verify --dir copy --vkey audit-vkeys --json"],
    ),
    ("audit status", &["entrabot audit status --json"]),
    ("audit checkpoint", &["entrabot audit checkpoint"]),
    ("audit close-orphans", &["entrabot audit close-orphans"]),
    ("audit resume", &["entrabot audit resume --accept-clock"]),
    ("audit rotate-key", &["entrabot audit rotate-key"]),
    (
        "provision",
        &[
            "entrabot provision --new --agent-user-upn agent@contoso.com --dry-run",
            "entrabot provision --new --agent-user-upn agent@contoso.com --with-a365-work-iq --yes",
        ],
    ),
    (
        "provisioner create",
        &["entrabot provisioner create --dry-run", "entrabot provisioner create --device-code"],
    ),
    ("provisioner remove", &["entrabot provisioner remove --dry-run"]),
    ("teardown", &["entrabot teardown --dry-run", "entrabot teardown --preserve-provisioner"]),
    ("migrate", &["entrabot migrate --from ~/entrabot --dry-run"]),
    ("cert list", &["entrabot cert list"]),
    ("cert verify", &["entrabot cert verify --json"]),
    ("cert rotate", &["entrabot cert rotate"]),
    ("sponsors list", &["entrabot sponsors list"]),
    ("sponsors add", &["entrabot sponsors add 6d1f2a3b-0000-4000-8000-00000000000a"]),
    ("sponsors remove", &["entrabot sponsors remove 6d1f2a3b-0000-4000-8000-00000000000a"]),
    ("grants list", &["entrabot grants list --json"]),
    ("grants grant", &["entrabot grants grant Files.Read.All Sites.Read.All"]),
    ("grants revoke", &["entrabot grants revoke Files.Read.All"]),
    ("client remove", &["entrabot client remove claude-code --dry-run"]),
    ("service uninstall", &["entrabot service uninstall"]),
    ("man", &["entrabot man | man -l -", "entrabot man --dir ~/.local/share/man/man1"]),
    ("completions", &["entrabot completions bash > ~/.local/share/bash-completion/completions/entrabot"]),
];

/// The command with its examples, wherever it has none of its own yet.
pub(super) fn added_to(mut command: Command) -> Command {
    for (path, lines) in EXAMPLES {
        let names: Vec<&str> = path.split(' ').collect();
        command = added_below(command, &names, lines);
    }
    command
}

fn added_below(command: Command, path: &[&str], lines: &[&str]) -> Command {
    let Some((name, rest)) = path.split_first() else {
        let title = if lines.len() == 1 { "Example" } else { "Examples" };
        return command.after_help(format!("{title}:\n  {}", lines.join("\n  ")));
    };
    command.mut_subcommand(name, |command| added_below(command, rest, lines))
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;

    fn leaves<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name());
            if below.has_subcommands() {
                leaves(below, &path, found);
            } else {
                found.push((path.trim().to_owned(), below));
            }
        }
    }

    #[test]
    fn every_command_has_an_example_and_each_example_is_one_of_it() {
        let command = Cli::command();
        let mut found = Vec::new();
        leaves(&command, "", &mut found);
        assert!(found.len() > 40, "{}", found.len());
        for (path, leaf) in found {
            let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<_> = help.lines().filter(|line| line.starts_with("  entrabot ")).collect();
            assert!(!lines.is_empty(), "{path} has no example");
            for line in lines {
                // As far as a shell would hand it to us.
                let typed =
                    line.split(['|', '<', '>', '&', ';']).next().unwrap_or_default().replace(['\'', '"'], "");
                assert!(typed.trim().starts_with(&format!("entrabot {path}")), "{path}: {line}");
                let parsed = Cli::command().try_get_matches_from(typed.split_whitespace());
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn every_command_and_every_flag_says_what_it_is() {
        fn look(command: &Command, path: &str) {
            assert!(command.get_about().is_some(), "{path}");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{path} {}", argument.get_id());
            }
            for below in command.get_subcommands() {
                look(below, &format!("{path} {}", below.get_name()));
            }
        }
        let mut command = Cli::command();
        command.build();
        look(&command, "entrabot");
    }
}
