//! The client assertion of hop 1: a JWS in compact form (RFC 7515, RFC 7523).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrabot_keystore::{CertificateThumbprint, SignError, SignatureAlgorithm, Signer};
use zeroize::Zeroizing;

/// `exp - nbf`, as Entra expects.
const LIFETIME: u64 = 600;
/// An assertion is sent for 8 of its 10 minutes.
const REUSE: Duration = Duration::from_secs(480);

/// A signed assertion. As good as a password for ten minutes: never shown.
pub(crate) struct Assertion(Zeroizing<String>);

impl Assertion {
    /// `audience` is the token endpoint; `issuer` the app.
    pub(crate) fn sign(
        signer: &dyn Signer,
        algorithm: SignatureAlgorithm,
        audience: &str,
        issuer: &str,
        now: SystemTime,
    ) -> Result<Self, SignError> {
        let unsigned = Unsigned::new(signer.certificate(), algorithm, audience, issuer, now)?;
        let signature = signer.sign(algorithm, unsigned.input())?;
        Ok(unsigned.signed(&signature))
    }

    /// One that a platform issued.
    #[cfg(feature = "federated")]
    pub(crate) fn issued(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The part that names algorithm and certificate.
    pub(super) fn header(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl std::fmt::Debug for Assertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assertion(redacted)")
    }
}

/// An assertion that wants its signature.
pub(crate) struct Unsigned(Zeroizing<String>);

impl Unsigned {
    /// As [`Assertion::sign`], for the key of this certificate.
    pub(crate) fn new(
        certificate: &CertificateThumbprint,
        algorithm: SignatureAlgorithm,
        audience: &str,
        issuer: &str,
        now: SystemTime,
    ) -> Result<Self, SignError> {
        let name = jws_name(algorithm)?;
        let issued = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let header = serde_json::json!({"alg": name, "typ": "JWT", "x5t#S256": certificate.as_str()});
        let claims = serde_json::json!({
            "aud": audience,
            "iss": issuer,
            "sub": issuer,
            "jti": uuid::Uuid::new_v4().hyphenated().to_string(),
            "nbf": issued,
            "iat": issued,
            "exp": issued + LIFETIME,
        });
        Ok(Self::compact(&header.to_string(), claims.to_string().as_bytes()))
    }

    /// `b64url(header).b64url(payload)` (RFC 7515, section 5.1).
    fn compact(header: &str, payload: &[u8]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(2 * (header.len() + payload.len()) + 1024));
        URL_SAFE_NO_PAD.encode_string(header, &mut text);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        Self(text)
    }

    /// What is signed.
    pub(crate) fn input(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// `b64url(header).b64url(payload).b64url(signature)` (RFC 7515, section 7.1).
    pub(crate) fn signed(mut self, signature: &[u8]) -> Assertion {
        self.0.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut self.0);
        Assertion(self.0)
    }
}

/// RFC 7518, section 3.1.
pub(crate) fn jws_name(algorithm: SignatureAlgorithm) -> Result<&'static str, SignError> {
    match algorithm {
        SignatureAlgorithm::Ps256 => Ok("PS256"),
        SignatureAlgorithm::Rs256 => Ok("RS256"),
        SignatureAlgorithm::Es256 => Ok("ES256"),
        other => Err(SignError::UnsupportedAlgorithm(other)),
    }
}

/// The last assertion, while it may be sent again.
#[derive(Debug, Default)]
pub(super) struct AssertionCache {
    last: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    assertion: Arc<Assertion>,
    audience: String,
    issuer: String,
    made: Instant,
    made_wall: SystemTime,
}

