//! Bytes from devices as they may safely stand inside a JSON answer.
//!
//! JSON stays JSON, digit for digit; everything else becomes base64, and what is too long for a list
//! is cut. JSON that nests deeper than [`PAYLOAD_DEPTH_MAX`] is not embedded: a browser's parser is
//! recursive, and one hostile payload would cost the reader the whole answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::limits::LISTED_PAYLOAD_BYTES_MAX;
use crate::limits::PAYLOAD_DEPTH_MAX;

/// An output or a request body.
#[derive(Clone, Debug, Serialize)]
pub struct Payload {
    /// Its whole length.
    pub bytes: usize,
    /// The content, or the beginning of it.
    #[serde(flatten)]
    pub content: Content,
}

/// In which form a payload is shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The payload's own JSON text.
    Json(Box<RawValue>),
    /// UTF-8 that is not JSON.
    Text(String),
    /// Anything else.
    Base64(String),
    /// The first characters of a text that is longer.
    Cut(String),
}

impl Payload {
    /// All of it.
    pub fn whole(payload: &[u8]) -> Self {
        Payload { bytes: payload.len(), content: content(payload) }
    }

    /// At most [`LISTED_PAYLOAD_BYTES_MAX`] of it.
    pub fn preview(payload: &[u8]) -> Self {
        let content = match payload.get(..LISTED_PAYLOAD_BYTES_MAX) {
            Some(head) if head.len() < payload.len() => {
                Content::Cut(head.utf8_chunks().fold(String::new(), |mut text, chunk| {
                    text.push_str(chunk.valid());
                    text
                }))
            }
            _ => content(payload),
        };
        Payload { bytes: payload.len(), content }
    }
}

fn content(payload: &[u8]) -> Content {
    if let Some(json) = embed_json(payload) {
        return Content::Json(json);
    }
    match std::str::from_utf8(payload) {
        Ok(text) => Content::Text(text.to_owned()),
        Err(_) => Content::Base64(STANDARD.encode(payload)),
    }
}

/// The payload as JSON that can stand in an answer, when it is JSON and not too deep.
pub(super) fn embed_json(payload: &[u8]) -> Option<Box<RawValue>> {
    if depth(payload) > PAYLOAD_DEPTH_MAX {
        return None;
    }
    serde_json::from_slice(payload).ok()
}

/// Deepest nesting of arrays and objects; meaningless for text that is not JSON.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &Payload) -> String {
        serde_json::to_string(payload).unwrap()
    }

    #[test]
    fn json_keeps_its_digits_and_its_order() {
        let text = br#"{"z":12345678901234567890123,"a":1.0}"#;
        assert_eq!(
            shown(&Payload::whole(text)),
            r#"{"bytes":37,"json":{"z":12345678901234567890123,"a":1.0}}"#
        );
    }

    #[test]
    fn text_and_bytes_are_told_apart() {
        assert_eq!(shown(&Payload::whole(b"21.5 C")), r#"{"bytes":6,"text":"21.5 C"}"#);
        assert_eq!(shown(&Payload::whole(b"\xff\x00")), r#"{"bytes":2,"base64":"/wA="}"#);
        assert_eq!(shown(&Payload::whole(b"")), r#"{"bytes":0,"text":""}"#);
    }

    #[test]
    fn a_long_payload_is_cut_between_characters() {
        let payload = Payload::preview("é".repeat(LISTED_PAYLOAD_BYTES_MAX).as_bytes());
        let Content::Cut(text) = &payload.content else { panic!("{payload:?}") };
        assert!(text.len() <= LISTED_PAYLOAD_BYTES_MAX && text.chars().all(|c| c == 'é'));
        assert_eq!(payload.bytes, 2 * LISTED_PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn json_that_is_too_deep_is_text() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        let fits = deep(PAYLOAD_DEPTH_MAX);
        assert!(matches!(Payload::whole(fits.as_bytes()).content, Content::Json(_)));
        let over = deep(PAYLOAD_DEPTH_MAX + 1);
        assert!(matches!(Payload::whole(over.as_bytes()).content, Content::Text(_)));
        let brackets_in_a_string = format!("\"\\\"{}\"", "[".repeat(500));
        let payload = Payload::whole(brackets_in_a_string.as_bytes());
        assert!(matches!(payload.content, Content::Json(_)));
    }
}
