//! Actions: where a match goes, and the templates in their fields.

use super::Expr;
use super::Spanned;
use crate::publish::QoS;
use crate::rule::target::TargetName;

/// Where a match goes.
#[derive(Clone, Debug)]
pub enum Action {
    /// `STREAM name KEY expr [HASH KEY expr]`.
    Stream {
        /// Stream name.
        name: Spanned<TargetName>,
        /// Partition key; `None` means the concrete topic.
        key: Option<Expr>,
        /// Explicit hash key, a decimal below 2^128.
        hash_key: Option<Expr>,
        /// `BATCH`: an array result is a record an element.
        batch: bool,
    },
    /// `DELIVER name [BATCH]`.
    Deliver {
        /// Delivery name.
        name: Spanned<TargetName>,
        /// `BATCH`.
        batch: bool,
    },
    /// `INVOKE name`.
    Invoke {
        /// Hook name.
        name: Spanned<TargetName>,
    },
    /// `REPUBLISH 'topic' [QOS n] [RETAIN] [HEADERS (…)]`.
    Republish {
        /// Topic with `${…}`; a leading `$$` stands for `$`.
        topic: Spanned<Template>,
        /// Quality of service; 0 when not said.
        qos: QoS,
        /// Retain flag.
        retain: bool,
        /// MQTT 5 properties of the new message, in their order.
        headers: Vec<Header>,
    },
    /// `UPSERT table [KEY expr]`: keeps the last value of the key.
    Upsert {
        /// Table name.
        name: Spanned<TargetName>,
        /// The key; `None` means the concrete topic.
        key: Option<Expr>,
    },
    /// `LOG ['text']`: a line on the gateway's log.
    Log {
        /// Text with `${…}`; the output when absent.
        text: Option<Spanned<Template>>,
    },
}

/// One of HEADERS: an MQTT 5 property of a republished message (MQTT 5, section 3.3.2.3; AWS IoT:
/// `headers` of the republish action).
#[derive(Clone, Debug)]
pub struct Header {
    /// Which one.
    pub name: Spanned<HeaderName>,
    /// Its value.
    pub value: Spanned<Template>,
}

/// Which property a [`Header`] sets.
#[derive(Clone, Debug)]
pub enum HeaderName {
    /// `content_type`
    ContentType,
    /// `correlation_data`, in base64.
    CorrelationData,
    /// `message_expiry`, whole seconds.
    MessageExpiry,
    /// `payload_format`: `UNSPECIFIED_BYTES` or `UTF8_DATA`.
    PayloadFormat,
    /// `response_topic`
    ResponseTopic,
    /// `USER 'name'`; names may repeat.
    User(Template),
}

impl HeaderName {
    /// Those that are words, as they are written.
    pub const WORDS: [(&'static str, HeaderName); 5] = [
        ("content_type", HeaderName::ContentType),
        ("correlation_data", HeaderName::CorrelationData),
        ("message_expiry", HeaderName::MessageExpiry),
        ("payload_format", HeaderName::PayloadFormat),
        ("response_topic", HeaderName::ResponseTopic),
    ];

    /// The header that `word` names, in any case.
    pub fn parse(word: &str) -> Option<HeaderName> {
        let known = HeaderName::WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        known.map(|(_, name)| name.clone())
    }
}

/// Text with `${expr}` in it.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its parts in order.
    pub parts: Vec<TemplatePart>,
}

/// A part of a [`Template`].
#[derive(Clone, Debug)]
pub enum TemplatePart {
    /// Kept as it is.
    Text(String),
    /// Evaluated against the original message.
    Expr(Expr),
}

impl Action {
    /// Calls `visit` with each expression of the action, in templates too.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match self {
            Action::Stream { name, key, hash_key, .. } => {
                name.node.for_each_expr(visit);
                key.iter().chain(hash_key).for_each(visit);
            }
            Action::Deliver { name, .. } | Action::Invoke { name } => {
                name.node.for_each_expr(visit);
            }
            Action::Upsert { name, key } => {
                name.node.for_each_expr(visit);
                key.iter().for_each(visit);
            }
            Action::Log { text: None } => {}
            Action::Republish { topic, headers, .. } => {
                topic.node.for_each_expr(visit);
                for Header { name, value } in headers {
                    if let HeaderName::User(name) = &name.node {
                        name.for_each_expr(visit);
                    }
                    value.node.for_each_expr(visit);
                }
            }
            Action::Log { text: Some(text) } => text.node.for_each_expr(visit),
        }
    }
}

impl Template {
    /// Calls `visit` with the expression of each `${…}`.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        for part in &self.parts {
            match part {
                TemplatePart::Text(_) => {}
                TemplatePart::Expr(expr) => visit(expr),
            }
        }
    }

    /// The text, if nothing in it depends on the message.
    pub fn as_literal(&self) -> Option<String> {
        let mut literal = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => literal.push_str(text),
                TemplatePart::Expr(_) => return None,
            }
        }
        Some(literal)
    }
}
