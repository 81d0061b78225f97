//! How a person is asked to sign in: their browser, or a code on stderr. stdout belongs to JSON-RPC and to answers.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_identity::{DeviceCodePrompt, SignInPrompt};

use crate::failure::cleaned;
use crate::terminal;

/// How long a browser's starter may take to say that there is none.
const STARTS_WITHIN: Duration = Duration::from_secs(2);

/// The person at this terminal, or the one who started the server.
#[derive(Debug)]
pub(crate) struct TerminalPrompt {
    /// Only says where to go.
    pub(crate) open_nothing: bool,
}

impl SignInPrompt for TerminalPrompt {
    fn open_browser(&self, url: &str) -> bool {
        if self.open_nothing {
            terminal::note(&format!("To sign in, open {url} in a browser on this machine."));
            return true;
        }
        let opened = browser().is_some_and(|mut browser| opens(&mut browser, url));
        if opened {
            terminal::note(&format!("To sign in, use your browser; it was led to {url}"));
        }
        opened
    }

    fn show_device_code(&self, prompt: &DeviceCodePrompt) {
        terminal::note(&format!(
            "To sign in, open {} in any browser and enter the code {} within {} minutes.",
            cleaned(&prompt.verification_uri),
            cleaned(&prompt.user_code),
            prompt.expires_in.as_secs().div_ceil(60),
        ));
    }
}

/// What opens a page for the person: `BROWSER`, else the desktop's own way. `None` where there is no desktop.
fn browser() -> Option<Command> {
    let named = std::env::var_os("BROWSER").filter(|name| !name.is_empty());
    if let Some(first) = named.as_ref().and_then(|names| std::env::split_paths(names).next()) {
        return Some(Command::new(first));
    }
    if cfg!(target_os = "macos") {
        return Some(Command::new("/usr/bin/open"));
    }
    if cfg!(windows) {
        let mut command = Command::new("rundll32.exe");
        command.arg("url.dll,FileProtocolHandler");
        return Some(command);
    }
    let desktop = ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    desktop.then(|| Command::new(PathBuf::from("xdg-open")))
}

fn opens(browser: &mut Command, url: &str) -> bool {
    let started = browser.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return false };
    let until = Instant::now() + STARTS_WITHIN;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return false,
        }
    }
    // It is the browser itself, and stays; somebody has to collect it in the end.
    std::thread::spawn(move || collect(child));
    true
}

fn collect(mut child: Child) {
    // How it ends says nothing about the sign-in.
    drop(child.wait());
}
