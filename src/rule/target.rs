//! The names of streams, deliveries, hooks and tables in actions, and which of them exist.
//!
//! A name is written as it is, or as a text with `${…}` that each message completes. The first kind
//! is judged before anything runs. Of the second, [`Known`] holds what it may come to: targets that
//! the configuration declares and those that some rule names as they are. Nothing else is ever
//! created by a message: the names that messages could make up have no bound.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::Rule;
use super::ast::Action;
use super::ast::CreateRule;
use super::ast::Expr;
use super::ast::Spanned;
use super::ast::Template;
use super::ast::TemplatePart;
use super::set::Targets;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::limits::TARGET_NAME_BYTES_MAX;

/// A target's name as an action gives it.
#[derive(Clone, Debug)]
pub enum TargetName {
    /// The name itself.
    Fixed(String),
    /// A text with `${…}`.
    Dynamic(Template),
}

impl TargetName {
    /// The name, unless a message completes it.
    pub fn fixed(&self) -> Option<&str> {
        match self {
            TargetName::Fixed(name) => Some(name),
            TargetName::Dynamic(_) => None,
        }
    }

    /// Calls `visit` with the expression of each `${…}`.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match self {
            TargetName::Fixed(_) => {}
            TargetName::Dynamic(template) => template.for_each_expr(visit),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetName::Fixed(name) => f.write_str(name),
            TargetName::Dynamic(template) => template.fmt(f),
        }
    }
}

/// Kinds of target that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A shard stream.
    Stream,
    /// A delivery buffer.
    Delivery,
    /// A hook.
    Hook,
    /// A table of latest values.
    Table,
}

impl TargetKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            TargetKind::Stream => "stream",
            TargetKind::Delivery => "delivery",
            TargetKind::Hook => "hook",
            TargetKind::Table => "table",
        }
    }

    /// The kind and name that `action` gives; `None` for actions without a named target.
    pub fn of(action: &Action) -> Option<(TargetKind, &Spanned<TargetName>)> {
        match action {
            Action::Stream { name, .. } => Some((TargetKind::Stream, name)),
            Action::Deliver { name, .. } => Some((TargetKind::Delivery, name)),
            Action::Invoke { name } => Some((TargetKind::Hook, name)),
            Action::Upsert { name, .. } => Some((TargetKind::Table, name)),
            Action::Republish { .. } | Action::Log { .. } => None,
        }
    }
}

/// The targets that exist while a set of rules runs.
#[derive(Clone, Debug, Default)]
pub struct Known {
    streams: BTreeSet<Arc<str>>,
    deliveries: BTreeSet<Arc<str>>,
    hooks: BTreeSet<Arc<str>>,
    /// Those that some rule names: there is nothing to declare.
    tables: BTreeSet<Arc<str>>,
}

impl Known {
    /// What `targets` declares, and what `rules` read or name as it is.
    pub fn new<'r>(targets: &Targets, rules: impl IntoIterator<Item = &'r Arc<Rule>>) -> Known {
        let declared = |names: &BTreeSet<String>| -> BTreeSet<Arc<str>> {
            names.iter().map(|name| Arc::from(name.as_str())).collect()
        };
        let mut known = Known {
            streams: declared(&targets.streams),
            deliveries: declared(&targets.deliveries),
            hooks: declared(&targets.hooks),
            tables: BTreeSet::new(),
        };
        for rule in rules {
            known.add(&rule.definition);
        }
        known
    }

    /// Adds the stream that `rule` reads, and what its actions name as it is.
    pub(super) fn add(&mut self, rule: &CreateRule) {
        if let Some(source) = &rule.select.stream
            && !self.streams.contains(source.name.node.as_str())
        {
            self.streams.insert(source.name.node.as_str().into());
        }
        let actions = rule.all_actions();
        for (kind, name) in actions.filter_map(|action| TargetKind::of(&action.node)) {
            // A hook is never made by naming it.
            if let (Some(name), true) = (name.node.fixed(), kind != TargetKind::Hook)
                && !self.of(kind).contains(name)
            {
                let names = match kind {
                    TargetKind::Stream => &mut self.streams,
                    TargetKind::Delivery => &mut self.deliveries,
                    TargetKind::Hook => &mut self.hooks,
                    TargetKind::Table => &mut self.tables,
                };
                names.insert(name.into());
            }
        }
    }

    /// The target called `name`; `None` when there is none.
    pub fn get(&self, kind: TargetKind, name: &str) -> Option<&Arc<str>> {
        self.of(kind).get(name)
    }

    fn of(&self, kind: TargetKind) -> &BTreeSet<Arc<str>> {
        match kind {
            TargetKind::Stream => &self.streams,
            TargetKind::Delivery => &self.deliveries,
            TargetKind::Hook => &self.hooks,
            TargetKind::Table => &self.tables,
        }
    }

    /// What is wrong with an action whose target a message completes: nothing it can come to exists.
    pub(super) fn judge(
        &self,
        kind: TargetKind,
        template: &Template,
        name: &Spanned<TargetName>,
    ) -> Option<Diagnostic> {
        let kind_name = kind.as_str();
        if self.of(kind).iter().any(|known| fits(template, known)) {
            return None;
        }
        let message = format!("no {kind_name} that exists fits this name");
        let help = match kind {
            TargetKind::Table => {
                "name each table it may come to in some rule: messages create none".to_owned()
            }
            _ => format!(
                "declare [{kind_name}.NAME] in tidegate.toml for each name it may come to: \
                 messages create none"
            ),
        };
        Some(
            Diagnostic::warning(Code::DYNAMIC_TARGET, message)
                .at(name.span.clone(), "always a fault")
                .help(help),
        )
    }
}

