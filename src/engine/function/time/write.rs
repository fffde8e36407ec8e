//! `parse_time` writes a time by a Joda-Time pattern: English names, ISO weeks, UTC where no zone is
//! said.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::engine::function::Arguments;
use crate::engine::operators::Setting;
use crate::rule::time_pattern::JodaItem;
use crate::rule::time_pattern::JodaPattern;
use crate::rule::time_pattern::MONTHS;
use crate::rule::time_pattern::NameLength;
use crate::rule::time_pattern::WEEKDAYS;
use crate::rule::time_pattern::ZoneNames;
use crate::rule::time_pattern::joda_zone;
use crate::rule::time_pattern::short;
use crate::value::Rounding;
use crate::value::Value;

/// `parse_time(pattern, milliseconds[, zone])`.
pub(in crate::engine::function) fn parse_time(
    arguments: Arguments<'_, '_>,
    setting: Setting<'_>,
) -> Value {
    let Some((pattern, others)) = arguments.split_first() else { return Value::Undefined };
    let pattern = pattern.text(setting.whole).and_then(|text| JodaPattern::parse(&text).ok());
    pattern.map_or(Value::Undefined, |pattern| write(&pattern, others, setting))
}

/// The same with its pattern known: milliseconds, and the zone where there is one.
pub(in crate::engine::function) fn write(
    pattern: &JodaPattern,
    arguments: Arguments<'_, '_>,
    setting: Setting<'_>,
) -> Value {
    let (millis, zone_name) = match arguments {
        [millis] => (millis, None),
        [millis, zone] => (millis, Some(zone)),
        _ => return Value::Undefined,
    };
    let written = || {
        let millis = millis.to_number()?.to_i64(Rounding::Floor)?;
        let zone = match zone_name {
            Some(name) => joda_zone(&name.text(setting.whole)?)?,
            None => TimeZone::UTC,
        };
        let time = Timestamp::from_millisecond(millis).ok()?.to_zoned(zone);
        let mut out = String::new();
        for item in pattern.items() {
            match item {
                JodaItem::Text(text) => out.push_str(text),
                JodaItem::Field(letter, count) => write_field(&mut out, &time, *letter, *count)?,
            }
        }
        Some(out)
    };
    written().map_or(Value::Undefined, Value::string)
}

/// Appends one field; `None` for a zone that has no name here.
fn write_field(out: &mut String, time: &Zoned, letter: char, count: usize) -> Option<()> {
    let weekday = time.weekday().to_monday_one_offset();
    let week = time.date().iso_week_date();
    let year_of_era = if time.year() > 0 { time.year() } else { 1 - time.year() };
    let number = match letter {
        'G' => {
            out.push_str(if time.year() > 0 { "AD" } else { "BC" });
            return Some(());
        }
        'E' => return push_name(out, &WEEKDAYS, weekday, count),
        'M' if count >= 3 => return push_name(out, &MONTHS, time.month(), count),
        'a' => {
            out.push_str(if time.hour() < 12 { "AM" } else { "PM" });
            return Some(());
        }
        'z' => return write_zone_name(out, time, count),
        'Z' => return write_offset(out, time, count),
        'S' => return write_fraction(out, time, count),
        // `YY` too is of the year that counts through, whatever the era.
        'y' | 'Y' if count == 2 => i64::from(time.year().unsigned_abs() % 100),
        'x' if count == 2 => i64::from(week.year().unsigned_abs() % 100),
        'y' => i64::from(time.year()),
        'Y' => i64::from(year_of_era),
        'C' => i64::from(year_of_era / 100),
        'x' => i64::from(week.year()),
        'w' => i64::from(week.week()),
        'e' => i64::from(weekday),
        'D' => i64::from(time.day_of_year()),
        'M' => i64::from(time.month()),
        'd' => i64::from(time.day()),
        'K' => i64::from(time.hour() % 12),
        'h' => i64::from((time.hour() + 11) % 12 + 1),
        'H' => i64::from(time.hour()),
        'k' => i64::from((time.hour() + 23) % 24 + 1),
        'm' => i64::from(time.minute()),
        's' => i64::from(time.second()),
        _ => return None,
    };
    // Joda pads the digits; the sign comes before them.
    let sign = if number < 0 { "-" } else { "" };
    write!(out, "{sign}{:0count$}", number.unsigned_abs()).ok()
}

