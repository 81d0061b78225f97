//! The settings file: our lines put in, changed or taken out, all others kept as they are.

use std::path::Path;

use super::{ProvisioningError, private_file};
use crate::config::env_file;

/// The names that provisioning owns in the file.
pub(super) const OURS: [&str; 5] = [
    "ENTRABOT_BLUEPRINT_APP_ID",
    "ENTRABOT_BLUEPRINT_CERT_THUMBPRINT",
    "ENTRABOT_AGENT_ID",
    "ENTRABOT_AGENT_USER_ID",
    "ENTRABOT_AGENT_UPN",
];

/// What names the place of the blueprint's key: written only by a rotation into the TPM.
pub(super) const CREDENTIAL: &str = "ENTRABOT_BLUEPRINT_CREDENTIAL";

/// Our names with their values.
pub(super) fn lines(values: &[String; 5]) -> [(&'static str, &str); 5] {
    std::array::from_fn(|index| (OURS[index], values[index].as_str()))
}

/// Puts the settings in; says whether the file had to be changed.
pub(super) fn put(path: &Path, settings: &[(&str, &str)]) -> Result<bool, ProvisioningError> {
    change(path, |text| edited(text, settings))
}

/// Whether the settings are in already.
pub(super) fn is_up_to_date(path: &Path, settings: &[(&str, &str)]) -> Result<bool, ProvisioningError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(edited(&text, settings) == text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ProvisioningError::file(path, error)),
    }
}

/// Whether any of these is in it.
pub(super) fn holds(path: &Path, names: &[&str]) -> Result<bool, ProvisioningError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(without(&text, names) != text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ProvisioningError::file(path, error)),
    }
}

/// Takes settings out; a file that is not there stays so.
pub(super) fn take_out(path: &Path, names: &[&str]) -> Result<bool, ProvisioningError> {
    if !path.exists() {
        return Ok(false);
    }
    change(path, |text| without(text, names))
}

fn change(path: &Path, edit: impl FnOnce(&str) -> String) -> Result<bool, ProvisioningError> {
    let failed = |error| ProvisioningError::file(path, error);
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let new = edit(&old);
    if new == old {
        return Ok(false);
    }
    private_file::replace(path, new.as_bytes()).map_err(failed)?;
    Ok(true)
}

/// The name that a line sets.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, _) = line.split_once('=')?;
    let name = name.trim();
    (!name.starts_with('#')).then_some(name)
}

fn edited(text: &str, settings: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut written = vec![false; settings.len()];
    for line in text.lines() {
        match settings.iter().position(|(name, _)| name_of(line) == Some(name)) {
            // The first line counts when the file is read, so that is the one to keep.
            Some(index) if written[index] => {}
            Some(index) => {
                written[index] = true;
                push(&mut out, &env_file::line(settings[index].0, settings[index].1));
            }
            None => push(&mut out, line),
        }
    }
    for ((name, value), written) in settings.iter().zip(written) {
        if !written {
            push(&mut out, &env_file::line(name, value));
        }
    }
    out
}

fn without(text: &str, names: &[&str]) -> String {
    let mut out = String::new();
    text.lines()
        .filter(|line| !name_of(line).is_some_and(|name| names.contains(&name)))
        .for_each(|line| push(&mut out, line));
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lines_and_comments_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, "# mine\nENTRABOT_TENANT_ID=t\nexport ENTRABOT_AGENT_ID='old'\nFOO=bar\nENTRABOT_AGENT_ID=older\n")
            .unwrap();
        let settings = [("ENTRABOT_AGENT_ID", "new"), ("ENTRABOT_AGENT_UPN", "a@x.example")];
        assert!(put(&path, &settings).unwrap());
        let expected =
            "# mine\nENTRABOT_TENANT_ID=t\nENTRABOT_AGENT_ID=new\nFOO=bar\nENTRABOT_AGENT_UPN=a@x.example\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert!(!put(&path, &settings).unwrap(), "the second time there is nothing to do");
        assert!(take_out(&path, &OURS).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# mine\nENTRABOT_TENANT_ID=t\nFOO=bar\n");
        assert!(!take_out(&dir.path().join("missing"), &OURS).unwrap());
    }

    #[test]
    fn a_commented_out_setting_is_a_comment() {
        assert_eq!(
            edited("#ENTRABOT_AGENT_ID=x\n", &[("ENTRABOT_AGENT_ID", "y")]),
            "#ENTRABOT_AGENT_ID=x\nENTRABOT_AGENT_ID=y\n"
        );
    }
}
