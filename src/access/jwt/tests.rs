use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;
use serde_json::json;

use super::*;
use crate::clock::Clock;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn by_secret(header: &Value, claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    token(header, claims, |message| hmac::sign(&key, message).as_ref().to_vec())
}

fn now() -> i64 {
    Clock::start().now().as_millis() / 1000
}

fn hs256() -> Value {
    json!({"alg": "HS256", "typ": "JWT"})
}

fn check(token: &str, config: &JwtConfig) -> Result<Holder, TokenError> {
    Keys::parse(SECRET).unwrap().check(token.as_bytes(), config)
}

#[test]
fn a_good_token_says_whose_it_is() {
    let claims = json!({
        "sub": "sensor-7", "exp": now() + 60, "nbf": now() - 5, "groups": ["a", "b", 5],
        "tenant": {"id": 12, "name": "north"}, "admin": true, "list": [1], "none": null
    });
    let holder = check(&by_secret(&hs256(), &claims), &JwtConfig::default()).unwrap();
    assert_eq!(holder.user, "sensor-7");
    assert_eq!(holder.groups, [Box::from("a"), Box::from("b")]);
    assert_eq!(holder.expires, u64::try_from(now() + 60).unwrap());
    let value = |name: &str| {
        holder.values.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    };
    assert_eq!(value("jwt.tenant.name"), Some("north"));
    assert_eq!(value("jwt.tenant.id"), Some("12"));
    assert_eq!(
        (value("jwt.admin"), value("jwt.list"), value("jwt.none")),
        (Some("true"), None, None)
    );
    let spaced = json!({"sub": "s", "exp": now() + 60, "groups": "x  y"});
    let holder = check(&by_secret(&hs256(), &spaced), &JwtConfig::default()).unwrap();
    assert_eq!(holder.groups, [Box::from("x"), Box::from("y")]);
}

#[test]
fn a_token_that_is_not_for_here_and_now_is_refused() {
    let strict = JwtConfig {
        audience: Some("gate".to_owned()),
        issuer: Some("us".to_owned()),
        ..JwtConfig::default()
    };
    let good = json!({"sub": "s", "exp": now() + 60, "aud": ["x", "gate"], "iss": "us"});
    check(&by_secret(&hs256(), &good), &strict).unwrap();
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        if claims[key].is_null() {
            claims.as_object_mut().unwrap().remove(key);
        }
        check(&by_secret(&hs256(), &claims), &strict).unwrap_err()
    };
    let leeway = i64::try_from(strict.leeway.as_secs()).unwrap();
    assert_eq!(with("exp", json!(now() - leeway - 2)), TokenError::Expired);
    assert_eq!(with("exp", Value::Null), TokenError::Claims);
    assert_eq!(with("exp", json!("tomorrow")), TokenError::Claims);
    assert_eq!(with("nbf", json!(now() + leeway + 5)), TokenError::Early);
    assert_eq!(with("nbf", json!("later")), TokenError::Claims, "of another type");
    assert_eq!(with("aud", json!("other")), TokenError::Elsewhere);
    assert_eq!(with("aud", Value::Null), TokenError::Claims);
    assert_eq!(with("iss", json!("them")), TokenError::Elsewhere);
    assert_eq!(with("sub", Value::Null), TokenError::Claims);
    assert_eq!(with("sub", json!("a\nb")), TokenError::Claims);
    assert_eq!(with("sub", json!(7)), TokenError::Claims);
}

