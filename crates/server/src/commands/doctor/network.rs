//! Everything that waits for somebody else: 2 s for each question, 10 s for all of them.

use std::time::{Duration, Instant};

use entrabot_identity::{
    BaseUrl, Config, Egress, HopReport, ReachError, Reached, Resource, TokenExchange, reach,
};
use entrabot_keystore::ErrorClass;
use tokio::runtime::Runtime;

use super::check::{Check, Group, Report, Status};
use crate::commands::token::clock_in_words;
use crate::failure::Failure;

const EACH: Duration = Duration::from_secs(2);
const ALL: Duration = Duration::from_secs(10);
/// How many seconds the clock here may differ from a server's: an assertion lives 600.
const MAX_SKEW: i64 = 120;
/// From here on it is worth a word.
const SOME_SKEW: i64 = 30;

pub(super) const LOGIN: &str = "Entra login";

/// The time that is left, and what the waiting runs on.
pub(super) struct Network {
    runtime: Runtime,
    deadline: Instant,
}

/// A base, by the name that people know it by.
pub(super) struct Base<'a> {
    name: &'static str,
    url: &'a BaseUrl,
    path: String,
}

/// What came of a look at one of them.
pub(super) struct Look {
    name: &'static str,
    host: String,
    came_to: Result<Reached, ReachError>,
}

impl Look {
    pub(super) fn reached(&self, name: &str) -> bool {
        self.name == name && self.came_to.is_ok()
    }
}

impl Network {
    /// `begun` is when the doctor began.
    pub(super) fn new(begun: Instant) -> Result<Self, Failure> {
        Ok(Self { runtime: crate::commands::runtime()?, deadline: begun + ALL })
    }

    pub(super) fn run<T>(&self, asking: impl Future<Output = T>) -> T {
        self.runtime.block_on(asking)
    }

    /// No more than is left.
    fn at_most(&self, longest: Duration) -> Duration {
        longest.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// The three bases, side by side.
    pub(super) fn look_at(&self, config: &Config, egress: &Egress) -> Vec<Look> {
        let [login, graph, work_iq] = bases(config);
        let within = self.at_most(EACH);
        let look = async |base: Base<'_>| Look {
            name: base.name,
            host: base.url.host().to_owned(),
            came_to: reach(base.url, &base.path, egress, within).await,
        };
        let looks = self.run(async { tokio::join!(look(login), look(graph), look(work_iq)) });
        vec![looks.0, looks.1, looks.2]
    }

    /// The three hops, one after the other.
    pub(super) fn hops(&self, exchange: &TokenExchange, resource: &Resource) -> Vec<HopReport> {
        // What is asked with the token needs its time as well.
        let within = self.at_most(ALL).saturating_sub(EACH).min(3 * EACH);
        self.run(exchange.check_within(resource, within))
    }

    /// A name that is still being looked up is not waited for.
    pub(super) fn end(self) {
        self.runtime.shutdown_background();
    }
}

fn bases(config: &Config) -> [Base<'_>; 3] {
    // Small answers that need no token; any status shows that the right host is there.
    let tenant = config.tenant_id().map_or_else(|| "common".to_owned(), ToString::to_string);
    let discovery = format!("/{tenant}/v2.0/.well-known/openid-configuration");
    [
        Base { name: LOGIN, url: config.authority_base(), path: discovery },
        Base { name: "Microsoft Graph", url: config.graph_base(), path: "/v1.0/".into() },
        Base { name: "Work IQ", url: config.a365(), path: String::new() },
    ]
}

/// The clock, then the bases: a clock that is wrong makes sound certificates look wrong.
pub(super) fn tell(looks: &[Look], hops: &[HopReport], report: &mut Report) {
    report.add(Group::Network, clock(looks, hops));
    for look in looks {
        report.add(
            Group::Network,
            match &look.came_to {
                Ok(reached) => Check::pass(look.name, described(&look.host, reached)),
                Err(error) => Check::failed(look.name, &Failure::of(error)),
            },
        );
    }
}

fn described(host: &str, reached: &Reached) -> String {
    let way = if reached.through_proxy { ", through ENTRABOT_PROXY" } else { "" };
    format!("{host} answers over TLS in {} ms (HTTP {}{way})", reached.elapsed.as_millis(), reached.status)
}

fn clock(looks: &[Look], hops: &[HopReport]) -> Check {
    const NAME: &str = "clock";
    const HINT: &str = "set this machine's clock (timedatectl set-ntp true); an assertion is valid for 600 s";
    let seen = looks
        .iter()
        .filter_map(|look| Some((look.name, look.came_to.as_ref().ok()?.clock_skew_seconds?)))
        .chain(hops.iter().filter_map(|hop| Some((LOGIN, hop.clock_skew_seconds?))));
    let Some((server, skew)) = seen.max_by_key(|(_, skew)| skew.abs()) else {
        return Check::skip(NAME, "no server told its time", "mend the network first");
    };
    let detail = clock_in_words(skew, server);
    match skew.abs() {
        ..SOME_SKEW => Check::pass(NAME, detail),
        SOME_SKEW..=MAX_SKEW => Check::new(NAME, Status::Warn, detail, Some(HINT)),
        _ => Check::new(NAME, Status::Fail, detail, Some(HINT)),
    }
}

/// One question with a token, of a service by this name.
///
/// # Errors
/// The question's own, or that there was no answer in time.
pub(super) async fn briefly<T>(
    service: &str,
    asking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(EACH, asking).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(
            "TimeoutError",
            format!("{service} did not answer within {} s", EACH.as_secs()),
            Some("try again; if it stays, look at the network"),
            ErrorClass::Unavailable,
        )),
    }
}
