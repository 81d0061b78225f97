use std::fmt;

/// Text that is not the id it should be. The text itself is not shown.
#[derive(Debug, thiserror::Error)]
#[error("not {expected}")]
pub struct InvalidId {
    expected: &'static str,
}

impl InvalidId {
    #[cfg_attr(not(feature = "tokens"), expect(dead_code, reason = "the ids of the core name themselves"))]
    pub(crate) fn expected(expected: &'static str) -> Self {
        Self { expected }
    }
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

guid_id!(
    /// The application (client) id of an app: `ENTRABOT_CLIENT_ID`, `ENTRABOT_PROVISIONER_CLIENT_ID`.
    ClientId
);
guid_id!(
    /// The object id of something in the directory.
    ObjectId
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_one_spelling_and_no_other_form_is_taken() {
        let id = AgentId::parse("6D1F2A3B-0000-4000-8000-00000000000A").unwrap();
        assert_eq!(id.as_str(), "6d1f2a3b-0000-4000-8000-00000000000a");
        for text in [
            "",
            "x",
            "6d1f2a3b00004000800000000000000a",
            "{6d1f2a3b-0000-4000-8000-00000000000a}",
            "urn:uuid:x",
        ] {
            assert!(AgentId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tenant_can_not_climb_out_of_its_path_segment() {
        assert!(TenantId::parse("contoso.onmicrosoft.com").is_ok());
        for text in ["", "..", "a/b", "a?b", "a b", "a%2fb", "a..b", "é"] {
            assert!(TenantId::parse(text).is_err(), "{text}");
        }
    }
}
