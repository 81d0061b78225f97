//! The constructor of the Windows store.

use std::collections::HashMap;
use std::sync::Arc;

use keyring_core::api::CredentialStore;
use windows_native_keyring_store::Store;

use super::{Dialect, System};
use crate::BackendId;

/// The credentials of this user's logon.
pub(super) fn credential_manager() -> System {
    System {
        backend: BackendId::WindowsCredentialManager,
        vendor: "Windows Credential Manager, https://crates.io/crates/windows-native-keyring-store",
        dialect: Dialect::CredentialManager,
        open: Arc::new(|| {
            Ok(Store::new_with_configuration(&HashMap::from([("divider", "@")]))? as Arc<CredentialStore>)
        }),
        // The store's own type is not public; what it prints is a name or a number.
        code: |error| match error.to_string().strip_prefix("Windows ")? {
            "ERROR_NO_SUCH_LOGON_SESSION" => Some(1_312),
            "ERROR_BAD_USERNAME" => Some(2_202),
            "ERROR_INVALID_FLAGS" => Some(1_004),
            "ERROR_INVALID_PARAMETER" => Some(87),
            other => other.strip_prefix("error code ")?.parse().ok(),
        },
        // ERROR_NO_SUCH_LOGON_SESSION: a logon without a profile, such as one over the network.
        locked: &[1_312],
    }
}
