//! The constructor of the macOS store.

use std::sync::Arc;

use apple_native_keyring_store::keychain::Store;
use keyring_core::api::CredentialStore;

use super::{Dialect, System};
use crate::BackendId;

/// The login keychain of this user.
pub(super) fn keychain() -> System {
    System {
        backend: BackendId::MacosKeychain,
        vendor: "macOS Keychain Store, https://crates.io/crates/apple-native-keyring-store",
        dialect: Dialect::Keychain,
        open: Arc::new(|| Ok(Store::new()? as Arc<CredentialStore>)),
        code: |error| Some(error.downcast_ref::<security_framework::base::Error>()?.code().into()),
        // errSecInteractionNotAllowed, errSecAuthFailed, errSecInteractionRequired, userCanceledErr
        locked: &[-25_308, -25_293, -25_315, -128],
    }
}
