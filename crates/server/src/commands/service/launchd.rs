//! A launch agent of macOS.

use std::path::Path;

use super::{MARK, Program};

pub(super) const LABEL: &str = "com.entrabot.server";

pub(super) fn property_list(program: &Program) -> String {
    let environment = program.env_file.as_deref().map_or_else(String::new, |file| {
        format!(
            "  <key>EnvironmentVariables</key>\n  <dict>\n    <key>ENTRABOT_ENV_FILE</key>\n    \
             <string>{}</string>\n  </dict>\n",
            escaped(file)
        )
    });
    // Umask is 0077 in decimal. An exit code of 0 was asked for; anything else is tried again, with a pause.
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- {MARK}; `entrabot service uninstall` removes it. -->
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
    <string>{}</string>
    <string>serve</string>
    <string>--http</string>
    <string>{}</string>
  </array>
{environment}  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>10</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>HardResourceLimits</key>
  <dict>
    <key>Core</key>
    <integer>0</integer>
  </dict>
  <key>ProcessType</key>
  <string>Background</string>
</dict>
</plist>
"#,
        escaped(&program.path),
        program.address
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn launchctl(arguments: &[&str]) -> Vec<String> {
    std::iter::once(&"launchctl").chain(arguments).map(ToString::to_string).collect()
}

pub(super) fn start(file: &Path) -> Vec<Vec<String>> {
    vec![launchctl(&["load", "-w", &file.display().to_string()])]
}

pub(super) fn stop(file: &Path) -> Vec<Vec<String>> {
    vec![launchctl(&["unload", "-w", &file.display().to_string()])]
}
