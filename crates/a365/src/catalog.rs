//! What is known of Work IQ beforehand: its audiences, its servers, the tools entrabot relies on and their names.

/// The audience that V1 servers share ("Work IQ Tools").
pub(crate) const SHARED_AUDIENCE: &str = "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1";

/// A server of Microsoft's, by the name it has in manifests.
#[derive(Debug)]
pub(crate) struct KnownServer {
    pub(crate) name: &'static str,
    /// The delegated permission on the shared audience.
    pub(crate) v1_scope: Option<&'static str>,
    /// The server's own audience, on which the permission is always `Tools.ListInvoke.All`.
    pub(crate) v2_audience: Option<&'static str>,
    /// What to know before using it.
    pub(crate) note: Option<&'static str>,
}

/// Source: Microsoft's Agent 365 samples, set-up scripts and tool reference pages.
pub(crate) const SERVERS: &[KnownServer] = &[
    known("mcp_WordServer", "McpServers.Word.All", "c2d0c2b6-8013-4346-9f8b-b81d3b754a29"),
    known("mcp_MailTools", "McpServers.Mail.All", "16b1878d-62c7-4009-aa25-68989d63bbad"),
    known("mcp_CalendarTools", "McpServers.Calendar.All", "910333d2-47e9-43ca-981f-6df2f4531ef4"),
    known("mcp_TeamsServer", "McpServers.Teams.All", "ce5029ee-c1d3-45c0-bdcc-efb5a4245687"),
    known("mcp_MeServer", "McpServers.Me.All", "147dc821-b413-44c0-8009-1a3098378012"),
    known(
        "mcp_OneDriveRemoteServer",
        "McpServers.OneDriveSharepoint.All",
        "b0b2a2bb-6361-4549-a00c-a018417eb8e2",
    ),
    known(
        "mcp_SharePointRemoteServer",
        "McpServers.OneDriveSharepoint.All",
        "292cff14-c0e8-4116-9e3b-99934ae05766",
    ),
    known("mcp_M365Copilot", "McpServers.CopilotMCP.All", "ab7c82de-7946-4454-ac28-70249d17c95e"),
    known("mcp_AdminTools", "McpServers.Admin365.All", "2dbeefeb-6462-48a4-abe6-1c4989699319"),
    KnownServer {
        name: "mcp_ODSPRemoteServer",
        v1_scope: Some("McpServers.OneDriveSharepoint.All"),
        v2_audience: None,
        note: Some("deprecated: split into mcp_OneDriveRemoteServer and mcp_SharePointRemoteServer"),
    },
    KnownServer {
        name: "mcp_DataverseTools",
        v1_scope: Some("McpServers.Dataverse.All"),
        v2_audience: None,
        note: None,
    },
    KnownServer {
        name: "mcp_ExcelServer",
        v1_scope: Some("McpServers.Excel.All"),
        v2_audience: None,
        note: None,
    },
    KnownServer {
        name: "mcp_UserTools",
        v1_scope: Some("McpServers.User.All"),
        v2_audience: None,
        note: Some("no such server is known; the signed-in user's own is mcp_MeServer"),
    },
];

/// The audience of Work IQ's generic server.
pub(crate) const GENERIC_AUDIENCE: &str = "fdcc1f02-fc51-4226-8753-f668596af7f7";

const fn known(name: &'static str, v1_scope: &'static str, v2_audience: &'static str) -> KnownServer {
    KnownServer { name, v1_scope: Some(v1_scope), v2_audience: Some(v2_audience), note: None }
}

/// The known server of that name; case counts not.
pub(crate) fn server(name: &str) -> Option<&'static KnownServer> {
    SERVERS.iter().find(|server| server.name.eq_ignore_ascii_case(name))
}

/// Whether the audience is one of Work IQ's.
pub(crate) fn is_work_iq_audience(audience: &str) -> bool {
    let bare = bare_audience(audience);
    bare.eq_ignore_ascii_case(SHARED_AUDIENCE)
        || SERVERS
            .iter()
            .filter_map(|server| server.v2_audience)
            .any(|known| known.eq_ignore_ascii_case(bare))
        || GENERIC_AUDIENCE.eq_ignore_ascii_case(bare)
}

/// Without `api://`, a slash at the end and `/.default`.
pub(crate) fn bare_audience(audience: &str) -> &str {
    let audience = audience.strip_suffix("/.default").unwrap_or(audience);
    audience.strip_prefix("api://").unwrap_or(audience).trim_end_matches('/')
}

/// The scope to ask a token for (V1: the shared audience, V2: the server's own).
pub(crate) fn token_scope(audience: Option<&str>, scope: Option<&str>) -> String {
    let audience = audience.map(str::trim).filter(|audience| {
        !audience.is_empty()
            && !audience.eq_ignore_ascii_case("default")
            && !audience.eq_ignore_ascii_case("null")
    });
    let Some(audience) = audience else { return format!("{SHARED_AUDIENCE}/.default") };
    if bare_audience(audience).eq_ignore_ascii_case(SHARED_AUDIENCE) {
        return format!("{SHARED_AUDIENCE}/.default");
    }
    if audience.ends_with("/.default") {
        return audience.to_owned();
    }
    let audience = audience.trim_end_matches('/');
    match scope.map(str::trim).filter(|scope| !scope.is_empty() && !scope.eq_ignore_ascii_case("null")) {
        Some(scope) => format!("{audience}/{scope}"),
        None => format!("{audience}/.default"),
    }
}

