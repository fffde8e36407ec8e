//! Points in time as arguments give them.

use crate::clock::Timestamp;

/// Reads RFC 3339 (`2026-05-01T06:00:00Z`) or milliseconds since the epoch.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(Timestamp::from_millis(millis));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "expected a time such as 2026-05-01T06:00:00Z or 1777615200000".to_owned())?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_others_refused() {
        for text in ["2026-05-01T06:00:00Z", "2026-05-01T08:00:00+02:00", "1777615200000"] {
            assert_eq!(parse_time(text), Ok(Timestamp::from_millis(1_777_615_200_000)), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "1.5"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
