//! What hooks count.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

/// One label: the hook. As many as the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HookLabel {
    hook: String,
}

/// Counters and gauges of all hooks.
#[derive(Clone, Debug)]
pub struct HookMetrics {
    succeeded: Family<HookLabel, Counter>,
    failed_attempts: Family<HookLabel, Counter>,
    dead: Family<HookLabel, Counter>,
    refused: Family<HookLabel, Counter>,
    pending: Family<HookLabel, Gauge>,
    in_flight: Family<HookLabel, Gauge>,
    oldest: Family<HookLabel, Gauge>,
    attempt_seconds: Family<HookLabel, Histogram, fn() -> Histogram>,
    answered: Family<HookLabel, Counter>,
    unanswered: Family<HookLabel, Counter>,
    answer_seconds: Family<HookLabel, Histogram, fn() -> Histogram>,
    instances: Family<HookLabel, Gauge>,
    instances_started: Family<HookLabel, Counter>,
    instances_crashed: Family<HookLabel, Counter>,
    instances_not_started: Family<HookLabel, Counter>,
}

/// The metrics of a hook that is a function.
#[derive(Clone, Debug)]
pub(super) struct FunctionMetrics {
    /// Processes, those that start too.
    pub(super) instances: Gauge,
    pub(super) started: Counter,
    /// Ended by themselves, or because there was no answer in time.
    pub(super) crashed: Counter,
    pub(super) not_started: Counter,
}

/// The metrics of a hook's calls that rules wait for.
#[derive(Clone, Debug)]
pub(super) struct AnsweringHook {
    pub(super) answered: Counter,
    pub(super) unanswered: Counter,
    pub(super) seconds: Histogram,
}

/// The metrics of one hook.
#[derive(Clone, Debug)]
pub(super) struct OneHook {
    pub(super) succeeded: Counter,
    pub(super) failed_attempts: Counter,
    pub(super) dead: Counter,
    pub(super) refused: Counter,
    pub(super) pending: Gauge,
    pub(super) in_flight: Gauge,
    pub(super) oldest: Gauge,
    pub(super) attempt_seconds: Histogram,
}

impl Default for HookMetrics {
    fn default() -> Self {
        let new_histogram: fn() -> Histogram = || {
            Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
        };
        HookMetrics {
            succeeded: Family::default(),
            failed_attempts: Family::default(),
            dead: Family::default(),
            refused: Family::default(),
            pending: Family::default(),
            in_flight: Family::default(),
            oldest: Family::default(),
            attempt_seconds: Family::new_with_constructor(new_histogram),
            answered: Family::default(),
            unanswered: Family::default(),
            answer_seconds: Family::new_with_constructor(new_histogram),
            instances: Family::default(),
            instances_started: Family::default(),
            instances_crashed: Family::default(),
            instances_not_started: Family::default(),
        }
    }
}

impl HookMetrics {
    /// Adds all to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hook");
        registry.register("succeeded", "Calls that succeeded", self.succeeded.clone());
        registry.register(
            "failed_attempts",
            "Attempts that failed, tried again or not",
            self.failed_attempts.clone(),
        );
        registry.register("dead_letters", "Calls that were given up", self.dead.clone());
        registry.register(
            "refused",
            "Calls that became dead letters at once because too many waited",
            self.refused.clone(),
        );
        registry.register("pending", "Calls that wait or are under way", self.pending.clone());
        registry.register("in_flight", "Attempts under way", self.in_flight.clone());
        registry.register_with_unit(
            "oldest_call_timestamp",
            "Arrival of the call that waits longest, since the epoch; 0 when none waits",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register_with_unit(
            "attempt",
            "Time an attempt took",
            Unit::Seconds,
            self.attempt_seconds.clone(),
        );
        registry.register(
            "answered",
            "Calls of aws_lambda() that the hook answered",
            self.answered.clone(),
        );
        registry.register(
            "unanswered",
            "Calls of aws_lambda() that failed or took too long",
            self.unanswered.clone(),
        );
        registry.register_with_unit(
            "answer",
            "Time a call of aws_lambda() took, waiting for its turn included",
            Unit::Seconds,
            self.answer_seconds.clone(),
        );
        self.register_functions(registry);
    }

    fn register_functions(&self, registry: &mut Registry) {
        registry.register("instances", "Processes of a function", self.instances.clone());
        registry.register(
            "instances_started",
            "Processes of a function that were started",
            self.instances_started.clone(),
        );
        registry.register(
            "instances_crashed",
            "Processes of a function that ended by themselves, or had no answer in time",
            self.instances_crashed.clone(),
        );
        registry.register(
            "instances_not_started",
            "Processes of a function that never asked for an event",
            self.instances_not_started.clone(),
        );
    }

    pub(super) fn function(&self, hook: &str) -> FunctionMetrics {
        let label = HookLabel { hook: hook.to_owned() };
        FunctionMetrics {
            instances: self.instances.get_or_create_owned(&label),
            started: self.instances_started.get_or_create_owned(&label),
            crashed: self.instances_crashed.get_or_create_owned(&label),
            not_started: self.instances_not_started.get_or_create_owned(&label),
        }
    }

    pub(super) fn answering(&self, hook: &str) -> AnsweringHook {
        let label = HookLabel { hook: hook.to_owned() };
        AnsweringHook {
            answered: self.answered.get_or_create_owned(&label),
            unanswered: self.unanswered.get_or_create_owned(&label),
            seconds: self.answer_seconds.get_or_create_owned(&label),
        }
    }

    pub(super) fn of(&self, hook: &Arc<str>) -> OneHook {
        let label = HookLabel { hook: hook.to_string() };
        OneHook {
            succeeded: self.succeeded.get_or_create_owned(&label),
            failed_attempts: self.failed_attempts.get_or_create_owned(&label),
            dead: self.dead.get_or_create_owned(&label),
            refused: self.refused.get_or_create_owned(&label),
            pending: self.pending.get_or_create_owned(&label),
            in_flight: self.in_flight.get_or_create_owned(&label),
            oldest: self.oldest.get_or_create_owned(&label),
            attempt_seconds: self.attempt_seconds.get_or_create_owned(&label),
        }
    }
}
