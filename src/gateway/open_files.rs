//! File descriptors: how many connections the process may have so that its own files never lack one.
//!
//! The limit of open files is raised as far as the system lets us, and only if it must be. What the
//! configuration asks for beyond it is cut, loudly: a connection that is refused is better than a
//! journal that cannot open its log.

use std::sync::Arc;

use anyhow::bail;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::config::Config;
use crate::config::DeliveryConfig;
use crate::config::Destination;
use crate::config::HookConfig;
use crate::limits::CONNECTIONS_MIN;
use crate::limits::DELIVERY_FILES_MAX;
use crate::limits::FUNCTION_CONNECTIONS_MAX;
use crate::limits::HTTP_REFUSALS_MAX;
use crate::limits::OWN_FILES;
use crate::limits::REFUSALS_MAX;
use crate::rule::Rule;

/// How many connections each listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connections {
    pub(super) mqtt: usize,
    pub(super) http: usize,
}

/// Makes `config` ask for no more connections than the process may have open files, after raising
/// that limit as far as need be and may be. Says so when it is less than was asked for.
///
/// # Errors
/// The limit leaves no room for connections at all.
pub(super) fn fit(config: &mut Config, rules: &[Arc<Rule>]) -> anyhow::Result<()> {
    let own = own_files(config, rules);
    let wanted =
        Connections { mqtt: config.mqtt.connections_max, http: config.http.connections_max };
    let needed = own + wanted.mqtt + wanted.http;
    let Some(limit) = raised(needed) else { return Ok(()) };
    let Some(fitted) = share(wanted, limit.saturating_sub(own)) else {
        bail!(
            "the limit of open files ({limit}) leaves no room for connections: the gateway itself \
             needs up to {own}; raise it to {needed} (ulimit -n, LimitNOFILE=)"
        );
    };
    if fitted != wanted {
        tracing::warn!(
            "the limit of open files ({limit}) is less than the {needed} that mqtt.connections_max \
             ({}), http.connections_max ({}) and the gateway itself ({own}) need: at most {} MQTT and \
             {} HTTP connections are taken; raise it (ulimit -n, LimitNOFILE=)",
            wanted.mqtt,
            wanted.http,
            fitted.mqtt,
            fitted.http
        );
        config.mqtt.connections_max = fitted.mqtt;
        config.http.connections_max = fitted.http;
    }
    Ok(())
}

/// What is open besides connections within the limits, at most.
fn own_files(config: &Config, rules: &[Arc<Rule>]) -> usize {
    let calls: usize = config.hooks.values().map(call_files).sum();
    // One that is named twice counts twice.
    let named = rules.iter().flat_map(|rule| rule.deliveries()).count();
    let declared: usize = config.deliveries.values().map(delivery_files).sum();
    let files = declared + FILES_OF_BATCH * named;
    let listeners = config.listeners.len();
    OWN_FILES + REFUSALS_MAX + HTTP_REFUSALS_MAX + calls + files + listeners
}

/// A file, one of its errors, and the folder that they are moved into.
const FILES_OF_BATCH: usize = 3;

/// What the batches of a delivery have open: it writes several at once only with partitions.
fn delivery_files(delivery: &DeliveryConfig) -> usize {
    match delivery.partition_keys.is_empty() {
        true => FILES_OF_BATCH,
        false => FILES_OF_BATCH * DELIVERY_FILES_MAX,
    }
}

/// What the calls of a hook have open.
fn call_files(hook: &HookConfig) -> usize {
    match hook.destination {
        // A socket, and another over which a name may be resolved.
        Destination::Url(_) => 2 * hook.concurrency,
        // Of each process its two outputs, the listener and the connections of its Runtime API.
        Destination::Function(_) => (3 + FUNCTION_CONNECTIONS_MAX) * hook.concurrency,
    }
}

/// The limit of open files, raised to `needed` where it is less and may be raised. `None`: there is
/// none.
fn raised(needed: usize) -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    if current >= needed {
        return Some(usize::try_from(current).unwrap_or(usize::MAX));
    }
    let wanted = limit.maximum.map_or(needed, |hard| hard.min(needed));
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    let in_force = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised to {wanted}");
            current
        }
    };
    Some(usize::try_from(in_force).unwrap_or(usize::MAX))
}

/// Shares `room` out. When it is too little HTTP gets a quarter, or what MQTT leaves; `None` when it is
/// less than [`CONNECTIONS_MIN`] (or what is wanted, if that is even less).
fn share(wanted: Connections, room: usize) -> Option<Connections> {
    if room < CONNECTIONS_MIN.min(wanted.mqtt + wanted.http) {
        return None;
    }
    let http = wanted.http.min((room / 4).max(room.saturating_sub(wanted.mqtt)));
    Some(Connections { mqtt: wanted.mqtt.min(room - http), http })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_room_that_there_is() {
        let shared = |mqtt, http, room| {
            share(Connections { mqtt, http }, room).map(|fitted| (fitted.mqtt, fitted.http))
        };
        assert_eq!(shared(10_000, 1000, 20_000), Some((10_000, 1000)));
        assert_eq!(shared(10_000, 1000, 11_000), Some((10_000, 1000)));
        assert_eq!(shared(10_000, 1000, 10_999), Some((9999, 1000)), "MQTT gives way while it is");
        assert_eq!(shared(10_000, 1000, 800), Some((600, 200)), "three quarters of what there is");
        assert_eq!(shared(100, 1000, 800), Some((100, 700)));
        assert_eq!(shared(1000, 100, 800), Some((700, 100)));
        assert_eq!(shared(1000, 100, CONNECTIONS_MIN), Some((12, 4)));
        assert_eq!(shared(1000, 100, CONNECTIONS_MIN - 1), None);
        assert_eq!(shared(1, 1, 2), Some((1, 1)));
        assert_eq!(shared(1, 1, 1), None);
    }
}
