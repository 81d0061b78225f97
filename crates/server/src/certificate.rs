//! How long the certificate in use is good for: asked by the doctor, and by a running server once a day.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entrabot_identity::{CertificateStatus, Config, Preflight, SessionState, SponsorsError};
use entrabot_keystore::ErrorClass;

use crate::compose::Parts;
use crate::failure::Failure;

/// A certificate is warned about from so many days before its end.
const WARN_DAYS: i64 = 30;
/// How long Graph may take for one check.
const GRAPH_WITHIN: Duration = Duration::from_secs(10);
/// What to do about a certificate that ends.
pub(crate) const ROTATE: &str = "run entrabot cert rotate";
/// A server looks once a day by the wall clock; its timers stand still while the machine sleeps.
const TICK: Duration = Duration::from_secs(60 * 60);
const BETWEEN_LOOKS: chrono::Duration = chrono::Duration::hours(24);

/// What the directory says of the certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// No thumbprint is configured.
    NotConfigured,
    /// The blueprint does not hold it.
    NotHeld,
    /// The directory does not say when it ends.
    Untold,
    /// It is over since this day.
    Ended(String),
    /// It ends soon: in so many days, on this day.
    EndsSoon(i64, String),
    /// It is good until this day.
    Good(String),
}

impl Validity {
    /// Asks the directory, as the agent.
    ///
    /// # Errors
    /// No token, or Graph refused or did not answer in time.
    pub(crate) async fn ask(config: &Config, preflight: &Preflight) -> Result<Self, Failure> {
        let Some(thumbprint) = config.current_thumbprint() else { return Ok(Self::NotConfigured) };
        Ok(match within(preflight.certificate(&thumbprint)).await? {
            CertificateStatus::Held { until } => Self::of(until.as_deref(), Utc::now()),
            _ => Self::NotHeld,
        })
    }

    fn of(until: Option<&str>, now: DateTime<Utc>) -> Self {
        let Some(end) = until.and_then(|until| DateTime::parse_from_rfc3339(until).ok()) else {
            return Self::Untold;
        };
        let (left, day) = (end.to_utc() - now, end.format("%Y-%m-%d").to_string());
        if left <= chrono::Duration::zero() {
            Self::Ended(day)
        } else if left <= chrono::Duration::days(WARN_DAYS) {
            Self::EndsSoon(left.num_days(), day)
        } else {
            Self::Good(day)
        }
    }
}

/// A slow directory must not hold up the rest.
///
/// # Errors
/// The question's own, or that there was no answer in time.
pub(crate) async fn within<T>(asking: impl Future<Output = Result<T, SponsorsError>>) -> Result<T, Failure> {
    match tokio::time::timeout(GRAPH_WITHIN, asking).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::new(
            "GraphApiError",
            "Microsoft Graph did not answer in time",
            Some("try again"),
            ErrorClass::Unavailable,
        )),
    }
}

/// Lets a server say in its log that the certificate ends, from 30 days before: once it is signed in, then once a day.
pub(crate) fn watch(parts: &Parts) {
    if parts.config().blueprint_cert_thumbprint().is_none() {
        return;
    }
    let parts = parts.clone();
    tokio::spawn(async move {
        parts.sign_in().settled().await;
        let mut next = Utc::now();
        loop {
            // An agent that is not signed in has a graver problem, which is told elsewhere.
            if Utc::now() >= next && parts.session().state() == SessionState::AgentUser {
                match look(&parts).await {
                    Ok(validity) => {
                        tell(&validity);
                        next = Utc::now() + BETWEEN_LOOKS;
                    }
                    Err(failure) => tracing::info!(
                        error = failure.message(),
                        error_type = failure.error_type(),
                        "the end of the certificate could not be read; the next try is in an hour"
                    ),
                }
            }
            tokio::time::sleep(TICK).await;
        }
    });
}

async fn look(parts: &Parts) -> Result<Validity, Failure> {
    let exchange = parts.sign_in().exchange()?.clone();
    let preflight = Preflight::new(parts.config(), exchange, parts.egress());
    Validity::ask(parts.config(), &preflight).await
}

fn tell(validity: &Validity) {
    match validity {
        Validity::EndsSoon(days, on) => {
            tracing::warn!(days, on, hint = ROTATE, "the blueprint's certificate ends soon");
        }
        Validity::Ended(on) => tracing::error!(on, hint = ROTATE, "the blueprint's certificate is over"),
        Validity::NotHeld => tracing::error!(
            hint = ROTATE,
            "the blueprint no longer holds the certificate of ENTRABOT_BLUEPRINT_CERT_THUMBPRINT"
        ),
        Validity::Good(until) => tracing::info!(until, "the blueprint's certificate is good"),
        Validity::Untold => {
            tracing::warn!(hint = ROTATE, "the directory does not say when the certificate ends")
        }
        Validity::NotConfigured => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_about_from_thirty_days_on() {
        let now = DateTime::parse_from_rfc3339("2026-11-24T12:00:00Z").unwrap().to_utc();
        for (until, expected) in [
            ("2026-12-24T12:00:01Z", Validity::Good("2026-12-24".into())),
            ("2026-12-24T12:00:00Z", Validity::EndsSoon(30, "2026-12-24".into())),
            ("2026-11-25T11:00:00Z", Validity::EndsSoon(0, "2026-11-25".into())),
            ("2026-11-24T12:00:00Z", Validity::Ended("2026-11-24".into())),
            ("2025-11-24T12:00:00+01:00", Validity::Ended("2025-11-24".into())),
            ("soon", Validity::Untold),
        ] {
            assert_eq!(Validity::of(Some(until), now), expected, "{until}");
        }
        assert_eq!(Validity::of(None, now), Validity::Untold);
    }
}
