//! `parse_time` writes a time by a Joda-Time pattern, `time_to_epoch` reads one by a pattern of the
//! JDK's DateTimeFormatter; the letters differ. English names, UTC where no zone is said. A letter
//! that is not supported makes the result Undefined, never a guess.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::Zoned;
use jiff::civil::Date;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::Arguments;
use super::string::texts;
use super::time_text::MONTHS;
use super::time_text::Token;
use super::time_text::WEEKDAYS;
use super::time_text::offset_seconds;
use super::time_text::short;
use super::time_text::tokens;
use super::time_text::zone;
use crate::engine::operators::Setting;
use crate::value::Rounding;
use crate::value::Value;

/// `parse_time(pattern, milliseconds[, zone])`.
pub(super) fn parse_time(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let (pattern, millis, zone_name) = match arguments {
        [pattern, millis] => (pattern, millis, None),
        [pattern, millis, zone] => (pattern, millis, Some(zone)),
        _ => return Value::Undefined,
    };
    let written = || {
        let pattern = tokens(&pattern.text(setting.whole)?)?;
        let millis = millis.to_number()?.to_i64(Rounding::Floor)?;
        let zone = match zone_name {
            Some(name) => zone(&name.text(setting.whole)?)?,
            None => TimeZone::UTC,
        };
        let time = Timestamp::from_millisecond(millis).ok()?.to_zoned(zone);
        let mut out = String::new();
        for token in &pattern {
            match token {
                Token::Text(text) => out.push_str(text),
                Token::Field(letter, count) => write_field(&mut out, &time, *letter, *count)?,
            }
        }
        Some(out)
    };
    written().map_or(Value::Undefined, Value::string)
}

/// Appends one field of a Joda-Time pattern.
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
        'z' | 'Z' => return write_zone(out, time, letter, count),
        'S' => return write_fraction(out, time, count),
        'y' | 'Y' if count == 2 => i64::from(year_of_era % 100),
        'x' if count == 2 => i64::from(week.year() % 100),
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
    write!(out, "{number:0count$}").ok()
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

fn write_zone(out: &mut String, time: &Zoned, letter: char, count: usize) -> Option<()> {
    let name = time.time_zone().iana_name();
    match (letter, count) {
        ('z', 1..=3) => write!(out, "{}", time.strftime("%Z")).ok(),
        ('Z', 1) => write!(out, "{}", time.strftime("%z")).ok(),
        ('Z', 3..) if name.is_some() => {
            out.push_str(name?);
            Some(())
        }
        // Joda's long names ("Central European Time") need its own tables.
        ('z', _) if time.time_zone() == &TimeZone::UTC => {
            out.push_str("Coordinated Universal Time");
            Some(())
        }
        ('Z', _) => write!(out, "{}", time.strftime("%:z")).ok(),
        _ => None,
    }
}

/// `time_to_epoch(text, pattern)`, in milliseconds.
pub(super) fn time_to_epoch(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([text, pattern]) = texts::<2>(arguments, setting) else { return Value::Undefined };
    let millis = || {
        let pattern = tokens(&pattern)?;
        let mut reader = Reader { rest: &text, fields: Fields::default() };
        for (position, token) in pattern.iter().enumerate() {
            let digits_follow = matches!(pattern.get(position + 1), Some(Token::Field(next, _)) if next.is_ascii_alphabetic() && "yuDdHhKkmsSMAn".contains(*next));
            match token {
                Token::Text(text) => reader.rest = reader.rest.strip_prefix(text.as_str())?,
                Token::Field(letter, count) => reader.field(*letter, *count, digits_follow)?,
            }
        }
        if reader.rest.is_empty() { reader.fields.millis() } else { None }
    };
    millis().map_or(Value::Undefined, Value::int)
}

/// What has been read of a time.
#[derive(Debug, Default)]
struct Fields {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    weekday: Option<i8>,
    hour: Option<i8>,
    /// From 0 to 11.
    hour_of_half: Option<i8>,
    afternoon: Option<bool>,
    minute: Option<i8>,
    second: Option<i8>,
    nanosecond: Option<i32>,
    zone: Option<TimeZone>,
}

