//! The will: a message that the gateway publishes for a client that went without a word.

use std::sync::Arc;
use std::time::Duration;

use super::Intake;
use super::exchange::Exchange;
use super::metrics::Dropped;
use super::packet::Violation;
use super::packet::codec::LastWill;
use crate::clock::Timestamp;
use crate::publish::Origin;
use crate::publish::Publish;
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

    /// Publishes it as its client's message, through rules and to subscribers. `publisher` is the key of
    /// its session.
    pub(crate) async fn publish(
        self,
        exchange: &Exchange,
        intake: &Arc<dyn Intake>,
        publisher: u64,
    ) {
        let mut publish = self.publish;
        publish.received_at = exchange.clock.now();
        if let Some(reason) = Exchange::refuse(&publish) {
            exchange.metrics.count_dropped(reason);
            return;
        }
        exchange.publish(&publish, Some(publisher));
        let mut lane = intake.lane(Arc::clone(&publish.origin), Arc::default());
        if lane.take(publish).is_err() {
            exchange.metrics.count_dropped(Dropped::UnknownRule);
        }
        if lane.submit(None).await.is_err() {
            tracing::debug!("a will came too late for the rules: the gateway is shutting down");
        }
    }
}
