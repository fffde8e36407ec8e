//! What a message of ours carries to the other broker, so that it is known again: two user properties of
//! MQTT 5.
//!
//! `tidegate-via` says through which client or shared group it went; who finds its own name has seen the
//! message before. `tidegate-hops` counts the gateways and rules it went through; too many are a loop.

use crate::limits;

const VIA: &str = "tidegate-via";
const HOPS: &str = "tidegate-hops";

/// Marks messages on their way out, and reads the marks of those that come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The client id, or the group of the shared subscription.
    via: String,
}

/// What the marks of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is one of ours.
    Ours,
    /// It has gone through too many gateways.
    TooOften,
    /// It is new, after so many hops.
    New(u8),
}

impl Mark {
    /// Of a client, or of all members of a shared group.
    pub(super) fn new(client_id: &str, share: Option<&str>) -> Mark {
        let via = match share {
            Some(group) => format!("$share/{group}"),
            None => client_id.to_owned(),
        };
        Mark { via }
    }

    /// Bytes that a mark adds to a packet, at most.
    pub(super) fn bytes(&self) -> usize {
        VIA.len() + HOPS.len() + self.via.len() + 16
    }

    /// Adds the marks; those of other gateways go.
    pub(super) fn put(&self, properties: &mut Vec<(String, String)>, hops: u8) {
        properties.retain(|(name, _)| name != VIA && name != HOPS);
        properties.push((VIA.to_owned(), self.via.clone()));
        properties.push((HOPS.to_owned(), hops.to_string()));
    }

    /// Reads the marks and takes them off.
    pub(super) fn take(&self, properties: &mut Vec<(String, String)>) -> Seen {
        let mut seen = Seen::New(0);
        properties.retain(|(name, value)| {
            match name.as_str() {
                VIA if *value == self.via => seen = Seen::Ours,
                VIA => {}
                HOPS => {
                    // A number that is none is as good as too many.
                    let hops = value.parse().unwrap_or(u8::MAX);
                    if seen != Seen::Ours {
                        seen = match hops {
                            0..limits::HOPS_MAX => Seen::New(hops + 1),
                            _ => Seen::TooOften,
                        };
                    }
                }
                _ => return true,
            }
            false
        });
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_message_is_known_by_its_group_and_counted_by_others() {
        let (ours, other) = (Mark::new("edge-1", Some("g")), Mark::new("edge-2", None));
        let mut properties = vec![("a".to_owned(), "b".to_owned())];
        ours.put(&mut properties, 1);
        let mut same = properties.clone();
        assert_eq!(Mark::new("edge-3", Some("g")).take(&mut same), Seen::Ours);
        assert_eq!(other.take(&mut properties), Seen::New(2));
        assert_eq!(properties, [("a".to_owned(), "b".to_owned())], "the marks are taken off");
        assert_eq!(other.take(&mut properties), Seen::New(0));

        other.put(&mut properties, limits::HOPS_MAX);
        assert_eq!(ours.take(&mut properties), Seen::TooOften);
        properties.push((HOPS.to_owned(), "x".to_owned()));
        assert_eq!(ours.take(&mut properties), Seen::TooOften);
    }
}
