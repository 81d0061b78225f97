use std::fmt;

/// Text that is not the id it should be. The text itself is not shown.
#[derive(Debug, thiserror::Error)]
#[error("not {expected}")]
pub struct InvalidId {
    expected: &'static str,
}

macro_rules! guid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);
        impl $name {
            /// From a GUID in its hyphenated form, any case; kept in lower case.
            ///
            /// # Errors
            /// When it is not a GUID.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                match uuid::Uuid::try_parse(text) {
                    Ok(id) if text.len() == 36 => Ok(Self(id.hyphenated().to_string())),
                    _ => Err(InvalidId { expected: concat!("a GUID (", stringify!($name), ")") }),
                }
            }
            /// Lower-case, hyphenated.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

guid_id!(
    /// The application id of the agent identity blueprint: `ENTRABOT_BLUEPRINT_APP_ID`.
    BlueprintAppId
);
guid_id!(
    /// The agent identity: `ENTRABOT_AGENT_ID`.
    AgentId
);
guid_id!(
    /// The agent's own user account: `ENTRABOT_AGENT_USER_ID`.
    AgentUserId
);

/// The tenant: a GUID or a domain name, opaque to us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantId(String);

impl TenantId {
    /// # Errors
    /// When it is empty, or holds anything but letters, digits, `.` and `-` (it becomes a path segment).
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let ok = !text.is_empty()
            && text.len() <= 253
            && !text.contains("..")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidId { expected: "a tenant id or domain name" }) }
    }
    /// As the operator wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
