//! The file servers (OneDrive, SharePoint, and the deprecated one for both).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::access::User;
use super::{Said, word};
use crate::stand_in::World;

/// The service reads no file larger than this.
const SMALL: u64 = 5 * 1024 * 1024;

/// `getFileOrFolderMetadataByUrl`: a `DriveItem`.
pub(super) fn metadata_by_url(world: &mut World, user: &User, arguments: &Value) -> Said {
    let url = arguments["fileOrFolderUrl"].as_str().unwrap_or_default();
    match world.documents.by_url(&user.id, url) {
        Some(item) => Said::Json(word::drive_item(item, user)),
        None => missing(),
    }
}

/// `readSmallTextFile`: the text.
pub(super) fn read_text(world: &mut World, user: &User, arguments: &Value) -> Said {
    read(world, user, arguments, |name, bytes| match String::from_utf8(bytes) {
        Ok(text) => {
            Said::Json(json!({"name": name, "size": text.len(), "encoding": "text", "content": text}))
        }
        Err(_) => Said::Error("The file is not a text file.".into()),
    })
}

/// `readSmallBinaryFile`: the bytes, base64.
pub(super) fn read_binary(world: &mut World, user: &User, arguments: &Value) -> Said {
    read(world, user, arguments, |name, bytes| {
        let content = STANDARD.encode(&bytes);
        Said::Json(json!({"name": name, "size": bytes.len(), "encoding": "base64", "content": content}))
    })
}

fn read(world: &mut World, user: &User, arguments: &Value, show: impl FnOnce(&str, Vec<u8>) -> Said) -> Said {
    let argument = |name: &str| arguments[name].as_str().unwrap_or_default();
    let Some(item) = world.documents.item(&user.id, argument("documentLibraryId"), argument("fileId")) else {
        return missing();
    };
    if item.size() > SMALL {
        return Said::Error("The file is larger than 5 MB.".into());
    }
    match item.bytes() {
        Ok(bytes) => show(&item.name, bytes),
        Err(error) => Said::Error(format!("The file could not be read: {error}")),
    }
}

fn missing() -> Said {
    Said::Error("The resource could not be found.".into())
}
