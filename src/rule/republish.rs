//! Loops that show before anything runs: rules whose REPUBLISH or STREAM always comes back to them.
//!
//! A republish leads to a rule when every topic it can render matches the rule's FROM, a stream when
//! the rule reads it. What only some messages do is not judged here; the hop limit cuts it at run time.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::ast::Action;
use super::ast::CreateRule;
use super::ast::Span;
use super::ast::Template;
use super::ast::TemplatePart;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::topic::Dialect;
use crate::topic::TopicFilter;
use crate::topic::TopicTrie;

/// Ways between rules that are followed. A set with more is strange enough to be left to the hop
/// limit; without a bound, thousands of rules that all reach one another would be millions of ways.
const WAYS_MAX: usize = 100_000;
/// Loops that are told; one rule in many loops shows in a few of them.
const LOOPS_TOLD_MAX: usize = 32;

/// The loops among `rules`, each with the number its rule came with.
pub(super) fn loops(rules: &[(usize, &CreateRule)]) -> Vec<(usize, Diagnostic)> {
    let mut found = Vec::new();
    let mut senders = Vec::new();
    for (source, rule) in rules {
        let sent = sent(rule);
        match own_loop(rule, &sent) {
            Some(diagnostic) => found.push((*source, diagnostic)),
            None if sent.is_empty() => {}
            None => senders.push(Sender { source: *source, rule, sent }),
        }
    }
    found.extend(loops_through_rules(&senders));
    found
}

/// A rule that sends something on, and never straight to itself.
struct Sender<'r> {
    source: usize,
    rule: &'r CreateRule,
    sent: Vec<Sent<'r>>,
}

