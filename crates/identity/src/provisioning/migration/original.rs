//! The files of the Python original, read as the original read them: no quotes taken off, no `export`, no comment after
//! a value. What somebody may have meant by such a line is said beside it.

use std::path::Path;

use super::MigrationError;
use crate::config::env_file::{self, Line};
use crate::tokens::strict_json;

/// The original's settings; the others of its `.env` it never read.
const SETTINGS: &[&str] = &[
    "ENTRABOT_TENANT_ID",
    "ENTRABOT_BLUEPRINT_APP_ID",
    "ENTRABOT_BLUEPRINT_OBJECT_ID",
    "ENTRABOT_BLUEPRINT_CERT_THUMBPRINT",
    "ENTRABOT_BLUEPRINT_CERT_SHA1",
    "ENTRABOT_BLUEPRINT_KSP",
    "ENTRABOT_AGENT_ID",
    "ENTRABOT_AGENT_OBJECT_ID",
    "ENTRABOT_AGENT_USER_ID",
    "ENTRABOT_AGENT_UPN",
    "ENTRABOT_CLIENT_ID",
    "ENTRABOT_PROVISIONER_CLIENT_ID",
    "ENTRABOT_HUMAN_USER_ID",
    "ENTRABOT_HUMAN_USER_IDS",
    "ENTRABOT_HUMAN_UPN",
    "ENTRABOT_HUMAN_UPNS",
    "ENTRABOT_HUMAN_USER_MAILS",
    "ENTRABOT_HUMAN_USER_TENANT_IDS",
    "ENTRABOT_HUMAN_USER_TYPES",
    "ENTRABOT_AUDIT_DIR",
    "ENTRABOT_DATA_DIR",
    "ENTRABOT_LOG_DIR",
    "ENTRABOT_LOG_LEVEL",
    "ENTRABOT_SKIP_PROVISIONING",
    "ENTRABOT_KEEP_MEMORY_LOCAL",
    "ENTRABOT_SKIP_PLACEHOLDER_CHECK",
    "ENTRABOT_SKIP_COMMITMENT_CHECK",
    "ENTRABOT_BLOB_ENDPOINT",
    "ENTRABOT_BLOB_CONTAINER",
    "ENTRABOT_XPIA_WRAP_ENABLE",
    "ENTRABOT_PLACEHOLDER_GRACE_SECONDS",
    "ENTRABOT_FILES_DENIED_SITES",
    "ENTRABOT_FILES_MAX_TEXT_BYTES",
    "ENTRABOT_FILES_MAX_PDF_BYTES",
    "ENTRABOT_A365_TOOLING_MANIFEST",
];

/// Parsed by the original and then ignored. Here they would change who acts, and where.
const IGNORED: &[&str] = &["ENTRABOT_MODE", "ENTRABOT_AUTHORITY"];

/// Names that the original used for a setting of another name today.
const RENAMED: &[(&str, &str)] = &[
    ("ENTRABOT_AGENT_USER_UPN", "ENTRABOT_AGENT_UPN"),
    ("ENTRABOT_PROVISIONER_APP_ID", "ENTRABOT_PROVISIONER_CLIENT_ID"),
];

/// What a line or member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The setting of this name, today.
    Setting(&'static str),
    /// A secret in clear text. Its value is not kept.
    Secret,
    /// Nothing to take over, and why.
    Nothing(&'static str),
}

/// One thing that the original's files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// As it is written there.
    pub(super) name: String,
    /// As it is meant; empty for a secret.
    pub(super) value: String,
    /// E.g. `.env, line 3`.
    pub(super) place: String,
    pub(super) meaning: Meaning,
    pub(super) note: Option<&'static str>,
}

/// What both files of a directory say, `.env` first: that is what the original ran with.
pub(super) fn read(directory: &Path) -> Result<Vec<Said>, MigrationError> {
    let env = env_file::read_named("the original's .env", &directory.join(".env"))?;
    let state = env_file::read_named("the original's state file", &directory.join(".entrabot-state.json"))?;
    if env.is_none() && state.is_none() {
        return Err(MigrationError::NoInstallation { directory: directory.to_owned() });
    }
    let mut said = env.as_deref().map(env_lines).unwrap_or_default();
    said.extend(state.as_deref().map(state_members).unwrap_or_default());
    Ok(said)
}

fn env_lines(text: &str) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        let (name, value) = (name.trim(), value.trim());
        let place = format!(".env, line {}", index + 1);
        if let Some(exported) = name.strip_prefix("export ") {
            let note = "the original took `export` for a part of the name, so the line never counted";
            said.push(Said::new(exported.trim(), "", place, Meaning::Nothing(note)));
            continue;
        }
        let meant = match env_file::parse_line(line) {
            Line::Setting(_, meant) => meant,
            Line::Nothing | Line::Malformed => value.to_owned(),
        };
        let note = (meant != value).then_some(
            "the original took the quotes, or the comment, for a part of the value; it is taken without",
        );
        let again = said.iter().any(|earlier| earlier.name == name && earlier.is_setting());
        let meaning = match meaning(name, &meant) {
            Meaning::Setting(_) if again => Meaning::Nothing("an earlier line sets it, and that one counted"),
            meaning => meaning,
        };
        said.push(Said { note, ..Said::new(name, &meant, place, meaning) });
    }
    // Wherever both stand, the name of today counted.
    let today: Vec<&'static str> = said
        .iter()
        .filter_map(|said| match said.meaning {
            Meaning::Setting(name) if said.name == name => Some(name),
            _ => None,
        })
        .collect();
    for said in &mut said {
        if let Meaning::Setting(name) = said.meaning
            && said.name != name
            && today.contains(&name)
        {
            said.meaning = Meaning::Nothing("the file sets it by its other name too, and that one counted");
        }
    }
    said
}

