use std::fmt;

/// Text that is no server or tool name. The text itself is not shown.
#[derive(Debug, thiserror::Error)]
#[error("a {kind} name is 1 to 128 letters, digits, `_`, `-` or `.`")]
pub struct InvalidName {
    kind: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);
        impl $name {
            /// # Errors
            /// When it is not 1 to 128 ASCII letters, digits, `_`, `-` or `.`.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let ok = (1..=128).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
                if ok { Ok(Self(text.to_owned())) } else { Err(InvalidName { kind: $kind }) }
            }
            /// The name.
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

name!(
    /// A Work IQ server's name, e.g. `mcp_WordServer`.
    ServerName, "server"
);
name!(
    /// A tool's name on its server, e.g. `CreateDocument`.
    ToolName, "tool"
);
