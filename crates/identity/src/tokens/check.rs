//! Minting a token through the real hops and telling of each: for `token check` and `doctor`.

use std::time::{Duration, Instant, SystemTime};

use zeroize::Zeroizing;

use super::claims::{self, ShownClaim, fmi_subject};
use super::post::Seen;
use super::{
    Budget, ClaimsChallenge, Hop, Resource, TokenEndpoint, TokenError, TokenExchange, TokenExchangeError,
    TokenResponse, TokenSource,
};

/// What one hop came to. Never a token.
#[derive(Debug)]
#[non_exhaustive]
pub struct HopReport {
    /// Which hop.
    pub hop: Hop,
    /// The host that was asked.
    pub host: String,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// How long it took, retries included.
    pub elapsed: Duration,
    /// The server's clock minus ours, in seconds, when it told its time.
    pub clock_skew_seconds: Option<i64>,
    /// The token's life and claims, or what went wrong.
    pub outcome: Result<HopSuccess, TokenError>,
}

/// A token was issued; this is what it says of itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct HopSuccess {
    /// `expires_in`, at most a day.
    pub lifetime: Option<Duration>,
    /// The claims that matter; empty for an opaque token.
    pub claims: Vec<ShownClaim>,
    /// What looks odd in the claims. The token was issued all the same.
    pub oddities: Vec<&'static str>,
}

impl TokenExchange {
    /// Runs the three hops anew, past the cache, and reports each; ends at the first that fails.
    pub async fn check(&self, resource: &Resource) -> Vec<HopReport> {
        self.check_in(resource, Budget::start()).await
    }

    /// The same in less time; the hop that it ran out at says so.
    pub async fn check_within(&self, resource: &Resource, longest: Duration) -> Vec<HopReport> {
        self.check_in(resource, Budget::within(longest)).await
    }

    /// What a token for `resource` says of itself, to be shown; empty for an opaque one.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    pub async fn shown_claims(&self, resource: &Resource) -> Result<Vec<ShownClaim>, TokenError> {
        let token = self.token(resource).await?;
        Ok(token.expose_for(resource).map(claims::shown).unwrap_or_default())
    }

    async fn check_in(&self, resource: &Resource, budget: Budget) -> Vec<HopReport> {
        let mut reports = Vec::new();
        let started = Instant::now();
        let assertion = match self.new_assertion(budget).await {
            Ok(assertion) => assertion,
            Err(error) => {
                reports.push(report(self.endpoint(), Hop::Blueprint, started, None, Err(error)));
                return reports;
            }
        };
        let endpoint = match self.hop1_endpoint().await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                reports.push(report(self.endpoint(), Hop::Blueprint, started, None, Err(error)));
                return reports;
            }
        };
        let form = self.hop1_form(&assertion);
        let hop1 = self.run(&endpoint, Hop::Blueprint, &form, budget, &mut reports).await;
        let Some(t1) = hop1 else { return reports };
        let endpoint = self.endpoint();
        let form = self.hop2_form(&t1, self.exchange_scope());
        let Some(t2) = self.run(endpoint, Hop::AgentIdentity, &form, budget, &mut reports).await else {
            return reports;
        };
        let capabilities = ClaimsChallenge::parameter(None);
        let form = self.hop3_form(&t1, &t2, resource, &capabilities);
        let _token = self.run(endpoint, Hop::AgentUser, &form, budget, &mut reports).await;
        reports
    }

    async fn run(
        &self,
        endpoint: &TokenEndpoint,
        hop: Hop,
        form: &[(&str, &str)],
        budget: Budget,
        reports: &mut Vec<HopReport>,
    ) -> Option<Zeroizing<String>> {
        let started = Instant::now();
        let (result, seen) = endpoint.post_timed(hop, &self.identity().tenant, form, budget).await;
        let (outcome, token) = match result {
            Ok(response) => {
                let (success, token) = self.look_at(hop, response);
                (Ok(success), Some(token))
            }
            Err(error) => (Err(TokenExchangeError::into(error)), None),
        };
        reports.push(report(endpoint, hop, started, seen, outcome));
        token
    }

    fn look_at(&self, hop: Hop, response: TokenResponse) -> (HopSuccess, Zeroizing<String>) {
        let lifetime = response.lifetime();
        let token = response.into_token();
        let claims = claims::shown(&token);
        let oddities = if claims.is_empty() { Vec::new() } else { self.oddities(hop, &claims) };
        (HopSuccess { lifetime, claims, oddities }, token)
    }

    fn oddities(&self, hop: Hop, claims: &[ShownClaim]) -> Vec<&'static str> {
        let identity = self.identity();
        let is =
            |name: &str, want: &str| claims.iter().any(|claim| claim.name == name && claim.value == want);
        let mut found = Vec::new();
        let mut expect = |holds: bool, odd: &'static str| {
            if !holds {
                found.push(odd);
            }
        };
        match hop {
            Hop::Blueprint => {
                if let Some(subject) = fmi_subject(&identity.tenant, &identity.blueprint, &identity.agent) {
                    expect(is("sub", &subject), "sub is not that of this tenant, blueprint and agent");
                }
            }
            Hop::AgentUser => {
                expect(is("idtyp", "user"), "idtyp is not user");
                expect(is("oid", identity.user.as_str()), "oid is not the agent user");
                expect(
                    is("appid", identity.agent.as_str()) || is("azp", identity.agent.as_str()),
                    "appid is not the agent identity",
                );
                expect(claims::has_facet(claims, "xms_act_fct", "11"), "xms_act_fct does not contain 11");
                expect(claims::has_facet(claims, "xms_sub_fct", "13"), "xms_sub_fct does not contain 13");
                expect(
                    is("xms_par_app_azp", identity.blueprint.as_str()),
                    "xms_par_app_azp is not the blueprint",
                );
            }
            Hop::AgentIdentity | Hop::Provisioner | Hop::Person | Hop::KeyVault => {}
        }
        found
    }
}

/// The server's clock minus ours, in seconds.
pub(super) fn report(
    endpoint: &TokenEndpoint,
    hop: Hop,
    started: Instant,
    seen: Option<Seen>,
    outcome: Result<HopSuccess, TokenError>,
) -> HopReport {
    HopReport {
        hop,
        host: endpoint.host().to_string(),
        status: seen.map(|seen| seen.status),
        elapsed: started.elapsed(),
        clock_skew_seconds: seen.and_then(|seen| seen.date).map(skew),
        outcome,
    }
}

pub(super) fn skew(server: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match server.duration_since(SystemTime::now()) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}
