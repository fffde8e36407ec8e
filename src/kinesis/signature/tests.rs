//! Signatures as botocore makes them, and what is wrong with others.

use axum::http::HeaderName;
use axum::http::HeaderValue;

use super::*;

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
/// 2015-08-30T12:36:00Z, the time of AWS's test suite.
const NOW: Timestamp = Timestamp::from_millis(1_440_938_160_000);
/// Key and secret of AWS's test suite ("Signature Version 4 test suite").
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Request {
    fn new(method: &str, uri: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let method = method.parse().unwrap();
        Request { method, uri: uri.parse().unwrap(), headers: map, body }
    }

    fn check(&self, keys: &AccessKeys, now: Timestamp) -> Result<(), Fault> {
        self.check_from(keys, now, AWAY)
    }

    fn check_from(&self, keys: &AccessKeys, now: Timestamp, from: IpAddr) -> Result<(), Fault> {
        let Request { method, uri, headers, body } = self;
        keys.check(Signed { method, uri, headers, body, address: from }, now)
    }
}

fn keys() -> AccessKeys {
    AccessKeys::new([(KEY.to_owned(), SECRET.to_owned())])
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={signed}, Signature={signature}"
    )
}

/// AWS's suite: post-vanilla.
fn vanilla() -> Request {
    let authorization = authorization(
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    );
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("authorization", &*authorization),
    ];
    Request::new("POST", "/", &headers, b"")
}

#[test]
fn the_requests_of_the_test_suite_are_verified() {
    assert_eq!(vanilla().check(&keys(), NOW), Ok(()));
    // get-vanilla-query-order-key-case
    let ordered = authorization(
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    );
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("authorization", &*ordered),
    ];
    let request = Request::new("GET", "/?Param2=value2&Param1=value1", &headers, b"");
    assert_eq!(request.check(&keys(), NOW), Ok(()));
    // post-x-www-form-urlencoded
    let form = authorization(
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    );
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", &*form),
    ];
    let request = Request::new("POST", "/", &headers, b"Param1=value1");
    assert_eq!(request.check(&keys(), NOW), Ok(()));
    let other = Request::new("POST", "/", &headers, b"Param1=value2");
    assert_eq!(other.check(&keys(), NOW).unwrap_err().kind, "InvalidSignatureException");
}

#[test]
fn http_2_signs_the_authority() {
    let mut request = vanilla();
    request.headers.remove("host");
    request.uri = "http://example.amazonaws.com/".parse().unwrap();
    assert_eq!(request.check(&keys(), NOW), Ok(()));
    request.uri = "http://other.amazonaws.com/".parse().unwrap();
    assert!(request.check(&keys(), NOW).is_err());
}

#[test]
fn without_keys_this_machine_alone_is_answered() {
    let none = AccessKeys::default();
    let bare = Request::new("POST", "/", &[], b"{}");
    assert_eq!(bare.check_from(&none, NOW, HOME), Ok(()));
    assert_eq!(vanilla().check_from(&none, NOW, HOME), Ok(()));
    assert_eq!(vanilla().check_from(&none, NOW, AWAY).unwrap_err().kind, "AccessDeniedException");
    // With them nobody is.
    let fault = bare.check_from(&keys(), NOW, HOME).unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.message),
        ("MissingAuthenticationTokenException", "Missing Authentication Token")
    );
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    assert_eq!(vanilla().check(&keys(), NOW + minutes(5)), Ok(()));
    assert_eq!(vanilla().check(&keys(), NOW - minutes(5)), Ok(()));
    let late = vanilla().check(&keys(), NOW + minutes(6)).unwrap_err();
    assert_eq!(late.kind, "InvalidSignatureException");
    assert!(late.message.starts_with("Signature expired: 20150830T123600Z is now earlier than"));
    let early = vanilla().check(&keys(), NOW - minutes(6)).unwrap_err();
    assert!(early.message.starts_with("Signature not yet current"), "{}", early.message);
}

