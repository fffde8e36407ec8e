//! Joins connections to other brokers to the rest: what they need at the start, and the filters of the
//! rules that run.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::broker::BrokerHandle;
use crate::config::Config;
use crate::topic::TopicFilter;
use crate::upstream::Exits;
use crate::upstream::Filters;
use crate::upstream::UpstreamMetrics;
use crate::upstream::UpstreamSetup;
use crate::upstream::Upstreams;

use super::Parts;
use super::rules::RunningRules;
use super::secrets;

impl Parts<'_> {
    /// Opens the outboxes and reads passwords and certificates. Nothing is connected yet.
    pub(super) async fn prepare_upstreams(
        &self,
        handle: &BrokerHandle,
        metrics: UpstreamMetrics,
    ) -> anyhow::Result<Arc<Upstreams>> {
        let Config { broker, bridges, secrets, .. } = self.config;
        let links = bridges.values().map(|bridge| &bridge.link).chain([&broker.link]);
        let named: Vec<String> = links.filter_map(|link| link.password.clone()).collect();
        let secrets = secrets.clone();
        let read = spawn_blocking(move || {
            let read = |name: String| {
                let secret = secrets.get(&name)?;
                Some(secrets::read_one(&name, secret).map(|text| (name, text)))
            };
            named.into_iter().filter_map(read).collect::<Result<BTreeMap<_, _>, _>>()
        });
        let passwords = read.await.context("reading a password does not panic")??;
        let setup = UpstreamSetup {
            broker: broker.clone(),
            bridges: bridges.clone(),
            passwords,
            handle: handle.clone(),
            data_dir: self.config.data_dir.clone(),
            executor: self.storage.executor(),
            reader: self.storage.reader()?,
            backlogs: self.journal.delivery_backlogs(),
            clock: self.clock,
            sink: Arc::new(self.events.clone()),
            metrics,
        };
        Ok(Arc::new(Upstreams::prepare(setup).await?))
    }
}

/// What goes to other brokers, and what is counted of them.
pub(super) fn exits(config: &Config, registry: &mut Registry) -> (Arc<Exits>, UpstreamMetrics) {
    let metrics = UpstreamMetrics::default();
    metrics.register(registry);
    let has_external = config.broker.external.is_some();
    (Arc::new(Exits::new(has_external, &config.bridges, &metrics)), metrics)
}

/// The filters of the rules that run, and what keeps them so.
pub(super) fn follow_filters(
    running: &Arc<RunningRules>,
) -> (watch::Receiver<Filters>, impl Future<Output = ()> + use<>) {
    let mut settled = running.settled();
    let first = settled.borrow_and_update().topic_filters();
    let (sender, receiver) = watch::channel(Arc::new(first));
    let following = async move {
        while settled.changed().await.is_ok() {
            let filters: BTreeSet<TopicFilter> = settled.borrow_and_update().topic_filters();
            sender.send_if_modified(|known| {
                let is_new = **known != filters;
                if is_new {
                    *known = Arc::new(filters);
                }
                is_new
            });
        }
    };
    (receiver, following)
}