impl AssertionCache {
    pub(super) fn get(&self, audience: &str, issuer: &str) -> Option<Arc<Assertion>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = last.as_ref().filter(|kept| kept.audience == audience && kept.issuer == issuer)?;
        // Both clocks: the monotonic one stands still while a laptop sleeps, the other may be set back.
        let young = kept.made.elapsed() < REUSE && kept.made_wall.elapsed().is_ok_and(|age| age < REUSE);
        young.then(|| Arc::clone(&kept.assertion))
    }

    pub(super) fn keep(&self, audience: &str, issuer: &str, assertion: &Arc<Assertion>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept {
            assertion: Arc::clone(assertion),
            audience: audience.to_owned(),
            issuer: issuer.to_owned(),
            made: Instant::now(),
            made_wall: SystemTime::now(),
        });
    }

    /// After a refusal the next try signs anew.
    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_lc_rs::signature::{self, KeyPair, RsaKeyPair, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    struct TestSigner {
        key: RsaKeyPair,
        thumbprint: CertificateThumbprint,
        signatures: AtomicUsize,
    }

    impl TestSigner {
        fn new() -> Self {
            Self {
                key: RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap(),
                thumbprint: CertificateThumbprint::of_der(b"certificate"),
                signatures: AtomicUsize::new(0),
            }
        }
    }

    impl Signer for TestSigner {
        fn certificate(&self) -> &CertificateThumbprint {
            &self.thumbprint
        }
        fn sign(&self, algorithm: SignatureAlgorithm, input: &[u8]) -> Result<Vec<u8>, SignError> {
            self.signatures.fetch_add(1, Ordering::SeqCst);
            let padding: &dyn signature::RsaEncoding = match algorithm {
                SignatureAlgorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
                _ => &signature::RSA_PSS_SHA256,
            };
            let mut out = vec![0; self.key.public_modulus_len()];
            self.key.sign(padding, &aws_lc_rs::rand::SystemRandom::new(), input, &mut out).unwrap();
            Ok(out)
        }
    }

    fn part(text: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_is_what_entra_verifies() {
        let signer = TestSigner::new();
        let now = SystemTime::now();
        for (algorithm, name, verification) in [
            (SignatureAlgorithm::Ps256, "PS256", &signature::RSA_PSS_2048_8192_SHA256),
            (SignatureAlgorithm::Rs256, "RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
        ] {
            let audience = "https://login.example/t/oauth2/v2.0/token";
            let assertion = Assertion::sign(&signer, algorithm, audience, "app", now).unwrap();
            let parts: Vec<&str> = assertion.expose().split('.').collect();
            let [header, claims, signature] = parts[..] else { panic!("three parts") };
            assert_eq!(
                part(header),
                serde_json::json!({"alg": name, "typ": "JWT", "x5t#S256": signer.thumbprint.as_str()})
            );
            let claims_value = part(claims);
            let issued = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
            assert_eq!(claims_value["aud"], audience);
            assert_eq!((&claims_value["iss"], &claims_value["sub"]), (&"app".into(), &"app".into()));
            assert_eq!((&claims_value["nbf"], &claims_value["iat"]), (&issued.into(), &issued.into()));
            assert_eq!(claims_value["exp"], issued + 600);
            assert_eq!(claims_value.as_object().unwrap().len(), 7);
            let input = format!("{header}.{claims}");
            UnparsedPublicKey::new(verification, signer.key.public_key().as_ref())
                .verify(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
                .expect("the signature verifies");
            assert!(!format!("{assertion:?}").contains(signature));
        }
    }

    #[test]
    fn each_assertion_has_a_jti_of_its_own() {
        let signer = TestSigner::new();
        let jti = || {
            let assertion =
                Assertion::sign(&signer, SignatureAlgorithm::Ps256, "a", "i", SystemTime::now()).unwrap();
            part(assertion.expose().split('.').nth(1).unwrap())["jti"].clone()
        };
        assert_ne!(jti(), jti());
    }

    /// RFC 7515, appendix A.2: the RS256 example, whose header, payload, key and signature are given.
    #[test]
    fn the_example_of_rfc_7515_appendix_a_2_comes_out_byte_for_byte() {
        let header = r#"{"alg":"RS256"}"#;
        let payload = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        let modulus = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
            T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTB\
            EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD\
            TW9gb54h4FRWyuXpoQ";
        let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9u\
            JdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn\
            6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igc\
            N_IoypGlUPQGe77Rw";
        let signature: String = signature.split_whitespace().collect();
        let modulus: String = modulus.split_whitespace().collect();
        let unsigned = Unsigned::compact(header, payload);
        let key = signature::RsaPublicKeyComponents {
            n: URL_SAFE_NO_PAD.decode(&modulus).unwrap(),
            e: vec![1, 0, 1],
        };
        let bytes = URL_SAFE_NO_PAD.decode(&signature).unwrap();
        key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, unsigned.input(), &bytes)
            .expect("the example verifies");
        let made = unsigned.signed(&bytes);
        let expected = format!(
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.{signature}"
        );
        assert_eq!(made.expose(), expected);
    }

    #[test]
    fn an_assertion_is_kept_for_its_own_audience_and_app_only() {
        let signer = TestSigner::new();
        let cache = AssertionCache::default();
        let assertion = Arc::new(
            Assertion::sign(&signer, SignatureAlgorithm::Ps256, "a", "i", SystemTime::now()).unwrap(),
        );
        cache.keep("a", "i", &assertion);
        assert!(cache.get("a", "i").is_some());
        assert!(cache.get("a", "other").is_none());
        assert!(cache.get("other", "i").is_none());
        cache.forget();
        assert!(cache.get("a", "i").is_none());
    }
}
