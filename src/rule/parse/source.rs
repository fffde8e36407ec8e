//! FROM: the topics, or the stream, that a rule listens to.

use pest::iterators::Pair;

use super::super::ast::Select;
use super::super::ast::Spanned;
use super::super::ast::StreamSource;
use super::super::ast::StreamStart;
use super::super::target::TargetName;
use super::Builder;
use super::Rule;
use super::children;
use super::only;
use super::quoted::unquote;
use crate::clock::Timestamp;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::topic::TopicFilter;

impl Builder<'_> {
    /// `FROM 'filter', … [AS format]` or `FROM STREAM name [STARTING AT …] [AS format]`
    pub(super) fn source_clause(&mut self, pair: Pair<'_, Rule>, select: &mut Select) {
        for part in children(pair) {
            match part.as_rule() {
                Rule::topic_filter => select.from.extend(self.topic_filter(&part)),
                Rule::stream_source => select.stream = self.stream_source(part),
                _ => select.format = self.format_clause(part),
            }
        }
    }

    fn stream_source(&mut self, pair: Pair<'_, Rule>) -> Option<StreamSource> {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let target = parts.next().expect("FROM STREAM has a name");
        let name = self.target(only(target));
        let start = parts.next().map(|part| self.starting_at(part)).unwrap_or_default();
        match name.node {
            TargetName::Fixed(node) => {
                Some(StreamSource { name: Spanned { node, span: name.span }, start, span })
            }
            TargetName::Dynamic(_) => {
                self.found.push(
                    Diagnostic::error(Code::NAME, "a rule reads one stream, whatever it reads")
                        .at(name.span, "completed by messages")
                        .help("write its name as it is: FROM STREAM alerts"),
                );
                None
            }
        }
    }

    fn starting_at(&mut self, pair: Pair<'_, Rule>) -> StreamStart {
        let place = only(pair);
        match place.as_rule() {
            Rule::start_word if place.as_str().eq_ignore_ascii_case("latest") => {
                StreamStart::Latest
            }
            Rule::start_word => StreamStart::TrimHorizon,
            _ => match unquote(place.as_str()).0.parse::<jiff::Timestamp>() {
                Ok(time) => StreamStart::Timestamp(Timestamp::from_millis(time.as_millisecond())),
                Err(_) => {
                    self.found.push(
                        Diagnostic::error(Code::STREAM_START, "this is not a point in time")
                            .at(self.span(&place), "")
                            .help(
                                "write it as in STARTING AT '2026-05-01T06:00:00Z', or LATEST, or \
                                 TRIM_HORIZON",
                            ),
                    );
                    StreamStart::default()
                }
            },
        }
    }

    fn topic_filter(&mut self, pair: &Pair<'_, Rule>) -> Option<Spanned<TopicFilter>> {
        let span = self.span(pair);
        let text = unquote(pair.as_str()).0;
        match TopicFilter::parse(&text) {
            Ok(node) => Some(Spanned { node, span }),
            Err(reason) => {
                self.found.push(
                    Diagnostic::error(Code::TOPIC, "this is not a topic filter")
                        .at(span, reason.to_string())
                        .help("as in 'lab/+/telemetry' (one level) or 'lab/#' (all below)"),
                );
                None
            }
        }
    }
}
