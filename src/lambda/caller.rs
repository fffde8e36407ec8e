//! Calls that a rule waits for: `aws_lambda()`.
//!
//! One attempt, over the same client as a hook's other calls, which is made here, but at once:
//! nothing is stored, and nothing is tried again. Waiting for a turn, the request and its answer
//! together may take as long as `answer_timeout` says.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Destination;
use crate::config::HookConfig;

use super::HookError;
use super::HookMetrics;
use super::client::HookClient;
use super::client::HttpClient;
use super::client::Request;
use super::function::Function;
use super::function::Named;
use super::metrics::AnsweringHook;

/// Whose functions are.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// `account_id`
    pub account_id: &'a str,
    /// `region`
    pub region: &'a str,
}

/// Calls the configured hooks for rules that wait.
#[derive(Debug)]
pub struct Caller {
    hooks: BTreeMap<String, Called>,
}

#[derive(Debug)]
struct Called {
    client: HookClient,
    config: HookConfig,
    /// A turn for each call under way.
    turns: Semaphore,
    metrics: AnsweringHook,
}

impl Caller {
    /// Calls the hooks of `config`; the ARNs of functions are of `owner`.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(
        config: &BTreeMap<String, HookConfig>,
        owner: Owner<'_>,
        clock: Clock,
        metrics: &HookMetrics,
    ) -> Result<Caller, HookError> {
        let mut hooks = BTreeMap::new();
        for (name, one) in config {
            let client = match &one.destination {
                Destination::Url(url) => HttpClient::new(url, one)
                    .map(HookClient::Http)
                    .map_err(|source| HookError::Client { name: name.clone(), source })?,
                Destination::Function(function) => {
                    let named = Named {
                        name: Arc::from(name.as_str()),
                        account_id: owner.account_id.to_owned(),
                        region: owner.region.to_owned(),
                        clock,
                    };
                    let metrics = metrics.function(name);
                    HookClient::Function(Function::new(named, function, one, metrics))
                }
            };
            let called = Called {
                client,
                config: one.clone(),
                turns: Semaphore::new(one.concurrency),
                metrics: metrics.answering(name),
            };
            hooks.insert(name.clone(), called);
        }
        Ok(Caller { hooks })
    }

    /// The hooks, each with what calls it.
    pub(super) fn hooks(&self) -> impl Iterator<Item = (&str, &HookConfig, &HookClient)> {
        self.hooks.iter().map(|(name, called)| (name.as_str(), &called.config, &called.client))
    }

    /// Keeps functions as warm as they are to be.
    pub(super) fn tend(&self) {
        for (_, _, client) in self.hooks() {
            if let HookClient::Function(function) = client {
                function.tend();
            }
        }
    }

    /// Ends functions; none is started from now on.
    pub(super) fn stop(&self) {
        for (_, _, client) in self.hooks() {
            if let HookClient::Function(function) = client {
                function.stop();
            }
        }
    }

    /// What `hook` answers to `payload`, for `rule`; or why it does not, in words.
    pub async fn call(&self, hook: &str, rule: &Arc<str>, payload: Bytes) -> Result<Bytes, String> {
        let Some(called) = self.hooks.get(hook) else {
            return Err(format!("there is no hook '{hook}'"));
        };
        let started = Clock::instant();
        let request = Request {
            rule: Arc::clone(rule),
            call_id: format!("{hook}/{}", Uuid::new_v4()),
            attempt: 1,
            payload,
        };
        let bound = called.config.answer_timeout;
        let asked = timeout(bound, async {
            // Only closing it would be an error, and nobody does.
            let turn = called.turns.acquire().await;
            let answer = called.client.ask(request).await;
            drop(turn);
            answer
        });
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", bound.as_millis())),
        };
        called.metrics.seconds.observe(started.elapsed().as_secs_f64());
        match &answer {
            Ok(_) => called.metrics.answered.inc(),
            Err(_) => called.metrics.unanswered.inc(),
        };
        answer.map_err(|error| format!("hook '{hook}': {error}"))
    }
}