fn state_members(text: &str) -> Vec<Said> {
    const PLACE: &str = ".entrabot-state.json";
    let Ok(members) = strict_json::object(text.as_bytes()) else {
        let note = "no JSON object; the original took it for empty";
        return vec![Said::new(PLACE, "", PLACE.into(), Meaning::Nothing(note))];
    };
    let said = members.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
        let value = value.as_str().unwrap_or_default();
        // The members have the settings' names without the prefix.
        Said::new(name, value, PLACE.into(), meaning(&format!("ENTRABOT_{name}"), value))
    });
    said.collect()
}

fn meaning(name: &str, value: &str) -> Meaning {
    let today = RENAMED.iter().find(|(before, _)| *before == name).map_or(name, |(_, today)| today);
    if value.is_empty() {
        Meaning::Nothing("empty")
    } else if let Some(setting) = SETTINGS.iter().find(|setting| **setting == today) {
        Meaning::Setting(setting)
    } else if ["SECRET", "PASSWORD", "PRIVATE_KEY", "REFRESH_TOKEN"].iter().any(|word| name.contains(word)) {
        Meaning::Secret
    } else if IGNORED.contains(&name) {
        Meaning::Nothing("the original read it and did not heed it; here it would count")
    } else {
        Meaning::Nothing("no setting that the original had in common with this one")
    }
}

impl Said {
    fn new(name: &str, value: &str, place: String, meaning: Meaning) -> Self {
        let value = if meaning == Meaning::Secret { "" } else { value };
        Self { name: name.to_owned(), value: value.to_owned(), place, meaning, note: None }
    }

    fn is_setting(&self) -> bool {
        matches!(self.meaning, Meaning::Setting(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(said: &[Said]) -> Vec<(&str, &str, bool)> {
        said.iter()
            .filter_map(|said| match said.meaning {
                Meaning::Setting(name) => Some((name, said.value.as_str(), said.note.is_some())),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_line_counts_as_it_counted_for_the_original() {
        let said = env_lines(
            "# ENTRABOT_AGENT_ID=commented\n ENTRABOT_TENANT_ID = t \nexport ENTRABOT_AGENT_ID=never-counted\n\
             ENTRABOT_AGENT_USER_UPN=\"a@x.example\"\nENTRABOT_LOG_LEVEL=DEBUG # loud\nENTRABOT_TENANT_ID=second\n\
             ENTRABOT_MODE=delegated\nENTRABOT_GRAPH_BASE=https://evil.example\nENTRABOT_BLOB_ENDPOINT=\njust words\n",
        );
        assert_eq!(
            settings(&said),
            [
                ("ENTRABOT_TENANT_ID", "t", false),
                ("ENTRABOT_AGENT_UPN", "a@x.example", true),
                ("ENTRABOT_LOG_LEVEL", "DEBUG", true),
            ]
        );
        let nothing = said.iter().filter(|said| matches!(said.meaning, Meaning::Nothing(_)));
        let nothing: Vec<&str> = nothing.map(|said| said.name.as_str()).collect();
        let expected = [
            "ENTRABOT_AGENT_ID",
            "ENTRABOT_TENANT_ID",
            "ENTRABOT_MODE",
            "ENTRABOT_GRAPH_BASE",
            "ENTRABOT_BLOB_ENDPOINT",
        ];
        assert_eq!(nothing, expected);
        assert_eq!(said[1].place, ".env, line 3");
    }

    #[test]
    fn of_two_names_for_one_setting_the_newer_counted() {
        let said = env_lines("ENTRABOT_AGENT_USER_UPN=old@x.example\nENTRABOT_AGENT_UPN=new@x.example\n");
        assert_eq!(settings(&said), [("ENTRABOT_AGENT_UPN", "new@x.example", false)]);
    }

    #[test]
    fn a_secret_in_a_file_is_named_and_its_value_is_not_kept() {
        let said = state_members(
            r#"{"TENANT_ID": "t", "AGENT_USER_UPN": "a@x.example", "PROVISIONER_CLIENT_SECRET": "hunter2", "X": null}"#,
        );
        let expected = [("ENTRABOT_AGENT_UPN", "a@x.example", false), ("ENTRABOT_TENANT_ID", "t", false)];
        let mut found = settings(&said);
        found.sort_unstable();
        assert_eq!(found, expected);
        assert!(said.iter().any(|said| said.meaning == Meaning::Secret && said.value.is_empty()));
        assert!(!format!("{said:?}").contains("hunter2"));
        assert!(matches!(state_members("not json")[0].meaning, Meaning::Nothing(_)));
    }
}