/// What repeating a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing changes: it may be sent again.
    Read,
    /// Something may change, or nobody knows: it is never sent again once it may have left.
    Write,
}

/// The tools that entrabot's own seven stand on: the live name first, then the one of Microsoft's reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KnownTool {
    GetDocumentContent,
    CreateDocument,
    AddComment,
    ReplyToComment,
    FileMetadataByUrl,
    ReadSmallTextFile,
    ReadSmallBinaryFile,
}

/// The Word server.
const WORD: &[&str] = &["mcp_WordServer"];
/// The servers that offer the file tools, the one to prefer first; the last one is deprecated.
const FILES: &[&str] = &["mcp_SharePointRemoteServer", "mcp_OneDriveRemoteServer", "mcp_ODSPRemoteServer"];

impl KnownTool {
    pub(crate) const ALL: [Self; 7] = [
        Self::GetDocumentContent,
        Self::CreateDocument,
        Self::AddComment,
        Self::ReplyToComment,
        Self::FileMetadataByUrl,
        Self::ReadSmallTextFile,
        Self::ReadSmallBinaryFile,
    ];

    /// Every name it is known by, the likeliest first. All take the same parameters.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::GetDocumentContent => &["GetDocumentContent", "WordGetDocumentContent"],
            Self::CreateDocument => &["CreateDocument", "WordCreateNewDocument"],
            Self::AddComment => &["AddComment", "WordCreateNewComment"],
            Self::ReplyToComment => &["ReplyToComment", "WordReplyToComment"],
            Self::FileMetadataByUrl => &["getFileOrFolderMetadataByUrl"],
            Self::ReadSmallTextFile => &["readSmallTextFile"],
            Self::ReadSmallBinaryFile => &["readSmallBinaryFile"],
        }
    }

    /// The servers that offer it, the one to prefer first.
    pub(crate) fn servers(self) -> &'static [&'static str] {
        match self {
            Self::GetDocumentContent | Self::CreateDocument | Self::AddComment | Self::ReplyToComment => WORD,
            Self::FileMetadataByUrl | Self::ReadSmallTextFile | Self::ReadSmallBinaryFile => FILES,
        }
    }

    fn effect(self) -> Effect {
        match self {
            Self::CreateDocument | Self::AddComment | Self::ReplyToComment => Effect::Write,
            Self::GetDocumentContent
            | Self::FileMetadataByUrl
            | Self::ReadSmallTextFile
            | Self::ReadSmallBinaryFile => Effect::Read,
        }
    }
}

/// Read-only tools beside the seven, from Microsoft's reference pages.
const READING: &[&str] = &[
    "getOnedrive",
    "getFolderChildrenInMyOnedrive",
    "findFileOrFolderInMyOnedrive",
    "findFileOrFolderInMyDrive",
    "getFileOrFolderMetadataInMyOnedrive",
    "readSmallTextFileFromMyOnedrive",
];

/// What repeating a tool does. What is not known to be a read counts as a write, whatever its name sounds like and
/// whatever its server says of it.
pub(crate) fn effect(tool: &str) -> Effect {
    let known = KnownTool::ALL.into_iter().find(|known| known.names().contains(&tool));
    match known {
        Some(known) => known.effect(),
        None if READING.contains(&tool) => Effect::Read,
        None => Effect::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_follows_the_v1_and_v2_rules() {
        let shared = "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1/.default";
        let word = "c2d0c2b6-8013-4346-9f8b-b81d3b754a29";
        for (audience, scope, expected) in [
            (None, None, shared.to_owned()),
            (None, Some("McpServers.Word.All"), shared.into()),
            (Some(""), Some("x"), shared.into()),
            (Some("default"), Some("x"), shared.into()),
            (Some("null"), None, shared.into()),
            (Some("ea9ffc3e-8a23-4a7d-836d-234d7c7565c1"), Some("McpServers.Word.All"), shared.into()),
            (Some("EA9FFC3E-8a23-4a7d-836d-234d7c7565c1"), None, shared.into()),
            (Some("api://ea9ffc3e-8a23-4a7d-836d-234d7c7565c1"), Some("x"), shared.into()),
            (Some("api://ea9ffc3e-8a23-4a7d-836d-234d7c7565c1/.default"), Some("x"), shared.into()),
            (Some(word), Some("Tools.ListInvoke.All"), format!("{word}/Tools.ListInvoke.All")),
            (Some(word), Some("null"), format!("{word}/.default")),
            (Some(word), Some(""), format!("{word}/.default")),
            (Some(word), None, format!("{word}/.default")),
            (Some("api://x/.default"), Some("y"), "api://x/.default".into()),
            (Some("api://x/"), Some("y"), "api://x/y".into()),
        ] {
            assert_eq!(token_scope(audience, scope), expected, "{audience:?} {scope:?}");
        }
    }

    #[test]
    fn an_unknown_tool_is_never_taken_for_a_read() {
        assert_eq!(effect("GetDocumentContent"), Effect::Read);
        assert_eq!(effect("WordGetDocumentContent"), Effect::Read);
        assert_eq!(effect("CreateDocument"), Effect::Write);
        for tool in ["getAndDelete", "readOnce", "GETDOCUMENTCONTENT", "search", ""] {
            assert_eq!(effect(tool), Effect::Write, "{tool}");
        }
    }
}