impl Fields {
    /// A date is needed; time parts that were not written are zero.
    fn millis(self) -> Option<i64> {
        let year = self.year?;
        let date = match self.day_of_year {
            Some(day) => Date::new(year, 1, 1).ok()?.with().day_of_year(day).build().ok()?,
            None => Date::new(year, self.month?, self.day?).ok()?,
        };
        let expected = date.weekday().to_monday_one_offset();
        if self.weekday.is_some_and(|weekday| weekday != expected) {
            return None;
        }
        let hour = match (self.hour, self.hour_of_half) {
            (Some(hour), _) => hour,
            (None, Some(hour)) => hour + if self.afternoon? { 12 } else { 0 },
            (None, None) => 0,
        };
        let (minute, second) = (self.minute.unwrap_or(0), self.second.unwrap_or(0));
        let time = Time::new(hour, minute, second, self.nanosecond.unwrap_or(0)).ok()?;
        let zone = self.zone.unwrap_or(TimeZone::UTC);
        let instant = date.to_datetime(time).to_zoned(zone).ok()?.timestamp();
        Some(instant.as_millisecond())
    }
}

struct Reader<'t> {
    rest: &'t str,
    fields: Fields,
}

impl<'t> Reader<'t> {
    /// Reads one field of a DateTimeFormatter pattern.
    fn field(&mut self, letter: char, count: usize, digits_follow: bool) -> Option<()> {
        match letter {
            'M' | 'L' if count >= 3 => self.fields.month = Some(self.name(&MONTHS, count)?),
            'E' => {
                self.fields.weekday = Some(self.name(&WEEKDAYS, if count < 4 { 3 } else { 4 })?);
            }
            'a' => {
                let afternoon = self.keyword("PM").is_some();
                if !afternoon {
                    self.keyword("AM")?;
                }
                self.fields.afternoon = Some(afternoon);
            }
            'V' | 'z' | 'O' | 'X' | 'x' | 'Z' => self.fields.zone = Some(self.zone(letter)?),
            'S' => {
                let digits = self.take(count, count)?;
                self.fields.nanosecond = Some(format!("{digits:0<9}").get(..9)?.parse().ok()?);
            }
            _ => return self.number(letter, count, digits_follow),
        }
        Some(())
    }

    /// Reads a field that is written in digits.
    fn number(&mut self, letter: char, count: usize, digits_follow: bool) -> Option<()> {
        let most = if digits_follow || count == 2 { count } else { 9 };
        let number: i32 = self.take(count, most)?.parse().ok()?;
        let narrow = i8::try_from(number).ok();
        let fields = &mut self.fields;
        match letter {
            'y' | 'u' if count == 2 => fields.year = i16::try_from(2000 + number).ok(),
            'y' | 'u' => fields.year = i16::try_from(number).ok(),
            'D' => fields.day_of_year = i16::try_from(number).ok(),
            'M' | 'L' => fields.month = narrow,
            'd' => fields.day = narrow,
            'H' => fields.hour = narrow,
            'k' => {
                fields.hour = narrow.filter(|hour| (1..=24).contains(hour)).map(|hour| hour % 24)
            }
            'K' => fields.hour_of_half = narrow.filter(|hour| (0..12).contains(hour)),
            'h' => {
                let hour = narrow.filter(|hour| (1..=12).contains(hour));
                fields.hour_of_half = hour.map(|hour| hour % 12);
            }
            'm' => fields.minute = narrow,
            's' => fields.second = narrow,
            _ => return None,
        }
        // A number that does not fit its field is an error, not an absent field.
        let fits = i16::try_from(number).is_ok() && (narrow.is_some() || "yuD".contains(letter));
        fits.then_some(())
    }

