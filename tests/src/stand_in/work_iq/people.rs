//! Two servers beside Word and files: a profile and a calendar, for tools that nobody typed.

use serde_json::{Value, json};

use super::Said;
use super::access::User;
use crate::stand_in::World;

/// `getMyProfile`.
pub(super) fn profile(_: &mut World, user: &User, _: &Value) -> Said {
    Said::Json(json!({"id": user.id, "displayName": user.name, "userPrincipalName": user.upn}))
}

/// `CreateEvent`: kept for the life of the process.
pub(super) fn create_event(world: &mut World, user: &User, arguments: &Value) -> Said {
    let event = json!({
        "id": uuid::Uuid::new_v4().simple().to_string(), "organizer": user.upn,
        "subject": arguments["subject"], "start": arguments["start"], "end": arguments["end"],
    });
    world.events.push(event.clone());
    Said::Json(event)
}

/// `ListEvents` of the caller.
pub(super) fn list_events(world: &mut World, user: &User, _: &Value) -> Said {
    let own: Vec<&Value> =
        world.events.iter().filter(|event| event["organizer"] == user.upn.as_str()).collect();
    Said::Json(json!({"value": own}))
}
