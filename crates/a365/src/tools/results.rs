//! What each of the seven tools gives. A field marked *untrusted* holds text from outside in its envelope.

use serde::Serialize;
use serde_json::{Map, Value};

/// Result of `read_word_document`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WordDocument {
    /// The document's content (untrusted, enveloped; Work IQ gives plain text).
    pub content_html: String,
    /// The document's comments as Work IQ gives them; every text in them is untrusted and enveloped.
    pub comments: Vec<Map<String, Value>>,
    /// The file's name (untrusted, enveloped).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The drive the document lies in: what `add_word_comment` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drive_id: Option<String>,
    /// The document's id: what `add_word_comment` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_id: Option<String>,
    /// The file's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Parts of the answer that are not text and were left out.
    pub skipped_blocks: usize,
}

/// Result of `create_word_document`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CreatedDocument {
    /// The new document's link.
    pub url: String,
    /// The new document's name (untrusted and enveloped where it is not the one that was asked for).
    pub file_name: String,
    /// The drive it lies in: what `add_word_comment` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drive_id: Option<String>,
    /// Its id: what `add_word_comment` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_id: Option<String>,
}

/// Where Microsoft 365 keeps an organisation's documents, in each of its clouds.
const DOCUMENT_HOSTS: [&str; 4] =
    [".sharepoint.com", ".sharepoint.us", ".sharepoint-mil.us", ".sharepoint.cn"];

impl CreatedDocument {
    /// The link, where it leads to SharePoint or OneDrive: what a client may be offered to open. The service's word alone
    /// makes no link one.
    #[must_use]
    pub fn link_to_open(&self) -> Option<&str> {
        let url = url::Url::parse(&self.url).ok()?;
        let host = url.host_str()?;
        let known = DOCUMENT_HOSTS.iter().any(|known| host.len() > known.len() && host.ends_with(known));
        (known && url.scheme() == "https" && url.port().is_none()).then_some(&self.url)
    }
}

/// Result of `add_word_comment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AddedComment {
    /// The comment's id: what `reply_to_word_comment` takes.
    pub comment_id: String,
}

/// Result of `reply_to_word_comment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AddedReply {
    /// The reply's id.
    pub reply_id: String,
}

/// Result of `get_a365_file_metadata_by_url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct FileMetadata {
    /// The item's id: the `file_id` of the read tools.
    pub item_id: String,
    /// The library (drive) it lies in: the `document_library_id` of the read tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_library_id: Option<String>,
    /// The item's name (untrusted, enveloped).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The item's link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_url: Option<String>,
    /// The item's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// Result of `read_a365_text_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TextFile {
    /// The file's text (untrusted, enveloped).
    pub content: String,
    /// Always `text`.
    pub encoding: &'static str,
    /// Parts of the answer that are not text and were left out.
    pub skipped_blocks: usize,
}

/// Result of `read_a365_binary_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BinaryFile {
    /// The file's bytes in base64 (RFC 4648, section 4, padded).
    pub content: String,
    /// Always `base64`.
    pub encoding: &'static str,
    /// Number of bytes.
    pub size_bytes: u64,
    /// SHA-256 of the bytes, lower-case hex.
    pub sha256: String,
}
