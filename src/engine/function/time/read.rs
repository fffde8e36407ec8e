//! `time_to_epoch` reads a time by a pattern of the JDK's DateTimeFormatter: what the text says,
//! field by field. `resolve` makes an instant of it.

use jiff::tz::TimeZone;

use super::resolve::Fields;
use crate::engine::function::Arguments;
use crate::engine::function::string::texts;
use crate::engine::operators::Setting;
use crate::rule::time_pattern::Field;
use crate::rule::time_pattern::JdkItem;
use crate::rule::time_pattern::JdkPattern;
use crate::rule::time_pattern::MONTHS;
use crate::rule::time_pattern::NameLength;
use crate::rule::time_pattern::Names;
use crate::rule::time_pattern::OffsetForm;
use crate::rule::time_pattern::Sign;
use crate::rule::time_pattern::WEEKDAYS;
use crate::rule::time_pattern::Width;
use crate::rule::time_pattern::jdk_zone;
use crate::rule::time_pattern::named_zone;
use crate::rule::time_pattern::short;
use crate::value::Value;

/// `time_to_epoch(text, pattern)`, in milliseconds.
pub(in crate::engine::function) fn time_to_epoch(
    arguments: Arguments<'_, '_>,
    setting: Setting<'_>,
) -> Value {
    let Some([text, pattern]) = texts::<2>(arguments, setting) else { return Value::Undefined };
    JdkPattern::parse(&pattern).map_or(Value::Undefined, |pattern| millis(&pattern, &text))
}

/// The same with its pattern known: the text.
pub(in crate::engine::function) fn read(
    pattern: &JdkPattern,
    arguments: Arguments<'_, '_>,
    setting: Setting<'_>,
) -> Value {
    let Some([text]) = texts::<1>(arguments, setting) else { return Value::Undefined };
    millis(pattern, &text)
}

fn millis(pattern: &JdkPattern, text: &str) -> Value {
    let millis = || {
        let mut reader = Reader { rest: text, fields: Fields::default() };
        reader.items(pattern.items())?;
        if reader.rest.is_empty() { reader.fields.millis() } else { None }
    };
    millis().map_or(Value::Undefined, Value::int)
}

#[derive(Clone)]
struct Reader<'t> {
    rest: &'t str,
    fields: Fields,
}

impl<'t> Reader<'t> {
    fn items(&mut self, items: &[JdkItem]) -> Option<()> {
        items.iter().try_for_each(|item| self.item(item))
    }

