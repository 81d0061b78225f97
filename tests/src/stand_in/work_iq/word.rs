//! The Word server.

use serde_json::{Value, json};

use super::Said;
use super::access::User;
use crate::stand_in::World;
use crate::stand_in::documents::{Comment, DOCX, Item};

fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments[name].as_str().unwrap_or_default()
}

/// `CreateDocument`: a `DriveItem` of the new document.
pub(super) fn create(world: &mut World, user: &User, arguments: &Value) -> Said {
    let (name, html) = (text(arguments, "fileName"), text(arguments, "contentInHtml"));
    match world.documents.create(&user.id, &user.upn, name, html) {
        Ok(item) => Said::Json(drive_item(&item, user)),
        Err(error) => Said::Error(format!("The document could not be created: {error}")),
    }
}

/// `GetDocumentContent`: text and comments, read back out of the file.
pub(super) fn content(world: &mut World, user: &User, arguments: &Value) -> Said {
    let Some(item) = world.documents.by_url_mut(&user.id, text(arguments, "url")) else { return missing() };
    let (content, comments) = match item.read_back() {
        Ok(read) => read,
        Err(error) => return Said::Error(format!("The document could not be read: {error}")),
    };
    Said::Json(json!({
        "filename": item.name, "size": item.size(), "driveId": item.drive_id, "documentId": item.item_id,
        "content": content, "comments": threads(&comments),
    }))
}

/// `AddComment`.
pub(super) fn comment(world: &mut World, user: &User, arguments: &Value) -> Said {
    add(world, user, arguments, None)
}

/// `ReplyToComment`.
pub(super) fn reply(world: &mut World, user: &User, arguments: &Value) -> Said {
    add(world, user, arguments, Some(text(arguments, "commentId")))
}

fn add(world: &mut World, user: &User, arguments: &Value, parent: Option<&str>) -> Said {
    let place = (text(arguments, "driveId"), text(arguments, "documentId"));
    let body = text(arguments, "newComment");
    match world.documents.comment(&user.id, place, parent, &user.name, body) {
        // The live tool answers with this text, not with JSON.
        Ok(Some(comment)) => {
            Said::Text(format!("WordCommentInfo [CommentId={}, Content={}]", comment.id, comment.text))
        }
        Ok(None) => missing(),
        Err(error) => Said::Error(format!("The comment could not be stored: {error}")),
    }
}

fn missing() -> Said {
    Said::Error("The resource could not be found.".into())
}

fn threads(comments: &[Comment]) -> Value {
    let shown = |comment: &Comment| {
        json!({"id": comment.id.to_string(), "author": comment.author, "content": comment.text,
               "createdDateTime": comment.date})
    };
    let roots = comments.iter().filter(|comment| comment.parent.is_none()).map(|root| {
        let mut thread = shown(root);
        thread["replies"] =
            comments.iter().filter(|reply| reply.parent == Some(root.id)).map(shown).collect();
        thread
    });
    roots.collect()
}

/// An item as Graph's `driveItem` shows it.
pub(super) fn drive_item(item: &Item, user: &User) -> Value {
    json!({
        "id": item.item_id, "name": item.name, "size": item.size(), "webUrl": item.web_url,
        "createdDateTime": item.created, "lastModifiedDateTime": item.created,
        "createdBy": {"user": {"id": user.id, "displayName": user.name, "email": user.upn}},
        "file": {"mimeType": if item.mime.is_empty() { DOCX } else { &item.mime }},
        "parentReference": {"driveId": item.drive_id, "driveType": "business", "path": "/drive/root:"},
    })
}
