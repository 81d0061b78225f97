//! What each of the seven tools takes. A value of these types is already checked: bad input ends in a constructor,
//! before identity, audit or request.

use std::fmt;

use serde_json::{Map, Value};

use crate::InvalidArgument;

/// Most bytes of a URL argument.
pub const MAX_URL_BYTES: usize = 8 * 1024;
/// Most characters of a file name: what OneDrive and SharePoint take for a path.
pub const MAX_FILE_NAME_CHARS: usize = 400;
/// Most bytes of a document's HTML: the service takes files up to 5 MB.
pub const MAX_HTML_BYTES: usize = 5_000_000;
/// Most bytes of a comment.
pub const MAX_COMMENT_BYTES: usize = 32 * 1024;
/// Most bytes of an opaque id.
pub const MAX_ID_BYTES: usize = 512;

/// `read_word_document`: the document's link.
#[derive(Clone, PartialEq, Eq)]
pub struct ReadWordDocument {
    pub(super) url: String,
}

impl ReadWordDocument {
    /// # Errors
    /// `url` is not an `https` URL of at most 8 KiB without control characters.
    pub fn new(url: &str) -> Result<Self, InvalidArgument> {
        Ok(Self { url: https_url("url", url)? })
    }
}

/// `create_word_document`: a name (empty: the service picks one) and the content as HTML.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateWordDocument {
    pub(super) file_name: String,
    pub(super) content_html: String,
}

impl CreateWordDocument {
    /// # Errors
    /// `file_name` holds a path separator, a control character or more than 400 characters; `content_html` is blank
    /// or over 5 MB.
    pub fn new(file_name: &str, content_html: &str) -> Result<Self, InvalidArgument> {
        Ok(Self {
            file_name: file_name_of("file_name", file_name)?,
            content_html: html("content_html", content_html)?,
        })
    }
}

/// `add_word_comment`: the document and the comment's text.
#[derive(Clone, PartialEq, Eq)]
pub struct AddWordComment {
    pub(super) drive_id: String,
    pub(super) document_id: String,
    pub(super) content: String,
}

impl AddWordComment {
    /// # Errors
    /// An id is blank, over 512 bytes or holds a control character; `content` is blank or over 32 KiB.
    pub fn new(drive_id: &str, document_id: &str, content: &str) -> Result<Self, InvalidArgument> {
        Ok(Self {
            drive_id: opaque("drive_id", drive_id)?,
            document_id: opaque("document_id", document_id)?,
            content: comment("content", content)?,
        })
    }
}

/// `reply_to_word_comment`: the document, the comment and the reply's text.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyToWordComment {
    pub(super) drive_id: String,
    pub(super) document_id: String,
    pub(super) comment_id: String,
    pub(super) content: String,
}

impl ReplyToWordComment {
    /// # Errors
    /// An id is blank, over 512 bytes or holds a control character; `content` is blank or over 32 KiB.
    pub fn new(
        drive_id: &str,
        document_id: &str,
        comment_id: &str,
        content: &str,
    ) -> Result<Self, InvalidArgument> {
        Ok(Self {
            drive_id: opaque("drive_id", drive_id)?,
            document_id: opaque("document_id", document_id)?,
            comment_id: opaque("comment_id", comment_id)?,
            content: comment("content", content)?,
        })
    }
}

/// `get_a365_file_metadata_by_url`: the file's or folder's link.
#[derive(Clone, PartialEq, Eq)]
pub struct GetFileMetadataByUrl {
    pub(super) url: String,
}

impl GetFileMetadataByUrl {
    /// # Errors
    /// `url` is not an `https` URL of at most 8 KiB without control characters.
    pub fn new(url: &str) -> Result<Self, InvalidArgument> {
        Ok(Self { url: https_url("url", url)? })
    }
}

/// `read_a365_text_file`: the library (drive) and the file.
#[derive(Clone, PartialEq, Eq)]
pub struct ReadTextFile {
    pub(super) document_library_id: String,
    pub(super) file_id: String,
}

impl ReadTextFile {
    /// # Errors
    /// An id is blank, over 512 bytes or holds a control character.
    pub fn new(document_library_id: &str, file_id: &str) -> Result<Self, InvalidArgument> {
        Ok(Self {
            document_library_id: opaque("document_library_id", document_library_id)?,
            file_id: opaque("file_id", file_id)?,
        })
    }
}

/// `read_a365_binary_file`: the library (drive) and the file.
#[derive(Clone, PartialEq, Eq)]
pub struct ReadBinaryFile {
    pub(super) document_library_id: String,
    pub(super) file_id: String,
}

impl ReadBinaryFile {
    /// # Errors
    /// An id is blank, over 512 bytes or holds a control character.
    pub fn new(document_library_id: &str, file_id: &str) -> Result<Self, InvalidArgument> {
        Ok(Self {
            document_library_id: opaque("document_library_id", document_library_id)?,
            file_id: opaque("file_id", file_id)?,
        })
    }
}

