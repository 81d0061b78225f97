use crate::{BlueprintAppId, ObjectId};

/// Which blueprint the agent belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlueprintChoice {
    /// One of our own, made when it is not there yet. Never adopts what is not ours.
    New,
    /// This one.
    Use(BlueprintAppId),
}

/// The agent that shall exist.
#[derive(Clone, Debug)]
pub struct Desired {
    pub(super) name: String,
    pub(super) blueprint: BlueprintChoice,
    pub(super) upn: String,
    pub(super) sponsors: Vec<ObjectId>,
    pub(super) work_iq: bool,
    pub(super) usage_location: String,
}

/// A part of [`Desired`] is not usable. The part itself is not shown.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not usable: {reason}")]
pub struct InvalidDesired {
    what: &'static str,
    reason: &'static str,
}

impl crate::Diagnose for InvalidDesired {
    fn error_type(&self) -> &'static str {
        "ProvisioningError"
    }
    fn hint(&self) -> Option<std::borrow::Cow<'static, str>> {
        Some(format!("correct {}", self.what).into())
    }
    fn class(&self) -> crate::ErrorClass {
        crate::ErrorClass::Configuration
    }
}

impl Desired {
    /// `name` is the blueprint's display name, the identity's is `{name} agent`; `upn` is the agent user's.
    ///
    /// # Errors
    /// When a part is empty, too long or holds characters that it cannot hold.
    pub fn new(
        name: &str,
        blueprint: BlueprintChoice,
        upn: &str,
        sponsors: Vec<ObjectId>,
    ) -> Result<Self, InvalidDesired> {
        let refuse = |what, reason| Err(InvalidDesired { what, reason });
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 100 {
            return refuse("the name", "it must have 1 to 100 characters");
        }
        if name.chars().any(char::is_control) {
            return refuse("the name", "it holds a control character");
        }
        let Some((local, domain)) = upn.split_once('@') else {
            return refuse("the agent user's UPN", "it has no @");
        };
        let local_ok = (1..=64).contains(&local.len())
            && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"'.-_!#^~".contains(&b));
        let domain_ok = domain.contains('.')
            && domain.len() <= 253
            && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if !local_ok || !domain_ok {
            return refuse("the agent user's UPN", "it is not of the form name@domain");
        }
        Ok(Self {
            name: name.to_owned(),
            blueprint,
            upn: upn.to_owned(),
            sponsors,
            work_iq: false,
            usage_location: "US".into(),
        })
    }

    /// Also the tenant-wide consent and the licence that the Work IQ servers need.
    #[must_use]
    pub fn with_work_iq(self, work_iq: bool) -> Self {
        Self { work_iq, ..self }
    }

    /// The agent user's country, where it has none yet: licences demand one. `US` unless set.
    ///
    /// # Errors
    /// When it is not two letters (ISO 3166-1).
    pub fn with_usage_location(self, country: &str) -> Result<Self, InvalidDesired> {
        if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(InvalidDesired {
                what: "the usage location",
                reason: "it is not a two-letter country code",
            });
        }
        Ok(Self { usage_location: country.to_ascii_uppercase(), ..self })
    }

    pub(super) fn identity_name(&self) -> String {
        identity_name(&self.name)
    }
    pub(super) fn user_name(&self) -> String {
        format!("{} agent", self.name)
    }
    /// The part of the UPN that Graph wants apart: letters and digits are always taken.
    pub(super) fn mail_nickname(&self) -> String {
        let local = self.upn.split('@').next().unwrap_or_default();
        let plain: String =
            local.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect();
        if plain.is_empty() { "agent".into() } else { plain }
    }
}

/// The display name of the agent identity under a blueprint of this name.
pub(super) fn identity_name(blueprint: &str) -> String {
    format!("{blueprint} agent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_upns_are_checked_before_anything_is_asked() {
        let desired = |name: &str, upn: &str| Desired::new(name, BlueprintChoice::New, upn, Vec::new());
        assert!(desired("demo", "agent@contoso.example").is_ok());
        assert!(desired("d'emo ü", "a.b-c_d'e@contoso.example").is_ok());
        for (name, upn) in [
            ("", "agent@contoso.example"),
            ("a\nb", "agent@contoso.example"),
            ("demo", "agent"),
            ("demo", "@contoso.example"),
            ("demo", "agent@"),
            ("demo", "a b@contoso.example"),
            ("demo", "agent@con toso.example"),
            ("demo", "agent@x@contoso.example"),
        ] {
            assert!(desired(name, upn).is_err(), "{name:?} {upn:?}");
        }
        assert!(desired("demo", "a@b.example").unwrap().with_usage_location("USA").is_err());
    }
}
