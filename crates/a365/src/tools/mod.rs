//! The seven tools that entrabot offers by itself, typed from end to end.

mod requests;
mod results;

pub use requests::{
    AddWordComment, CreateWordDocument, GetFileMetadataByUrl, MAX_COMMENT_BYTES, MAX_FILE_NAME_CHARS, MAX_HTML_BYTES,
    MAX_ID_BYTES, MAX_URL_BYTES, ReadBinaryFile, ReadTextFile, ReadWordDocument, ReplyToWordComment,
};
pub use results::{AddedComment, AddedReply, BinaryFile, CreatedDocument, FileMetadata, TextFile, WordDocument};

use crate::{A365Error, Answered, WorkIqProvider};

impl WorkIqProvider {
    /// Reads a Word document's text and comments.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn read_word_document(&self, _request: ReadWordDocument) -> Result<Answered<WordDocument>, A365Error> {
        todo!("a365")
    }

    /// Creates a Word document in the agent's own OneDrive.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn create_word_document(
        &self,
        _request: CreateWordDocument,
    ) -> Result<Answered<CreatedDocument>, A365Error> {
        todo!("a365")
    }

    /// Adds a comment to a Word document.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn add_word_comment(&self, _request: AddWordComment) -> Result<Answered<AddedComment>, A365Error> {
        todo!("a365")
    }

    /// Replies to a comment in a Word document.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn reply_to_word_comment(
        &self,
        _request: ReplyToWordComment,
    ) -> Result<Answered<AddedReply>, A365Error> {
        todo!("a365")
    }

    /// Finds the ids behind a file's or folder's link.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn get_a365_file_metadata_by_url(
        &self,
        _request: GetFileMetadataByUrl,
    ) -> Result<Answered<FileMetadata>, A365Error> {
        todo!("a365")
    }

    /// Reads a small text file.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn read_a365_text_file(&self, _request: ReadTextFile) -> Result<Answered<TextFile>, A365Error> {
        todo!("a365")
    }

    /// Reads a small binary file.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn read_a365_binary_file(&self, _request: ReadBinaryFile) -> Result<Answered<BinaryFile>, A365Error> {
        todo!("a365")
    }
}
