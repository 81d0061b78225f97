//! Taking over from an installation of the Python original: its files and the keyring are read, our settings file is
//! written, and nothing else is touched. Entra is not asked.

mod error;
mod original;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrabot_keystore::leak_scan::{self, LeakStorage};
use entrabot_keystore::{EntryName, KeystoreError, Surroundings};

pub use error::MigrationError;

use super::certificate::PrivateKey;
use super::run::{Progress, Run, blocking};
use super::teardown::LEGACY_ENTRIES;
use super::{ProvisioningLock, settings_file, sign_in};
use crate::config::env_file::{self, Line};
use crate::config::show::shown;
use crate::{ActionGate, Config, Origin};
use original::{Meaning, Said};

/// The settings that say which agent it is. Two different ones are two agents.
const WHICH_AGENT: &[&str] =
    &["ENTRABOT_TENANT_ID", "ENTRABOT_BLUEPRINT_APP_ID", "ENTRABOT_AGENT_ID", "ENTRABOT_AGENT_USER_ID"];
/// Without these the agent cannot sign in.
const NEEDED: &[&str] = &[
    "ENTRABOT_TENANT_ID",
    "ENTRABOT_BLUEPRINT_APP_ID",
    "ENTRABOT_BLUEPRINT_CERT_THUMBPRINT",
    "ENTRABOT_AGENT_ID",
    "ENTRABOT_AGENT_USER_ID",
];

/// Something of the original's that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundThing {
    /// A setting, a keystore entry or a file, by its name.
    pub name: String,
    /// What may be shown of its value.
    pub value: Option<String>,
    /// Where it is.
    pub place: String,
    /// What becomes of it.
    pub fate: Fate,
    /// What the operator should know about it.
    pub note: Option<String>,
}

/// What becomes of something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It is put into our settings file.
    Take,
    /// It is so here already, or both use the same.
    Same,
    /// It is not taken over.
    Leave,
    /// It should be there and is not.
    Missing,
    /// It is a danger: a secret where none may lie.
    Danger,
}

impl Fate {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Same => "same",
            Self::Leave => "leave",
            Self::Missing => "missing",
            Self::Danger => "danger",
        }
    }
}

/// What taking over would do. Made only by [`MigrationPlan::read`].
#[derive(Debug)]
pub struct MigrationPlan {
    found: Vec<FoundThing>,
    /// What the original says, each setting once: the first that says it counts.
    heard: Vec<(&'static str, String)>,
    /// Those of it that our file lacks.
    settings: Vec<(&'static str, String)>,
    settings_file: PathBuf,
    data_dir: PathBuf,
    warnings: Vec<String>,
    refusal: Option<MigrationError>,
}

impl MigrationPlan {
    /// Reads the original's `.env` and `.entrabot-state.json` in `directory`, and the keyring. Changes nothing. Blocks.
    ///
    /// # Errors
    /// [`MigrationError::NoInstallation`], or a file that others can write. What else stands in the way of taking over is
    /// the plan's [`refusal`](Self::refusal), so that what was found can be shown all the same.
    pub fn read(config: &Config, directory: &Path) -> Result<Self, MigrationError> {
        let settings_file = config.env_file().ok_or(MigrationError::NoSettingsFile)?.to_owned();
        let said = original::read(directory)?;
        let mut plan = Self {
            found: Vec::new(),
            heard: Vec::new(),
            settings: Vec::new(),
            data_dir: config.data_dir().to_owned(),
            warnings: Vec::new(),
            refusal: is_same_file(&settings_file, &directory.join(".env"))
                .then(|| MigrationError::SameFile { path: settings_file.clone() }),
            settings_file,
        };
        let ours = plan.our_settings()?;
        for said in said {
            plan.hear(config, &ours, said);
        }
        let in_force = |plan: &Self, name: &str| {
            let taken = plan.settings.iter().find(|(setting, _)| *setting == name);
            taken.map(|(_, value)| value.clone()).or_else(|| value_of(&ours, name).map(str::to_owned))
        };
        let has_agent = WHICH_AGENT[1..].iter().any(|name| in_force(&plan, name).is_some());
        if has_agent {
            for name in NEEDED {
                if in_force(&plan, name).is_some() {
                    continue;
                }
                plan.add(name, None, "", Fate::Missing, Some("the agent cannot sign in without it".into()));
                plan.warnings.push(format!("{name} was not found: set it, or run entrabot provision"));
            }
        }
        let tenant = in_force(&plan, "ENTRABOT_TENANT_ID");
        let leaked = plan.look_for_leaks();
        if let Err(error) = plan.look_into_keyring(config, tenant.as_deref(), has_agent, leaked) {
            plan.refusal.get_or_insert(error);
        }
        Ok(plan)
    }

    /// Everything that was found, in the order of the files, then of the keyring.
    #[must_use]
    pub fn found(&self) -> &[FoundThing] {
        &self.found
    }
    /// What the operator should do something about.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
    /// Why it cannot be taken over, when it cannot.
    #[must_use]
    pub fn refusal(&self) -> Option<&MigrationError> {
        self.refusal.as_ref()
    }
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }
    /// The settings file that is written.
    #[must_use]
    pub fn settings_file(&self) -> &Path {
        &self.settings_file
    }

    /// Puts the settings into our file, on record. The original's files and the keyring stay as they are.
    ///
    /// # Errors
    /// The plan's refusal, a run under way, the audit, or the file.
    pub async fn apply(self, gate: Arc<dyn ActionGate>) -> Result<usize, MigrationError> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let _lock = ProvisioningLock::take(&self.data_dir)?;
        let count = self.settings.len();
        let write = blocking(move || {
            let lines: Vec<(&str, &str)> =
                self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            settings_file::put(&self.settings_file, &lines).map(|_| ())
        });
        let silent = |_: Progress| {};
        Run::new(gate, &silent).act("migrate.settings.write", None, write).await?;
        Ok(count)
    }

