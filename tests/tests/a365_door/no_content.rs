//! Nothing of a call's arguments is in the record or in an error, whatever becomes of the call.

use std::fs;
use std::path::Path;
use std::time::Duration;

use entrabot_a365::A365Error;
use entrabot_a365::tools::{
    AddWordComment, CreateWordDocument, GetFileMetadataByUrl, ReadBinaryFile, ReadTextFile, ReadWordDocument,
    ReplyToWordComment,
};
use entrabot_tests::stand_in::{Effect, Fault};
use serde_json::json;

use crate::harness::Door;

const MARKER: &str = "MARKER7f3a";

fn marked(what: &str) -> String {
    format!("{MARKER}{what}")
}

/// Runs every tool with the marker in every argument; gives the errors' texts.
async fn run_all(door: &Door) -> Vec<String> {
    let url = format!("https://contoso.sharepoint.com/{MARKER}/{MARKER}.docx");
    let (drive, id, text) = (marked("drive"), marked("id"), marked("text"));
    let mut errors = Vec::new();
    let mut note = |result: Result<(), A365Error>| {
        if let Err(error) = result {
            errors.push(format!("{error} {error:?}"));
        }
    };
    let provider = &door.provider;
    note(provider.read_word_document(ReadWordDocument::new(&url).unwrap()).await.map(drop));
    note(provider.create_word_document(CreateWordDocument::new(&text, &text).unwrap()).await.map(drop));
    note(provider.add_word_comment(AddWordComment::new(&drive, &id, &text).unwrap()).await.map(drop));
    note(
        provider
            .reply_to_word_comment(ReplyToWordComment::new(&drive, &id, &marked("comment"), &text).unwrap())
            .await
            .map(drop),
    );
    note(provider.get_a365_file_metadata_by_url(GetFileMetadataByUrl::new(&url).unwrap()).await.map(drop));
    note(provider.read_a365_text_file(ReadTextFile::new(&drive, &id).unwrap()).await.map(drop));
    note(provider.read_a365_binary_file(ReadBinaryFile::new(&drive, &id).unwrap()).await.map(drop));
    errors
}

/// A call of any tool, with the marker in keys and nested values too.
async fn run_generic(door: &Door) -> String {
    let arguments = json!({
        marked("key"): {marked("deep"): [marked("value")]},
        "fileName": marked("text"), "contentInHtml": marked("text"),
    });
    let error = door.call("mcp_WordServer", "CreateDocument", arguments).await.unwrap_err();
    format!("{error} {error:?}")
}

fn files(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((
                path.display().to_string(),
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            ));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marker_in_every_argument_is_found_nowhere() {
    let door = Door::open();
    let mut errors = run_all(&door).await;
    // An upstream that echoes each call's own arguments back, in each of the ways it can.
    let (drive, id, text) = (marked("drive"), marked("id"), marked("text"));
    let url = format!("https://contoso.sharepoint.com/{MARKER}/{MARKER}.docx");
    for status in [400, 403, 500] {
        door.cloud.clear_faults();
        for (tool, echo) in [
            ("GetDocumentContent", format!("no file {MARKER}.docx at {url}")),
            ("CreateDocument", format!("'{text}' exists")),
            ("AddComment", format!("cannot add {text} to {drive}/{id}")),
            ("ReplyToComment", format!("no {} in {drive}/{id}, {text}", marked("comment"))),
            ("getFileOrFolderMetadataByUrl", format!("{url} is gone")),
            ("readSmallTextFile", format!("{drive}:{id}")),
            ("readSmallBinaryFile", format!("{drive}:{id}")),
        ] {
            let body = json!({"error": {"code": "X", "message": echo}}).to_string();
            let respond = Effect::Respond { status, headers: Vec::new(), body };
            door.cloud.set_fault(Fault { tool: Some(tool.into()), ..Fault::a365(respond) });
        }
        errors.extend(run_all(&door).await);
        door.cloud.clear_faults();
        let echo = format!("unexpected {}.{} = {}", marked("key"), marked("deep"), marked("value"));
        let body = json!({"error": {"code": "X", "message": echo}}).to_string();
        let respond = Effect::Respond { status, headers: Vec::new(), body };
        door.cloud.set_fault(Fault { tool: Some("CreateDocument".into()), ..Fault::a365(respond) });
        errors.push(run_generic(&door).await);
    }
    door.cloud.clear_faults();
    door.cloud.set_fault(Fault::a365(Effect::Case("is_error_true".into())));
    errors.extend(run_all(&door).await);
    door.cloud.clear_faults();
    door.cloud.set_fault(Fault::a365(Effect::Hang));
    let cancelled = tokio::time::timeout(Duration::from_millis(200), run_all(&door)).await;
    assert!(cancelled.is_err());

    assert!(errors.len() > 20, "{}", errors.len());
    for error in &errors {
        assert!(!error.contains(MARKER), "{error}");
    }
    let mut found = Vec::new();
    files(door.directory(), &mut found);
    assert!(found.iter().any(|(_, text)| text.contains("a365.mcp_WordServer.CreateDocument")));
    for (path, text) in found {
        assert!(!text.contains(MARKER), "{path}");
    }
}