fn push_name(out: &mut String, names: &[&str], from_one: i8, count: usize) -> Option<()> {
    let name = names.get(usize::try_from(from_one).ok()?.checked_sub(1)?)?;
    out.push_str(if count >= 4 { name } else { short(name) });
    Some(())
}

/// As many digits of the fraction as letters; Joda knows milliseconds, more digits are zeros.
fn write_fraction(out: &mut String, time: &Zoned, count: usize) -> Option<()> {
    let digits = format!("{:03}", time.millisecond());
    out.extend(digits.chars().chain(std::iter::repeat('0')).take(count));
    Some(())
}

/// `+0100`, `+01:00`, and from three letters the zone's identifier. Seconds, which zones had before they
/// were standardized, are not written.
fn write_offset(out: &mut String, time: &Zoned, count: usize) -> Option<()> {
    if count >= 3 {
        match time.time_zone().iana_name() {
            Some(name) => out.push_str(name),
            None => write!(out, "{}", time.strftime("%:z")).ok()?,
        }
        return Some(());
    }
    let seconds = time.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    let colon = if count == 1 { "" } else { ":" };
    write!(out, "{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60).ok()
}

/// `CET`, or from four letters `Central European Standard Time`. A zone without a name is called by its
/// offset, as in Joda, with seconds where it has any.
fn write_zone_name(out: &mut String, time: &Zoned, count: usize) -> Option<()> {
    let length = if count >= 4 { NameLength::Full } else { NameLength::Short };
    let Some(names) = time.time_zone().iana_name().and_then(ZoneNames::of) else {
        return write!(out, "{}", time.strftime("%:z")).ok();
    };
    let is_daylight = time.time_zone().to_offset_info(time.timestamp()).dst().is_dst();
    out.push_str(if is_daylight { names.daylight(length) } else { names.standard(length) });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[track_caller]
    fn writes(pattern: &str, expected: &str) {
        check(parse_time, &[Value::string(pattern), Value::int(1_700_000_000_123)], expected);
    }

    #[track_caller]
    fn writes_in(zone: &str, pattern: &str, millis: i64, expected: &str) {
        let arguments = [Value::string(pattern), Value::int(millis), Value::string(zone)];
        check(parse_time, &arguments, expected);
    }

    #[test]
    fn joda_fields_are_written() {
        writes("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "2023-11-14T22:13:20.123+00:00");
        writes("yy MMM MMMM E EEEE e D w xxxx", "23 Nov November Tue Tuesday 2 318 46 2023");
        writes("h K k H a", "10 10 22 22 PM");
        writes(
            "S SS SSSSS Z z ZZZ zzzz G C",
            "1 12 12300 +0000 UTC UTC Coordinated Universal Time AD 20",
        );
        writes("yyyy 'at' q", "Undefined");
        writes("", "");
    }

    #[test]
    fn joda_zones_are_applied() {
        writes_in("+05:30", "HH:mm Z ZZ ZZZ z zzzz", 0, "05:30 +0530 +05:30 +05:30 +05:30 +05:30");
        writes_in("Nowhere/Else", "HH", 0, "Undefined");
        let summer = 1_721_044_800_000;
        writes_in(
            "America/New_York",
            "HH z zzzz ZZZ",
            summer,
            "08 EDT Eastern Daylight Time America/New_York",
        );
        writes_in("Europe/Berlin", "HH z", summer, "14 CEST");
        writes_in("Europe/Berlin", "zzzz", summer, "Central European Summer Time");
        writes_in("Etc/GMT+5", "z", summer, "-05:00");
        writes_in("Asia/Kolkata", "z ZZ", -63_517_824_000_000, "IST +05:53");
    }

    #[test]
    fn years_before_the_common_era_have_a_sign_or_an_era() {
        let caesar = -63_517_824_000_000;
        writes_in("UTC", "yyyy YYYY G yy", caesar, "-0043 0044 BC 43");
        writes_in("UTC", "y", i64::MAX, "Undefined");
    }
}