    /// Reads one piece; `None` where the text is not it.
    fn item(&mut self, item: &JdkItem) -> Option<()> {
        match item {
            JdkItem::Text(text) => self.word(text),
            JdkItem::Number(field, width) => self.number(*field, *width),
            JdkItem::ShortYear(field) => {
                let year: i64 = self.digits(2, 2)?.parse().ok()?;
                self.fields.set(*field, 2000 + year)
            }
            JdkItem::Name(names) => self.name(*names),
            JdkItem::Fraction(count) => {
                let digits = self.digits(*count, *count)?;
                let nanos = format!("{digits:0<9}").parse().ok()?;
                self.fields.set(Field::Nano, nanos)
            }
            JdkItem::ZoneId => self.zone_id().and_then(|zone| self.fields.set_zone(zone)),
            JdkItem::ZoneName(length) => {
                self.zone_name(*length).and_then(|zone| self.fields.set_zone(zone))
            }
            JdkItem::Offset(form) => {
                self.offset(*form).and_then(|seconds| self.fields.set_offset(seconds))
            }
            JdkItem::LocalizedOffset { is_full } => {
                let offset = self.localized_offset(*is_full);
                offset.and_then(|seconds| self.fields.set_offset(seconds))
            }
            JdkItem::Optional(items) => {
                let before = self.clone();
                if self.items(items).is_none() {
                    *self = before;
                }
                Some(())
            }
            JdkItem::Padded(width, item) => self.padded(*width, item),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    /// From `least` to `most` digits.
    fn digits(&mut self, least: usize, most: usize) -> Option<&'t str> {
        let length = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if length < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(digits)
    }

    fn number(&mut self, field: Field, width: Width) -> Option<()> {
        let is_negative = width.sign != Sign::Never && self.word("-").is_some();
        let has_plus = !is_negative && width.sign == Sign::ExceedsPad && self.word("+").is_some();
        // What stands behind in digits of its own is left to it.
        let there = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let most = match width.reserved {
            0 => width.most,
            reserved => there.min(width.most + reserved).saturating_sub(reserved).max(width.least),
        };
        let digits = self.digits(width.least, most.min(width.most))?;
        if width.sign == Sign::ExceedsPad
            && !is_negative
            && has_plus != (digits.len() > width.least)
        {
            return None;
        }
        let number: i64 = digits.parse().ok()?;
        if is_negative && number == 0 {
            return None;
        }
        self.fields.set(field, if is_negative { -number } else { number })
    }

    fn name(&mut self, names: Names) -> Option<()> {
        let quarters = ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"];
        let (field, first, found) = match names {
            Names::ShortMonth => (Field::Month, 1, self.one_of(MONTHS.map(short))?),
            Names::FullMonth => (Field::Month, 1, self.one_of(MONTHS)?),
            Names::ShortDay => (Field::DayOfWeek, 1, self.one_of(WEEKDAYS.map(short))?),
            Names::FullDay => (Field::DayOfWeek, 1, self.one_of(WEEKDAYS)?),
            Names::ShortEra => (Field::Era, 0, self.one_of(["BC", "AD"])?),
            Names::FullEra => (Field::Era, 0, self.one_of(["Before Christ", "Anno Domini"])?),
            Names::ShortQuarter => (Field::Quarter, 1, self.one_of(["Q1", "Q2", "Q3", "Q4"])?),
            Names::FullQuarter => (Field::Quarter, 1, self.one_of(quarters)?),
            Names::HalfOfDay => (Field::HalfOfDay, 0, self.one_of(["AM", "PM"])?),
        };
        self.fields.set(field, found + first)
    }

    /// The place of the name that stands here.
    fn one_of<const N: usize>(&mut self, names: [&str; N]) -> Option<i64> {
        let found = names.iter().position(|name| self.rest.starts_with(name))?;
        self.word(names.get(found)?)?;
        i64::try_from(found).ok()
    }

    /// The characters that a zone's identifier may have.
    fn zone_id(&mut self) -> Option<TimeZone> {
        let is_in = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | ':' | '/' | '_');
        let end = self.rest.find(|c| !is_in(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        jdk_zone(name)
    }

    fn zone_name(&mut self, length: NameLength) -> Option<TimeZone> {
        match named_zone(self.rest, length) {
            Some((name, id)) => {
                self.word(name)?;
                jdk_zone(id)
            }
            None => self.zone_id(),
        }
    }

    /// The text for no offset is tried first, as in the JDK: `x` does not read `+0030`.
    fn offset(&mut self, form: OffsetForm) -> Option<i32> {
        if self.word(form.zero).is_some() {
            return Some(0);
        }
        let sign = self.sign()?;
        let mut seconds = self.pair(18)? * 3600;
        let colon = if form.has_colons { ":" } else { "" };
        let minutes = self.pair_behind(colon);
        seconds += match (minutes, form.has_minutes) {
            (Some(minutes), _) => minutes * 60,
            (None, Some(true)) => return None,
            (None, _) => 0,
        };
        if form.may_have_seconds {
            seconds += self.pair_behind(colon).unwrap_or(0);
        }
        offset_of(sign * seconds)
    }

    /// `GMT`, `GMT+8`, `GMT+08:00`.
    fn localized_offset(&mut self, is_full: bool) -> Option<i32> {
        self.word("GMT")?;
        let Some(sign) = self.sign() else { return Some(0) };
        let hours: i32 = match is_full {
            true => self.pair(18)?,
            false => self.digits(1, 2)?.parse().ok().filter(|hours| *hours <= 18)?,
        };
        let minutes = match (self.pair_behind(":"), is_full) {
            (None, true) => return None,
            (minutes, _) => minutes,
        };
        let seconds = minutes.and_then(|_| self.pair_behind(":")).unwrap_or(0);
        offset_of(sign * (hours * 3600 + minutes.unwrap_or(0) * 60 + seconds))
    }

    fn sign(&mut self) -> Option<i32> {
        match self.word("+") {
            Some(()) => Some(1),
            None => self.word("-").map(|()| -1),
        }
    }

    /// Two digits up to `most`.
    fn pair(&mut self, most: i32) -> Option<i32> {
        self.digits(2, 2)?.parse().ok().filter(|pair| *pair <= most)
    }

    /// Two digits up to 59 behind `colon`; nothing is read when they are not there.
    fn pair_behind(&mut self, colon: &str) -> Option<i32> {
        let before = self.rest;
        let pair = self.word(colon).and_then(|()| self.pair(59));
        if pair.is_none() {
            self.rest = before;
        }
        pair
    }

    /// The piece within exactly `width` characters, behind blanks.
    fn padded(&mut self, width: usize, item: &JdkItem) -> Option<()> {
        let end = match self.rest.char_indices().nth(width) {
            Some((end, _)) => end,
            None if self.rest.chars().count() == width => self.rest.len(),
            None => return None,
        };
        let (field, rest) = self.rest.split_at_checked(end)?;
        self.rest = field.trim_start_matches(' ');
        self.item(item)?;
        if !self.rest.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(())
    }
}

/// An offset reaches to 18 hours.
fn offset_of(seconds: i32) -> Option<i32> {
    (seconds.abs() <= 18 * 3600).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[track_caller]
    fn reads(text: &str, pattern: &str, expected: &str) {
        check(time_to_epoch, &[Value::string(text), Value::string(pattern)], expected);
    }

    #[test]
    fn jdk_fields_are_read() {
        reads("2023-11-14T22:13:20.123Z", "yyyy-MM-dd'T'HH:mm:ss.SSSX", "1700000000123");
        reads("20231114221320", "yyyyMMddHHmmss", "1700000000000");
        reads("20231114221320123", "yyyyMMddHHmmssSSS", "1700000000123");
        let long = "EEE, dd MMM yyyy hh:mm:ss a Z";
        reads("Tue, 14 Nov 2023 10:13:20 PM +0000", long, "1700000000000");
        reads("Tuesday 14 November 2023 AD", "EEEE d MMMM yyyy G", "1699920000000");
        reads("2023 318", "yyyy D", "1699920000000");
        reads("1-2-70 GMT", "d-M-yy z", "3158438400000");
        reads("2020-04-03 09:45:18 UTC+01:00", "yyyy-MM-dd HH:mm:ss VV", "1585903518000");
        reads("2023-11-14 80000123", "uuuu-MM-dd A", "1700000000123");
        reads("2023-11-14 80000123000000", "uuuu-MM-dd N", "1700000000123");
        reads("2023-11-14 22:13:20 123000000", "uuuu-MM-dd HH:mm:ss n", "1700000000123");
        reads("60262", "g", "1699920000000");
        reads("-43-03-15", "u-MM-dd", "-63517824000000");
        reads("0044-03-15 BC", "yyyy-MM-dd G", "-63517824000000");
    }

    #[test]
    fn weeks_and_quarters_are_those_of_the_calendar() {
        // 14 November 2023 is a Tuesday, the third day of week 46 of a year that began on Sunday.
        reads("2023-46-Tue", "YYYY-ww-EEE", "1699920000000");
        reads("2023-46-3", "YYYY-w-e", "1699920000000");
        reads("2023-11 week 3 Tue", "yyyy-MM 'week' W EEE", "1699920000000");
        reads("2023 Q4 11-14", "yyyy QQQ MM-dd", "1699920000000");
        reads("2023 4th quarter 11-14", "yyyy QQQQ MM-dd", "1699920000000");
        reads("2023 Q3 11-14", "yyyy QQQ MM-dd", "Undefined");
        reads("2023-54-Tue", "YYYY-ww-EEE", "Undefined");
    }

    #[test]
    fn zones_are_read_in_all_their_forms() {
        for (text, letter) in [
            ("+0530", "X"),
            ("+0530", "XX"),
            ("+05:30", "XXX"),
            ("+053000", "XXXX"),
            ("+05:30:00", "XXXXX"),
            ("+05:30", "xxxxx"),
            ("+0530", "Z"),
            ("GMT+05:30", "ZZZZ"),
            ("GMT+5:30", "O"),
            ("GMT+05:30", "OOOO"),
            ("+05:30", "VV"),
            ("Asia/Kolkata", "VV"),
            ("UTC+05:30", "z"),
        ] {
            let pattern = format!("yyyy-MM-dd HH:mm {letter}");
            reads(&format!("2023-11-15 03:43 {text}"), &pattern, "1699999980000");
        }
        for (text, letter) in [("Z", "X"), ("+00", "x"), ("+0000", "Z"), ("GMT", "O"), ("UTC", "z")]
        {
            let pattern = format!("yyyy-MM-dd {letter}");
            reads(&format!("1970-01-01 {text}"), &pattern, "0");
        }
        reads("2024-07-15 08:00 EDT", "yyyy-MM-dd HH:mm z", "1721044800000");
        reads("2024-07-15 08:00 Eastern Daylight Time", "yyyy-MM-dd HH:mm zzzz", "1721044800000");
        reads("1970-01-01 Z", "yyyy-MM-dd x", "Undefined");
        reads("1970-01-01 IST", "yyyy-MM-dd z", "Undefined");
        // Where both are said, the offset tells the two hours of the end of summer apart.
        let both = "yyyy-MM-dd HH:mm XXX'['VV']'";
        reads("2024-10-27 02:30 +01:00[Europe/Berlin]", both, "1729992600000");
        reads("2024-10-27 02:30 +02:00[Europe/Berlin]", both, "1729989000000");
    }

    #[test]
    fn optional_sections_are_there_or_not() {
        let pattern = "yyyy-MM-dd[' 'HH:mm[:ss[.SSS]]][ XXX]";
        reads("2023-11-14", pattern, "1699920000000");
        reads("2023-11-14 22:13", pattern, "1699999980000");
        reads("2023-11-14 22:13:20", pattern, "1700000000000");
        reads("2023-11-14 22:13:20.123 +01:00", pattern, "1699996400123");
        reads("2023-11-14 22:", pattern, "Undefined");
        // A section that failed leaves no field behind.
        reads("2023-11-14", "[yyyy/][yyyy-]MM-dd", "1699920000000");
        reads("2023-11- 4", "yyyy-MM-ppd", "1699056000000");
    }

    #[test]
    fn numbers_keep_to_their_widths() {
        reads("12023-11-14", "yyyy-MM-dd", "Undefined");
        reads("+2023-11-14", "yyyy-MM-dd", "Undefined");
        reads("2023-1-14", "yyyy-MM-dd", "Undefined");
        reads("2023-1-4", "y-M-d", "1672790400000");
        reads("99999999999999999999", "yyyy", "Undefined");
        reads("2023-11-14 -5", "yyyy-MM-dd H", "Undefined");
    }

    #[test]
    fn what_is_no_time_is_undefined() {
        reads("2021-02-31", "yyyy-MM-dd", "Undefined");
        reads("2021-13-01", "yyyy-MM-dd", "Undefined");
        reads("2021-12-32", "yyyy-MM-dd", "Undefined");
        reads("10:00", "HH:mm", "Undefined");
        reads("2023-11-14 x", "yyyy-MM-dd", "Undefined");
        reads("Mon 2023-11-14", "EEE yyyy-MM-dd", "Undefined");
        reads("2023-11-14 10", "yyyy-MM-dd hh", "Undefined");
        reads("2023-11-14 10", "yyyy-MM-dd mm", "Undefined");
        reads("2023-11-14 2024", "yyyy-MM-dd yyyy", "Undefined");
        reads("2023-366", "yyyy-DDD", "Undefined");
    }

    #[test]
    fn midnight_has_two_names() {
        reads("2023-11-13 24:00", "yyyy-MM-dd HH:mm", "1699920000000");
        reads("2023-11-13 24:01", "yyyy-MM-dd HH:mm", "Undefined");
        reads("2023-11-14 24:13:20", "yyyy-MM-dd kk:mm:ss", "1699920800000");
        reads("2023-11-14 12:13:20 AM", "yyyy-MM-dd hh:mm:ss a", "1699920800000");
        reads("2023-11-14 0:13:20 AM", "yyyy-MM-dd K:mm:ss a", "1699920800000");
    }
}
