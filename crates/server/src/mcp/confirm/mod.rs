//! Asks a person before a tool changes something in Microsoft 365 (`ENTRABOT_CONFIRM_WRITES`).
//!
//! A question is no act: it is put before the call is on record, so a call that a person declined leaves nothing in the
//! audit and sends nothing. The question shows the content to the person; no log and no record holds any of it.
//!
//! Revisions with a handshake are asked with `elicitation/create` over the open connection. Revision 2026-07-28 knows no
//! requests of a server: the call is answered with `input_required` and comes again with the person's answer. Over HTTP
//! there is no open connection, so that only the second way exists there.

mod question;
mod seal;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use entrabot_identity::{AgentId, Config, ConfirmWrites};
use entrabot_keystore::ErrorClass;
use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotificationParam, ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult,
    ElicitationAction, ElicitationCapability, ElicitationSchema, InputRequest, InputRequests,
    InputRequiredResult, InputResponses, ProtocolVersion, ServerRequest,
};
use rmcp::service::{PeerRequestOptions, RequestContext, ServiceError};

pub(super) use question::{Act, Question};
use seal::Seals;

use super::progress::Reports;
use super::request::Request;
use crate::failure::Failure;

/// How long a person may take. Most clients give up on a call before.
const PATIENCE: Duration = Duration::from_secs(300);

/// The name of the one question in an `input_required` answer.
const CONFIRM: &str = "confirm";

/// A call that nobody has to be asked about, or has been: the only kind that is carried out.
#[derive(Debug)]
pub(super) struct Cleared(Request);

impl Cleared {
    pub(super) fn into_request(self) -> Request {
        self.0
    }
}

/// Why a call is not carried out now.
#[derive(Debug)]
pub(super) enum NotCleared {
    /// The client has to put this question, and to call again with the answer.
    Ask(Box<InputRequiredResult>),
    /// There will be no such call.
    Refused(Failure),
}

/// What came with a call that was made before.
#[derive(Debug, Default)]
pub(super) struct Retry {
    pub(super) state: Option<String>,
    pub(super) responses: Option<InputResponses>,
}

/// The policy, and what it takes to carry it out.
pub(super) struct Confirmation {
    policy: ConfirmWrites,
    /// The agent's name, as a person knows it.
    agent: String,
    patience: Duration,
    seals: OnceLock<Seals>,
}

/// How a client can be asked.
enum Way {
    /// By a request of ours.
    Request,
    /// By the answer to the call.
    Answer,
    Not,
}

impl Confirmation {
    pub(super) fn new(config: &Config) -> Self {
        let agent = config.agent_upn().map(str::to_owned);
        let agent = agent.or_else(|| config.agent_id().map(AgentId::to_string));
        Self {
            policy: config.confirm_writes(),
            agent: agent.unwrap_or_else(|| "without a name".to_owned()),
            patience: PATIENCE,
            seals: OnceLock::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Has a person decide, if the policy wants it.
    ///
    /// # Errors
    /// [`NotCleared`]: nothing was sent, nothing is on record.
    pub(super) async fn clear(
        &self,
        request: Request,
        question: Option<Question>,
        retry: Retry,
        context: &RequestContext<RoleServer>,
        reports: &mut Reports,
    ) -> Result<Cleared, NotCleared> {
        let (ConfirmWrites::Ask | ConfirmWrites::Always, Some(question)) = (self.policy, question) else {
            return Ok(Cleared(request));
        };
        match way(context) {
            Way::Request => {
                let action = self.ask(&question, context, reports).await.map_err(NotCleared::Refused)?;
                decided(&question, &action).map_err(NotCleared::Refused)?;
            }
            Way::Answer => self.answered(&question, retry)?,
            Way::Not if self.policy == ConfirmWrites::Always => {
                return Err(NotCleared::Refused(unavailable()));
            }
            Way::Not => {
                tracing::info!(tool = question.tool(), "a write goes on unasked: the client cannot ask");
            }
        }
        Ok(Cleared(request))
    }

    /// Puts the question over the open connection, and takes it back when the call is cancelled.
    async fn ask(
        &self,
        question: &Question,
        context: &RequestContext<RoleServer>,
        reports: &mut Reports,
    ) -> Result<ElicitationAction, Failure> {
        let request = ServerRequest::ElicitRequest(self.elicitation(question));
        let options = PeerRequestOptions::with_timeout(self.patience);
        let asked = context.peer.send_request_with_option(request, options).await.map_err(unasked)?;
        let id = asked.id.clone();
        tokio::select! {
            biased;
            () = context.ct.cancelled() => {
                let taken_back = CancelledNotificationParam::new(Some(id), Some("the call was cancelled".into()));
                // A client that is gone shows no question any more.
                drop(context.peer.notify_cancelled(taken_back).await);
                Err(withdrawn())
            }
            answer = reports.during("waiting for a person's decision", asked.await_response()) => match answer {
                Ok(ClientResult::ElicitResult(result)) => Ok(result.action),
                Ok(_) => Err(unreadable()),
                Err(ServiceError::Timeout { timeout }) => Err(too_late(timeout)),
                Err(error) => Err(unasked(error)),
            },
        }
    }

    /// Looks for the person's answer in a call that came again, and else has the client put the question.
    fn answered(&self, question: &Question, mut retry: Retry) -> Result<(), NotCleared> {
        let seals = self.seals().map_err(NotCleared::Refused)?;
        if let Some(state) = &retry.state {
            let issued = seals.open(state, question.call()).map_err(NotCleared::Refused)?;
            if let Some(answer) = retry.responses.as_mut().and_then(|answers| answers.remove(CONFIRM)) {
                // Whatever the answer is, it is the only one.
                issued.spend().map_err(NotCleared::Refused)?;
                let answer: ElicitResult =
                    serde_json::from_value(answer).map_err(|_| NotCleared::Refused(unreadable()))?;
                return decided(question, &answer.action).map_err(NotCleared::Refused);
            }
        }
        let state = seals.issue(question.call()).map_err(NotCleared::Refused)?;
        let request = InputRequest::Elicitation(self.elicitation(question));
        let requests = InputRequests::from([(CONFIRM.to_owned(), request)]);
        Err(NotCleared::Ask(Box::new(InputRequiredResult::new(Some(requests), Some(state)))))
    }

    fn seals(&self) -> Result<&Seals, Failure> {
        if let Some(seals) = self.seals.get() {
            return Ok(seals);
        }
        let made = Seals::new()?;
        Ok(self.seals.get_or_init(|| made))
    }

    /// A question with nothing to fill in: accept, decline or cancel is the whole answer.
    fn elicitation(&self, question: &Question) -> ElicitRequest {
        ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: question.text(&self.agent),
            requested_schema: ElicitationSchema::new(BTreeMap::new()),
        })
    }
}

