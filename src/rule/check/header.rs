//! HEADERS: how many, none twice, and values that are known before a message comes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::ast::Header;
use super::super::ast::HeaderName;
use super::expression::Scope;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::HEADERS_MAX;
use crate::topic::TopicName;

pub(super) fn list(headers: &[Header], scope: &mut Scope<'_, '_>) {
    if let Some(surplus) = headers.get(HEADERS_MAX) {
        scope.found.push(
            Diagnostic::error(
                Code::HEADER,
                format!("{} headers, {HEADERS_MAX} are allowed", headers.len()),
            )
            .at(surplus.name.span.clone(), "the first too many")
            .help("put them into the payload"),
        );
    }
    let mut seen = Vec::new();
    for header in headers {
        let kind = std::mem::discriminant(&header.name.node);
        if !matches!(header.name.node, HeaderName::User(_)) {
            if seen.contains(&kind) {
                scope.found.push(
                    Diagnostic::error(Code::REPEATED_CLAUSE, "the header stands twice")
                        .at(header.name.span.clone(), "the second")
                        .help("keep one"),
                );
            }
            seen.push(kind);
        }
        value(header, scope);
    }
}

fn value(header: &Header, scope: &mut Scope<'_, '_>) {
    let Some(text) = header.value.node.as_literal() else { return };
    let wrong = match &header.name.node {
        HeaderName::MessageExpiry if text.parse::<u32>().is_err() => {
            Some(("a message expires after a whole number of seconds", "as in message_expiry = 60"))
        }
        HeaderName::PayloadFormat if text != "UNSPECIFIED_BYTES" && text != "UTF8_DATA" => Some((
            "there is no such payload format",
            "the formats are 'UNSPECIFIED_BYTES' and 'UTF8_DATA'",
        )),
        HeaderName::ResponseTopic if TopicName::parse(&text).is_err() => {
            Some(("this is not a topic", "as in 'answers/${clientid()}'"))
        }
        HeaderName::CorrelationData if STANDARD.decode(&text).is_err() => Some((
            "this is not base64",
            "correlation data are bytes, written in base64; ${encode(id, 'base64')} makes it of a text",
        )),
        _ if text.contains('\0') => {
            Some(("MQTT has no texts with NUL in them", "take the character out"))
        }
        _ => None,
    };
    if let Some((message, help)) = wrong {
        scope.found.push(
            Diagnostic::error(Code::HEADER, message).at(header.value.span.clone(), "").help(help),
        );
    }
}
