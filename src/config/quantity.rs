//! Durations (`"90s"`, `"7 days"`) and sizes (`"5 MiB"`): text ↔ value.

use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

/// Reads a duration: a number and a unit, any number of times. A day has 24 hours; months and years
/// have no fixed length and are refused.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text.trim()).ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(length).ok()
}

/// Writes a duration as [`parse_duration`] reads it.
pub(super) fn duration_text(duration: Duration) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let millis = duration.as_millis();
    let unit = units.iter().find(|(length, _)| millis > 0 && millis.is_multiple_of(*length));
    match unit {
        Some((length, name)) => format!("{}{name}", millis / length),
        None => "0s".to_owned(),
    }
}

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads a size: a whole number and a unit from B to GiB (1024-based) or GB (1000-based).
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start();
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// Writes a size as [`parse_size`] reads it.
pub(super) fn size_text(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, length)| bytes > 0 && bytes.is_multiple_of(*length));
    match unit {
        Some((name, length)) => format!("{} {name}", bytes / length),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_of_fixed_length() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("5m"), Some(300.0));
        assert_eq!(seconds("24h"), Some(86_400.0));
        assert_eq!(seconds("7 days"), Some(604_800.0));
        assert_eq!(seconds("1h 30m"), Some(5400.0));
        assert_eq!(seconds("250ms"), Some(0.25));
        for refused in ["", "90", "-5s", "5s ago", "1 month", "1 year", "5 parsecs", "99999999999d"]
        {
            assert_eq!(seconds(refused), None, "{refused}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(parse_size("5 MiB"), Some(5 << 20));
        assert_eq!(parse_size("64kib"), Some(64 << 10));
        assert_eq!(parse_size("2MB"), Some(2_000_000));
        for refused in ["", "5", "MiB", "-1 B", "1.5 MiB", "99999999999 GiB", "5 é"] {
            assert_eq!(parse_size(refused), None, "{refused}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in [0, 1, 999, 1000, 61_000, 3_600_000, 86_400_000, 604_800_000, 604_800_001] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
        }
        for bytes in [0, 1, 1000, 1024, 1025, 5 << 20, (1 << 30) + 1] {
            assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
        }
    }
}
