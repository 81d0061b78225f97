//! What holds a call to the definition of its tool.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Transport;
use super::conversation::Conversation;
use super::failure::Failure;
use crate::definitions::Definition;
use crate::error::CallFailure;
use crate::pins::{PinError, PinState, PinStore};
use crate::reply::Listing;
use crate::tool_call::{Check, Purpose};
use crate::{ToolCall, schema};

/// How long the listing after a first write may take.
const LISTING_WITHIN: Duration = Duration::from_secs(5);

impl Transport {
    /// Holds the call to the definition that its server advertises: to its schema, to the one that a client was shown,
    /// and, where the tool is pinned, to the pin. Nothing of the call has left yet.
    pub(super) async fn check_definition(
        &self,
        call: &ToolCall,
        arguments: &Map<String, Value>,
        pinned: bool,
        check: &Check,
        conversation: &mut Conversation<'_>,
    ) -> Result<(), Failure> {
        if !pinned && *check == Check::Nothing {
            return Ok(());
        }
        let definitions = match conversation.definitions().await {
            Ok(definitions) => definitions,
            // A server that lists nothing has the last word on the arguments itself; nothing else has that excuse.
            Err(Failure { what: CallFailure::Upstream { .. } | CallFailure::UnknownTool, .. })
                if !pinned && *check == Check::Schema =>
            {
                return Ok(());
            }
            Err(failure) => return Err(Failure { may_be_applied: false, ..failure }),
        };
        let name = call.tool().as_str();
        let Some(definition) = definitions.iter().find(|definition| definition.name == name) else {
            return Err(Failure::before_sending(CallFailure::UnknownTool));
        };
        let shown = match check {
            Check::Definition { sha256 } => *sha256 == definition.sha256,
            Check::Nothing | Check::Schema => true,
        };
        if !shown || pinned && self.pin_state(call, definition).await? == PinState::Changed {
            return Err(Failure::before_sending(CallFailure::DefinitionChanged));
        }
        match check {
            Check::Nothing => Ok(()),
            Check::Schema | Check::Definition { .. } => schema::check(&definition.input_schema, arguments)
                .map_err(|rule| Failure::before_sending(CallFailure::ArgumentsRefused { rule })),
        }
    }

    /// The first definition of a tool that writes is trusted and recorded, after its first call: there is nothing
    /// to compare before it, and a server that offers no listing still works.
    pub(super) async fn pin_first_seen(&self, call: &ToolCall, conversation: &mut Conversation<'_>) {
        let Ok(definitions) = conversation.definitions_within(LISTING_WITHIN).await else {
            tracing::debug!(server = %call.server_name(), "no listing of tools to pin");
            return;
        };
        let name = call.tool().as_str();
        let Some(definition) = definitions.iter().find(|definition| definition.name == name) else { return };
        let pins = pins_of(call, std::slice::from_ref(definition));
        if let Err(error) = self.with_pins(move |store| store.pin_new(&pins)).await {
            tracing::warn!(%error, "the tool's definition could not be pinned");
        }
    }

    /// What becomes of a listing. Its call is still open, so what fails here is on record.
    pub(super) async fn listed(
        &self,
        call: &ToolCall,
        definitions: Arc<[Definition]>,
        purpose: Purpose,
    ) -> Result<Listing, Failure> {
        let mut listing = Listing { definitions, changed: Vec::new(), pins_begun_anew: false };
        let pins = pins_of(call, &listing.definitions);
        match purpose {
            Purpose::Show => {}
            Purpose::Offer => {
                let changed = self.with_pins(move |store| store.pin_new(&pins)).await.map_err(failure)?;
                let key_changed = |name: &str| changed.contains(&pin_key(call, name));
                let names = listing.definitions.iter().map(|definition| definition.name.clone());
                listing.changed = names.filter(|name| key_changed(name)).collect();
            }
            Purpose::Trust => {
                listing.pins_begun_anew =
                    self.with_pins(move |store| store.trust(&pins)).await.map_err(failure)?;
            }
        }
        Ok(listing)
    }

    pub(super) async fn is_pinned(&self, call: &ToolCall) -> Result<bool, Failure> {
        let key = pin_key(call, call.tool().as_str());
        self.with_pins(move |store| store.is_pinned(&key)).await.map_err(failure)
    }

    async fn pin_state(&self, call: &ToolCall, definition: &Definition) -> Result<PinState, Failure> {
        let key = pin_key(call, &definition.name);
        let sha256 = definition.sha256.clone();
        self.with_pins(move |store| store.state(&key, &sha256)).await.map_err(failure)
    }

    /// The pins lie in a file and under a seal, and both block.
    async fn with_pins<T: Send + 'static>(
        &self,
        run: impl FnOnce(&PinStore) -> Result<T, PinError> + Send + 'static,
    ) -> Result<T, PinError> {
        let store = Arc::clone(&self.pins);
        match entrabot_identity::spawn_blocking(move || run(&store)).await {
            Ok(result) => result,
            Err(error) => Err(PinError::Io(std::io::Error::other(error))),
        }
    }
}

fn pins_of(call: &ToolCall, definitions: &[Definition]) -> Vec<(String, String)> {
    definitions
        .iter()
        .map(|definition| (pin_key(call, &definition.name), definition.sha256.clone()))
        .collect()
}

fn pin_key(call: &ToolCall, tool: &str) -> String {
    format!("{}/{}/{tool}", call.server().endpoint().host(), call.server_name())
}

fn failure(error: PinError) -> Failure {
    Failure::before_sending(match error {
        PinError::Broken(reason) => CallFailure::PinsBroken { reason },
        PinError::Io(error) => CallFailure::Pins { reason: error.kind().to_string().into() },
        PinError::Keyring(error) => CallFailure::PinsKeyring { error },
    })
}
