//! Somebody else decides: an HTTP hook is asked who a client is.
//!
//! What it is sent and what it answers are JSON, made and read here; who carries it is [`AsksHook`]. An
//! answer may be kept for a while, so that a client that reconnects does not ask again; what is kept is
//! bounded, and found by a digest of all that the hook was shown. A hook that does not answer, or answers
//! something else, lets nobody in.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Credentials;
use super::Denied;
use super::Identity;
use super::acl::Acl;
use super::users::check_name;
use crate::clock::Timestamp;
use crate::limits::CLAIM_BYTES_MAX;
use crate::limits::CLAIMS_MAX;
use crate::limits::HOOK_RULES_MAX;
use crate::limits::LOGINS_KEPT_MAX;

/// Carries a question to the hook. Bounds how long that takes, and how many are under way.
pub trait AsksHook: Debug + Send + Sync {
    /// The hook's answer, or why there is none, in words.
    fn ask(
        &self,
        question: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + '_>>;
}

/// What the hook answers.
#[derive(Deserialize)]
struct Answer {
    allow: bool,
    principal: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    acl: Vec<String>,
    #[serde(default)]
    values: Map<String, Value>,
    /// Seconds.
    expires_in: Option<u32>,
}

#[derive(Debug)]
struct Kept {
    found: Result<Identity, Denied>,
    until: Timestamp,
}

/// The hook, and what it answered lately.
#[derive(Debug)]
pub(super) struct Hook {
    asks: Arc<dyn AsksHook>,
    keep: Duration,
    kept: Mutex<HashMap<[u8; 32], Kept, foldhash::fast::RandomState>>,
}

impl Hook {
    /// Answers are good for `keep`.
    pub(super) fn new(asks: Arc<dyn AsksHook>, keep: Duration) -> Hook {
        Hook { asks, keep, kept: Mutex::default() }
    }

    /// Whom the hook says that this is. `digest` stands for everything shown.
    pub(super) async fn login(
        &self,
        shown: Credentials<'_>,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Identity, Denied> {
        if let Some(kept) = self.kept.lock().get(&digest).filter(|kept| kept.until > now) {
            return kept.found.clone();
        }
        let answer = self.asks.ask(question(shown)).await.map_err(|error| {
            tracing::warn!(%error, "the hook of [auth.hook] does not answer: nobody is let in by it");
            Denied::Busy
        })?;
        let found = match judge(&answer, now) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the hook of [auth.hook] answers something else");
                return Err(Denied::Busy);
            }
        };
        if !self.keep.is_zero() {
            let mut kept = self.kept.lock();
            if kept.len() >= LOGINS_KEPT_MAX {
                kept.retain(|_, kept| kept.until > now);
            }
            if kept.len() < LOGINS_KEPT_MAX {
                kept.insert(digest, Kept { found: found.clone(), until: now + self.keep });
            }
        }
        found
    }

    /// Forgets what was answered.
    pub(super) fn forget(&self) {
        self.kept.lock().clear();
    }
}

fn question(shown: Credentials<'_>) -> Bytes {
    let mut document = json!({
        "client_id": shown.client_id,
        "user_name": shown.user_name,
        "address": shown.address,
        "certificate": shown.certificate.map(|certificate| json!({
            "subject": certificate.subject,
            "common_name": certificate.common_name,
            "fingerprint": certificate.fingerprint.to_string(),
        })),
    });
    match shown.password.map(std::str::from_utf8) {
        None => document["password"] = Value::Null,
        Some(Ok(password)) => document["password"] = json!(password),
        Some(Err(_)) => {
            document["password_base64"] = json!(shown.password.map(|bytes| STANDARD.encode(bytes)));
        }
    }
    document.to_string().into()
}

