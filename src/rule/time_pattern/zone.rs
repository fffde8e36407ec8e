//! Time zones by their identifiers, offsets and English names.

use jiff::tz::Offset;
use jiff::tz::TimeZone;

/// What people call a zone.
#[derive(Clone, Copy, Debug)]
pub struct ZoneNames {
    /// Its identifier in the time zone database.
    pub id: &'static str,
    /// Short and long name in standard time.
    pub standard: (&'static str, &'static str),
    /// Short and long name in daylight saving time.
    pub daylight: (&'static str, &'static str),
}

const fn names(
    id: &'static str,
    standard: (&'static str, &'static str),
    daylight: (&'static str, &'static str),
) -> ZoneNames {
    ZoneNames { id, standard, daylight }
}

/// The zones whose names are told apart. Others are called by identifier or offset: a short name
/// such as `IST` means several.
#[rustfmt::skip]
pub const ZONES: &[ZoneNames] = &[
    names("UTC", ("UTC", "Coordinated Universal Time"), ("UTC", "Coordinated Universal Time")),
    names("Europe/London", ("GMT", "Greenwich Mean Time"), ("BST", "British Summer Time")),
    names("Europe/Lisbon", ("WET", "Western European Time"), ("WEST", "Western European Summer Time")),
    names("Europe/Paris", ("CET", "Central European Time"), ("CEST", "Central European Summer Time")),
    names("Europe/Athens", ("EET", "Eastern European Time"), ("EEST", "Eastern European Summer Time")),
    names("America/New_York", ("EST", "Eastern Standard Time"), ("EDT", "Eastern Daylight Time")),
    names("America/Chicago", ("CST", "Central Standard Time"), ("CDT", "Central Daylight Time")),
    names("America/Denver", ("MST", "Mountain Standard Time"), ("MDT", "Mountain Daylight Time")),
    names("America/Los_Angeles", ("PST", "Pacific Standard Time"), ("PDT", "Pacific Daylight Time")),
    names("America/Anchorage", ("AKST", "Alaska Standard Time"), ("AKDT", "Alaska Daylight Time")),
    names("Asia/Tokyo", ("JST", "Japan Standard Time"), ("JDT", "Japan Daylight Time")),
    names("Australia/Sydney", ("AEST", "Australian Eastern Standard Time"), ("AEDT", "Australian Eastern Daylight Time")),
];

/// `Z`, an offset, `UTC`, `GMT` or `UT` with or without an offset, or a name of the time zone
/// database.
pub fn zone(name: &str) -> Option<TimeZone> {
    let offset = ["UTC", "GMT", "UT", "Z"].iter().find_map(|prefix| name.strip_prefix(prefix));
    match offset.unwrap_or(name) {
        "" if offset.is_some() => Some(TimeZone::UTC),
        text if text.starts_with(['+', '-']) => offset_seconds(text).and_then(fixed),
        _ => TimeZone::get(name).ok(),
    }
}

fn fixed(seconds: i32) -> Option<TimeZone> {
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

/// `+1`, `+01`, `+0100`, `+01:00`, `+010000`, `+01:00:00`, to 18 hours.
pub fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes() {
        [b'+', ..] => (1, text.get(1..)?),
        [b'-', ..] => (-1, text.get(1..)?),
        _ => return None,
    };
    let plain: String = digits.split(':').collect();
    // Colons stand between pairs only.
    if digits.contains(':') && digits.split(':').any(|pair| pair.len() != 2) {
        return None;
    }
    if !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| plain.get(from..to).and_then(|two| two.parse().ok());
    let (hours, minutes, seconds): (i32, i32, i32) = match plain.len() {
        1 => (plain.parse().ok()?, 0, 0),
        2 => (number(0, 2)?, 0, 0),
        4 => (number(0, 2)?, number(2, 4)?, 0),
        6 => (number(0, 2)?, number(2, 4)?, number(4, 6)?),
        _ => return None,
    };
    let total = hours * 3600 + minutes * 60 + seconds;
    (total <= 18 * 3600 && minutes < 60 && seconds < 60).then_some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_in_all_their_forms() {
        for text in ["+1", "+01", "+0100", "+01:00", "+010000", "+01:00:00"] {
            assert_eq!(offset_seconds(text), Some(3600), "{text}");
        }
        for text in ["01:00", "+", "+1:0", "+19:00", "+18:01", "+01:60", "+ab"] {
            assert_eq!(offset_seconds(text), None, "{text}");
        }
        assert_eq!(zone("UTC-02:30"), fixed(-9000));
        assert_eq!(zone("Nowhere/Else"), None);
        assert_eq!(zone(""), None);
    }

    #[test]
    fn named_zones_are_in_the_database() {
        for names in ZONES {
            assert!(zone(names.id).is_some(), "{}", names.id);
        }
    }
}
