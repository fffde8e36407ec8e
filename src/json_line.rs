//! A record as a line of NDJSON, as files and `tidegate stream tail` have it.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// `data` byte for byte, but for white space around it and line breaks inside it, which become
/// spaces. `None`: it is not JSON, and a line has it as base64.
pub(crate) fn json_line(data: &[u8]) -> Option<Cow<'_, RawValue>> {
    let json: &RawValue = serde_json::from_str(std::str::from_utf8(data).ok()?).ok()?;
    let breaks = ['\n', '\r'];
    if !json.get().contains(breaks) {
        return Some(Cow::Borrowed(json));
    }
    // Inside a JSON string a line break is always escaped, so these are white space.
    RawValue::from_string(json.get().replace(breaks, " ")).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_stays_as_it_is_on_one_line() {
        let line = |data: &[u8]| json_line(data).map(|json| json.get().to_owned());
        assert_eq!(line(b"{\"a\": 1.50}").as_deref(), Some("{\"a\": 1.50}"));
        let broken = b"\r\n{\n\"a\":\r\n\"x\\ny\"}\n";
        assert_eq!(line(broken).as_deref(), Some("{ \"a\":  \"x\\ny\"}"));
        assert_eq!(line(b"1e999").as_deref(), Some("1e999"), "no number is too large");
        for other in [&b""[..], b"{\"a\":", b"\"\xff\"", b"1 2"] {
            assert_eq!(line(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_or_none(data in "[\\[\\]{}\",:0-9a\n\r ]{0,20}") {
            if let Some(line) = json_line(data.as_bytes()) {
                prop_assert!(!line.get().contains(['\n', '\r']));
                let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
                prop_assert_eq!(value(line.get()), value(&data));
            }
        }
    }
}
