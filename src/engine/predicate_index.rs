//! The rules of a plan by what their WHERE asks of one field, so that a message visits those whose
//! term is true and not the thousand whose threshold it does not reach.
//!
//! A rule is indexed by one of the terms that its AND begins with: `field op constant`, where `op` is
//! `<`, `<=`, `>`, `>=` or BETWEEN (a range of numbers) or `=` or IN (points). Nothing before the term
//! can fault, nothing behind it is evaluated once it is FALSE: leaving the rule out is what evaluating
//! it would come to. Terms are compared as [`operators`](super::operators) compares them; a rule that
//! is visited is evaluated whole.
//!
//! UNKNOWN decides nothing while another term may be FALSE, so such a rule is visited. Where the term
//! is the whole WHERE, all rules of the group are UNKNOWN together, and the plan says which those are.
//!
//! Rules without such a term, and fields of less than [`PREDICATE_INDEX_MIN`] rules, are always
//! visited. Start reading at [`PredicateIndex::visit`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use super::RuleIndex;
use super::code::Code;
use super::compile::Program;
use super::decode::Slot;
use super::plan::Entry;
use crate::limits::PREDICATE_INDEX_MIN;
use crate::rule::ast::BinaryOp;
use crate::rule::ast::JoinKind;
use crate::value::Number;
use crate::value::Value;

/// The index of the rules of one payload format.
#[derive(Debug)]
pub(super) struct PredicateIndex {
    /// The entries that every message visits.
    always: Visits,
    groups: Vec<Group>,
}

/// The rules that ask the same kind of question about one field.
#[derive(Debug)]
struct Group {
    slot: usize,
    terms: Terms,
    /// Entries to visit where the term is UNKNOWN: those with other terms.
    undecided: Box<[u32]>,
    /// The rules whose whole WHERE is the term, as the plan numbers them; `None` without any.
    together: Option<u32>,
}

#[derive(Debug)]
enum Terms {
    /// Sorted by their lower ends.
    Ranges(Box<[Node]>),
    Points(HashMap<Value, Vec<u32>, foldhash::fast::RandomState>),
}

/// Entries to visit, as bits.
#[derive(Debug, Default)]
pub(super) struct Visits {
    words: Vec<u64>,
}

impl Visits {
    fn none_of(entries: usize) -> Visits {
        Visits { words: vec![0; entries.div_ceil(64)] }
    }

    fn add(&mut self, entry: u32) {
        if let Some(word) = self.words.get_mut((entry / 64) as usize) {
            *word |= 1 << (entry % 64);
        }
    }

    /// The entries, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(place, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                // Takes the lowest bit away; there is none in 0.
                left &= left.checked_sub(1)?;
                Some(place * 64 + bit)
            })
        })
    }
}

impl PredicateIndex {
    /// Indexes rules; `None` where nothing is to be gained. The rules that are UNKNOWN together are
    /// added to `together`.
    pub(super) fn new(
        entries: &[Entry],
        programs: &[&Program],
        together: &mut Vec<Box<[RuleIndex]>>,
    ) -> Option<PredicateIndex> {
        if entries.len() < PREDICATE_INDEX_MIN {
            return None;
        }
        let asked: Vec<Vec<Term>> =
            entries.iter().zip(programs).map(|(entry, program)| terms(entry, program)).collect();
        let census = Census::of(&asked);
        let choices: Vec<Option<usize>> = asked.iter().map(|terms| census.choice(terms)).collect();
        let mut always = Visits::none_of(entries.len());
        let mut chosen: BTreeMap<(usize, Kind), Vec<(u32, Term)>> = BTreeMap::new();
        for ((entry, mut terms), choice) in (0..).zip(asked).zip(choices) {
            match choice.map(|place| terms.swap_remove(place)) {
                Some(term) => {
                    chosen.entry((term.slot, term.kind())).or_default().push((entry, term))
                }
                None => always.add(entry),
            }
        }
        let mut groups = Vec::new();
        for ((slot, kind), members) in chosen {
            if members.len() < PREDICATE_INDEX_MIN {
                members.iter().for_each(|(entry, _)| always.add(*entry));
                continue;
            }
            let (whole, others): (Vec<_>, Vec<_>) =
                members.iter().partition(|(_, term)| term.is_whole);
            let rule = |(entry, _): &(u32, Term)| entries[*entry as usize].rule;
            let whole: Box<[RuleIndex]> = whole.into_iter().map(rule).collect();
            let number = (!whole.is_empty()).then(|| u32::try_from(together.len()).ok()).flatten();
            together.extend((!whole.is_empty()).then_some(whole));
            groups.push(Group {
                slot,
                undecided: others.iter().map(|(entry, _)| *entry).collect(),
                together: number,
                terms: Terms::new(kind, members),
            });
        }
        (!groups.is_empty()).then_some(PredicateIndex { always, groups })
    }

