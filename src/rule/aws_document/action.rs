//! Actions of a document → actions of a rule, as [`super::mapping`] has it.

use super::super::ast::Action;
use super::super::ast::CastTarget;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Header;
use super::super::ast::HeaderName;
use super::super::ast::Spanned;
use super::super::ast::Template;
use super::super::ast::TemplatePart;
use super::super::parse::embedded;
use super::super::parse::embedded::TemplateOf;
use super::super::target::TargetName;
use super::mapping::Fate;
use super::mapping::HEADERS;
use super::mapping::MAPPINGS;
use super::mapping::Mapping;
use super::node::Member;
use super::node::Node;
use super::node::Text;
use super::reader::Fields;
use super::reader::Reader;
use super::reader::unresolved;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::TARGET_NAME_BYTES_MAX;
use crate::publish::QoS;
use crate::value::Value;

impl Reader<'_> {
    /// The actions that `object`, an element of `actions` or `errorAction`, is carried over to.
    pub(super) fn actions(&mut self, object: Node<'_>) -> Vec<Spanned<Action>> {
        if let Some(function) = self.function(object) {
            self.found.push(
                Diagnostic::warning(Code::NOT_CARRIED, unresolved(&function, "an action"))
                    .at(object.span(), "no action here")
                    .help("write the action itself, or use the deployed rule"),
            );
            return Vec::new();
        }
        let names = MAPPINGS.iter().map(|mapping| mapping.action);
        let Some(fields) = self.fields(object, "AWS IoT", names) else { return Vec::new() };
        let mut actions = Vec::new();
        for mapping in MAPPINGS {
            let Some(member) = fields.get(mapping.action) else { continue };
            if mapping.becomes.is_none() {
                self.not_carried(member, mapping.instead);
            } else if let Some(node) = self.action(mapping, member) {
                actions.push(Spanned { node, span: member.value.span() });
            }
        }
        actions
    }

    fn action(&mut self, mapping: &Mapping, member: &Member<'_>) -> Option<Action> {
        let known = mapping.members.iter().map(|(name, _)| *name);
        let fields = self.fields(member.value, &member.key, known)?;
        for (name, fate) in mapping.members {
            if let (Fate::Left(instead), Some(member)) = (fate, fields.get(name)) {
                self.not_carried(member, instead);
            }
        }
        let needed = mapping.members.iter().find(|(_, fate)| *fate == Fate::Needed);
        let needed = match needed {
            Some((name, _)) => Some(self.required(&fields, name, &member.key)?),
            None => None,
        };
        match (mapping.action, needed) {
            ("kinesis", Some(name)) => {
                let name = self.target_name(name);
                let key = fields.get("partitionKey").and_then(|key| self.key(key));
                Some(Action::Stream { name: name?, key, hash_key: None, batch: false })
            }
            ("firehose", Some(name)) => {
                let name = self.target_name(name);
                if let Some(separator) = fields.get("separator")
                    && self.string(separator).is_some_and(|text| text.text != "\n")
                {
                    self.not_carried(separator, "a delivery writes one record a line");
                }
                let batch = self.boolean(fields.get("batchMode"));
                Some(Action::Deliver { name: name?, batch })
            }
            ("s3", Some(name)) => {
                Some(Action::Deliver { name: self.target_name(name)?, batch: false })
            }
            ("lambda", Some(arn)) => Some(Action::Invoke { name: self.function_name(arn)? }),
            ("http", Some(url)) => Some(Action::Invoke { name: self.hook_of_url(url)? }),
            ("republish", Some(topic)) => self.republish(topic, &fields),
            ("dynamoDB", Some(table)) => self.upsert(table, &fields, &member.key),
            ("dynamoDBv2", Some(put)) => self.put_item(put),
            ("cloudwatchLogs", _) => Some(Action::Log { text: None }),
            (other, _) => unreachable!("{other} is carried over, and nothing says how"),
        }
    }

    fn not_carried(&mut self, member: &Member<'_>, instead: &str) {
        let message = format!("{} is not carried over", member.key);
        self.found.push(
            Diagnostic::warning(Code::NOT_CARRIED, message)
                .at(member.key_span.clone(), "")
                .help(instead),
        );
    }

    fn target_name(&mut self, member: &Member<'_>) -> Option<Spanned<TargetName>> {
        let text = self.target(member)?;
        Some(self.name_in(text))
    }

    fn name_in(&mut self, text: Text) -> Spanned<TargetName> {
        let node = embedded::target(&text.text, &text.offsets, &text.span, self.found);
        Spanned { node, span: text.span }
    }

    fn template(&mut self, text: &Text, place: TemplateOf) -> Spanned<Template> {
        let node = embedded::template(&text.text, &text.offsets, place, self.found);
        Spanned { node, span: text.span.clone() }
    }

    /// A partition key: the one expression of the text, or its parts one behind the other.
    fn key(&mut self, member: &Member<'_>) -> Option<Expr> {
        let text = self.string(member)?;
        let Spanned { node, span } = self.template(&text, TemplateOf::Text);
        let expr = |kind| Expr { kind, span: span.clone() };
        let part = |part| match part {
            TemplatePart::Text(text) => expr(ExprKind::Literal(Value::string(text))),
            TemplatePart::Expr(expr) => expr,
        };
        let mut parts: Vec<Expr> = node.parts.into_iter().map(part).collect();
        if parts.len() > 1 {
            let name = Spanned { node: "concat".to_owned(), span: span.clone() };
            return Some(expr(ExprKind::Call { name, args: parts }));
        }
        parts.pop()
    }

    /// The function's name in its ARN: `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:ALIAS]`.
    fn function_name(&mut self, member: &Member<'_>) -> Option<Spanned<TargetName>> {
        let text = self.target(member)?;
        let Some(start) = text.text.find(":function:").map(|at| at + ":function:".len()) else {
            return Some(self.name_in(text));
        };
        let rest = text.text.get(start..).unwrap_or_default();
        // A colon of a template is no end of the name.
        let name = if rest.contains("${") { rest } else { rest.split(':').next().unwrap_or(rest) };
        let offsets = text.offsets.of_part(start..start + name.len());
        Some(self.name_in(Text { text: name.to_owned(), offsets, span: text.span }))
    }

    /// The row of a hash key, or of a hash and a range key, which are one key of two values here.
    fn upsert(&mut self, table: &Member<'_>, fields: &Fields<'_>, what: &str) -> Option<Action> {
        let name = self.target_name(table);
        let hash = self.required(fields, "hashKeyValue", what).and_then(|value| self.key(value))?;
        let operation = fields.get("operation");
        let text = operation.and_then(|operation| self.string(operation)).map(|text| text.text);
        match (operation, text.as_deref()) {
            (None, _) | (_, None | Some("INSERT" | "UPDATE")) => {}
            (Some(operation), Some(_)) => {
                self.not_carried(operation, "`tidegate table delete TABLE KEY` deletes a row");
                return None;
            }
        }
        let range = fields.get("rangeKeyValue").and_then(|value| self.key(value));
        let key = match range {
            None => hash,
            Some(range) => {
                let span = hash.span.start.min(range.span.start)..hash.span.end.max(range.span.end);
                let hash = self.typed(hash, fields.get("hashKeyType"));
                let range = self.typed(range, fields.get("rangeKeyType"));
                Expr { kind: ExprKind::Array(vec![hash, range]), span }
            }
        };
        Some(Action::Upsert { name: name?, key: Some(key) })
    }

    /// A key of the type that the document says; a text when it says none.
    fn typed(&mut self, key: Expr, kind: Option<&Member<'_>>) -> Expr {
        let kind = kind.and_then(|kind| self.string(kind)).map(|text| text.text);
        let target = match kind.as_deref() {
            Some("NUMBER") => CastTarget::Decimal,
            _ => CastTarget::String,
        };
        let span = key.span.clone();
        Expr { kind: ExprKind::Cast { value: Box::new(key), target }, span }
    }

    /// A document does not say which members of the record are the table's key.
    fn put_item(&mut self, put: &Member<'_>) -> Option<Action> {
        let fields = self.fields(put.value, &put.key, ["tableName"])?;
        let table = self.required(&fields, "tableName", &put.key)?;
        let name = self.target_name(table)?;
        self.found.push(
            Diagnostic::warning(Code::NOT_CARRIED, "the key of the table is not in the document")
                .at(table.value.span(), "one row a topic")
                .help("`tidegate import` makes a rule of it: write UPSERT name KEY column there"),
        );
        Some(Action::Upsert { name, key: None })
    }

    /// A hook named after the URL that it stands for.
    fn hook_of_url(&mut self, member: &Member<'_>) -> Option<Spanned<TargetName>> {
        let Text { text, span, .. } = self.string(member)?;
        let fixed = text.split("${").next().unwrap_or_default();
        if fixed.len() < text.len() {
            let message = format!("`${{…}}` in {} is not carried over", member.key);
            self.found.push(
                Diagnostic::warning(Code::NOT_CARRIED, message)
                    .at(span.clone(), "")
                    .help("a hook has one URL; what tells messages apart can be part of SELECT"),
            );
        }
        let place = fixed.split_once("://").map_or(fixed, |(_, place)| place);
        let place = place.split(['?', '#']).next().unwrap_or_default();
        let words = place.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let mut name = words.join("-");
        name.truncate(TARGET_NAME_BYTES_MAX);
        if name.is_empty() {
            self.found.push(
                Diagnostic::error(Code::DOCUMENT, format!("{} is no URL", member.key))
                    .at(span, "")
                    .help("as in https://example.com/alerts"),
            );
            return None;
        }
        Some(Spanned { node: TargetName::Fixed(name), span })
    }

    fn republish(&mut self, topic: &Member<'_>, fields: &Fields<'_>) -> Option<Action> {
        let topic = self.string(topic).map(|text| self.template(&text, TemplateOf::Topic));
        let mut qos = QoS::AtMostOnce;
        if let Some(member) = fields.get("qos")
            && let Some(level) = self.whole(member)
        {
            // AWS IoT Core has no QoS 2.
            match u8::try_from(level).ok().filter(|level| *level < 2).and_then(QoS::from_bits) {
                Some(level) => qos = level,
                None => self.found.push(
                    Diagnostic::error(Code::DOCUMENT, format!("{} must be 0 or 1", member.key))
                        .at(member.value.span(), "")
                        .help("a rule file may say QOS 2"),
                ),
            }
        }
        let headers = fields.get("headers").map(|headers| self.headers(headers));
        let headers = headers.unwrap_or_default();
        Some(Action::Republish { topic: topic?, qos, retain: false, headers })
    }

    fn headers(&mut self, member: &Member<'_>) -> Vec<Header> {
        let known = HEADERS.iter().map(|(name, _)| *name);
        let Some(fields) = self.fields(member.value, &member.key, known) else { return Vec::new() };
        let mut headers = Vec::new();
        for (aws, name) in HEADERS {
            let Some(member) = fields.get(aws) else { continue };
            match HeaderName::parse(name) {
                Some(name) => {
                    let Some(text) = self.string(member) else { continue };
                    let name = Spanned { node: name, span: member.key_span.clone() };
                    let value = self.template(&text, TemplateOf::Text);
                    headers.push(Header { name, value });
                }
                None => headers.extend(self.user_properties(member)),
            }
        }
        headers
    }

    fn user_properties(&mut self, member: &Member<'_>) -> Vec<Header> {
        let mut headers = Vec::new();
        for property in self.list(member) {
            let what = "a user property";
            let Some(fields) = self.fields(property, what, ["key", "value"]) else { continue };
            let key = self.required(&fields, "key", what).and_then(|key| self.string(key));
            let value = self.required(&fields, "value", what).and_then(|value| self.string(value));
            let (Some(key), Some(value)) = (key, value) else { continue };
            let name = self.template(&key, TemplateOf::Text);
            headers.push(Header {
                name: Spanned { node: HeaderName::User(name.node), span: name.span },
                value: self.template(&value, TemplateOf::Text),
            });
        }
        headers
    }
}
