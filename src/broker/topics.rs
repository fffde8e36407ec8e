//! A connection's own memory of the topics it publishes to: checked name, route, alias.

use std::collections::HashMap;
use std::sync::Arc;

use super::exchange::Exchange;
use super::packet::Violation;
use super::subscriptions::Route;
use crate::access::Permissions;
use crate::limits::TOPIC_ALIAS_MAX;
use crate::limits::TOPIC_CACHE_BYTES_MAX;
use crate::limits::TOPIC_CACHE_MAX;
use crate::limits::TOPIC_CACHE_REST_BYTES;
use crate::topic::TopicError;
use crate::topic::TopicName;

/// A known topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    /// Who gets it; good while `version` is the index's.
    pub(crate) route: Option<Arc<Route>>,
    version: u64,
    /// Whether the client may publish there; good while `permitted` is the permissions' version.
    pub(crate) is_allowed: bool,
    permitted: u64,
}

/// The topics of one connection.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    places: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    known: Vec<Topic>,
    /// Of the names in `places`.
    bytes: usize,
    /// By alias less one.
    aliases: Vec<Option<TopicName>>,
}

impl Topics {
    /// The topic of a PUBLISH by session `publisher`: its text, or what its alias stands for (MQTT 5,
    /// section 3.3.2.3.4).
    pub(crate) fn resolve(
        &mut self,
        text: &[u8],
        alias: Option<u16>,
        publisher: u64,
        permissions: &Permissions,
        exchange: &Exchange,
    ) -> Result<&Topic, Violation> {
        let Some(alias) = alias else {
            return self.find(text, publisher, permissions, exchange);
        };
        if alias > TOPIC_ALIAS_MAX {
            return Err(Violation::TopicAlias);
        }
        let at = usize::from(alias) - 1;
        if text.is_empty() {
            let name = self.aliases.get(at).cloned().flatten().ok_or(Violation::TopicAlias)?;
            return self.find(name.as_str().as_bytes(), publisher, permissions, exchange);
        }
        let name = self.find(text, publisher, permissions, exchange)?.name.clone();
        if self.aliases.len() <= at {
            self.aliases.resize(at + 1, None);
        }
        if let Some(place) = self.aliases.get_mut(at) {
            *place = Some(name);
        }
        self.find(text, publisher, permissions, exchange)
    }

    fn find(
        &mut self,
        text: &[u8],
        publisher: u64,
        permissions: &Permissions,
        exchange: &Exchange,
    ) -> Result<&Topic, Violation> {
        let at = match self.places.get(text) {
            Some(at) => *at,
            None => self.learn(text)?,
        };
        let topic = self.known.get_mut(at).expect("places and topics are learnt together");
        if topic.version != exchange.subscriptions.version() {
            (topic.version, topic.route) =
                exchange.subscriptions.route(topic.name.as_str(), Some(publisher));
        }
        if topic.permitted != permissions.version() {
            topic.is_allowed = permissions.may_publish(topic.name.as_str());
            topic.permitted = permissions.version();
        }
        Ok(topic)
    }

    /// Gives back what the memory takes beyond [`TOPIC_CACHE_REST_BYTES`]; aliases are the client's, and
    /// stay.
    pub(crate) fn rest(&mut self) {
        if self.bytes > TOPIC_CACHE_REST_BYTES {
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.known, self.places, self.bytes) = (Vec::new(), HashMap::default(), 0);
    }

    fn learn(&mut self, text: &[u8]) -> Result<usize, Violation> {
        let checked = std::str::from_utf8(text)
            .map_err(|_| Violation::Malformed("a topic name is not UTF-8"))?;
        let name = TopicName::parse(checked).map_err(|error| match error {
            TopicError::Nul => Violation::Malformed("a string contains NUL"),
            TopicError::Empty => Violation::Protocol("neither a topic nor an alias"),
            error => Violation::TopicName(error),
        })?;
        if self.known.len() >= TOPIC_CACHE_MAX || self.bytes + text.len() > TOPIC_CACHE_BYTES_MAX {
            self.forget();
        }
        let at = self.known.len();
        self.bytes += text.len();
        // Nothing has this version: the first look makes the route, and asks the permissions.
        let (version, permitted) = (u64::MAX, u64::MAX);
        self.known.push(Topic { name, route: None, version, is_allowed: false, permitted });
        self.places.insert(Box::from(text), at);
        Ok(at)
    }
}