    /// By which slot an entry is found, and how many are found by it.
    pub(super) fn found_by(&self, entry: u32) -> Option<(usize, usize)> {
        self.groups.iter().find_map(|group| {
            let members = group.terms.members();
            members.contains(&entry).then_some((group.slot, members.len()))
        })
    }

    /// Fills `visits` with the entries to evaluate over a message, and adds the groups of rules that
    /// it leaves UNKNOWN together to `unknown`.
    pub(super) fn visit(
        &self,
        slots: &[Slot],
        payload: &[u8],
        visits: &mut Visits,
        unknown: &mut Vec<u32>,
    ) {
        visits.words.clone_from(&self.always.words);
        for group in &self.groups {
            let Some(slot) = slots.get(group.slot) else { continue };
            if !group.terms.find(slot.get(payload), visits) {
                group.undecided.iter().for_each(|entry| visits.add(*entry));
                unknown.extend(group.together);
            }
        }
    }
}

impl Terms {
    fn new(kind: Kind, members: Vec<(u32, Term)>) -> Terms {
        let mut nodes = Vec::new();
        let mut points: HashMap<Value, Vec<u32>, _> = HashMap::default();
        for (entry, term) in members {
            match term.asked {
                Asked::Range(range) => nodes.push(Node { range, reach: range.high, entry }),
                Asked::Points(values) => {
                    for value in values {
                        points.entry(value).or_default().push(entry);
                    }
                }
            }
        }
        match kind {
            Kind::Points => Terms::Points(points),
            Kind::Range => {
                nodes.sort_by(|a, b| a.range.low.cmp_low(&b.range.low));
                set_reach(&mut nodes);
                Terms::Ranges(nodes.into())
            }
        }
    }

    fn members(&self) -> BTreeSet<u32> {
        match self {
            Terms::Ranges(nodes) => nodes.iter().map(|node| node.entry).collect(),
            Terms::Points(points) => points.values().flatten().copied().collect(),
        }
    }

    /// Adds the entries whose term is true of `value`; false where all terms are UNKNOWN.
    fn find(&self, value: &Value, visits: &mut Visits) -> bool {
        match self {
            Terms::Ranges(nodes) => {
                let number = value.to_number();
                number.inspect(|number| stab(nodes, number, visits)).is_some()
            }
            Terms::Points(_) if value.is_undefined() => false,
            Terms::Points(points) => {
                let found = points.get(value).into_iter().flatten();
                found.for_each(|entry| visits.add(*entry));
                true
            }
        }
    }
}

/// A range in a sorted slice that is read as a tree: the middle is the root of what is left and
/// right of it.
#[derive(Debug)]
struct Node {
    range: Range,
    /// The highest upper end in the tree below, itself included.
    reach: End,
    entry: u32,
}

/// The root of a tree, with the trees left and right of it.
fn split(nodes: &[Node]) -> Option<(&[Node], &Node, &[Node])> {
    let (left, rest) = nodes.split_at(nodes.len() / 2);
    let (root, right) = rest.split_first()?;
    Some((left, root, right))
}

