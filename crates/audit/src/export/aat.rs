//! Agent Audit Trail (`draft-sharif-agent-audit-trail-06`): each record names its parent and the hash of it, and is
//! signed, so that a third party verifies an export with the public key alone.
//!
//! A record is canonical JSON (RFC 8785). `prev_hash` is the SHA-256 of the whole record before it, its signature
//! included; the signature (ES256, lower form, base64url) covers the record without itself.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::jcs::canonical;
use super::{Details, VERSION, low_s};
use crate::chain::sha256;
use crate::json::hex;
use crate::note::p256_spki;
use crate::signing::CheckpointSigner;
use crate::time::{Clock as _, SystemClock};
use crate::{AuditError, Source, StoredEvent, Timestamp};

/// Identity and configuration of the agent are established, acts are recorded before and after: what the drafts' authors
/// give their own recorder.
const TRUST_LEVEL: &str = "L2";

/// One export under way.
#[derive(Debug)]
pub(super) struct AatTrail {
    signer: Arc<dyn CheckpointSigner>,
    key: Value,
    kid: String,
    session: String,
    /// Id and hash of the record before.
    previous: Option<(String, String)>,
    records: u64,
    /// The record ids of pending lines, by call.
    open: HashMap<String, String>,
    /// When the export began.
    now: Timestamp,
}

impl AatTrail {
    pub(super) fn new(signer: Arc<dyn CheckpointSigner>) -> Result<Self, AuditError> {
        // The end of the SubjectPublicKeyInfo is the point.
        let (x, y) = match signer.public_key().last_chunk::<64>() {
            Some(point) if signer.public_key() == p256_spki(&[&[0x04], &point[..]].concat()) => {
                point.split_at(32)
            }
            _ => return Err(AuditError::Sealing { reason: "the signing key is not on P-256".into() }),
        };
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({"crv": "P-256", "kty": "EC", "x": coordinate(x), "y": coordinate(y)});
        // RFC 7638: the hash of exactly these members in canonical form.
        let kid = URL_SAFE_NO_PAD.encode(sha256(&canonical(&key)));
        Ok(Self {
            signer,
            key,
            kid,
            session: Uuid::new_v4().to_string(),
            previous: None,
            records: 0,
            open: HashMap::new(),
            now: SystemClock.now(),
        })
    }

    /// The record that a trail begins with.
    pub(super) fn begin(&mut self) -> Result<String, AuditError> {
        let detail =
            json!({"event": "session_start", "recording_mode": "export", "signer_public_key": self.key});
        self.of_the_trail(detail, "concurrent")
    }

    /// The record that it ends with: without it, the end was cut off.
    pub(super) fn end(&mut self) -> Result<String, AuditError> {
        let detail = json!({"event": "session_end", "records_before": self.records});
        self.of_the_trail(detail, "post_execution")
    }

    fn of_the_trail(&mut self, detail: Value, phase: &'static str) -> Result<String, AuditError> {
        self.record(Record {
            id: Uuid::new_v4().to_string(),
            time: self.now,
            agent: "urn:entrabot:audit".to_owned(),
            action: "lifecycle",
            detail,
            outcome: "success",
            phase,
        })
    }

    pub(super) fn event(&mut self, event: &StoredEvent, details: &Details) -> Result<String, AuditError> {
        let id = match Uuid::try_parse(event.event_id()) {
            Ok(id) => id.to_string(),
            Err(_) => Uuid::new_v4().to_string(),
        };
        let mut detail = Map::new();
        detail.insert("log_event_id".into(), event.event_id().into());
        detail.insert("attribution_type".into(), event.attribution_type().into());
        detail.insert("source".into(), event.source().unwrap_or("foreign").into());
        if let Some(prev) = &details.prev {
            detail.insert("log_prev".into(), prev.as_str().into());
        }
        let (action, phase) = self.classify(event, details, &id, &mut detail);
        let outcome = match event.outcome() {
            "failure" => "failure",
            "denied" => "denied",
            "timeout" => "timeout",
            "escalated" => "escalated",
            // A pending record says that the act was let through.
            "pending" | "success" => "success",
            other => {
                detail.insert("log_outcome".into(), other.into());
                "success"
            }
        };
        if let Some(error_type) = &details.error_type {
            detail.insert("error_code".into(), error_type.as_str().into());
        }
        self.record(Record {
            id,
            time: event.time().unwrap_or(self.now),
            agent: match Uuid::try_parse(event.agent_id()) {
                Ok(agent) => format!("urn:uuid:{agent}"),
                Err(_) => event.agent_id().to_owned(),
            },
            action,
            detail: Value::Object(detail),
            outcome,
            phase,
        })
    }

    fn classify(
        &mut self,
        event: &StoredEvent,
        details: &Details,
        id: &str,
        detail: &mut Map<String, Value>,
    ) -> (&'static str, &'static str) {
        let is = |source: Source| event.source() == Some(source.as_str());
        if let (true, Some(call)) = (is(Source::Transport) || is(Source::Provisioning), event.call_id()) {
            detail.insert("tool_name".into(), details.operation.as_str().into());
            detail.insert("tool_server".into(), details.service.as_str().into());
            if event.outcome() == "pending" {
                self.open.insert(call.to_owned(), id.to_owned());
                return ("tool_call", "pre_execution");
            }
            if let Some(pending) = self.open.remove(call) {
                detail.insert("parent_call_id".into(), pending.into());
            }
            return ("tool_response", "post_execution");
        }
        detail.insert("event".into(), event.action().into());
        detail.insert("resource".into(), event.resource().into());
        // What the log says of itself is observed; what a model or an operator says is their decision to say it.
        if is(Source::System) { ("lifecycle", "post_execution") } else { ("decision", "post_execution") }
    }

    fn record(&mut self, record: Record) -> Result<String, AuditError> {
        let (parent, prev_hash) =
            self.previous.take().map_or((Value::Null, Value::Null), |(id, hash)| (id.into(), hash.into()));
        let mut signed = json!({
            "record_id": record.id,
            "timestamp": milliseconds(record.time),
            "agent_id": record.agent,
            "agent_version": VERSION,
            "session_id": self.session,
            "action_type": record.action,
            "action_detail": record.detail,
            "outcome": record.outcome,
            "trust_level": TRUST_LEVEL,
            "parent_record_id": parent,
            "prev_hash": prev_hash,
            "record_phase": record.phase,
            "sig_alg": "ES256",
            "signer_kid": self.kid,
        });
        let der = self.signer.sign(&canonical(&signed))?;
        let plain = low_s::from_der(&der)
            .ok_or_else(|| AuditError::Sealing { reason: "the key gave no signature on P-256".into() })?;
        signed["signature"] = URL_SAFE_NO_PAD.encode(plain).into();
        let line = canonical(&signed);
        self.previous = Some((record.id, hex(&sha256(&line))));
        self.records += 1;
        // Canonical JSON is UTF-8.
        String::from_utf8(line).map_err(|_| AuditError::Sealing { reason: "a record is no text".into() })
    }
}

/// `2026-07-12T10:00:00.123Z`
fn milliseconds(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.truncate("2026-07-12T10:00:00.123".len());
    text.push('Z');
    text
}

struct Record {
    id: String,
    time: Timestamp,
    agent: String,
    action: &'static str,
    detail: Value,
    outcome: &'static str,
    phase: &'static str,
}
