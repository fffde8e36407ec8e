//! Where a file stands: prefixes evaluated, and its name with the range of its records.

use std::borrow::Cow;
use std::fmt::Write as _;

use rand::Rng;
use rand::distr::Alphanumeric;

use crate::clock::Timestamp;
use crate::config::DeliveryConfig;
use crate::config::ObjectPrefix;
use crate::config::PrefixPiece;
use crate::config::RANDOM_CHARS;

use super::buffer_name;

/// What a partition key is called that a buffer does not have: one from before the configuration was
/// changed. The name is Hive's.
const NO_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// `name` as one part of a path: letters, digits, `_`, `-` and inner dots stay, every other byte
/// becomes `%XX`. Different names give different parts, and none of them leaves its folder.
pub(super) fn to_path_part(name: &str) -> Cow<'_, str> {
    let is_plain = |(place, byte): (usize, u8)| {
        byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || (byte == b'.' && place > 0)
    };
    if !name.is_empty() && name.bytes().enumerate().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut part = String::with_capacity(name.len() + 8);
    for (place, byte) in name.bytes().enumerate() {
        if is_plain((place, byte)) {
            part.push(char::from(byte));
        } else {
            write!(part, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    if part.is_empty() { Cow::Borrowed("%") } else { Cow::Owned(part) }
}

/// A batch that becomes a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    /// Name of the buffer.
    pub(super) buffer: &'a str,
    /// Arrival of its oldest record.
    pub(super) oldest: Timestamp,
    /// Id of its first entry.
    pub(super) first: i64,
    /// Id of its last entry.
    pub(super) last: i64,
}

impl Range<'_> {
    /// The file of the records, relative to the delivery's directory.
    pub(super) fn object(&self, config: &DeliveryConfig, suffix: &str) -> String {
        self.name(&config.prefix, config, "", suffix)
    }

    /// The file of what could not be delivered for a reason of this kind.
    pub(super) fn error_object(&self, config: &DeliveryConfig, kind: &str) -> String {
        self.name(&config.error_prefix, config, kind, ".jsonl")
    }

    fn name(
        &self,
        prefix: &ObjectPrefix,
        config: &DeliveryConfig,
        kind: &str,
        suffix: &str,
    ) -> String {
        let mut name = String::new();
        // Outside the calendar (year 9999) there is nothing sensible; the epoch keeps the file.
        let oldest = jiff::Timestamp::from_millisecond(self.oldest.as_millis()).unwrap_or_default();
        let oldest = oldest.to_zoned(config.time_zone.clone());
        for piece in prefix.pieces() {
            match piece {
                PrefixPiece::Text(text) => name.push_str(text),
                PrefixPiece::Time(format) => {
                    let text = jiff::fmt::strtime::format(format, &oldest);
                    let text = text.expect("the configuration has tried the format");
                    let folders: Vec<_> = text.split('/').map(to_path_part).collect();
                    name.push_str(&folders.join("/"));
                }
                PrefixPiece::Key(key) => {
                    let value = buffer_name::value_of(self.buffer, key).unwrap_or(NO_PARTITION);
                    name.push_str(&to_path_part(value));
                }
                PrefixPiece::Random => name.extend(
                    rand::rng().sample_iter(Alphanumeric).take(RANDOM_CHARS).map(char::from),
                ),
                PrefixPiece::ErrorKind => name.push_str(kind),
            }
        }
        let Range { first, last, .. } = self;
        let part = to_path_part(buffer_name::delivery_of(self.buffer));
        write!(name, "{part}-{first}-{last}{suffix}").expect("writing to a String cannot fail");
        name
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn name(buffer: &str, oldest: i64, config: &DeliveryConfig) -> String {
        let oldest = Timestamp::from_millis(oldest);
        Range { buffer, oldest, first: 7, last: 120 }.object(config, ".jsonl")
    }

    #[test]
    fn an_object_is_named_by_hour_and_range() {
        let config = DeliveryConfig::default();
        let oldest = 1_594_598_424_502;
        assert_eq!(name("alerts", oldest, &config), "2020/07/13/00/alerts-7-120.jsonl");
        assert_eq!(name("a/../b", 0, &config), "1970/01/01/00/a%2F..%2Fb-7-120.jsonl");
        assert!(name("a", i64::MAX, &config).starts_with("1970/"));
        let range = Range { buffer: "a", oldest: Timestamp::EPOCH, first: 1, last: 2 };
        assert_eq!(
            range.error_object(&config, "processing-failed"),
            "errors/processing-failed/1970/01/01/00/a-1-2.jsonl"
        );
    }

    #[test]
    fn a_prefix_is_filled_with_keys_and_times_of_the_zone() {
        let text = "room=!{partitionKeyFromQuery:room}/day=!{timestamp:yyyy-MM-dd}/x";
        let config = DeliveryConfig {
            prefix: ObjectPrefix::parse(text, &["room"]).unwrap(),
            time_zone: TimeZone::get("Europe/Berlin").unwrap(),
            ..DeliveryConfig::default()
        };
        let evening = 1_767_223_800_000; // 23:30 of the last day of 2025 in London
        let buffer = buffer_name::partition_of("lake", [("room", "../b c")].into_iter());
        assert_eq!(
            name(&buffer, evening, &config),
            "room=%2E.%2Fb%20c/day=2026-01-01/xlake-7-120.jsonl"
        );
        let without = name("lake", evening, &config);
        assert!(without.starts_with("room=__HIVE_DEFAULT_PARTITION__/"), "{without}");
    }

    #[test]
    fn random_characters_differ() {
        let prefix = ObjectPrefix::parse("!{firehose:random-string}/", &[]).unwrap();
        let config = DeliveryConfig { prefix, ..DeliveryConfig::default() };
        let (one, other) = (name("a", 0, &config), name("a", 0, &config));
        assert_ne!(one, other);
        assert_eq!(one.find('/'), Some(RANDOM_CHARS));
    }

    #[test]
    fn no_name_leaves_its_folder() {
        for (name, part) in
            [("..", "%2E."), (".", "%2E"), ("", "%"), ("a.b-c_1", "a.b-c_1"), ("é", "%C3%A9")]
        {
            assert_eq!(to_path_part(name), part);
        }
    }
}