    /// From `least` to `most` digits.
    fn take(&mut self, least: usize, most: usize) -> Option<&'t str> {
        let length = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if length < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(digits)
    }

    fn keyword(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    /// The place of a name, from 1; short ones for three letters, whole ones for four.
    fn name(&mut self, names: &[&str], count: usize) -> Option<i8> {
        let found = names.iter().position(|name| {
            let name = if count == 3 { short(name) } else { name };
            self.rest.starts_with(name)
        })?;
        let name = names.get(found)?;
        self.keyword(if count == 3 { short(name) } else { name })?;
        i8::try_from(found + 1).ok()
    }

    fn zone(&mut self, letter: char) -> Option<TimeZone> {
        let part_of_name =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | ':' | '/' | '_');
        let end = self.rest.find(|c| !part_of_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let only_offset = matches!(letter, 'X' | 'x' | 'Z');
        if only_offset && name != "Z" && !name.starts_with("GMT") {
            offset_seconds(name)?;
        }
        zone(name)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::Native;
    use super::*;
    use crate::engine::operators::Budget;
    use crate::value::Whole;

    #[track_caller]
    fn check(function: Native, arguments: &[Value], expected: &str) {
        let budget = Budget::default();
        let arguments: Vec<_> = arguments.iter().map(Cow::Borrowed).collect();
        let result = function(&arguments, Setting { whole: Whole::AsInt, budget: &budget });
        assert_eq!(result.text(Whole::AsInt).as_deref().unwrap_or("Undefined"), expected);
    }

    #[track_caller]
    fn writes(pattern: &str, expected: &str) {
        check(parse_time, &[Value::string(pattern), Value::int(1_700_000_000_123)], expected);
    }

    #[track_caller]
    fn reads(text: &str, pattern: &str, expected: &str) {
        check(time_to_epoch, &[Value::string(text), Value::string(pattern)], expected);
    }

    #[test]
    fn joda_fields_are_written() {
        writes("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "2023-11-14T22:13:20.123+00:00");
        writes("yy MMM MMMM E EEEE e D w xxxx", "23 Nov November Tue Tuesday 2 318 46 2023");
        writes("h K k H a", "10 10 22 22 PM");
        writes("S SS SSSSS Z z G C", "1 12 12300 +0000 UTC AD 20");
        writes("yyyy 'at' q", "Undefined");
        writes("", "");
    }

    #[test]
    fn joda_zones_are_applied() {
        let at = Value::int(0);
        check(parse_time, &[Value::string("HH:mm"), at.clone(), Value::string("+05:30")], "05:30");
        check(parse_time, &[Value::string("HH"), at, Value::string("Nowhere/Else")], "Undefined");
    }

    #[test]
    fn jdk_fields_are_read() {
        reads("2023-11-14T22:13:20.123Z", "yyyy-MM-dd'T'HH:mm:ss.SSSX", "1700000000123");
        reads("20231114221320", "yyyyMMddHHmmss", "1700000000000");
        reads(
            "Tue, 14 Nov 2023 10:13:20 PM +0000",
            "EEE, dd MMM yyyy hh:mm:ss a Z",
            "1700000000000",
        );
        reads("2023 318", "yyyy D", "1699920000000");
        reads("1-2-70 GMT", "d-M-yy z", "3158438400000");
        reads("2020-04-03 09:45:18 UTC+01:00", "yyyy-MM-dd HH:mm:ss VV", "1585903518000");
    }

    #[test]
    fn what_is_no_time_is_undefined() {
        reads("2021-02-31", "yyyy-MM-dd", "Undefined");
        reads("2021-13-01", "yyyy-MM-dd", "Undefined");
        reads("10:00", "HH:mm", "Undefined");
        reads("2023-11-14 x", "yyyy-MM-dd", "Undefined");
        reads("Mon 2023-11-14", "EEE yyyy-MM-dd", "Undefined");
        reads("2023-11-14 10", "yyyy-MM-dd hh", "Undefined");
        reads("99999999999999999999", "yyyy", "Undefined");
    }
}
