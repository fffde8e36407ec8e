//! Expressions of requests as trees: conditions, updates, projections (DynamoDB, "Expressions").
//!
//! Pure. [`super::parse`] makes them of text, the legacy parameters make them directly. A path names a part of an
//! item; what is not there is no error in a condition, and is one in an update that has to reach inside of it.

use std::cmp::Ordering;

use super::value::Item;
use super::value::Number;
use super::value::Value;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An attribute of an item, or a member of a map.
    Name(String),
    /// A member of a list.
    Index(usize),
}

/// Where a part of an item is; one step at least, the first a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(pub(super) Vec<Step>);

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A part of the item.
    Path(Path),
    /// A value of the request.
    Value(Value),
    /// `size(path)`
    Size(Path),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A condition on an item, or on there being none.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Compare(Operand, Comparison, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    IsMissing(Path),
    IsType(Path, String),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// What SET sets.
#[derive(Clone, Debug, PartialEq)]
pub enum Assigned {
    Operand(Operand),
    /// `if_not_exists(path, value)`
    Default(Path, Box<Assigned>),
    /// `list_append(a, b)`
    Append(Box<Assigned>, Box<Assigned>),
    Plus(Box<Assigned>, Box<Assigned>),
    Minus(Box<Assigned>, Box<Assigned>),
}

/// One action of an update.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Set(Path, Assigned),
    Remove(Path),
    /// To a number, or to a set.
    Add(Path, Value),
    /// From a set.
    Delete(Path, Value),
}

const INVALID_PATH: &str =
    "The document path provided in the update expression is invalid for update";
const WRONG_TYPE: &str = "An operand in the update expression has an incorrect data type";
const MISSING: &str =
    "The provided expression refers to an attribute that does not exist in the item";

impl Path {
    /// An attribute of its own.
    pub fn attribute(name: &str) -> Path {
        Path(vec![Step::Name(name.to_owned())])
    }

    /// The attribute that it is in.
    pub fn root(&self) -> &str {
        match self.0.first() {
            Some(Step::Name(name)) => name,
            _ => "",
        }
    }

    /// The part of the item.
    pub fn find<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let mut found = item.get(self.root())?;
        for step in self.0.iter().skip(1) {
            found = match (step, found) {
                (Step::Name(name), Value::Map(map)) => map.get(name)?,
                (Step::Index(place), Value::List(list)) => list.get(*place)?,
                _ => return None,
            };
        }
        Some(found)
    }

    /// What the last step goes into: the item itself when there is one step.
    fn parent<'a>(&self, item: &'a mut Item) -> Option<Parent<'a>> {
        let [first, between @ .., _] = &self.0[..] else { return Some(Parent::Map(item)) };
        let Step::Name(name) = first else { return None };
        let mut found = item.get_mut(name)?;
        for step in between {
            found = match (step, found) {
                (Step::Name(name), Value::Map(map)) => map.get_mut(name)?,
                (Step::Index(place), Value::List(list)) => list.get_mut(*place)?,
                _ => return None,
            };
        }
        match found {
            Value::Map(map) => Some(Parent::Map(map)),
            Value::List(list) => Some(Parent::List(list)),
            _ => None,
        }
    }

    fn set(&self, item: &mut Item, value: Value) -> Result<(), String> {
        match (self.parent(item), self.0.last()) {
            (Some(Parent::Map(map)), Some(Step::Name(name))) => {
                map.insert(name.clone(), value);
                Ok(())
            }
            // Behind the end means at the end.
            (Some(Parent::List(list)), Some(Step::Index(place))) => {
                match list.get_mut(*place) {
                    Some(old) => *old = value,
                    None => list.push(value),
                }
                Ok(())
            }
            _ => Err(INVALID_PATH.to_owned()),
        }
    }

    fn remove(&self, item: &mut Item) -> Result<(), String> {
        match (self.parent(item), self.0.last()) {
            (Some(Parent::Map(map)), Some(Step::Name(name))) => {
                map.remove(name);
                Ok(())
            }
            (Some(Parent::List(list)), Some(Step::Index(place))) => {
                if *place < list.len() {
                    list.remove(*place);
                }
                Ok(())
            }
            _ => Err(INVALID_PATH.to_owned()),
        }
    }

    /// Whether one is the other, or inside of it.
    fn overlaps(&self, other: &Path) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// Copies the part that it names from `item` to `into`, with the maps around it.
    fn copy(&self, item: &Item, into: &mut Item) {
        let Some(found) = self.find(item) else { return };
        let mut value = found.clone();
        for step in self.0.iter().skip(1).rev() {
            value = match step {
                Step::Name(name) => Value::Map([(name.clone(), value)].into()),
                Step::Index(_) => Value::List(vec![value]),
            };
        }
        match into.get_mut(self.root()) {
            Some(there) => merge(there, value),
            None => {
                into.insert(self.root().to_owned(), value);
            }
        }
    }
}

