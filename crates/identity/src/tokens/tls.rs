use std::error::Error;

/// Why no TLS connection could be made, for people to read. Nothing in it comes from the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFault(&'static str);

impl TlsFault {
    /// The fault that an error of an HTTP client is about, if it is about TLS. Clients wrap the TLS library's own error
    /// several times, also inside an `io::Error`, which gives its content as no source.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Some(Self(explain(tls)));
            }
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if let Some(fault) = inner.and_then(|inner| Self::find(inner)) {
                return Some(fault);
            }
            next = error.source();
        }
        None
    }

    /// E.g. `the host's certificate has expired (or this machine's clock is wrong)`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

fn explain(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "the host's certificate has expired (or this machine's clock is wrong)"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "the host's certificate is not valid yet (or this machine's clock is wrong)"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "the host's certificate is for another name (is the address in the settings right?)"
            }
            Certificate::UnknownIssuer => {
                "the host's certificate is from an authority that is not trusted here (ENTRABOT_CA_BUNDLE names more)"
            }
            Certificate::Revoked => "the host's certificate was revoked",
            _ => "the host's certificate is not valid",
        },
        rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(_) => {
            "the host speaks no TLS version or cipher that is accepted here (1.2 at least)"
        }
        _ => "the TLS handshake with the host failed",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_librarys_error_is_found_however_it_is_wrapped() {
        let tls = || rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped: [&(dyn Error + 'static); 3] =
            [&tls(), &io::Error::other(tls()), &io::Error::other(io::Error::other(tls()))];
        for error in wrapped {
            assert!(TlsFault::find(error).unwrap().as_str().contains("expired"), "{error:?}");
        }
        assert_eq!(TlsFault::find(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    }
}
