//! The will: a message that the gateway publishes for a client that went without a word.

use std::sync::Arc;
use std::time::Duration;

use super::Lane;
use super::exchange::Exchange;
use super::exchange::Wakes;
use super::packet::Violation;
use super::packet::codec::LastWill;
use crate::clock::Timestamp;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::session::SavedWill;
use crate::topic::Reserved;
use crate::topic::TopicName;

/// A checked will.
#[derive(Debug)]
pub(crate) struct Will {
    publish: Publish,
    /// From the end of the connection (MQTT 5, section 3.1.3.2.2).
    pub(crate) delay: Duration,
}

impl Will {
    pub(crate) fn new(will: LastWill, origin: &Arc<Origin>) -> Result<Will, Violation> {
        let topic = TopicName::parse(&will.topic).map_err(Violation::TopicName)?;
        let is_ingest = matches!(Reserved::of(topic.as_str()), Some(Reserved::Ingest { .. }));
        Ok(Will {
            publish: Publish {
                topic,
                payload: will.payload,
                qos: will.qos,
                retain: will.retain && !is_ingest,
                received_at: Timestamp::EPOCH,
                origin: Arc::clone(origin),
                properties: will.properties.map(Arc::new),
                hops: 0,
            },
            delay: Duration::from_secs(u64::from(will.delay)),
        })
    }

    /// Where it goes.
    pub(crate) fn topic(&self) -> &str {
        self.publish.topic.as_str()
    }

    /// The will of an earlier run, `delay` from now.
    pub(crate) fn restored(publish: Publish, delay: Duration) -> Will {
        Will { publish, delay }
    }

    /// As it is kept on disk.
    pub(crate) fn to_saved(&self) -> SavedWill {
        SavedWill { delay: self.delay, publish: self.publish.clone() }
    }

    /// Publishes it as its client's message, through rules and to subscribers, in one commit with what `lane` has
    /// already. `publisher` is the key of its session.
    pub(crate) async fn publish(self, exchange: &Exchange, lane: &mut dyn Lane, publisher: u64) {
        let mut publish = self.publish;
        publish.received_at = exchange.clock.now();
        match Exchange::refuse(&publish) {
            Some(reason) => exchange.metrics.count_dropped(reason),
            None => {
                let mut wakes = Wakes::default();
                let topic = publish.topic.as_str();
                let (_, route) = exchange.subscriptions.route(topic, Some(publisher));
                let accepted = exchange.accept(publish, route.as_deref(), lane, &mut wakes);
                exchange.wake(&mut wakes);
                if let Err(reason) = accepted {
                    exchange.metrics.count_dropped(reason);
                }
            }
        }
        if lane.submit(None).await.is_err() {
            tracing::debug!("a will came too late for the rules: the gateway is shutting down");
        }
    }
}