fn way(context: &RequestContext<RoleServer>) -> Way {
    let stateless =
        context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
    if stateless {
        let declared = context.meta.client_capabilities().and_then(|client| client.elicitation);
        return if declared.is_some_and(|declared| shows_forms(&declared)) { Way::Answer } else { Way::Not };
    }
    // Only the handshake counts: over HTTP it leaves nothing behind, and our request could not be answered there.
    let client = context.peer.peer_info();
    let declared = client.as_ref().and_then(|client| client.capabilities.elicitation.as_ref());
    if declared.is_some_and(shows_forms) { Way::Request } else { Way::Not }
}

/// Forms are what is meant when a client names no mode.
fn shows_forms(declared: &ElicitationCapability) -> bool {
    declared.form.is_some() || declared.url.is_none()
}

fn decided(question: &Question, action: &ElicitationAction) -> Result<(), Failure> {
    let tool = question.tool();
    match action {
        ElicitationAction::Accept => {
            tracing::info!(tool, "a person accepted a write");
            Ok(())
        }
        ElicitationAction::Decline => {
            tracing::info!(tool, "a person declined a write");
            Err(refusal(
                "ConfirmationDeclinedError",
                "a person declined this write; nothing was sent",
                "do not try it again unless the person asks for it",
            ))
        }
        _ => {
            tracing::info!(tool, "a person dismissed the question about a write");
            Err(refusal(
                "ConfirmationCancelledError",
                "the question about this write was dismissed without a decision; nothing was sent",
                "ask the person in the conversation before calling the tool again",
            ))
        }
    }
}

fn refusal(error_type: &'static str, message: impl Into<String>, hint: &str) -> Failure {
    Failure::new(error_type, message, Some(hint), ErrorClass::Failed)
}

fn unavailable() -> Failure {
    refusal(
        "ConfirmationUnavailableError",
        "every write has to be confirmed by a person, and this client cannot ask one; nothing was sent",
        "use a client that declares elicitation (over HTTP: with revision 2026-07-28), or have the operator set \
         ENTRABOT_CONFIRM_WRITES to ask or never",
    )
}

fn too_late(patience: Duration) -> Failure {
    refusal(
        "ConfirmationTimeoutError",
        format!("nobody decided about this write within {} s; nothing was sent", patience.as_secs()),
        "ask the person in the conversation before calling the tool again",
    )
}

fn withdrawn() -> Failure {
    refusal(
        "CancelledError",
        "the call was cancelled while a person was asked about it; nothing was sent",
        "call the tool again if it is still wanted",
    )
}

fn unreadable() -> Failure {
    refusal(
        "ConfirmationFailedError",
        "the client's answer to the question about this write cannot be understood; nothing was sent",
        "update the client, or have the operator set ENTRABOT_CONFIRM_WRITES to never",
    )
}

/// The client declared that it can ask, and did not. Its text may quote the question.
fn unasked(error: ServiceError) -> Failure {
    let why = match error {
        ServiceError::McpError(error) => format!("the client answered with error {}", error.code.0),
        ServiceError::TransportClosed | ServiceError::TransportSend(_) => "the client is gone".to_owned(),
        _ => "the client did not take the question".to_owned(),
    };
    refusal(
        "ConfirmationFailedError",
        format!("no person could be asked about this write: {why}; nothing was sent"),
        "look at the client's own log; the operator may set ENTRABOT_CONFIRM_WRITES to never",
    )
}

#[cfg(test)]
mod tests;
