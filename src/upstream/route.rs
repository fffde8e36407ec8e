//! The topics of a bridge: which ones it takes, and what they are called on the other side.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::BridgeConfig;
use crate::config::BridgeTopic;
use crate::publish::QoS;
use crate::topic::Dialect;
use crate::topic::TopicFilter;
use crate::topic::TopicName;

/// One direction of a bridge. The first route that fits is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Routes {
    routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    /// On the side that messages come from.
    filter: TopicFilter,
    /// Goes.
    from: String,
    /// Comes instead.
    to: String,
    qos: QoS,
}

/// What becomes of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// It goes there, with at most this QoS.
    To(Arc<str>, QoS),
    /// No route fits.
    Nowhere,
    /// What it would be called on the other side is no topic.
    Invalid,
}

impl Routes {
    /// From the embedded broker to the other one.
    pub(super) fn out(bridge: &BridgeConfig) -> Routes {
        let topics = bridge.topics.values().filter(|topic| topic.direction.goes_out());
        let route = |topic: &BridgeTopic| {
            let filter = topic.local().ok()?;
            Some(Route::new(topic, filter, &topic.local_prefix, &topic.remote_prefix))
        };
        Routes { routes: topics.filter_map(route).collect() }
    }

    /// From the other one to the embedded broker.
    pub(super) fn inward(bridge: &BridgeConfig) -> Routes {
        let topics = bridge.topics.values().filter(|topic| topic.direction.comes_in());
        let route = |topic: &BridgeTopic| {
            let filter = topic.remote().ok()?;
            Some(Route::new(topic, filter, &topic.remote_prefix, &topic.local_prefix))
        };
        Routes { routes: topics.filter_map(route).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// What to subscribe to for them.
    pub(super) fn filters(&self) -> BTreeSet<TopicFilter> {
        self.routes.iter().map(|route| route.filter.clone()).collect()
    }

    /// The highest QoS of any.
    pub(super) fn qos(&self) -> QoS {
        self.routes.iter().map(|route| route.qos).max().unwrap_or_default()
    }

    /// What `topic` is called on the other side.
    pub(super) fn map(&self, topic: &str) -> Mapped {
        for Route { filter, from, to, qos } in &self.routes {
            // A filter that ends in `/#` also has the topic before the slash, which may be the prefix.
            if let Some(rest) = topic.strip_prefix(from.as_str())
                && filter.matches(topic, Dialect::Mqtt)
            {
                let mapped = format!("{to}{rest}");
                return match TopicName::parse(&mapped) {
                    Ok(mapped) => Mapped::To(Arc::clone(mapped.as_arc()), *qos),
                    Err(_) => Mapped::Invalid,
                };
            }
        }
        Mapped::Nowhere
    }
}

impl Route {
    fn new(topic: &BridgeTopic, filter: TopicFilter, from: &str, to: &str) -> Route {
        let qos = if topic.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        Route { filter, from: from.to_owned(), to: to.to_owned(), qos }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Direction;
    use crate::config::LinkConfig;
    use crate::config::UpstreamUrl;

    fn bridge(topics: &[(&str, Direction, &str, &str, u8)]) -> BridgeConfig {
        let topic = |(place, topic): (usize, &(&str, Direction, &str, &str, u8))| {
            let (filter, direction, local, remote, qos) = *topic;
            let topic = BridgeTopic {
                filter: filter.to_owned(),
                direction,
                local_prefix: local.to_owned(),
                remote_prefix: remote.to_owned(),
                qos,
            };
            (place.to_string(), topic)
        };
        BridgeConfig {
            url: UpstreamUrl { host: "b".to_owned(), port: 1, is_tls: false, user: None },
            link: LinkConfig::default(),
            topics: topics.iter().enumerate().map(topic).collect(),
        }
    }

    #[track_caller]
    fn check(routes: &Routes, topic: &str, expected: Option<(&str, u8)>) {
        let mapped = match routes.map(topic) {
            Mapped::To(topic, qos) => Some((topic.to_string(), qos as u8)),
            _ => None,
        };
        assert_eq!(mapped, expected.map(|(topic, qos)| (topic.to_owned(), qos)), "{topic}");
    }

    #[test]
    fn prefixes_are_changed_both_ways_and_the_first_route_that_fits_is_taken() {
        let bridge = bridge(&[
            ("a/#", Direction::Out, "here/", "there/", 1),
            ("#", Direction::Both, "x/", "y/", 0),
            ("cmd/+", Direction::In, "", "plant7/", 1),
            ("a/b", Direction::Out, "here/", "never/", 0),
        ]);
        let (out, inward) = (Routes::out(&bridge), Routes::inward(&bridge));
        check(&out, "here/a/b", Some(("there/a/b", 1)));
        check(&out, "here/a", Some(("there/a", 1)));
        check(&out, "here/b", None);
        check(&out, "x/1", Some(("y/1", 0)));
        check(&out, "x", None);
        check(&out, "cmd/1", None);
        check(&inward, "plant7/cmd/1", Some(("cmd/1", 1)));
        check(&inward, "y/z", Some(("x/z", 0)));
        check(&inward, "there/a/b", None);
        assert_eq!((inward.filters().len(), inward.qos()), (2, QoS::AtLeastOnce));
    }

    #[test]
    fn a_topic_that_would_be_none_is_told() {
        let bridge = bridge(&[("#", Direction::Out, "a", "", 1)]);
        assert_eq!(Routes::out(&bridge).map("a"), Mapped::Nowhere);
        let bridge = self::bridge(&[("+", Direction::Out, "", &"x".repeat(65_535), 1)]);
        assert_eq!(Routes::out(&bridge).map("a"), Mapped::Invalid);
    }
}
