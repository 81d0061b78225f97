//! The seven tools that entrabot offers by itself, typed from end to end.

mod read_back;
mod requests;
mod results;

pub use requests::{
    AddWordComment, CreateWordDocument, GetFileMetadataByUrl, MAX_COMMENT_BYTES, MAX_FILE_NAME_CHARS,
    MAX_HTML_BYTES, MAX_ID_BYTES, MAX_URL_BYTES, ReadBinaryFile, ReadTextFile, ReadWordDocument,
    ReplyToWordComment,
};
pub use results::{
    AddedComment, AddedReply, BinaryFile, CreatedDocument, FileMetadata, TextFile, WordDocument,
};

use serde_json::{Map, Value};

use crate::catalog::KnownTool;
use crate::{A365Error, Answered, Reply, WorkIqProvider};
use read_back::Missing;
use requests::arguments;

impl WorkIqProvider {
    /// Reads a Word document's text and comments.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn read_word_document(
        &self,
        request: ReadWordDocument,
    ) -> Result<Answered<WordDocument>, A365Error> {
        let arguments = arguments(&[("url", &request.url)]);
        self.typed(KnownTool::GetDocumentContent, arguments, |reply| {
            read_back::word_document(reply, &request.url)
        })
        .await
    }

    /// Creates a Word document in the agent's own OneDrive.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn create_word_document(
        &self,
        request: CreateWordDocument,
    ) -> Result<Answered<CreatedDocument>, A365Error> {
        let arguments =
            arguments(&[("fileName", &request.file_name), ("contentInHtml", &request.content_html)]);
        let read = |reply: &Reply| read_back::created_document(reply, &request.file_name);
        self.typed(KnownTool::CreateDocument, arguments, read).await
    }

    /// Adds a comment to a Word document.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn add_word_comment(
        &self,
        request: AddWordComment,
    ) -> Result<Answered<AddedComment>, A365Error> {
        let arguments = arguments(&[
            ("driveId", &request.drive_id),
            ("documentId", &request.document_id),
            ("newComment", &request.content),
        ]);
        self.typed(KnownTool::AddComment, arguments, read_back::added_comment).await
    }

    /// Replies to a comment in a Word document.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn reply_to_word_comment(
        &self,
        request: ReplyToWordComment,
    ) -> Result<Answered<AddedReply>, A365Error> {
        let arguments = arguments(&[
            ("commentId", &request.comment_id),
            ("driveId", &request.drive_id),
            ("documentId", &request.document_id),
            ("newComment", &request.content),
        ]);
        self.typed(KnownTool::ReplyToComment, arguments, read_back::added_reply).await
    }

    /// Finds the ids behind a file's or folder's link.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn get_a365_file_metadata_by_url(
        &self,
        request: GetFileMetadataByUrl,
    ) -> Result<Answered<FileMetadata>, A365Error> {
        let arguments = arguments(&[("fileOrFolderUrl", &request.url)]);
        self.typed(KnownTool::FileMetadataByUrl, arguments, |reply| {
            read_back::file_metadata(reply, &request.url)
        })
        .await
    }

    /// Reads a small text file.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn read_a365_text_file(&self, request: ReadTextFile) -> Result<Answered<TextFile>, A365Error> {
        let arguments =
            arguments(&[("documentLibraryId", &request.document_library_id), ("fileId", &request.file_id)]);
        self.typed(KnownTool::ReadSmallTextFile, arguments, |reply| {
            read_back::text_file(reply, &request.file_id)
        })
        .await
    }

    /// Reads a small binary file.
    ///
    /// # Errors
    /// See [`A365Error`].
    pub async fn read_a365_binary_file(
        &self,
        request: ReadBinaryFile,
    ) -> Result<Answered<BinaryFile>, A365Error> {
        let arguments =
            arguments(&[("documentLibraryId", &request.document_library_id), ("fileId", &request.file_id)]);
        self.typed(KnownTool::ReadSmallBinaryFile, arguments, read_back::binary_file).await
    }

    async fn typed<T>(
        &self,
        tool: KnownTool,
        arguments: Map<String, Value>,
        read: impl FnOnce(&Reply) -> Result<T, Missing>,
    ) -> Result<Answered<T>, A365Error> {
        let (Answered { reply, recorded }, route) = self.known(tool, arguments).await?;
        match read(&reply) {
            Ok(reply) => Ok(Answered { reply, recorded }),
            Err(missing) => {
                Err(A365Error::UnusableAnswer { server: route.server, tool: route.tool, missing, recorded })
            }
        }
    }
}
