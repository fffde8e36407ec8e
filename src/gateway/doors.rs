//! The listeners: opened at the start, and their certificates kept up to date.
//!
//! One task looks at the files of all listeners with TLS ([`Certificates::watch`]). What has changed and
//! is good takes over; what is no good is told once, counted, and shown by the API, and the certificate
//! before it is served on.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::time::MissedTickBehavior;

use crate::accept::Acceptor;
use crate::accept::Door;
use crate::accept::DoorError;
use crate::accept::DoorStatus;
use crate::accept::ListenerMetrics;
use crate::api::view;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::ListenerConfig;
use crate::limits::TLS_LOOK_PERIOD;
use crate::peer::AlternativeNames;
use crate::tls::TlsStatus;

/// The open doors of one start.
pub(super) struct Doors {
    /// Of the broker; `[mqtt]`, if it is open, is the first.
    pub(super) mqtt: Vec<(Acceptor, Arc<Door>)>,
    /// Of the HTTP side; `[http]` is the first.
    pub(super) http: Vec<(Acceptor, Arc<Door>)>,
    /// The address of `[mqtt]`.
    pub(super) first: Option<SocketAddr>,
    pub(super) certificates: Arc<Certificates>,
}

impl Doors {
    /// Opens all of them, or none.
    pub(super) async fn open(
        config: &Config,
        clock: Clock,
        registry: &mut Registry,
    ) -> Result<Doors, DoorError> {
        let metrics = ListenerMetrics::default();
        let first = ListenerConfig::of_mqtt(&config.mqtt);
        let mut mqtt = Vec::new();
        if config.mqtt.is_open {
            mqtt.push(Door::open("mqtt", &first, &metrics, clock).await?);
        }
        let first = ListenerConfig::of_http(&config.http);
        let mut http = vec![Door::open("http", &first, &metrics, clock).await?];
        for (name, listener) in &config.listeners {
            let side = if listener.protocol.is_http() { &mut http } else { &mut mqtt };
            side.push(Door::open(name, listener, &metrics, clock).await?);
        }
        let first = mqtt.first().filter(|_| config.mqtt.is_open).map(|(_, door)| door.address);
        let doors = mqtt.iter().chain(&http).map(|(_, door)| Arc::clone(door));
        let doors: Vec<_> = doors.collect();
        metrics.register(&doors, registry);
        let certificates = Arc::new(Certificates { doors, metrics, clock });
        Ok(Doors { mqtt, http, first, certificates })
    }
}

/// A listener as the API shows it.
pub(super) fn listener_view(status: DoorStatus) -> view::ListenerView {
    let certificate = status.tls.map(|TlsStatus { certificate, loaded_at, failure }| {
        let AlternativeNames { dns, uri, email, ip } = certificate.names;
        let ip = ip.iter().map(ToString::to_string);
        view::CertificateView {
            subject: certificate.subject,
            issuer: certificate.issuer,
            names: dns.into_iter().chain(ip).chain(uri).chain(email).collect(),
            sha256: certificate.fingerprint.to_string(),
            not_before: certificate.not_before.into(),
            not_after: certificate.not_after.into(),
            loaded_at: loaded_at.into(),
            error: failure,
        }
    });
    view::ListenerView {
        name: status.name.to_string(),
        protocol: status.protocol,
        address: status.address.to_string(),
        connections: status.connections,
        connections_max: status.connections_max,
        certificate,
    }
}

/// Keeps the certificates of listeners up to date.
pub(super) struct Certificates {
    doors: Vec<Arc<Door>>,
    metrics: ListenerMetrics,
    clock: Clock,
}

impl Certificates {
    /// The listeners, with TLS or without.
    pub(super) fn doors(&self) -> &[Arc<Door>] {
        &self.doors
    }

    /// Looks for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        if self.doors.iter().all(|door| door.tls.is_none()) {
            return;
        }
        let mut ticks = tokio::time::interval(TLS_LOOK_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.each(|keepers, door| {
                if door.tls.as_ref().is_some_and(|tls| tls.has_changed()) {
                    keepers.reload_one(door);
                }
            })
            .await;
        }
    }

    /// Reads all certificates again.
    pub(super) async fn reload(self: &Arc<Self>) {
        self.each(Certificates::reload_one).await;
    }

    /// Does something with each door on a thread that may block.
    async fn each(self: &Arc<Self>, act: fn(&Certificates, &Door)) {
        let this = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            this.doors.iter().for_each(|door| act(&this, door));
        });
        if let Err(error) = done.await {
            tracing::error!(%error, "looking at certificates failed");
        }
    }

    fn reload_one(&self, door: &Door) {
        let Some(tls) = &door.tls else { return };
        let listener = &*door.name;
        let result = match tls.reload(self.clock.now()) {
            Ok(true) => {
                let expires = tls.expires_at();
                tracing::info!(listener, %expires, "another certificate is served from now on");
                "applied"
            }
            Ok(false) => "unchanged",
            Err(error) => {
                tracing::error!(listener, %error, "the certificate in use stays: the new one is bad");
                "failed"
            }
        };
        self.metrics.count_reload(listener, result);
    }
}
