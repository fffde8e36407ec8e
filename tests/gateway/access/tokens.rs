//! JSON Web Tokens made by PyJWT.

use serde_json::Value;
use serde_json::json;

use super::SEEN;
use super::Staying;
use super::answers;
use crate::clients::python;
use crate::live::Site;

/// A site whose clients come with tokens.
fn site(keys: &str, configuration: &str) -> Site {
    let site = Site::with_rules(SEEN);
    site.write(
        "tidegate.toml",
        &format!(
            "[auth]\nmethods = [\"jwt\"]\n[auth.jwt]\nkeys = \"{keys}\"\nleeway = \"0s\"\n{configuration}"
        ),
    );
    let made = python("tokens.py").arg("keys").arg(site.path(".")).status();
    assert!(made.expect("python runs").success());
    site
}

fn token(site: &Site, algorithm: &str, claims: &Value) -> String {
    let output = python("tokens.py")
        .arg("token")
        .arg(site.path("."))
        .args([algorithm, &claims.to_string()])
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn tokens_of_every_algorithm_and_kind_of_key_file_come_in() {
    let good = json!({"sub": "sensor-7", "exp": 60});
    for (keys, algorithms) in [
        ("keys.pem", &["RS256", "ES256", "EdDSA"][..]),
        ("jwks.json", &["RS256", "ES256", "EdDSA"]),
        ("secret.txt", &["HS256"]),
    ] {
        let site = site(keys, "");
        let gateway = site.start();
        let code = |token: &str| answers(&gateway, &["--password", token])["connack"].clone();
        for algorithm in ["RS256", "ES256", "EdDSA", "HS256", "none"] {
            let expected = if algorithms.contains(&algorithm) { 0 } else { 0x86 };
            let token = token(&site, algorithm, &good);
            assert_eq!(code(&token), expected, "{keys} {algorithm}");
        }
        let algorithm = algorithms[0];
        let as_user = token(&site, algorithm, &good);
        let told = answers(&gateway, &["--protocol", "4", "--user", &as_user, "--publish", "a"]);
        assert_eq!(told["connack"], 0, "a client with one field may use the user name");
        assert_eq!(site.stream_data("seen"), [json!({"topic": "a", "who": "sensor-7"})]);
        for claims in [
            json!({"sub": "s", "exp": -5}),
            json!({"sub": "s"}),
            json!({"exp": 60}),
            json!({"sub": "s", "exp": 60, "nbf": 30}),
        ] {
            assert_eq!(code(&token(&site, algorithm, &claims)), 0x86, "{claims}");
        }
    }
}

#[test]
fn claims_stand_in_access_rules_and_a_connection_ends_with_its_token() {
    let site = site(
        "secret.txt",
        "audience = \"gate\"\nissuer = \"us\"\n[acl]\nrules = [\"allow publish group probes t/%{jwt.tenant.name}/%u\"]",
    );
    let gateway = site.start();
    let claims = |exp: i64, tenant: &str| {
        json!({"sub": "p1", "exp": exp, "aud": ["gate", "x"], "iss": "us", "groups": ["probes"],
               "tenant": {"name": tenant}})
    };
    let north = token(&site, "HS256", &claims(60, "north"));
    let topics = ["--publish", "t/north/p1", "--publish", "t/south/p1"];
    let told = answers(&gateway, &[&["--password", &north], &topics[..]].concat());
    assert_eq!(told["puback"], json!({"t/north/p1": 0, "t/south/p1": 0x87}));
    for tenant in ["+", "north/p1", "#"] {
        let odd = token(&site, "HS256", &claims(60, tenant));
        let told = answers(&gateway, &["--password", &odd, "--publish", "t/north/p1"]);
        assert_eq!(told["puback"], json!({"t/north/p1": 0x87}), "{tenant}");
    }
    let foreign =
        token(&site, "HS256", &json!({"sub": "p1", "exp": 60, "aud": "other", "iss": "us"}));
    assert_eq!(answers(&gateway, &["--password", &foreign])["connack"], 0x86);
    let short = token(&site, "HS256", &claims(3, "north"));
    let (mut staying, told) = Staying::start(&gateway, &["--password", &short]);
    assert_eq!(told["connack"], 0);
    assert_eq!(staying.next(), json!({"disconnect": 0xa0}), "maximum connect time");
}