    fn add(&mut self, name: &str, value: Option<String>, place: &str, fate: Fate, note: Option<String>) {
        self.found.push(FoundThing { name: name.to_owned(), value, place: place.to_owned(), fate, note });
    }

    /// The settings that our file holds already.
    fn our_settings(&self) -> Result<Vec<(String, String)>, MigrationError> {
        let text = env_file::read_named("ENTRABOT_ENV_FILE", &self.settings_file)?.unwrap_or_default();
        let setting = |line| match env_file::parse_line(line) {
            Line::Setting(name, value) if !value.is_empty() => Some((name.to_owned(), value)),
            _ => None,
        };
        Ok(text.lines().filter_map(setting).collect())
    }

    fn hear(&mut self, config: &Config, ours: &[(String, String)], said: Said) {
        let Said { name, value, place, meaning, note } = said;
        let setting = match meaning {
            Meaning::Setting(setting) => setting,
            Meaning::Nothing(why) => return self.add(&name, None, &place, Fate::Leave, Some(why.into())),
            Meaning::Secret => {
                self.warnings.push(format!(
                    "{name} lies in clear text ({place}): revoke that secret in Entra, then delete it from the file"
                ));
                let note = Some("a secret in clear text: revoke it".into());
                return self.add(&name, None, &place, Fate::Danger, note);
            }
        };
        let show = shown(setting, &value);
        if let Err(reason) = is_sound(config, setting, &value) {
            if WHICH_AGENT.contains(&setting) || NEEDED.contains(&setting) {
                self.warnings.push(format!("{name} ({place}) is not usable: {reason}"));
            }
            return self.add(&name, None, &place, Fate::Leave, Some(reason));
        }
        let earlier = self.heard.iter().find(|(name, _)| *name == setting).map(|(_, value)| value.as_str());
        let (fate, note) = match (earlier, value_of(ours, setting)) {
            (Some(earlier), _) if same(earlier, &value) => (Fate::Same, note.map(str::to_owned)),
            (Some(_), _) => (Fate::Leave, Some("the .env says otherwise, and that one counted".to_owned())),
            (None, Some(present)) if same(present, &value) => (Fate::Same, note.map(str::to_owned)),
            (None, Some(_)) => {
                if WHICH_AGENT.contains(&setting) {
                    let (path, name) = (self.settings_file.clone(), setting);
                    self.refusal.get_or_insert(MigrationError::OtherAgent { path, name });
                }
                (Fate::Leave, Some("the settings file says otherwise, and stays so".to_owned()))
            }
            (None, None) => (Fate::Take, note.map(str::to_owned)),
        };
        let environment = config.settings().into_iter().find(|known| {
            known.name == setting && known.origin == Origin::Environment && known.value != show
        });
        if environment.is_some() {
            self.warnings
                .push(format!("the environment sets {setting} to something else, and wins over any file"));
        }
        self.add(&name, show, &place, fate, note);
        if self.heard.iter().all(|(name, _)| *name != setting) {
            self.heard.push((setting, value.clone()));
        }
        if fate == Fate::Take {
            self.settings.push((setting, value));
        }
    }