fn own_loop(rule: &CreateRule, sent: &[Sent<'_>]) -> Option<Diagnostic> {
    sent.iter().find_map(|sent| {
        let (message, from, also, help) = match &sent.way {
            Way::Topic(_) => {
                let from = rule.select.from.iter().find(|from| sent.always_matches(&from.node))?;
                let help = "republish to a topic outside of the rule's own FROM";
                ("the rule republishes to itself", &from.span, "matches it", help)
            }
            Way::Stream(stream) => {
                let source = rule.select.stream.as_ref();
                let source = source.filter(|source| source.name.node == **stream)?;
                let help = "write to another stream than the one it reads";
                ("the rule writes to the stream it reads", &source.span, "read here", help)
            }
        };
        Some(
            Diagnostic::error(Code::LOOP, message)
                .at(sent.span.clone(), "comes back to this rule")
                .also(from.clone(), also)
                .help(help),
        )
    })
}

fn loops_through_rules(senders: &[Sender<'_>]) -> Vec<(usize, Diagnostic)> {
    let leads = ways(senders);
    let mut is_told = vec![false; senders.len()];
    let mut found = Vec::new();
    for start in in_circles(&leads) {
        if is_told[start] {
            continue;
        }
        if found.len() == LOOPS_TOLD_MAX {
            break;
        }
        let Some(path) = way_back(start, &leads) else { continue };
        is_told[start] = true;
        path.iter().for_each(|step| is_told[*step] = true);
        let names: Vec<String> =
            path.iter().map(|step| senders[*step].rule.name.node.to_string()).collect();
        let sender = &senders[start];
        let span = sender.sent.first().map(|sent| sent.span.clone()).unwrap_or_default();
        let reads_stream = |step: &usize| senders[*step].rule.select.stream.is_some();
        let told = if path.iter().chain([&start]).any(reads_stream) {
            // What is cut is on disk by then, as many times as there were hops.
            Diagnostic::error(Code::LOOP_THROUGH_RULES, "rules feed one another through a stream")
                .help("break the circle: each record would come back until it is cut")
        } else {
            Diagnostic::warning(Code::LOOP_THROUGH_RULES, "rules republish to one another")
                .help("a message is cut after a few hops; break the circle")
        };
        let label = format!("comes back through {}", names.join(", "));
        found.push((sender.source, told.at(span, label)));
    }
    found
}

/// For each sender the senders that it always reaches.
fn ways(senders: &[Sender<'_>]) -> Vec<Vec<usize>> {
    let mut listening = TopicTrie::default();
    let mut reading: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, sender) in senders.iter().enumerate() {
        if let Some(source) = &sender.rule.select.stream {
            reading.entry(&source.name.node).or_default().push(index);
        }
        for from in &sender.rule.select.from {
            listening.insert(&from.node, (index, &from.node));
        }
    }
    let mut left = WAYS_MAX;
    let mut leads = Vec::with_capacity(senders.len());
    for sender in senders {
        let mut reached = Vec::new();
        for sent in &sender.sent {
            let mut reach = |index: usize| {
                if left > 0 {
                    reached.push(index);
                    left -= 1;
                }
            };
            match &sent.way {
                Way::Topic(pattern) => {
                    listening.for_each_match(pattern, Dialect::AwsRule, |(index, filter)| {
                        if sent.always_matches(filter) {
                            reach(*index);
                        }
                    });
                }
                Way::Stream(stream) => {
                    reading.get(stream).into_iter().flatten().for_each(|index| reach(*index));
                }
            }
        }
        leads.push(reached);
    }
    leads
}

/// The senders from which a circle can be reached: what is left when those without a way out are taken
/// away, again and again.
fn in_circles(leads: &[Vec<usize>]) -> Vec<usize> {
    let mut comes_from: Vec<Vec<usize>> = vec![Vec::new(); leads.len()];
    for (from, reached) in leads.iter().enumerate() {
        reached.iter().for_each(|to| comes_from[*to].push(from));
    }
    let mut ways_out: Vec<usize> = leads.iter().map(Vec::len).collect();
    let mut ends: Vec<usize> = (0..leads.len()).filter(|at| ways_out[*at] == 0).collect();
    while let Some(end) = ends.pop() {
        for from in &comes_from[end] {
            ways_out[*from] -= 1;
            if ways_out[*from] == 0 {
                ends.push(*from);
            }
        }
    }
    (0..leads.len()).filter(|at| ways_out[*at] > 0).take(LOOPS_TOLD_MAX * 8).collect()
}

/// The senders on the shortest way from `start` back to it, `start` left out.
fn way_back(start: usize, leads: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut came_from: Vec<Option<usize>> = vec![None; leads.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in &leads[at] {
            if *next == start {
                let mut path = Vec::new();
                let mut step = at;
                while step != start {
                    path.push(step);
                    step = came_from[step]?;
                }
                path.reverse();
                return Some(path);
            }
            if came_from[*next].is_none() {
                came_from[*next] = Some(at);
                queue.push_back(*next);
            }
        }
    }
    None
}

/// A REPUBLISH or STREAM and where it stands.
struct Sent<'r> {
    way: Way<'r>,
    span: &'r Span,
}

/// Where it leads.
enum Way<'r> {
    /// A topic; [`PLACE`] stands for each `${…}`.
    Topic(String),
    /// A stream.
    Stream(&'r str),
}

/// Stands for what a template renders: a character that no filter has.
const PLACE: char = '\0';

fn sent(rule: &CreateRule) -> Vec<Sent<'_>> {
    let actions = rule.actions.iter().chain(&rule.on_cleared).chain(&rule.on_error);
    actions
        .filter_map(|action| match &action.node {
            Action::Republish { topic, .. } => {
                Some(Sent { way: Way::Topic(pattern(&topic.node)), span: &topic.span })
            }
            Action::Stream { name, .. } => {
                Some(Sent { way: Way::Stream(name.node.fixed()?), span: &name.span })
            }
            Action::Deliver { .. }
            | Action::Invoke { .. }
            | Action::Upsert { .. }
            | Action::Log { .. } => None,
        })
        .collect()
}

fn pattern(topic: &Template) -> String {
    let mut pattern = String::new();
    for part in &topic.parts {
        match part {
            TemplatePart::Text(text) => pattern.push_str(text),
            TemplatePart::Expr(_) => pattern.push(PLACE),
        }
    }
    pattern
}

impl Sent<'_> {
    /// Whether every topic that it can render matches `filter`.
    fn always_matches(&self, filter: &TopicFilter) -> bool {
        let Way::Topic(pattern) = &self.way else { return false };
        if pattern.starts_with(['$', PLACE]) && filter.as_str().starts_with(['+', '#']) {
            // A leading wildcard leaves `$` topics alone.
            return false;
        }
        let mut levels = pattern.split('/');
        for want in filter.as_str().split('/') {
            let Some(level) = levels.next() else { return false };
            match want {
                "#" => return true,
                // What is rendered there may hold a slash and so be more levels.
                _ if level.contains(PLACE) => return false,
                "+" => {}
                _ if want == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}
