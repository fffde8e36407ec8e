//! Time zones by their identifiers, offsets and English names, as Joda-Time and the JDK each take them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::LazyLock;

use jiff::tz::Offset;
use jiff::tz::TimeZone;

/// What people call zones, in the form that the file's own head describes.
const NAMES: &str = include_str!("zones.tsv");

/// How much of a name is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameLength {
    /// `CET`
    Short,
    /// `Central European Standard Time`
    Full,
}

/// What people call a zone.
#[derive(Clone, Copy, Debug)]
pub struct ZoneNames {
    /// Short and long name in standard time.
    standard: (&'static str, &'static str),
    /// Short and long name in daylight saving time.
    daylight: (&'static str, &'static str),
}

impl ZoneNames {
    /// Of the zone with that identifier, which may have no name.
    pub fn of(id: &str) -> Option<ZoneNames> {
        ZONES.by_id.get(id).copied()
    }

    /// The name in standard time.
    pub fn standard(&self, length: NameLength) -> &'static str {
        length.of(self.standard)
    }

    /// The name in daylight saving time.
    pub fn daylight(&self, length: NameLength) -> &'static str {
        length.of(self.daylight)
    }
}

impl NameLength {
    fn of(self, (short, full): (&'static str, &'static str)) -> &'static str {
        match self {
            NameLength::Short => short,
            NameLength::Full => full,
        }
    }
}

/// The longest name of a zone that `text` begins with, and the identifier of the zone that it means.
pub fn named_zone(text: &str, length: NameLength) -> Option<(&'static str, &'static str)> {
    // `EST` begins no other name, but `GMT` begins `GMT+8`, which is an identifier.
    let is_whole = |name: &str| {
        let rest = text.strip_prefix(name);
        rest.is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphanumeric() || "+-/".contains(c))
        })
    };
    let names = match length {
        NameLength::Short => &ZONES.by_short_name,
        NameLength::Full => &ZONES.by_full_name,
    };
    let (name, meant) =
        names.iter().filter(|(name, _)| is_whole(name)).max_by_key(|(name, _)| name.len())?;
    meant.id.map(|id| (*name, id))
}

/// [`NAMES`], to be looked up from both sides.
#[derive(Default)]
struct Zones {
    by_id: HashMap<&'static str, ZoneNames>,
    by_short_name: HashMap<&'static str, Meant>,
    by_full_name: HashMap<&'static str, Meant>,
}

/// The zone that a name means: none when it means several.
struct Meant {
    id: Option<&'static str>,
    is_of_first_block: bool,
}

static ZONES: LazyLock<Zones> = LazyLock::new(|| {
    let mut zones = Zones::default();
    let mut is_of_first_block = true;
    for line in NAMES.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&'static str> = line.split('\t').collect();
        let [short, full, short_daylight, full_daylight, ids] = cells[..] else {
            // The empty line between the blocks.
            is_of_first_block = false;
            continue;
        };
        let names =
            ZoneNames { standard: (short, full), daylight: (short_daylight, full_daylight) };
        zones.by_id.extend(ids.split(' ').map(|id| (id, names)));
        let id = ids.split(' ').next();
        for (names, [standard, daylight]) in [
            (&mut zones.by_short_name, [short, short_daylight]),
            (&mut zones.by_full_name, [full, full_daylight]),
        ] {
            mean(names, standard, Meant { id, is_of_first_block });
            if daylight != standard {
                mean(names, daylight, Meant { id, is_of_first_block });
            }
        }
    }
    zones
});

/// Notes what a name means; one that means several is known as such.
fn mean(names: &mut HashMap<&'static str, Meant>, name: &'static str, meant: Meant) {
    match names.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(meant);
        }
        Entry::Occupied(mut entry) if !entry.get().is_of_first_block => entry.get_mut().id = None,
        Entry::Occupied(_) => {}
    }
}

/// The zone that `parse_time` is given: an offset, or a name of the time zone database just as it is written
/// there.
pub fn joda_zone(name: &str) -> Option<TimeZone> {
    match name {
        // What Joda-Time calls it.
        "GMT" => region("Etc/GMT"),
        offset if offset.starts_with(['+', '-']) => offset_zone(offset),
        _ => region(name),
    }
}

/// The zone that `time_to_epoch` reads: `Z`, an offset with colons, `UTC`, `GMT` or `UT` alone or with
/// such an offset, or a name as for [`joda_zone`].
pub fn jdk_zone(name: &str) -> Option<TimeZone> {
    let is_offset = |text: &str| text.starts_with(['+', '-']) && text.contains(':');
    let behind = ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix));
    match (name, behind) {
        ("Z", _) | (_, Some("")) => Some(TimeZone::UTC),
        (_, Some(offset)) if is_offset(offset) => offset_zone(offset),
        (offset, _) if is_offset(offset) => offset_zone(offset),
        // These three are offsets to the JDK, and no names of zones.
        ("EST" | "MST" | "HST", _) => None,
        _ => region(name),
    }
}

/// The database itself takes names in any case.
fn region(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

fn offset_zone(text: &str) -> Option<TimeZone> {
    Offset::from_seconds(offset_seconds(text)?).ok().map(TimeZone::fixed)
}

/// `+01`, `+0100`, `+01:00`, `+010000`, `+01:00:00`, to 18 hours.
fn offset_seconds(text: &str) -> Option<i32> {
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
        for text in ["+01", "+0100", "+01:00", "+010000", "+01:00:00"] {
            assert_eq!(offset_seconds(text), Some(3600), "{text}");
        }
        for text in ["01:00", "+", "+1", "+1:0", "+19:00", "+18:01", "+01:60", "+ab"] {
            assert_eq!(offset_seconds(text), None, "{text}");
        }
        assert_eq!(jdk_zone("UTC-02:30"), offset_zone("-0230"));
        assert_eq!(jdk_zone("UTC"), Some(TimeZone::UTC));
        for name in ["Nowhere/Else", "", "europe/berlin", "+01", "UTC+1", "UTC0", "EST"] {
            assert_eq!(jdk_zone(name), None, "{name}");
        }
        for name in ["Nowhere/Else", "", "europe/berlin", "+1", "UTC+1", "Z", "GMT+01:00"] {
            assert_eq!(joda_zone(name), None, "{name}");
        }
        for name in ["UTC", "GMT", "EST", "+01", "-0130", "US/Pacific"] {
            assert!(joda_zone(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_zones_of_names_are_in_the_database() {
        let meant = ZONES.by_short_name.values().chain(ZONES.by_full_name.values());
        let ids: Vec<&str> = meant.filter_map(|meant| meant.id).collect();
        assert!(ids.len() > 400);
        for id in ids {
            assert!(region(id).is_some(), "{id}");
        }
    }

    #[test]
    fn a_name_of_several_zones_means_the_preferred_one_or_none() {
        let short = |text| named_zone(text, NameLength::Short);
        assert_eq!(short("CST"), Some(("CST", "America/Chicago")));
        assert_eq!(short("GMT)"), Some(("GMT", "Etc/GMT")));
        assert_eq!(short("BST"), Some(("BST", "Europe/London")));
        assert_eq!(short("IST"), None);
        assert_eq!(short("GMT+8"), None);
        assert_eq!(short("Central European Time"), None);
        let full = |text| named_zone(text, NameLength::Full);
        let name = "India Standard Time";
        assert_eq!(full("India Standard Time 2024"), Some((name, "Asia/Kolkata")));
        let summer = ZoneNames::of("Europe/Berlin").map(|names| names.daylight(NameLength::Full));
        assert_eq!(summer, Some("Central European Summer Time"));
    }
}
