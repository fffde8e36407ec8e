//! JSON Web Tokens (RFC 7519): whose they are, by keys from a file.
//!
//! The file holds one or several public keys in PEM, a JWK or a JWK set, or else a shared secret as text. Each
//! key goes with exactly one algorithm, by its kind: RS256, ES256, EdDSA, or HS256 for a secret. So a token
//! cannot choose an algorithm that its key is not for, and there is none named `none`.
//!
//! A token must carry `exp`. `exp` and `nbf` are compared with a leeway; `aud` and `iss` where the
//! configuration says what they have to be. The library reads and compares; the signatures are ring's,
//! which the gateway has for TLS anyway.

use std::sync::Once;

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::DecodingKeyKind;
use jsonwebtoken::Validation;
use jsonwebtoken::crypto::CryptoProvider;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::crypto::KeyUtils;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::AlgorithmParameters;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::signature;
use ring::hmac;
use ring::signature::ECDSA_P256_SHA256_FIXED;
use ring::signature::ED25519;
use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use ring::signature::RsaPublicKeyComponents;
use ring::signature::UnparsedPublicKey;
use serde_json::Map;
use serde_json::Value;

use crate::config::JwtConfig;
use crate::limits::CLAIM_BYTES_MAX;
use crate::limits::CLAIMS_MAX;
use crate::limits::JWT_BYTES_MAX;
use crate::limits::JWT_KEYS_MAX;
use crate::limits::USER_NAME_BYTES_MAX;

/// A shared secret has at least as many bytes as HS256's hash (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// What is wrong with a file of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A PEM block.
    #[error("a PEM block is no public key for RS256, ES256 or EdDSA")]
    Pem,
    /// JSON.
    #[error("the JSON is no JWK and no JWK set")]
    Json,
    /// A JWK.
    #[error("a JWK is no key for RS256, ES256 (P-256), EdDSA (Ed25519) or HS256")]
    Jwk,
    /// A short secret.
    #[error("a shared secret has at least {SECRET_BYTES_MIN} bytes")]
    Short,
    /// Nothing there.
    #[error("there is no key")]
    None,
    /// Too many.
    #[error("there are more than {JWT_KEYS_MAX} keys")]
    Many,
}

/// A key and the algorithm that it is for.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Keys that tokens are checked with.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) user: String,
    pub(super) groups: Vec<Box<str>>,
    /// The simple claims, by `jwt.NAME`.
    pub(super) values: Vec<(Box<str>, Box<str>)>,
    /// Seconds since the epoch.
    pub(super) expires: u64,
}

/// Why a token is refused. Not told to its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("it is no token, or of another algorithm")]
    Shape,
    #[error("no key made its signature")]
    Signature,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    Early,
    #[error("it is for another audience, or of another issuer")]
    Elsewhere,
    #[error("a claim is missing or of the wrong type")]
    Claims,
}

/// Whether a password has the shape of a token, so that it is judged as one and by nobody else.
pub(super) fn looks_like_token(password: &[u8]) -> bool {
    password.starts_with(b"ey") && password.iter().filter(|byte| **byte == b'.').count() == 2
}

impl Keys {
    /// Reads the keys of a file.
    pub(super) fn parse(text: &str) -> Result<Keys, KeysError> {
        install_ring();
        let keys = if text.contains("-----BEGIN ") {
            of_pem(text)?
        } else if text.trim_start().starts_with('{') {
            of_json(text)?
        } else {
            let secret = text.trim_end_matches(['\r', '\n']);
            if secret.len() < SECRET_BYTES_MIN {
                return Err(if secret.is_empty() { KeysError::None } else { KeysError::Short });
            }
            let key = DecodingKey::from_secret(secret.as_bytes());
            vec![Key { id: None, algorithm: Algorithm::HS256, key }]
        };
        match keys.len() {
            0 => Err(KeysError::None),
            1..=JWT_KEYS_MAX => Ok(Keys(keys)),
            _ => Err(KeysError::Many),
        }
    }

    /// Whose `token` is, by the time of this machine's clock.
    pub(super) fn check(&self, token: &[u8], config: &JwtConfig) -> Result<Holder, TokenError> {
        if token.len() > JWT_BYTES_MAX {
            return Err(TokenError::Shape);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Shape)?;
        // Extensions that must be understood, and none is (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::Shape);
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = config.leeway.as_secs();
        validation.validate_nbf = true;
        validation.validate_aud = config.audience.is_some();
        let mut required = vec!["exp"];
        if let Some(audience) = &config.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let mut refusal = TokenError::Signature;
        for key in self.0.iter().filter(|key| key.algorithm == header.alg) {
            if key.id.is_some() && header.kid.is_some() && key.id != header.kid {
                continue;
            }
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(data) => return holder(&data.claims, config),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    kind => refusal = reason(kind),
                },
            }
        }
        Err(refusal)
    }
}

fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::Early,
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => TokenError::Elsewhere,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidSubject => TokenError::Claims,
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claims,
        _ => TokenError::Shape,
    }
}

fn holder(claims: &Map<String, Value>, config: &JwtConfig) -> Result<Holder, TokenError> {
    let user = claims.get(&config.user_claim).and_then(Value::as_str).unwrap_or_default();
    if !(1..=USER_NAME_BYTES_MAX).contains(&user.len()) || user.contains(char::is_control) {
        return Err(TokenError::Claims);
    }
    let expires = claims.get("exp").and_then(Value::as_f64).ok_or(TokenError::Claims)?;
    let groups: Vec<&str> = match claims.get(&config.groups_claim) {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(groups)) => {
            groups.split(' ').filter(|group| !group.is_empty()).collect()
        }
        _ => Vec::new(),
    };
    let mut values = Vec::new();
    for (name, value) in claims {
        flatten(&format!("jwt.{name}"), value, &mut values);
    }
    Ok(Holder {
        user: user.to_owned(),
        groups: groups.into_iter().take(CLAIMS_MAX).map(Box::from).collect(),
        values,
        // Saturates, which is what a time that far off is to be.
        expires: std::time::Duration::try_from_secs_f64(expires.max(0.0))
            .map_or(u64::MAX, |since| since.as_secs()),
    })
}

/// Texts, numbers and booleans, those of objects by the path to them.
fn flatten(name: &str, value: &Value, values: &mut Vec<(Box<str>, Box<str>)>) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Object(fields) => {
            for (field, value) in fields {
                if values.len() < CLAIMS_MAX {
                    flatten(&format!("{name}.{field}"), value, values);
                }
            }
            return;
        }
        Value::Null | Value::Array(_) => return,
    };
    if values.len() < CLAIMS_MAX && name.len() + text.len() <= CLAIM_BYTES_MAX {
        values.push((Box::from(name), Box::from(text)));
    }
}

fn of_pem(text: &str) -> Result<Vec<Key>, KeysError> {
    let mut keys = Vec::new();
    let end = "-----END ";
    for block in text.split("-----BEGIN ").skip(1) {
        let pem = format!("-----BEGIN {block}");
        // What follows a block is a comment.
        let close = pem.find(end).and_then(|at| {
            let rest = pem.get(at + end.len()..)?;
            rest.find("-----").map(|dashes| at + end.len() + dashes + 5)
        });
        let pem = close.and_then(|close| pem.get(..close)).ok_or(KeysError::Pem)?.as_bytes();
        let (algorithm, key) = DecodingKey::from_rsa_pem(pem)
            .map(|key| (Algorithm::RS256, key))
            .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key)))
            .or_else(|_| DecodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key)))
            .map_err(|_| KeysError::Pem)?;
        if !pem.windows(10).any(|window| window == b"PUBLIC KEY") || !fits(algorithm, &key) {
            return Err(KeysError::Pem);
        }
        keys.push(Key { id: None, algorithm, key });
    }
    Ok(keys)
}

fn of_json(text: &str) -> Result<Vec<Key>, KeysError> {
    let jwks = match serde_json::from_str::<JwkSet>(text) {
        Ok(set) => set.keys,
        Err(_) => vec![serde_json::from_str::<Jwk>(text).map_err(|_| KeysError::Json)?],
    };
    let to_key = |jwk: Jwk| {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
            _ => return Err(KeysError::Jwk),
        };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeysError::Jwk)?;
        match fits(algorithm, &key) {
            true => Ok(Key { id: jwk.common.key_id, algorithm, key }),
            false => Err(KeysError::Jwk),
        }
    };
    jwks.into_iter().map(to_key).collect()
}

/// Whether a key has the length that its algorithm wants.
fn fits(algorithm: Algorithm, key: &DecodingKey) -> bool {
    let length = key.try_get_as_bytes().map(<[u8]>::len);
    match algorithm {
        Algorithm::ES256 => length.is_ok_and(|length| length == 65),
        Algorithm::EdDSA => length.is_ok_and(|length| length == 32),
        Algorithm::HS256 => length.is_ok_and(|length| length >= SECRET_BYTES_MIN),
        _ => true,
    }
}

/// Has the library check signatures with ring. It asks for a provider of the whole process.
fn install_ring() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        // Nothing here makes tokens, or turns keys into JWK.
        signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        verifier_factory: |algorithm, key| {
            Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    static INSTALLED: Once = Once::new();
    // An error would say that it is there already.
    INSTALLED.call_once(|| {
        PROVIDER.install_default().ok();
    });
}

/// Checks signatures of one algorithm under one key.
struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl RingVerifier {
    fn is_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match (self.algorithm, self.key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::verify(&key, message, signature).is_ok()
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => {
                let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der);
                key.verify(message, signature).is_ok()
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signature).is_ok()
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

impl signature::Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.is_signed(message, signature).then_some(()).ok_or_else(signature::Error::new)
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests;