/// The streams that something is known to write.
#[derive(Debug)]
pub(super) struct Fed<'r> {
    streams: BTreeSet<&'r str>,
    /// Names that messages complete.
    templates: Vec<&'r Template>,
}

impl<'r> Fed<'r> {
    /// Those that `targets` declares, whoever writes them, and those that an action of `rules` may
    /// write.
    pub(super) fn of(targets: &'r Targets, rules: impl Iterator<Item = &'r CreateRule>) -> Fed<'r> {
        let streams = targets.streams.iter().map(String::as_str).collect();
        let mut fed = Fed { streams, templates: Vec::new() };
        for action in rules.flat_map(CreateRule::all_actions) {
            let Action::Stream { name, .. } = &action.node else { continue };
            match &name.node {
                TargetName::Fixed(name) => {
                    fed.streams.insert(name);
                }
                TargetName::Dynamic(template) => fed.templates.push(template),
            }
        }
        fed
    }

    /// Warns of a stream that a rule reads and nothing writes: its name may be misspelt.
    pub(super) fn judge(&self, read: &Spanned<String>) -> Option<Diagnostic> {
        let name = read.node.as_str();
        let is_fed = self.streams.contains(name)
            || self.templates.iter().any(|template| fits(template, name));
        if is_fed {
            return None;
        }
        let help = match nearest(name, self.streams.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!(
                "no rule writes to it; where programs do, declare [stream.{name}] in tidegate.toml"
            ),
        };
        let message = format!("nothing is known to write to stream {name}");
        let warning = Diagnostic::warning(Code::UNFED_STREAM, message);
        Some(warning.at(read.span.clone(), "").help(help))
    }
}

/// Whether `template` can come to `name`: its texts stand in it in their order, the first at the
/// begin, the last at the end.
fn fits(template: &Template, name: &str) -> bool {
    let mut rest = name;
    let mut may_skip = false;
    let count = template.parts.len();
    for (position, part) in template.parts.iter().enumerate() {
        match part {
            TemplatePart::Expr(_) => may_skip = true,
            TemplatePart::Text(text) if position + 1 == count => {
                return if may_skip { rest.ends_with(&**text) } else { rest == text };
            }
            TemplatePart::Text(text) => {
                let Some(at) = rest.find(&**text).filter(|at| may_skip || *at == 0) else {
                    return false;
                };
                rest = rest.get(at + text.len()..).unwrap_or_default();
                may_skip = false;
            }
        }
    }
    may_skip || rest.is_empty()
}

/// Whether `name` may be the name of a target: 1 to [`TARGET_NAME_BYTES_MAX`] letters a-z, digits,
/// `_`, `-` and `.`, not starting with a point.
pub fn is_target_name(name: &str) -> bool {
    let is_in = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fits = (1..=TARGET_NAME_BYTES_MAX).contains(&name.len());
    fits && !name.starts_with('.') && name.bytes().all(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::parse::parse_file;

    #[track_caller]
    fn check(written: &str, name: &str, expected: bool) {
        let rule = format!("CREATE RULE r AS SELECT 1 AS a FROM 't' DO STREAM '{written}';");
        let parsed = parse_file(&rule);
        let (_, target) = TargetKind::of(&parsed.rules[0].actions[0].node).unwrap();
        let TargetName::Dynamic(template) = &target.node else { panic!("{written} has a place") };
        assert_eq!(fits(template, name), expected, "{written} and {name}");
    }

    #[test]
    fn a_dynamic_name_fits_what_it_can_come_to() {
        check("${a}", "anything", true);
        check("alerts-${a}", "alerts-lab", true);
        check("alerts-${a}", "other-lab", false);
        check("alerts-${a}-${b}-x", "alerts-1-2-x", true);
        check("alerts-${a}-${b}-x", "alerts-1-x", false);
        check("${a}-x", "lab-y", false);
        check("${a}-${b}", "nodash", false);
    }
}