    /// Files in which Python's `keyring` may have left a key; gives back one that holds the blueprint's.
    fn look_for_leaks(&mut self) -> Option<PathBuf> {
        let scan = leak_scan::scan(&Surroundings::from_env());
        for leak in scan.findings() {
            let how = match leak.storage() {
                LeakStorage::Cleartext => "in clear text",
                _ => "behind a password",
            };
            for entry in leak.entries() {
                let place = leak.file().display().to_string();
                self.add(&entry.to_string(), None, &place, Fate::Danger, Some(format!("lies there {how}")));
            }
            self.warnings.push(format!(
                "{} holds keys {how}: rotate now (entrabot cert rotate), then delete that file",
                leak.file().display()
            ));
        }
        scan.findings().iter().find(|leak| leak.holds_blueprint_key()).map(|leak| leak.file().to_owned())
    }

    fn look_into_keyring(
        &mut self,
        config: &Config,
        tenant: Option<&str>,
        has_agent: bool,
        leaked: Option<PathBuf>,
    ) -> Result<(), MigrationError> {
        let keystore = config.keystore_policy().open()?;
        let place = "keyring";
        let key = EntryName::blueprint_private_key();
        match keystore.get(&key) {
            Ok(pem) => {
                if PrivateKey::from_pem(&pem).is_err() {
                    return Err(MigrationError::UnusableKey { entry: key.to_string() });
                }
                let note = "the key stays where it is; the original goes on reading it";
                self.add(&key.to_string(), None, place, Fate::Same, Some(note.into()));
            }
            Err(KeystoreError::NoEntry) if has_agent => {
                self.add(&key.to_string(), None, place, Fate::Missing, Some("the blueprint's key".into()));
                return Err(match leaked {
                    Some(file) => MigrationError::LeakedKey { file },
                    None => MigrationError::NoKey { entry: key.to_string() },
                });
            }
            Err(KeystoreError::NoEntry) => {}
            Err(error) => return Err(error.into()),
        }
        let provisioner = tenant.and_then(|tenant| EntryName::new(sign_in::SERVICE, tenant).ok());
        let note = "certificate and key of the Provisioner app; both use it";
        let others = provisioner.map(|entry| (entry, Fate::Same, note)).into_iter();
        let active = (EntryName::active_client_id(), Fate::Same, "the last link of the attribution chain");
        let others = others.chain([active]).chain(LEGACY_ENTRIES.iter().filter_map(|(service, username)| {
            let entry = EntryName::new(*service, *username).ok()?;
            Some((entry, Fate::Leave, "left by an old version, used by nobody; teardown removes it"))
        }));
        for (entry, fate, note) in others {
            if keystore.contains(&entry)? {
                self.add(&entry.to_string(), None, place, fate, Some(note.into()));
            }
        }
        Ok(())
    }
}

/// GUIDs are written in either case.
fn same(a: &str, b: &str) -> bool {
    a == b || (uuid::Uuid::try_parse(a).is_ok() && a.eq_ignore_ascii_case(b))
}

fn value_of<'a>(settings: &'a [(String, String)], name: &str) -> Option<&'a str> {
    settings.iter().find(|(setting, _)| setting == name).map(|(_, value)| value.as_str())
}

/// Whether our own settings would take the value.
fn is_sound(config: &Config, name: &'static str, value: &str) -> Result<(), String> {
    if value.starts_with('<') && value.ends_with('>') {
        return Err("a placeholder that was never filled in".into());
    }
    let mut variables = vec![(name.to_owned(), value.to_owned())];
    variables.extend(config.home().map(|home| ("HOME".to_owned(), home.display().to_string())));
    // Each of these two is refused without the other.
    for (half, other) in [
        ("ENTRABOT_BLOB_ENDPOINT", "ENTRABOT_BLOB_CONTAINER"),
        ("ENTRABOT_BLOB_CONTAINER", "ENTRABOT_BLOB_ENDPOINT"),
    ] {
        if name == half {
            variables.push((other.to_owned(), value.to_owned()));
        }
    }
    Config::from_variables(variables).map(|_| ()).map_err(|error| error.reason().to_owned())
}

fn is_same_file(ours: &Path, theirs: &Path) -> bool {
    match (std::fs::canonicalize(ours), std::fs::canonicalize(theirs)) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        _ => false,
    }
}
