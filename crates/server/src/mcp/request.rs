//! A call that has passed every check that needs nothing but the call itself.

use entrabot_a365::tools::{
    AddWordComment, CreateWordDocument, GetFileMetadataByUrl, ReadBinaryFile, ReadTextFile, ReadWordDocument,
    ReplyToWordComment,
};
use entrabot_a365::{InvalidArgument, OfferedTool};
use entrabot_audit::LogEntry;
use rmcp::model::JsonObject;

use super::arguments::Arguments;
use super::audit_log;
use super::confirm::Question;
use super::tools::{Effect, ToolKind, ToolSpec};
use crate::failure::Failure;

/// One call, typed; that of an exposed tool as far as it can be.
#[derive(Debug)]
pub(super) enum Request {
    AddWordComment(AddWordComment),
    AuditLog(LogEntry),
    CreateWordDocument(CreateWordDocument),
    Exposed(Box<OfferedTool>, JsonObject),
    GetFileMetadataByUrl(GetFileMetadataByUrl),
    ReadBinaryFile(ReadBinaryFile),
    ReadTextFile(ReadTextFile),
    ReadWordDocument(ReadWordDocument),
    ReplyToWordComment(ReplyToWordComment),
    WhoAmI,
}

impl Request {
    /// The call, and what a person would be asked about it if it changes something in Microsoft 365.
    ///
    /// # Errors
    /// `InvalidArgumentError`: nothing was done, asked or recorded.
    pub(super) fn parse(
        tool: &ToolSpec,
        given: Option<JsonObject>,
    ) -> Result<(Self, Option<Question>), Failure> {
        let arguments = Arguments::check(tool.arguments, given)?;
        let request = Self::typed(tool, &arguments)?;
        let question = match tool.effect {
            Effect::Adds(act) => Some(Question::new(tool.name, &arguments, act(&arguments))),
            Effect::Reads | Effect::Records | Effect::Tells => None,
        };
        Ok((request, question))
    }

    /// The call of an exposed tool, and what a person would be asked about it unless it is known to only read. Its
    /// arguments are checked where they can be held to what its server defines now.
    pub(super) fn exposed(name: &str, tool: OfferedTool, arguments: JsonObject) -> (Self, Option<Question>) {
        let question = (!tool.only_reads()).then(|| Question::exposed(name, &tool, &arguments));
        (Self::Exposed(Box::new(tool), arguments), question)
    }

    fn typed(tool: &ToolSpec, arguments: &Arguments) -> Result<Self, Failure> {
        let arg = |name| arguments.get(name);
        let request: Result<Self, InvalidArgument> = match tool.kind {
            ToolKind::AddWordComment => {
                AddWordComment::new(arg("drive_id"), arg("document_id"), arg("content"))
                    .map(Self::AddWordComment)
            }
            ToolKind::CreateWordDocument => {
                CreateWordDocument::new(arg("file_name"), arg("content_html")).map(Self::CreateWordDocument)
            }
            ToolKind::GetFileMetadataByUrl => {
                GetFileMetadataByUrl::new(arg("url")).map(Self::GetFileMetadataByUrl)
            }
            ToolKind::ReadBinaryFile => {
                ReadBinaryFile::new(arg("document_library_id"), arg("file_id")).map(Self::ReadBinaryFile)
            }
            ToolKind::ReadTextFile => {
                ReadTextFile::new(arg("document_library_id"), arg("file_id")).map(Self::ReadTextFile)
            }
            ToolKind::ReadWordDocument => ReadWordDocument::new(arg("url")).map(Self::ReadWordDocument),
            ToolKind::ReplyToWordComment => ReplyToWordComment::new(
                arg("drive_id"),
                arg("document_id"),
                arg("comment_id"),
                arg("content"),
            )
            .map(Self::ReplyToWordComment),
            ToolKind::AuditLog => return audit_log::entry(arguments).map(Self::AuditLog),
            ToolKind::WhoAmI => Ok(Self::WhoAmI),
        };
        request.map_err(Failure::from)
    }
}
