//! The audited door to Work IQ, against the stand-in cloud: real sockets, real tokens, a real audit log.
#![allow(clippy::unwrap_used, reason = "a test's helper that cannot go on ends there, like the test")]

#[path = "a365_door/harness.rs"]
mod harness;

#[path = "a365_door/rmcp_peer.rs"]
mod rmcp_peer;

#[path = "a365_door/answers.rs"]
mod answers;
#[path = "a365_door/cancellation.rs"]
mod cancellation;
#[path = "a365_door/definitions.rs"]
mod definitions;
#[path = "a365_door/differential.rs"]
mod differential;
#[path = "a365_door/hostile.rs"]
mod hostile;
#[path = "a365_door/manifests.rs"]
mod manifests;
#[path = "a365_door/no_content.rs"]
mod no_content;
#[path = "a365_door/retries.rs"]
mod retries;
