//! A person's sign-in in the keystore: the newest refresh token, and whose it is.

use entrabot_keystore::{EntryName, KeystoreError, KeystorePolicy, SecretBytes};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::tokens::strict_json;
use crate::{ClientId, Human, ObjectId, TenantId};

/// A refresh token with the person, app and tenant it is for.
pub(super) struct Stored {
    pub(super) client: ClientId,
    /// The tenant of the settings, which may be a domain.
    pub(super) tenant: TenantId,
    pub(super) human: Human,
    pub(super) refresh_token: Zeroizing<String>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("human", &self.human).finish_non_exhaustive()
    }
}

impl Stored {
    /// The sign-in of this app and tenant; `None` when there is none, or one of another app or tenant. Blocks.
    pub(super) fn load(
        policy: &KeystorePolicy,
        client: &ClientId,
        tenant: &TenantId,
    ) -> Result<Option<Self>, KeystoreError> {
        match policy.open()?.get(&EntryName::delegated_sign_in()) {
            Ok(bytes) => Ok(Self::parse(&bytes).filter(|it| it.client == *client && it.tenant == *tenant)),
            Err(KeystoreError::NoEntry) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores it in the place of one that is there. Blocks.
    pub(super) fn save(&self, policy: &KeystorePolicy) -> Result<(), KeystoreError> {
        policy.open()?.put(&EntryName::delegated_sign_in(), &self.to_bytes())
    }

    /// Removes what is there; whether anything was. Blocks.
    pub(super) fn forget(policy: &KeystorePolicy) -> Result<bool, KeystoreError> {
        match policy.open()?.delete(&EntryName::delegated_sign_in()) {
            Ok(()) => Ok(true),
            Err(KeystoreError::NoEntry) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn to_bytes(&self) -> SecretBytes {
        let ids = json!({
            "client": self.client.as_str(),
            "tenant": self.tenant.as_str(),
            "oid": self.human.object_id().as_str(),
            "tid": self.human.tenant().as_str(),
        })
        .to_string();
        // Long enough from the start: growing would leave copies behind. A token is plain ASCII; quotes and
        // backslashes, which Entra does not use, would make the entry unreadable and are refused by `parse`.
        let mut bytes = Vec::with_capacity(ids.len() + self.refresh_token.len() + 32);
        bytes.extend_from_slice(&ids.as_bytes()[..ids.len() - 1]);
        bytes.extend_from_slice(b",\"refresh_token\":\"");
        bytes.extend_from_slice(self.refresh_token.as_bytes());
        bytes.extend_from_slice(b"\"}");
        SecretBytes::new(bytes)
    }

    fn parse(bytes: &SecretBytes) -> Option<Self> {
        let mut object = strict_json::object(bytes.expose()).ok()?;
        let token = match object.get_mut("refresh_token").map(Value::take) {
            Some(Value::String(token)) => Zeroizing::new(token),
            _ => return None,
        };
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        Some(Self {
            client: ClientId::parse(text("client")?).ok()?,
            tenant: TenantId::parse(text("tenant")?).ok()?,
            human: Human::new(ObjectId::parse(text("oid")?).ok()?, TenantId::parse(text("tid")?).ok()?),
            refresh_token: token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_comes_back_as_it_was_and_is_not_shown() {
        let id = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02}");
        let stored = Stored {
            client: ClientId::parse(&id(1)).unwrap(),
            tenant: TenantId::parse("contoso.example").unwrap(),
            human: Human::new(ObjectId::parse(&id(2)).unwrap(), TenantId::parse(&id(3)).unwrap()),
            refresh_token: Zeroizing::new("1.AXplanted-_~+/=".into()),
        };
        assert!(!format!("{stored:?}").contains("planted"));
        let back = Stored::parse(&stored.to_bytes()).unwrap();
        assert_eq!((back.client, back.tenant), (stored.client, stored.tenant));
        assert_eq!(back.human, stored.human);
        assert_eq!(back.refresh_token, stored.refresh_token);
    }

    #[test]
    fn what_is_no_sign_in_counts_as_none() {
        for text in ["", "{}", "1.AXtoken", r#"{"client":"x","refresh_token":"y"}"#] {
            assert!(Stored::parse(&SecretBytes::new(text.into())).is_none(), "{text}");
        }
    }
}