enum Parent<'a> {
    Map(&'a mut Item),
    List(&'a mut Vec<Value>),
}

fn merge(there: &mut Value, more: Value) {
    match (there, more) {
        (Value::Map(there), Value::Map(more)) => {
            for (name, value) in more {
                match there.get_mut(&name) {
                    Some(old) => merge(old, value),
                    None => {
                        there.insert(name, value);
                    }
                }
            }
        }
        (Value::List(there), Value::List(more)) => there.extend(more),
        (there, more) => *there = more,
    }
}

/// The parts of an item that a projection names.
pub fn project(item: &Item, paths: &[Path]) -> Item {
    let mut parts = Item::new();
    paths.iter().for_each(|path| path.copy(item, &mut parts));
    parts
}

impl Operand {
    fn of(&self, item: &Item) -> Option<Value> {
        match self {
            Operand::Path(path) => path.find(item).cloned(),
            Operand::Value(value) => Some(value.clone()),
            Operand::Size(path) => size(path.find(item)?).map(|n| Value::Number(n.into())),
        }
    }
}

/// `size()`
fn size(value: &Value) -> Option<usize> {
    match value {
        Value::Text(text) => Some(text.chars().count()),
        Value::Bytes(bytes) => Some(bytes.len()),
        Value::Texts(set) => Some(set.len()),
        Value::Numbers(set) => Some(set.len()),
        Value::Binaries(set) => Some(set.len()),
        Value::List(list) => Some(list.len()),
        Value::Map(map) => Some(map.len()),
        Value::Number(_) | Value::Flag(_) | Value::Null => None,
    }
}

impl Comparison {
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let ordered = || left.zip(right).and_then(|(left, right)| left.compare(right));
        match self {
            Comparison::Equal => left.is_some() && left == right,
            Comparison::NotEqual => left != right,
            Comparison::Less => ordered() == Some(Ordering::Less),
            Comparison::LessOrEqual => ordered().is_some_and(Ordering::is_le),
            Comparison::Greater => ordered() == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => ordered().is_some_and(Ordering::is_ge),
        }
    }
}

impl Condition {
    /// Whether it holds for an item; an empty one stands for there being none.
    pub fn holds(&self, item: &Item) -> bool {
        match self {
            Condition::Compare(left, comparison, right) => {
                comparison.holds(left.of(item).as_ref(), right.of(item).as_ref())
            }
            Condition::Between(value, low, high) => {
                let value = value.of(item);
                Comparison::GreaterOrEqual.holds(value.as_ref(), low.of(item).as_ref())
                    && Comparison::LessOrEqual.holds(value.as_ref(), high.of(item).as_ref())
            }
            Condition::In(value, among) => {
                let value = value.of(item);
                value.is_some() && among.iter().any(|one| one.of(item) == value)
            }
            Condition::Exists(path) => path.find(item).is_some(),
            Condition::IsMissing(path) => path.find(item).is_none(),
            Condition::IsType(path, kind) => {
                path.find(item).is_some_and(|value| value.kind() == kind)
            }
            Condition::BeginsWith(value, start) => match (value.of(item), start.of(item)) {
                (Some(Value::Text(text)), Some(Value::Text(start))) => text.starts_with(&start),
                (Some(Value::Bytes(bytes)), Some(Value::Bytes(start))) => bytes.starts_with(&start),
                _ => false,
            },
            Condition::Contains(whole, part) => match (whole.of(item), part.of(item)) {
                (Some(whole), Some(part)) => contains(&whole, &part),
                _ => false,
            },
            Condition::All(all) => all.iter().all(|one| one.holds(item)),
            Condition::Any(any) => any.iter().any(|one| one.holds(item)),
            Condition::Not(condition) => !condition.holds(item),
        }
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Text(text), Value::Text(part)) => text.contains(part.as_str()),
        (Value::Bytes(bytes), Value::Bytes(part)) => {
            part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
        }
        (Value::Texts(set), Value::Text(part)) => set.contains(part),
        (Value::Numbers(set), Value::Number(part)) => set.contains(part),
        (Value::Binaries(set), Value::Bytes(part)) => set.contains(part),
        (Value::List(list), part) => list.contains(part),
        _ => false,
    }
}

