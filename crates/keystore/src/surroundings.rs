#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there is no session bus elsewhere"))]

use std::ffi::OsString;
use std::path::PathBuf;

/// The part of the environment that says which keyring is ours.
///
/// [`Surroundings::from_env`] reads it; a test or a tool that talks to another session builds its own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    bus_address: Option<String>,
    runtime_dir: Option<PathBuf>,
    /// Most particular first.
    data_homes: Vec<PathBuf>,
    /// A scripted store in the place of the session bus.
    #[cfg(test)]
    system: Option<crate::platform::native::System>,
}

impl Surroundings {
    /// `DBUS_SESSION_BUS_ADDRESS`, `XDG_RUNTIME_DIR`, and `XDG_DATA_HOME` or `HOME` of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// The same from a list of variables, e.g. those of a child process.
    #[must_use]
    pub fn from_vars(variables: &[(String, String)]) -> Self {
        Self::from_lookup(|wanted| {
            variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| OsString::from(value))
        })
    }

    fn from_lookup(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let absolute = |path: &PathBuf| path.is_absolute();
        let xdg = get("XDG_DATA_HOME").map(PathBuf::from).filter(absolute);
        let home = get("HOME").map(|home| PathBuf::from(home).join(".local/share")).filter(absolute);
        let mut data_homes: Vec<PathBuf> = xdg.into_iter().chain(home).collect();
        data_homes.dedup();
        Self {
            // An address that is not UTF-8 stays one that cannot be used; it does not become "not set".
            bus_address: get("DBUS_SESSION_BUS_ADDRESS").map(|value| value.to_string_lossy().into_owned()),
            runtime_dir: get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()),
            data_homes,
            #[cfg(test)]
            system: None,
        }
    }

    /// With this credential store in the place of the session bus.
    #[cfg(test)]
    pub(crate) fn with_system(mut self, system: crate::platform::native::System) -> Self {
        self.system = Some(system);
        self
    }

    /// The credential store that the operating system has in the place of a session bus.
    #[cfg(any(test, not(target_os = "linux")))]
    pub(crate) fn system(&self) -> Option<crate::platform::native::System> {
        #[cfg(test)]
        if let Some(system) = &self.system {
            return Some(system.clone());
        }
        crate::platform::native::of_this_system()
    }

    /// With this D-Bus address.
    #[must_use]
    pub fn with_bus_address(mut self, address: impl Into<String>) -> Self {
        self.bus_address = Some(address.into());
        self
    }

    pub(crate) fn bus_address(&self) -> Option<&str> {
        self.bus_address.as_deref()
    }

    pub(crate) fn runtime_dir(&self) -> Option<&PathBuf> {
        self.runtime_dir.as_ref()
    }

    /// Where this user's programs may keep their data: `XDG_DATA_HOME`, and `~/.local/share`, which a program that runs
    /// without the former uses.
    pub(crate) fn data_homes(&self) -> &[PathBuf] {
        &self.data_homes
    }
}