#[test]
fn a_token_cannot_choose_its_algorithm_or_its_key() {
    let claims = json!({"sub": "s", "exp": now() + 60});
    let none = format!("{}.{}.", encoded(&json!({"alg": "none"})), encoded(&claims));
    assert_eq!(check(&none, &JwtConfig::default()), Err(TokenError::Shape));
    for alg in ["HS384", "RS256", "ES256", "EdDSA"] {
        let other = by_secret(&json!({"alg": alg}), &claims);
        assert_eq!(check(&other, &JwtConfig::default()), Err(TokenError::Signature), "{alg}");
    }
    let critical = by_secret(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &claims);
    assert_eq!(check(&critical, &JwtConfig::default()), Err(TokenError::Shape));
    let good = by_secret(&hs256(), &claims);
    let forged =
        good.replacen(&encoded(&claims), &encoded(&json!({"sub": "x", "exp": now() + 60})), 1);
    assert_eq!(check(&forged, &JwtConfig::default()), Err(TokenError::Signature));
    // The public key is no secret: it must not do as one.
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let random = SystemRandom::new();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.unwrap().as_ref(), &random)
            .unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "one",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])
    });
    let keys = Keys::parse(&jwk.to_string()).unwrap();
    let public = hmac::Key::new(hmac::HMAC_SHA256, point);
    let confused =
        token(&hs256(), &claims, |message| hmac::sign(&public, message).as_ref().to_vec());
    let config = JwtConfig::default();
    assert_eq!(keys.check(confused.as_bytes(), &config), Err(TokenError::Signature));
    let sign = |message: &[u8]| pair.sign(&random, message).unwrap().as_ref().to_vec();
    for (kid, fine) in [(json!("one"), true), (json!("two"), false), (Value::Null, true)] {
        let mut header = json!({"alg": "ES256"});
        if !kid.is_null() {
            header["kid"] = kid;
        }
        let found = keys.check(token(&header, &claims, sign).as_bytes(), &config);
        assert_eq!(found.is_ok(), fine, "{header}");
    }
}

#[test]
fn a_set_of_keys_is_tried_by_algorithm() {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let jwks = json!({"keys": [
        {"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "kid": "old"},
        {"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())},
    ]});
    let keys = Keys::parse(&jwks.to_string()).unwrap();
    let claims = json!({"sub": "s", "exp": now() + 60});
    let config = JwtConfig::default();
    keys.check(by_secret(&hs256(), &claims).as_bytes(), &config).unwrap();
    let signed = token(&json!({"alg": "EdDSA"}), &claims, |m| pair.sign(m).as_ref().to_vec());
    keys.check(signed.as_bytes(), &config).unwrap();
}

#[test]
fn a_file_without_good_keys_is_refused() {
    for (text, expected) in [
        ("", KeysError::None),
        ("short\n", KeysError::Short),
        ("{}", KeysError::Jwk),
        ("{\"kty\": 5", KeysError::Json),
        ("{\"keys\": []}", KeysError::None),
        ("{\"kty\": \"EC\", \"crv\": \"P-384\", \"x\": \"\", \"y\": \"\"}", KeysError::Jwk),
        ("{\"kty\": \"oct\", \"k\": \"c2hvcnQ\"}", KeysError::Jwk),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", KeysError::Pem),
        ("-----BEGIN PUBLIC KEY-----\n", KeysError::Pem),
    ] {
        assert_eq!(Keys::parse(text).err(), Some(expected), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_token_reader_panic(text in "(ey[A-Za-z0-9_-]{0,40}\\.){0,3}[ -~é]{0,40}") {
        let keys = Keys::parse(SECRET).unwrap();
        prop_assert!(keys.check(text.as_bytes(), &JwtConfig::default()).is_err());
    }

    #[test]
    fn no_text_makes_the_key_reader_panic(text in "(-----BEGIN |-----END |PUBLIC KEY-----|\n|[A-Za-z0-9+/={}\":]){0,60}") {
        drop(Keys::parse(&text));
    }

    #[test]
    fn a_damaged_token_is_refused(at in 0_usize..200, byte: u8) {
        let claims = json!({"sub": "s", "exp": now() + 60});
        let mut token = by_secret(&hs256(), &claims).into_bytes();
        let at = at % token.len();
        prop_assume!(token[at] != byte);
        // The last character of a part has bits that mean nothing.
        let is_last = |token: &[u8]| token.get(at + 1).is_none_or(|next| *next == b'.');
        prop_assume!(!is_last(&token));
        token[at] = byte;
        let keys = Keys::parse(SECRET).unwrap();
        prop_assert!(keys.check(&token, &JwtConfig::default()).is_err());
    }
}