/// Sets the reach of a tree, and answers it.
fn set_reach(nodes: &mut [Node]) -> Option<End> {
    let (left, rest) = nodes.split_at_mut(nodes.len() / 2);
    let (root, right) = rest.split_first_mut()?;
    for below in [set_reach(left), set_reach(right)].into_iter().flatten() {
        if root.reach.cmp_high(&below).is_lt() {
            root.reach = below;
        }
    }
    Some(root.reach)
}

/// Adds the ranges that have `number` in them. As deep as the logarithm of their count.
fn stab(nodes: &[Node], number: &Number, visits: &mut Visits) {
    let Some((left, root, right)) = split(nodes) else { return };
    if !root.reach.is_above(number) {
        return;
    }
    stab(left, number, visits);
    if root.range.low.is_below(number) {
        if root.range.high.is_above(number) {
            visits.add(root.entry);
        }
        stab(right, number, visits);
    }
}

/// Numbers between two ends.
#[derive(Clone, Copy, Debug)]
struct Range {
    low: End,
    high: End,
}

/// One end of a range; `None` is the infinity on its side.
#[derive(Clone, Copy, Debug)]
struct End(Option<(Number, bool)>);

impl End {
    const OPEN: End = End(None);

    fn including(number: Number) -> End {
        End(Some((number, true)))
    }

    fn excluding(number: Number) -> End {
        End(Some((number, false)))
    }

    /// As a lower end.
    fn is_below(&self, number: &Number) -> bool {
        self.0.is_none_or(|(end, included)| match end.cmp(number) {
            Ordering::Less => true,
            Ordering::Equal => included,
            Ordering::Greater => false,
        })
    }

    /// As an upper end.
    fn is_above(&self, number: &Number) -> bool {
        self.0.is_none_or(|(end, included)| match end.cmp(number) {
            Ordering::Greater => true,
            Ordering::Equal => included,
            Ordering::Less => false,
        })
    }