/// An argument may be content, so no request prints any of its own.
macro_rules! redacted_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
redacted_debug!(
    ReadWordDocument,
    CreateWordDocument,
    AddWordComment,
    ReplyToWordComment,
    GetFileMetadataByUrl,
    ReadTextFile,
    ReadBinaryFile
);

/// The arguments as the wire takes them.
pub(super) fn arguments(pairs: &[(&str, &str)]) -> Map<String, Value> {
    let mut arguments = Map::new();
    arguments.extend(pairs.iter().map(|&(key, value)| (key.to_owned(), Value::from(value))));
    arguments
}

fn https_url(argument: &'static str, text: &str) -> Result<String, InvalidArgument> {
    bounded(argument, text, MAX_URL_BYTES)?;
    let https = text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    if !https || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(InvalidArgument::new(
            argument,
            "must be an https URL without spaces or control characters",
        ));
    }
    let parsed = url::Url::parse(text).map_err(|_| InvalidArgument::new(argument, "is not a URL"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(InvalidArgument::new(argument, "must not hold a user name or password"));
    }
    Ok(text.to_owned())
}

fn file_name_of(argument: &'static str, text: &str) -> Result<String, InvalidArgument> {
    if text.chars().count() > MAX_FILE_NAME_CHARS {
        return Err(InvalidArgument::new(argument, "is longer than 400 characters"));
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) || matches!(text, "." | "..") {
        return Err(InvalidArgument::new(
            argument,
            "must be a name without path separators or control characters",
        ));
    }
    if !text.is_empty() && text.trim().is_empty() {
        return Err(InvalidArgument::new(argument, "is blank; leave it empty for an automatic name"));
    }
    Ok(text.to_owned())
}

fn html(argument: &'static str, text: &str) -> Result<String, InvalidArgument> {
    not_blank(argument, text)?;
    bounded(argument, text, MAX_HTML_BYTES)?;
    Ok(text.to_owned())
}

fn comment(argument: &'static str, text: &str) -> Result<String, InvalidArgument> {
    not_blank(argument, text)?;
    bounded(argument, text, MAX_COMMENT_BYTES)?;
    Ok(text.to_owned())
}

fn opaque(argument: &'static str, text: &str) -> Result<String, InvalidArgument> {
    not_blank(argument, text)?;
    bounded(argument, text, MAX_ID_BYTES)?;
    if text.chars().any(char::is_control) {
        return Err(InvalidArgument::new(argument, "holds a control character"));
    }
    Ok(text.to_owned())
}

fn not_blank(argument: &'static str, text: &str) -> Result<(), InvalidArgument> {
    if text.trim().is_empty() { Err(InvalidArgument::new(argument, "must not be blank")) } else { Ok(()) }
}

fn bounded(argument: &'static str, text: &str, most: usize) -> Result<(), InvalidArgument> {
    if text.len() > most { Err(InvalidArgument::too_long(argument, most)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_prints_none_of_its_arguments() {
        let request = AddWordComment::new("PLANTED-drive", "PLANTED-doc", "PLANTED-text").unwrap();
        assert!(!format!("{request:?}").contains("PLANTED"));
    }

    #[test]
    fn a_refusal_names_the_argument_and_never_its_value() {
        let error = ReadWordDocument::new("http://PLANTED.example/").unwrap_err();
        assert_eq!(error.argument(), "url");
        assert!(!error.to_string().contains("PLANTED"), "{error}");
    }

    #[test]
    fn urls_are_https_without_userinfo_or_control_characters() {
        assert!(ReadWordDocument::new("https://contoso.sharepoint.com/x?d=w1&e=2#a").is_ok());
        for bad in [
            "",
            " ",
            "http://h/",
            "https://u:p@h/",
            "https://h/\u{7}",
            "https://",
            "ftp://h",
            "https://h/a b",
        ] {
            assert!(ReadWordDocument::new(bad).is_err(), "{bad:?}");
        }
        assert!(ReadWordDocument::new(&format!("https://h/{}", "a".repeat(MAX_URL_BYTES))).is_err());
    }

    #[test]
    fn an_empty_file_name_means_an_automatic_one_and_a_path_is_refused() {
        assert!(CreateWordDocument::new("", "<p>x</p>").is_ok());
        assert!(CreateWordDocument::new("R\u{e9}sum\u{e9}.docx", "<p>x</p>").is_ok());
        for bad in ["a/b", "a\\b", "a\u{0}b", "..", "  ", &"x".repeat(401)] {
            assert!(CreateWordDocument::new(bad, "<p>x</p>").is_err(), "{bad:?}");
        }
        assert!(CreateWordDocument::new("a", " \n").is_err());
        assert!(CreateWordDocument::new("a", &"x".repeat(MAX_HTML_BYTES + 1)).is_err());
    }

    #[test]
    fn ids_are_opaque_but_bounded() {
        assert!(ReadTextFile::new("b!-RIj2D", "01ABC").is_ok());
        for bad in ["", "\t", "a\nb", &"x".repeat(MAX_ID_BYTES + 1)] {
            assert!(ReadTextFile::new(bad, "01ABC").is_err(), "{bad:?}");
            assert!(ReadTextFile::new("b", bad).is_err(), "{bad:?}");
        }
    }
}