impl Assigned {
    fn of(&self, item: &Item) -> Result<Value, String> {
        let numbers = |left: &Assigned, right: &Assigned| match (left.of(item)?, right.of(item)?) {
            (Value::Number(left), Value::Number(right)) => Ok((left, right)),
            _ => Err(WRONG_TYPE.to_owned()),
        };
        match self {
            Assigned::Operand(operand) => operand.of(item).ok_or_else(|| MISSING.to_owned()),
            Assigned::Default(path, default) => match path.find(item) {
                Some(found) => Ok(found.clone()),
                None => default.of(item),
            },
            Assigned::Append(first, second) => match (first.of(item)?, second.of(item)?) {
                (Value::List(mut first), Value::List(second)) => {
                    first.extend(second);
                    Ok(Value::List(first))
                }
                _ => Err(WRONG_TYPE.to_owned()),
            },
            Assigned::Plus(left, right) => {
                let (left, right): (Number, Number) = numbers(left, right)?;
                left.plus(&right).map(Value::Number)
            }
            Assigned::Minus(left, right) => {
                let (left, right) = numbers(left, right)?;
                left.minus(&right).map(Value::Number)
            }
        }
    }
}

impl Action {
    /// The part of the item that it changes.
    pub fn path(&self) -> &Path {
        match self {
            Action::Set(path, _)
            | Action::Remove(path)
            | Action::Add(path, _)
            | Action::Delete(path, _) => path,
        }
    }
}

/// Makes all actions of an update on an item. Each sees the item as it was before all of them.
///
/// # Errors
/// One cannot be made, or two change the same part; the message is DynamoDB's. The item is then half
/// changed.
pub fn apply(item: &mut Item, actions: &[Action]) -> Result<(), String> {
    for (place, action) in actions.iter().enumerate() {
        if actions[..place].iter().any(|other| other.path().overlaps(action.path())) {
            return Err(
                "Invalid UpdateExpression: Two document paths overlap with each other; must \
                        remove or rewrite one of these paths"
                    .to_owned(),
            );
        }
    }
    let before = item.clone();
    // Indexes are those of the lists before: what stands later goes first.
    let mut removed: Vec<&Path> = Vec::new();
    for action in actions {
        match action {
            Action::Set(path, assigned) => path.set(item, assigned.of(&before)?)?,
            Action::Remove(path) => removed.push(path),
            Action::Add(path, value) => {
                let sum = add(path.find(&before), value)?;
                path.set(item, sum)?;
            }
            Action::Delete(path, value) => match delete(path.find(&before), value)? {
                Some(rest) => path.set(item, rest)?,
                None => removed.push(path),
            },
        }
    }
    let last_index = |path: &&Path| match path.0.last() {
        Some(Step::Index(place)) => *place,
        _ => 0,
    };
    removed.sort_by_key(|path| std::cmp::Reverse(last_index(path)));
    removed.into_iter().try_for_each(|path| path.remove(item))
}

fn add(there: Option<&Value>, value: &Value) -> Result<Value, String> {
    let Some(there) = there else {
        return match value {
            Value::Number(_) | Value::Texts(_) | Value::Numbers(_) | Value::Binaries(_) => {
                Ok(value.clone())
            }
            _ => Err(WRONG_TYPE.to_owned()),
        };
    };
    match (there, value) {
        (Value::Number(a), Value::Number(b)) => a.plus(b).map(Value::Number),
        (Value::Texts(a), Value::Texts(b)) => Ok(Value::Texts(a | b)),
        (Value::Numbers(a), Value::Numbers(b)) => Ok(Value::Numbers(a | b)),
        (Value::Binaries(a), Value::Binaries(b)) => Ok(Value::Binaries(a | b)),
        _ => Err(WRONG_TYPE.to_owned()),
    }
}

/// What a set has left; `None` when it has nothing.
fn delete(there: Option<&Value>, value: &Value) -> Result<Option<Value>, String> {
    let Some(there) = there else { return Ok(None) };
    Ok(match (there, value) {
        (Value::Texts(a), Value::Texts(b)) => {
            Some(a - b).filter(|s| !s.is_empty()).map(Value::Texts)
        }
        (Value::Numbers(a), Value::Numbers(b)) => {
            Some(a - b).filter(|s| !s.is_empty()).map(Value::Numbers)
        }
        (Value::Binaries(a), Value::Binaries(b)) => {
            Some(a - b).filter(|s| !s.is_empty()).map(Value::Binaries)
        }
        _ => return Err(WRONG_TYPE.to_owned()),
    })
}
