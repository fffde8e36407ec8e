//! What is counted of logins and of the files behind them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of access.
#[derive(Clone, Debug, Default)]
pub struct AccessMetrics {
    logins: Family<[(&'static str, &'static str); 2], Counter>,
    reloads: Family<[(&'static str, &'static str); 1], Counter>,
    pub(super) waiting: Gauge,
    pub(super) users: Gauge,
    pub(super) rules: Gauge,
    pub(super) stale: Gauge,
}

impl AccessMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let m = self.clone();
        registry.register("logins", "Attempts to log in by method and result", m.logins);
        registry.register("logins_waiting", "Passwords that wait to be looked at", m.waiting);
        registry.register("access_users", "Users of the users file", m.users);
        registry.register("access_rules", "Access rules", m.rules);
        registry.register(
            "access_reloads",
            "Readings of users, rules and keys by how they ended: applied, failed",
            m.reloads,
        );
        registry.register(
            "access_stale",
            "1 while the users, rules or keys on disk are not those in force, because they are wrong",
            m.stale,
        );
    }

    pub(super) fn count_login(&self, method: &'static str, result: &'static str) {
        self.logins.get_or_create(&[("method", method), ("result", result)]).inc();
    }

    pub(super) fn count_reload(&self, result: &'static str) {
        self.reloads.get_or_create(&[("result", result)]).inc();
    }
}
