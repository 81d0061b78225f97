use std::borrow::Cow;

use crate::{Diagnose, ErrorClass};

/// Why a Work IQ call gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum A365Error {
    /// Placeholder of the skeleton.
    #[error("not configured")]
    NotConfigured,
}

impl Diagnose for A365Error {
    fn error_type(&self) -> &'static str {
        todo!("a365")
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        todo!("a365")
    }
    fn class(&self) -> ErrorClass {
        todo!("a365")
    }
}