#[test]
fn what_is_no_signature_is_told_what_it_lacks() {
    let other = AccessKeys::new([("OTHER".to_owned(), SECRET.to_owned())]);
    assert_eq!(vanilla().check(&other, NOW).unwrap_err().kind, "UnrecognizedClientException");
    let wrong = AccessKeys::new([(KEY.to_owned(), "wrong".to_owned())]);
    assert_eq!(vanilla().check(&wrong, NOW).unwrap_err().kind, "InvalidSignatureException");
    let date = ("x-amz-date", "20150830T123600Z");
    let with = |authorization: &str| {
        let headers = [("host", "h"), date, ("authorization", authorization)];
        Request::new("POST", "/", &headers, b"").check(&keys(), NOW).unwrap_err()
    };
    for wrong in [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/r/s/aws4_request, Signature=0",
        &authorization("host;x-not-there", "00"),
    ] {
        assert_eq!(with(wrong).kind, "IncompleteSignatureException", "{wrong}");
    }
    assert_eq!(with(&authorization("host", "x")).kind, "InvalidSignatureException");
    let message = with("AWS4-HMAC-SHA256 x").message;
    assert!(message.contains("requires 'Credential' parameter"), "{message}");
}

#[test]
fn presigned_requests_are_good_as_long_as_they_say() {
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY}%2F20150830%2Fus-east-1%2Fkinesis\
         %2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
    );
    let headers = [("host", "example.amazonaws.com")];
    let unsigned = Request::new("POST", &format!("/?{query}&X-Amz-Signature=0"), &headers, b"{}");
    let pairs = decoded_query(&unsigned.uri);
    let claim = claim(&unsigned.headers, &pairs).unwrap();
    let Request { method, uri, headers: map, body } = &unsigned;
    let signed = Signed { method, uri, headers: map, body, address: AWAY };
    let hash = hex(&Sha256::digest(canonical(&signed, &pairs, &claim).unwrap()));
    let text = format!("{ALGORITHM}\n{}\n{}\n{hash}", claim.date, claim.scope);
    let signature = hmac::sign(&signing_key(SECRET, claim.scope), text.as_bytes());
    let uri = format!("/?{query}&X-Amz-Signature={}", hex(signature.as_ref()));
    let request = Request::new("POST", &uri, &headers, b"{}");
    assert_eq!(request.check(&keys(), NOW + Duration::from_secs(59)), Ok(()));
    let expired = request.check(&keys(), NOW + Duration::from_secs(61)).unwrap_err();
    assert!(expired.message.starts_with("Signature expired"), "{}", expired.message);
    let both = [("host", "example.amazonaws.com"), ("authorization", "x")];
    let both = Request::new("POST", &uri, &both, b"{}").check(&keys(), NOW).unwrap_err();
    assert_eq!(both.kind, "InvalidSignatureException");
    let changed = uri.replace("Expires=60", "Expires=6000");
    assert!(Request::new("POST", &changed, &headers, b"{}").check(&keys(), NOW).is_err());
    let long = uri.replace("Expires=60", "Expires=604801");
    let long = Request::new("POST", &long, &headers, b"{}").check(&keys(), NOW).unwrap_err();
    assert_eq!(long.kind, "IncompleteSignatureException");
}

#[test]
fn nothing_shows_a_secret() {
    let shown = format!("{:?}", keys());
    assert!(shown.contains(KEY) && !shown.contains(SECRET), "{shown}");
}

#[test]
fn what_is_signed_here_is_accepted_here() {
    let uri: Uri = "http://127.0.0.1:8080/".parse().unwrap();
    for session_token in [None, Some("to/ken+=".to_owned())] {
        let (key, secret) = (KEY.to_owned(), SECRET.to_owned());
        let signer = Signer { key, secret, session_token, region: "eu-west-1".to_owned() };
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", HeaderValue::from_static("Kinesis_20131202.ListStreams"));
        signer.sign("kinesis", &uri, &mut headers, b"{}", NOW).unwrap();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:8080"));
        let mut request = Request::new("POST", "/", &[], b"{}");
        request.headers = headers;
        assert_eq!(request.check(&keys(), NOW), Ok(()));
        request.body = b"{ }";
        let refused = request.check(&keys(), NOW).unwrap_err();
        assert_eq!(refused.kind, "InvalidSignatureException");
        assert!(!format!("{signer:?}").contains(SECRET));
    }
}
