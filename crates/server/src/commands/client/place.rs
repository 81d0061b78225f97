//! Where clients keep their configuration.

use std::path::PathBuf;

use super::Client;

/// The user's own file of a client. `None` where it is not known.
pub(super) fn of(client: Client) -> Option<PathBuf> {
    let home = variable(if cfg!(windows) { "USERPROFILE" } else { "HOME" })?;
    Some(match client {
        Client::ClaudeCode => home.join(".claude.json"),
        Client::Copilot => home.join(".copilot/mcp-config.json"),
        Client::ClaudeDesktop => applications(home)?.join("Claude/claude_desktop_config.json"),
        Client::Vscode => applications(home)?.join("Code/User/mcp.json"),
    })
}

/// Where applications with a window keep theirs.
fn applications(home: PathBuf) -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        Some(home.join("Library/Application Support"))
    } else if cfg!(windows) {
        variable("APPDATA")
    } else {
        Some(variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")))
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