/// What an answer means. The outer error says what is wrong with it.
fn judge(answer: &[u8], now: Timestamp) -> Result<Result<Identity, Denied>, String> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if !answer.allow {
        return Ok(Err(Denied::NotAllowed));
    }
    let user = answer.principal.ok_or("allow without a principal")?;
    check_name(&user).map_err(|error| format!("principal: {error}"))?;
    if answer.acl.len() > HOOK_RULES_MAX || answer.groups.len() > CLAIMS_MAX {
        return Err(format!("more than {HOOK_RULES_MAX} rules or {CLAIMS_MAX} groups"));
    }
    let mut rules = Acl::default();
    for line in &answer.acl {
        rules.add(line).map_err(|problem| format!("acl: {}", problem.message))?;
    }
    let mut values = Vec::new();
    for (name, value) in answer.values.iter().take(CLAIMS_MAX) {
        if let Some(text) = value.as_str().filter(|text| text.len() <= CLAIM_BYTES_MAX) {
            values.push((format!("hook.{name}").into_boxed_str(), Box::from(text)));
        }
    }
    Ok(Ok(Identity {
        user: Some(Arc::from(user)),
        groups: answer.groups.into_iter().map(String::into_boxed_str).collect(),
        method: "hook",
        values,
        expires_at: answer.expires_in.map(|s| now + Duration::from_secs(u64::from(s))),
        own_rules: (!rules.is_empty()).then(|| Arc::new(rules)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Answers(Mutex<Vec<Result<Bytes, String>>>);

    impl AsksHook for Answers {
        fn ask(
            &self,
            _: Bytes,
        ) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + '_>> {
            let next = self.0.lock().pop().unwrap_or_else(|| Err("nobody is there".to_owned()));
            Box::pin(std::future::ready(next))
        }
    }

    fn hook(answers: &[&'static str], keep: u64) -> Hook {
        let answers = answers.iter().rev().map(|text| Ok(Bytes::from_static(text.as_bytes())));
        Hook::new(Arc::new(Answers(Mutex::new(answers.collect()))), Duration::from_secs(keep))
    }

    fn shown() -> Credentials<'static> {
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        Credentials {
            client_id: "c",
            user_name: Some("u"),
            password: Some(b"p\xff"),
            address,
            certificate: None,
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_long_as_it_says_and_no_other_lets_in() {
        let at = |seconds| Timestamp::EPOCH + Duration::from_secs(seconds);
        let hook = hook(
            &[
                r#"{"allow": true, "principal": "x", "groups": ["g"], "acl": ["allow both any a/%c"],
                    "values": {"tenant": "t", "n": 5}, "expires_in": 60}"#,
                r#"{"allow": false}"#,
            ],
            10,
        );
        for seconds in [0, 9] {
            let found = hook.login(shown(), [1; 32], at(seconds)).await.unwrap();
            assert_eq!(found.user.as_deref(), Some("x"));
            assert_eq!(found.expires_at, Some(at(60)));
            assert_eq!(found.values, [(Box::from("hook.tenant"), Box::from("t"))]);
            assert_eq!(found.own_rules.unwrap().len(), 1);
        }
        assert_eq!(hook.login(shown(), [2; 32], at(9)).await, Err(Denied::NotAllowed));
        assert_eq!(hook.login(shown(), [2; 32], at(9)).await, Err(Denied::NotAllowed), "kept");
        assert_eq!(
            hook.login(shown(), [1; 32], at(10)).await,
            Err(Denied::Busy),
            "nobody is there"
        );
        hook.forget();
        assert_eq!(hook.login(shown(), [2; 32], at(10)).await, Err(Denied::Busy));
    }

    #[tokio::test]
    async fn what_is_no_answer_lets_nobody_in() {
        for answer in [
            "",
            "true",
            "{}",
            r#"{"allow": "yes"}"#,
            r#"{"allow": true}"#,
            r#"{"allow": true, "principal": ""}"#,
            r#"{"allow": true, "principal": "a:b"}"#,
            r#"{"allow": true, "principal": "a", "acl": ["allow everything"]}"#,
        ] {
            let found = hook(&[answer], 10).login(shown(), [0; 32], Timestamp::EPOCH).await;
            assert_eq!(found, Err(Denied::Busy), "{answer}");
        }
    }

    #[test]
    fn a_password_that_is_no_text_is_sent_in_base64() {
        let sent: Value = serde_json::from_slice(&question(shown())).unwrap();
        let expected = json!({
            "client_id": "c", "user_name": "u", "address": "127.0.0.1", "password_base64": "cP8=",
            "certificate": null
        });
        assert_eq!(sent, expected);
    }
}
