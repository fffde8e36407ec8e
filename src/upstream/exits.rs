//! Which messages leave for other brokers, and how they are put into an outbox.
//!
//! Asked by a connection's lane for what clients publish, and by the journal's stage for what rules
//! republish; what it answers joins the same commit as everything else the message causes. So a bridged
//! message is on disk before its publisher is acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::BridgeConfig;
use crate::delivery::OUTBOX_PREFIX;
use crate::journal::Effect;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::topic::Reserved;

use super::envelope::Envelope;
use super::metrics::Lost;
use super::metrics::OneUpstream;
use super::metrics::UpstreamMetrics;
use super::route::Mapped;
use super::route::Routes;

/// The outboxes that messages go to.
#[derive(Debug, Default)]
pub struct Exits {
    /// Of the external broker: all that rules republish.
    external: Option<Arc<str>>,
    bridges: Vec<BridgeExit>,
}

#[derive(Debug)]
struct BridgeExit {
    /// Of the bridge.
    name: Arc<str>,
    outbox: Arc<str>,
    routes: Routes,
    metrics: OneUpstream,
}

impl Exits {
    /// To the external broker, if there is one, and over `bridges`.
    pub fn new(
        has_external: bool,
        bridges: &BTreeMap<String, BridgeConfig>,
        metrics: &UpstreamMetrics,
    ) -> Exits {
        let exit = |(name, bridge): (&String, &BridgeConfig)| {
            let name = bridge_name(name);
            let routes = Routes::out(bridge);
            let (outbox, metrics) = (outbox_of(&name), metrics.of(&name));
            (!routes.is_empty()).then_some(BridgeExit { name, outbox, routes, metrics })
        };
        Exits {
            external: has_external.then(|| outbox_of(super::EXTERNAL)),
            bridges: bridges.iter().filter_map(exit).collect(),
        }
    }

    /// Adds to `effects` what it takes to send on a message that a client published, or that came by the
    /// bridge `came_by`, over which it does not go back.
    pub fn take_published(
        &self,
        publish: &Publish,
        came_by: Option<&str>,
        effects: &mut Vec<Effect>,
    ) {
        for bridge in &self.bridges {
            if came_by != Some(&*bridge.name) {
                bridge.take(publish, effects);
            }
        }
    }

    /// The same for a message that a rule republished, or an event of the gateway.
    pub fn take_republished(&self, publish: &Publish, effects: &mut Vec<Effect>) {
        self.take_published(publish, None, effects);
        let Some(outbox) = &self.external else { return };
        // Events of the gateway and what goes to one rule are nobody else's.
        if Reserved::of(publish.topic.as_str()).is_some() {
            return;
        }
        let topic = Arc::clone(publish.topic.as_arc());
        // At least once, whatever QoS the rule asked for: subscribers get the smaller of theirs.
        let envelope = Envelope::of(publish, topic, QoS::AtLeastOnce);
        let envelope = Envelope { qos: QoS::AtLeastOnce, ..envelope };
        effects.push(to_effect(outbox, &envelope, publish));
    }
}

impl BridgeExit {
    fn take(&self, publish: &Publish, effects: &mut Vec<Effect>) {
        match self.routes.map(publish.topic.as_str()) {
            Mapped::To(topic, qos) => {
                let envelope = Envelope::of(publish, topic, qos);
                effects.push(to_effect(&self.outbox, &envelope, publish));
            }
            Mapped::Nowhere => {}
            Mapped::Invalid => self.metrics.count_lost(Lost::Topic, 1),
        }
    }
}

fn to_effect(outbox: &Arc<str>, envelope: &Envelope, publish: &Publish) -> Effect {
    Effect::Deliver {
        delivery: Arc::clone(outbox),
        data: envelope.encode(),
        at: publish.received_at,
        sent_by: None,
    }
}

/// What the bridge `name` of the configuration is called beside the external broker.
pub(super) fn bridge_name(name: &str) -> Arc<str> {
    Arc::from(format!("bridge.{name}"))
}

/// The outbox of what goes to the other broker `name`.
pub(super) fn outbox_of(name: &str) -> Arc<str> {
    Arc::from(format!("{OUTBOX_PREFIX}{name}"))
}
