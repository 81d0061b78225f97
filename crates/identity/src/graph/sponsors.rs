//! The humans who answer for the agent, read through Graph.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Graph, GraphError, text};
use crate::tokens::http::{Http, encoded};
use crate::{Config, Diagnose, Egress, ErrorClass, Resource, TokenError, TokenExchange};

/// Sponsors change seldom; a list is believed for this long.
const FRESH: Duration = Duration::from_secs(15 * 60);
const MEMBERS: &str = "id,displayName,userPrincipalName,mail,otherMails,proxyAddresses,identities";

/// A human who answers for the agent. Everything but the id is text from the directory: untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sponsor {
    /// The object id.
    pub id: String,
    /// The display name.
    pub display_name: Option<String>,
    /// The UPN.
    pub upn: Option<String>,
    /// Every form of address the sponsor is known by, in lower case.
    pub addresses: Vec<String>,
}

/// Why the sponsors are not known.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SponsorsError {
    /// There is no token to ask with.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Diagnose for SponsorsError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Token(error) => error.error_type(),
            Self::Graph(error) => error.error_type(),
        }
    }
    fn hint(&self) -> Option<std::borrow::Cow<'static, str>> {
        match self {
            Self::Token(error) => error.hint(),
            Self::Graph(error) => error.hint(),
        }
    }
    fn class(&self) -> ErrorClass {
        match self {
            Self::Token(error) => error.class(),
            Self::Graph(error) => error.class(),
        }
    }
}

/// Reads the agent identity's sponsors with its app-only token, and remembers them for a quarter of an hour.
pub struct Sponsors {
    graph: Graph,
    tokens: TokenExchange,
    agent: String,
    known: Mutex<Option<(Instant, Arc<[Sponsor]>)>>,
    /// One reader at a time; the others find what it brought.
    reading: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Sponsors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sponsors").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Sponsors {
    /// Of the agent of these settings.
    #[must_use]
    pub fn new(config: &Config, tokens: TokenExchange, egress: &Egress) -> Self {
        let agent = config.agent_object_id().unwrap_or(tokens.identity().agent.as_str()).to_owned();
        let graph = Graph::new(Arc::new(Http::new(egress)), config.graph_base(), Resource::graph(config));
        Self { graph, tokens, agent, known: Mutex::new(None), reading: tokio::sync::Mutex::new(()) }
    }

    /// The sponsors; read again when the last reading is older than a quarter of an hour.
    ///
    /// # Errors
    /// See [`SponsorsError`]. A failure is not remembered.
    pub async fn read(&self) -> Result<Arc<[Sponsor]>, SponsorsError> {
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let _one = self.reading.lock().await;
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let token = self.tokens.app_only_token(self.graph.resource()).await?;
        let sponsors: Arc<[Sponsor]> = sponsors_of(&self.graph, &token, &self.agent).await?.into();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), Arc::clone(&sponsors)));
        Ok(sponsors)
    }

    fn fresh(&self) -> Option<Arc<[Sponsor]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(read, _)| read.elapsed() < FRESH).map(|(_, sponsors)| Arc::clone(sponsors))
    }
}

/// The sponsors of an agent identity, read with the token of whoever may.
pub(crate) async fn sponsors_of(
    graph: &Graph,
    token: &dyn super::Bearer,
    identity: &str,
) -> Result<Vec<Sponsor>, GraphError> {
    let path = format!(
        "/v1.0/servicePrincipals/{}/microsoft.graph.agentIdentity/sponsors?$select={MEMBERS}",
        encoded(identity)
    );
    let found = graph.list("read the agent's sponsors", token, &path).await?;
    Ok(found.iter().filter_map(sponsor).collect())
}

fn sponsor(object: &serde_json::Map<String, serde_json::Value>) -> Option<Sponsor> {
    let upn = text(object, "userPrincipalName");
    let mut addresses: Vec<String> = Vec::new();
    let mut add = |address: &str| {
        let address = address.to_lowercase();
        if address.contains('@') && !addresses.contains(&address) {
            addresses.push(address);
        }
    };
    if let Some(upn) = upn {
        add(upn);
        if let Some(home) = home_of_guest(upn) {
            add(&home);
        }
    }
    if let Some(mail) = text(object, "mail") {
        add(mail);
    }
    let strings = |name: &str| {
        let list = object.get(name).and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        list.into_iter().filter_map(|item| item.as_str().map(str::to_owned))
    };
    strings("otherMails").for_each(|mail| add(&mail));
    strings("proxyAddresses").for_each(|proxy| {
        if let Some((_, address)) =
            proxy.split_once(':').filter(|(kind, _)| kind.eq_ignore_ascii_case("smtp"))
        {
            add(address);
        }
    });
    let identities =
        object.get("identities").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    for identity in &identities {
        if let Some(id) = identity.get("issuerAssignedId").and_then(serde_json::Value::as_str) {
            add(id);
        }
    }
    Some(Sponsor {
        id: text(object, "id")?.to_owned(),
        display_name: text(object, "displayName").map(str::to_owned),
        upn: upn.map(str::to_owned),
        addresses,
    })
}

/// `name_domain#EXT#@tenant` to `name@domain`: split at the last underscore; a domain holds a dot.
fn home_of_guest(upn: &str) -> Option<String> {
    let at = upn.to_uppercase().find("#EXT#@")?;
    let (name, domain) = upn.get(..at)?.rsplit_once('_')?;
    domain.contains('.').then(|| format!("{name}@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_sponsors_address_is_known() {
        let object = serde_json::json!({
            "id": "1", "displayName": "Ada", "userPrincipalName": "Ada_B_home.example#EXT#@contoso.example",
            "mail": "ada@home.example", "otherMails": ["A@x.example"],
            "proxyAddresses": ["SMTP:p@x.example", "x500:none@x.example"],
            "identities": [{"issuerAssignedId": "fed@x.example"}, {"issuerAssignedId": "no-address"}],
        });
        let sponsor = sponsor(object.as_object().unwrap()).unwrap();
        assert_eq!(
            sponsor.addresses,
            [
                "ada_b_home.example#ext#@contoso.example",
                "ada_b@home.example",
                "ada@home.example",
                "a@x.example",
                "p@x.example",
                "fed@x.example"
            ]
        );
    }

    #[test]
    fn an_object_without_an_id_is_no_sponsor() {
        assert_eq!(sponsor(serde_json::json!({"mail": "a@x.example"}).as_object().unwrap()), None);
    }
}
