//! The servers and their tools.

use serde_json::{Value, json};

use super::access::User;
use super::{Said, files, people, word};
use crate::stand_in::World;
use crate::stand_in::directory::WORD_APP_ID;
use crate::stand_in::faults::Behaviour;

type Run = fn(&mut World, &User, &Value) -> Said;

/// An MCP server of Work IQ.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) v1_scope: &'static str,
    pub(crate) v2_audience: Option<&'static str>,
    pub(crate) tools: &'static [Tool],
}

/// A tool: its live name, the name in Microsoft's reference, and its (string) parameters.
pub(crate) struct Tool {
    live: &'static str,
    documented: &'static str,
    description: &'static str,
    pub(crate) parameters: &'static [(&'static str, &'static str)],
    pub(crate) run: Run,
}

impl Tool {
    pub(crate) fn name(&self, documented: bool) -> &'static str {
        if documented { self.documented } else { self.live }
    }
}

const WORD: &[Tool] = &[
    Tool {
        live: "CreateDocument",
        documented: "WordCreateNewDocument",
        description: "Create a new Word document in the user's OneDrive from HTML.",
        parameters: &[
            ("fileName", "Name of the file; empty for an automatic one."),
            ("contentInHtml", "The content as HTML."),
        ],
        run: word::create,
    },
    Tool {
        live: "GetDocumentContent",
        documented: "WordGetDocumentContent",
        description: "Get the content and the comments of a Word document.",
        parameters: &[("url", "URL of the document.")],
        run: word::content,
    },
    Tool {
        live: "AddComment",
        documented: "WordCreateNewComment",
        description: "Add a comment to a Word document.",
        parameters: &[
            ("driveId", "Drive of the document."),
            ("documentId", "The document's item id."),
            ("newComment", "Text of the comment."),
        ],
        run: word::comment,
    },
    Tool {
        live: "ReplyToComment",
        documented: "WordReplyToComment",
        description: "Reply to a comment in a Word document.",
        parameters: &[
            ("commentId", "The comment to reply to."),
            ("driveId", "Drive of the document."),
            ("documentId", "The document's item id."),
            ("newComment", "Text of the reply."),
        ],
        run: word::reply,
    },
];

const FILES: &[Tool] = &[
    Tool {
        live: "getFileOrFolderMetadataByUrl",
        documented: "getFileOrFolderMetadataByUrl",
        description: "Get metadata of a file or folder by its URL.",
        parameters: &[("fileOrFolderUrl", "URL of the file or folder.")],
        run: files::metadata_by_url,
    },
    Tool {
        live: "readSmallTextFile",
        documented: "readSmallTextFile",
        description: "Read a text file of at most 5 MB.",
        parameters: &[("documentLibraryId", "The drive."), ("fileId", "The file's item id.")],
        run: files::read_text,
    },
    Tool {
        live: "readSmallBinaryFile",
        documented: "readSmallBinaryFile",
        description: "Read a binary file of at most 5 MB, base64.",
        parameters: &[("documentLibraryId", "The drive."), ("fileId", "The file's item id.")],
        run: files::read_binary,
    },
];

const CALENDAR: &[Tool] = &[
    Tool {
        live: "CreateEvent",
        documented: "CreateEvent",
        description: "Create an event in the user's calendar.",
        parameters: &[("subject", "The subject."), ("start", "Begin, ISO 8601."), ("end", "End, ISO 8601.")],
        run: people::create_event,
    },
    Tool {
        live: "ListEvents",
        documented: "ListEvents",
        description: "List the events of the user's calendar.",
        parameters: &[],
        run: people::list_events,
    },
];

const ME: &[Tool] = &[Tool {
    live: "getMyProfile",
    documented: "getMyProfile",
    description: "Get the user's profile.",
    parameters: &[],
    run: people::profile,
}];

const SERVERS: &[Server] = &[
    Server {
        name: "mcp_WordServer",
        v1_scope: "McpServers.Word.All",
        v2_audience: Some(WORD_APP_ID),
        tools: WORD,
    },
    Server {
        name: "mcp_ODSPRemoteServer",
        v1_scope: "McpServers.OneDriveSharepoint.All",
        v2_audience: None,
        tools: FILES,
    },
    Server {
        name: "mcp_SharePointRemoteServer",
        v1_scope: "McpServers.OneDriveSharepoint.All",
        v2_audience: Some("292cff14-c0e8-4116-9e3b-99934ae05766"),
        tools: FILES,
    },
    Server {
        name: "mcp_OneDriveRemoteServer",
        v1_scope: "McpServers.OneDriveSharepoint.All",
        v2_audience: Some("b0b2a2bb-6361-4549-a00c-a018417eb8e2"),
        tools: FILES,
    },
    Server {
        name: "mcp_CalendarTools",
        v1_scope: "McpServers.Calendar.All",
        v2_audience: Some("910333d2-47e9-43ca-981f-6df2f4531ef4"),
        tools: CALENDAR,
    },
    Server {
        name: "mcp_MeServer",
        v1_scope: "McpServers.Me.All",
        v2_audience: Some("147dc821-b413-44c0-8009-1a3098378012"),
        tools: ME,
    },
];

/// The server of this name.
pub(crate) fn server(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}

/// One page of `tools/list`; the cursor is the number of tools shown so far.
pub(crate) fn list(behaviour: &Behaviour, server: &Server, params: &Value) -> Result<Value, (i64, String)> {
    let start: usize = match params["cursor"].as_str() {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| (-32_602, "Invalid cursor".to_owned()))?,
    };
    let size = if behaviour.tools_page_size == 0 { usize::MAX } else { behaviour.tools_page_size };
    let tools: Vec<Value> =
        server.tools.iter().skip(start).take(size).map(|tool| definition(tool, behaviour)).collect();
    let shown = start.saturating_add(tools.len());
    let mut result = json!({"tools": tools});
    if shown < server.tools.len() {
        result["nextCursor"] = json!(shown.to_string());
    }
    Ok(result)
}

fn definition(tool: &Tool, behaviour: &Behaviour) -> Value {
    let properties: serde_json::Map<String, Value> = tool
        .parameters
        .iter()
        .map(|(name, description)| {
            ((*name).to_owned(), json!({"type": "string", "description": description}))
        })
        .collect();
    let required: Vec<&str> = tool.parameters.iter().map(|(name, _)| *name).collect();
    json!({
        "name": tool.name(behaviour.documented_tool_names),
        "description": format!("{}{}", tool.description, behaviour.tool_description_suffix),
        "inputSchema": {"type": "object", "properties": properties, "required": required},
    })
}
