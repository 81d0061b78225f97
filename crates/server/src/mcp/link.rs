//! A document's link as a block of its own, which a client may show as something to open.

use entrabot_a365::tools::CreatedDocument;
use rmcp::RoleServer;
use rmcp::model::{ContentBlock, ProtocolVersion, Resource};
use rmcp::service::RequestContext;

const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

/// Whether the client knows links: the block came with the revision of 2025-06-18, and an older client may refuse the
/// whole answer for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links(bool);

impl Links {
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        Self(context.protocol_version().is_some_and(|revision| revision >= ProtocolVersion::V_2025_06_18))
    }

    /// The link of a new document, by the name that the result has for it, envelope and all. A link that leads elsewhere
    /// than to where Microsoft 365 keeps documents stays a field of the result.
    pub(super) fn to(self, document: &CreatedDocument) -> Option<ContentBlock> {
        let url = document.link_to_open().filter(|_| self.0)?;
        let name = if document.file_name.is_empty() { "document" } else { &document.file_name };
        Some(ContentBlock::resource_link(Resource::new(url, name).with_mime_type(DOCX)))
    }
}