    /// Which of two lower ends lets more in: that one is less.
    fn cmp_low(&self, other: &End) -> Ordering {
        match (self.0, other.0) {
            (Some((a, a_in)), Some((b, b_in))) => a.cmp(&b).then(b_in.cmp(&a_in)),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }

    /// Which of two upper ends lets more in: that one is greater.
    fn cmp_high(&self, other: &End) -> Ordering {
        match (self.0, other.0) {
            (Some((a, a_in)), Some((b, b_in))) => a.cmp(&b).then(a_in.cmp(&b_in)),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

impl Range {
    fn is_bounded(&self) -> bool {
        self.low.0.is_some() && self.high.0.is_some()
    }

    fn intersect(&mut self, other: Range) {
        if self.low.cmp_low(&other.low).is_lt() {
            self.low = other.low;
        }
        if self.high.cmp_high(&other.high).is_gt() {
            self.high = other.high;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Range,
    Points,
}

/// What a rule could be indexed by.
#[derive(Debug)]
struct Term {
    slot: usize,
    asked: Asked,
    /// Whether WHERE asks nothing else.
    is_whole: bool,
}

#[derive(Debug)]
enum Asked {
    Range(Range),
    Points(Vec<Value>),
}

impl Term {
    fn kind(&self) -> Kind {
        match self.asked {
            Asked::Range(_) => Kind::Range,
            Asked::Points(_) => Kind::Points,
        }
    }
}

/// How many rules ask what.
#[derive(Default)]
struct Census<'t> {
    ranges: HashMap<usize, usize>,
    points: HashMap<(usize, &'t Value), usize>,
}

impl<'t> Census<'t> {
    fn of(asked: &'t [Vec<Term>]) -> Census<'t> {
        let mut census = Census::default();
        for term in asked.iter().flatten() {
            match &term.asked {
                Asked::Range(_) => *census.ranges.entry(term.slot).or_default() += 1,
                Asked::Points(values) => {
                    for value in values {
                        *census.points.entry((term.slot, value)).or_default() += 1;
                    }
                }
            }
        }
        census
    }

    /// The term of a rule that lets the fewest messages through, as far as its neighbours tell: the
    /// rules that share its points, or half of those that have a range of the field, an eighth where
    /// its own has two ends.
    fn choice(&self, terms: &[Term]) -> Option<usize> {
        let neighbours = |term: &Term| match &term.asked {
            Asked::Range(range) => {
                let share = if range.is_bounded() { 8 } else { 2 };
                self.ranges.get(&term.slot).map_or(0, |count| count / share)
            }
            Asked::Points(values) => {
                let count = |value| self.points.get(&(term.slot, value)).copied().unwrap_or(0);
                values.iter().map(count).sum()
            }
        };
        (0..terms.len()).min_by_key(|place| neighbours(&terms[*place]))
    }
}

/// What a rule can be indexed by, in the order of its WHERE: one term for each field and kind.
fn terms(entry: &Entry, program: &Program) -> Vec<Term> {
    // A JOIN that finds no row comes before WHERE, and FOREACH asks WHERE of each element. With analytic
    // functions a message is remembered before WHERE.
    let is_plain = program.foreach.is_none()
        && program.lookbacks.is_none()
        && program.joins.iter().all(|join| join.kind == JoinKind::Left);
    let Some(filter) = program.filter.as_ref().filter(|_| is_plain) else { return Vec::new() };
    let conjunction = match filter {
        Code::And(conjunction) => conjunction,
        single => std::slice::from_ref(single),
    };
    let mut terms: Vec<Term> = Vec::new();
    let mut taken = 0;
    for code in conjunction.iter().take_while(|code| code.cannot_fault()) {
        let Some((field, asked)) = question(code) else { continue };
        let Some(slot) = entry.slots.get(field).copied() else { continue };
        taken += 1;
        let known = terms.iter_mut().find_map(|term| match (&mut term.asked, &asked) {
            (Asked::Range(known), Asked::Range(range)) if term.slot == slot => {
                Some((known, *range))
            }
            _ => None,
        });
        match known {
            Some((known, range)) => known.intersect(range),
            None => terms.push(Term { slot, asked, is_whole: false }),
        }
    }
    if let [term] = terms.as_mut_slice() {
        term.is_whole = taken == conjunction.len();
    }
    terms
}

/// `field op constant`, as the field and what is asked of it.
fn question(code: &Code) -> Option<(usize, Asked)> {
    let field = |code: &Code| match code {
        Code::Field { field, steps } if steps.is_empty() => Some(*field),
        _ => None,
    };
    match code {
        Code::Compare { op, sides } => match &**sides {
            [Code::Constant(constant), of] => {
                Some((field(of)?, compared(mirrored(*op), constant)?))
            }
            [of, Code::Constant(constant)] => Some((field(of)?, compared(*op, constant)?)),
            _ => None,
        },
        Code::Between { parts, negated: false } => match &**parts {
            [of, Code::Constant(low), Code::Constant(high)] => {
                let (low, high) = (low.to_number()?, high.to_number()?);
                let range = Range { low: End::including(low), high: End::including(high) };
                Some((field(of)?, Asked::Range(range)))
            }
            _ => None,
        },
        Code::In { sides, negated: false } => match &**sides {
            [of, Code::Constant(Value::Array(items))] if items.iter().all(is_point) => {
                Some((field(of)?, Asked::Points(items.to_vec())))
            }
            _ => None,
        },
        _ => None,
    }
}

fn compared(op: BinaryOp, constant: &Value) -> Option<Asked> {
    let (low, high) = match op {
        BinaryOp::Equal if is_point(constant) => {
            return Some(Asked::Points(vec![constant.clone()]));
        }
        BinaryOp::Less => (End::OPEN, End::excluding(constant.to_number()?)),
        BinaryOp::LessOrEqual => (End::OPEN, End::including(constant.to_number()?)),
        BinaryOp::Greater => (End::excluding(constant.to_number()?), End::OPEN),
        BinaryOp::GreaterOrEqual => (End::including(constant.to_number()?), End::OPEN),
        _ => return None,
    };
    Some(Asked::Range(Range { low, high }))
}

/// `5 < x` as `x > 5`.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
        other => other,
    }
}

/// Whether a constant is found by its hash.
fn is_point(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))
}

#[cfg(test)]
#[path = "predicate_index_tests.rs"]
mod tests;
