//! The JOSE parts: tokens signed by the stand-in's own key, and client assertions checked against
//! a registered certificate.

use std::io;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pki::{Credential, thumbprint_sha1};

/// Signs every token of one stand-in (RS256) and publishes the public half.
pub(crate) struct TokenSigner {
    key: RsaKeyPair,
    cert_der: Vec<u8>,
    kid: String,
}

impl TokenSigner {
    pub(crate) fn new(credential: &Credential) -> io::Result<Self> {
        Ok(Self {
            key: RsaKeyPair::from_pkcs8(&credential.key_der).map_err(io::Error::other)?,
            kid: thumbprint_sha1(&credential.cert_der),
            cert_der: credential.cert_der.clone(),
        })
    }

    /// The claims as a compact JWS.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "RS256", "x5t": self.kid, "kid": self.kid});
        let mut token = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .expect("the buffer has the modulus' length and the key is our own");
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        token
    }

    /// The claims of a token this signer made, whatever its times say.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        let jws = Jws::parse(token)?;
        jws.signed_by("RS256", &self.cert_der).then_some(jws.claims)
    }

    /// The JWK set that verifies its tokens (RFC 7517).
    pub(crate) fn jwks(&self, issuer: &str) -> Value {
        let (_, certificate) = X509Certificate::from_der(&self.cert_der).expect("our own certificate parses");
        let (modulus, exponent) = match certificate.public_key().parsed() {
            Ok(x509_parser::public_key::PublicKey::RSA(rsa)) => {
                (unsigned(rsa.modulus), unsigned(rsa.exponent))
            }
            _ => unreachable!("the signing key is RSA"),
        };
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "x5t": self.kid,
            "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
            "x5c": [STANDARD.encode(&self.cert_der)], "issuer": issuer,
        }]})
    }
}

/// A compact JWS, taken apart but not believed.
pub(crate) struct Jws {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Jws {
    /// Takes `header.claims.signature` apart; `None` when it is no such thing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| -> Option<Value> {
            let value: Value = serde_json::from_slice(&decode(part)?).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed: signed.to_owned(),
            signature: decode(signature)?,
        })
    }

    /// Whether the certificate's key made the signature with this algorithm (`PS256`, `RS256`).
    pub(crate) fn signed_by(&self, algorithm: &str, certificate_der: &[u8]) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate_der) else { return false };
        let key = &certificate.public_key().subject_public_key.data;
        let parameters = match algorithm {
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return false,
        };
        UnparsedPublicKey::new(parameters, key).verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

/// base64url, padded or not.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// A number a token may carry as an integer or, in MSAL Python's case, as a float.
pub(crate) fn seconds(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds since 1970 fit; a wild value is out of any window"
    )]
    value.as_i64().or_else(|| value.as_f64().map(|float| float as i64))
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn unsigned(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}
