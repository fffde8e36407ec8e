//! Payload bytes in, the fields that rules name out.
//!
//! [`Projection`] is the union of the paths that the rules of a plan name, as a tree of keys.
//! [`project`] walks the payload once: what the tree names lands in a [`Slot`], everything else is
//! skipped but still validated, so that a payload is JSON for every rule or for none. Numbers,
//! booleans, null and short strings are made at once; arrays, objects and long strings are kept as
//! byte ranges and made when a rule reads them, so a message that no rule matches allocates
//! nothing. Recursion is bounded by [`PAYLOAD_DEPTH_MAX`].

use std::cell::OnceCell;
use std::ops::Range;

use compact_str::CompactString;
use jiter::Jiter;
use jiter::JiterError;
use jiter::Peek;
use smallvec::SmallVec;

use crate::limits::PAYLOAD_DEPTH_MAX;
use crate::value::Number;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;

/// Strings up to this long are stored inside a [`CompactString`], without allocating.
const INLINE_BYTES: usize = 24;

/// What a field reads as when the message has none.
pub(super) static UNDEFINED: Value = Value::Undefined;

/// Why a payload could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It is not JSON; the text says where and why.
    NotJson(String),
    /// It nests deeper than [`PAYLOAD_DEPTH_MAX`].
    TooDeep,
}

/// A key of the payload that some rule names, or leads to one.
#[derive(Debug, Default)]
struct Node {
    children: Vec<(CompactString, usize)>,
    /// Slots of the value here: one, or one for each SQL version.
    slots: SmallVec<[usize; 1]>,
}

impl Node {
    fn child(&self, key: &str) -> Option<usize> {
        self.children.iter().find(|(name, _)| name == key).map(|(_, node)| *node)
    }
}

/// The fields that a plan reads.
#[derive(Debug)]
pub(super) struct Projection {
    nodes: Vec<Node>,
    /// How the numbers of each slot are kept.
    wholes: Vec<Whole>,
}

impl Default for Projection {
    fn default() -> Self {
        Projection { nodes: vec![Node::default()], wholes: Vec::new() }
    }
}

impl Projection {
    /// The slot of a path, adding it where it is new.
    pub(super) fn slot(&mut self, path: &[CompactString], whole: Whole) -> usize {
        let mut at = 0;
        for key in path {
            at = match self.nodes[at].child(key) {
                Some(next) => next,
                None => {
                    let next = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[at].children.push((key.clone(), next));
                    next
                }
            };
        }
        let known = self.nodes[at].slots.iter().copied().find(|s| self.wholes[*s] == whole);
        known.unwrap_or_else(|| {
            let slot = self.wholes.len();
            self.wholes.push(whole);
            self.nodes[at].slots.push(slot);
            slot
        })
    }

    /// Whether no rule names a field: the payload need not be looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.wholes.is_empty()
    }
}

/// The value of a projected field.
#[derive(Debug, Default)]
pub(super) enum Slot {
    /// The message has no such field, or a number beyond the range.
    #[default]
    Missing,
    /// Decoded.
    Ready(Value),
    /// Validated, and decoded when it is first read.
    Later {
        /// Where it stands in the payload.
        range: Range<usize>,
        /// How its numbers are kept.
        whole: Whole,
        /// The value, once read.
        value: OnceCell<Value>,
    },
}

impl Slot {
    /// The value; `payload` is the one that was projected.
    pub(super) fn get(&self, payload: &[u8]) -> &Value {
        match self {
            Slot::Missing => &UNDEFINED,
            Slot::Ready(value) => value,
            Slot::Later { range, whole, value } => value.get_or_init(|| {
                let text = payload.get(range.clone()).unwrap_or_default();
                parse(text, *whole).expect("the range was validated when it was projected")
            }),
        }
    }
}

/// Buffers of decoding, reused from message to message.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// One per slot of the projection.
    pub(super) slots: Vec<Slot>,
    /// Strings with escapes are decoded here.
    tape: Vec<u8>,
}

/// Fills `buffers.slots` from `payload`. On an error every slot is Missing.
pub(super) fn project(
    projection: &Projection,
    payload: &[u8],
    buffers: &mut Buffers,
) -> Result<(), DecodeError> {
    buffers.slots.clear();
    buffers.slots.resize_with(projection.wholes.len(), Slot::default);
    let tape = std::mem::take(&mut buffers.tape);
    let mut reader = Reader { json: Jiter::with_tape(payload, tape), too_deep: false };
    let mut walk = Projecting { projection, slots: &mut buffers.slots };
    let outcome = walk.root(&mut reader).and_then(|()| reader.json.finish());
    let outcome = outcome.map_err(|error| reader.explain(&error));
    buffers.tape = reader.json.into_tape();
    if outcome.is_err() {
        buffers.slots.fill_with(Slot::default);
    }
    outcome
}

/// Decodes a whole JSON text.
pub(super) fn parse(text: &[u8], whole: Whole) -> Result<Value, DecodeError> {
    let mut reader = Reader { json: Jiter::new(text), too_deep: false };
    let value = reader.json.peek().and_then(|peek| reader.value(peek, whole, 0));
    let value = value.and_then(|value| reader.json.finish().map(|()| value));
    value.map_err(|error| reader.explain(&error))
}

/// jiter, with our bound on depth.
struct Reader<'p> {
    json: Jiter<'p>,
    /// Set when the error that ends the walk is ours.
    too_deep: bool,
}

impl Reader<'_> {
    fn explain(&self, error: &JiterError) -> DecodeError {
        if self.too_deep {
            return DecodeError::TooDeep;
        }
        let position = self.json.error_position(error.index);
        DecodeError::NotJson(format!("{} at {position}", error.error_type))
    }

    /// Answers the depth inside a container that opens at `depth`.
    fn descend(&mut self, depth: usize) -> Result<usize, JiterError> {
        if depth < PAYLOAD_DEPTH_MAX {
            return Ok(depth + 1);
        }
        self.too_deep = true;
        Err(JiterError {
            error_type: jiter::JiterErrorType::JsonError(
                jiter::JsonErrorType::RecursionLimitExceeded,
            ),
            index: self.json.current_index(),
        })
    }

    fn number(&mut self, peek: Peek, whole: Whole) -> Result<Option<Number>, JiterError> {
        let number = Number::parse_bytes(self.json.known_number_bytes(peek)?);
        Ok(match whole {
            Whole::AsInt => number.map(Number::with_whole_int),
            Whole::AsWritten => number,
        })
    }

    fn value(&mut self, peek: Peek, whole: Whole, depth: usize) -> Result<Value, JiterError> {
        match peek {
            Peek::Null => self.json.known_null().map(|()| Value::Null),
            Peek::True | Peek::False => self.json.known_bool(peek).map(Value::Bool),
            Peek::String => self.json.known_str().map(Value::string),
            Peek::Array => {
                let depth = self.descend(depth)?;
                let mut items = Vec::new();
                let mut next = self.json.known_array()?;
                while let Some(peek) = next {
                    items.push(self.value(peek, whole, depth)?);
                    next = self.json.array_step()?;
                }
                Ok(Value::array(items))
            }
            Peek::Object => {
                let depth = self.descend(depth)?;
                let mut members = ObjectBuilder::default();
                let mut next = self.json.known_object()?.map(CompactString::new);
                while let Some(key) = next {
                    let peek = self.json.peek()?;
                    members.insert(key, self.value(peek, whole, depth)?);
                    next = self.json.next_key()?.map(CompactString::new);
                }
                Ok(members.finish())
            }
            _ => Ok(self.number(peek, whole)?.map_or(Value::Undefined, Value::Number)),
        }
    }

    /// Validates and passes over a value. Strings are decoded for it: jiter's own skipping does not
    /// look at their UTF-8.
    fn skip(&mut self, peek: Peek, depth: usize) -> Result<(), JiterError> {
        match peek {
            Peek::String => self.json.known_str().map(|_| ()),
            Peek::Array => {
                let depth = self.descend(depth)?;
                let mut next = self.json.known_array()?;
                while let Some(peek) = next {
                    self.skip(peek, depth)?;
                    next = self.json.array_step()?;
                }
                Ok(())
            }
            Peek::Object => {
                let depth = self.descend(depth)?;
                let mut more = self.json.known_object()?.is_some();
                while more {
                    let peek = self.json.peek()?;
                    self.skip(peek, depth)?;
                    more = self.json.next_key()?.is_some();
                }
                Ok(())
            }
            scalar => self.json.known_skip(scalar),
        }
    }
}

struct Projecting<'a> {
    projection: &'a Projection,
    slots: &'a mut Vec<Slot>,
}

impl Projecting<'_> {
    fn root(&mut self, reader: &mut Reader<'_>) -> Result<(), JiterError> {
        match reader.json.peek()? {
            Peek::Object => self.object(reader, 0, 0),
            other => reader.skip(other, 0),
        }
    }

    fn object(
        &mut self,
        reader: &mut Reader<'_>,
        node: usize,
        depth: usize,
    ) -> Result<(), JiterError> {
        let depth = reader.descend(depth)?;
        let projection = self.projection;
        let node = &projection.nodes[node];
        let mut next = reader.json.known_object()?.map(|key| node.child(key));
        while let Some(child) = next {
            let peek = reader.json.peek()?;
            match child {
                None => reader.skip(peek, depth)?,
                Some(child) => self.field(reader, child, peek, depth)?,
            }
            next = reader.json.next_key()?.map(|key| node.child(key));
        }
        Ok(())
    }

    fn field(
        &mut self,
        reader: &mut Reader<'_>,
        at: usize,
        peek: Peek,
        depth: usize,
    ) -> Result<(), JiterError> {
        let projection = self.projection;
        let node = &projection.nodes[at];
        if !node.children.is_empty() {
            // The last of repeated keys wins, with all that is under it.
            self.forget(at);
        }
        let start = reader.json.current_index();
        let ready = match peek {
            Peek::Null => reader.json.known_null().map(|()| Some(Value::Null))?,
            Peek::True | Peek::False => Some(Value::Bool(reader.json.known_bool(peek)?)),
            Peek::String => {
                let text = reader.json.known_str()?;
                (text.len() <= INLINE_BYTES).then(|| Value::string(text))
            }
            Peek::Object if !node.children.is_empty() => {
                self.object(reader, at, depth)?;
                None
            }
            Peek::Object | Peek::Array => {
                reader.skip(peek, depth)?;
                None
            }
            _ => {
                let number = Number::parse_bytes(reader.json.known_number_bytes(peek)?);
                Some(number.map_or(Value::Undefined, Value::Number))
            }
        };
        for slot in &node.slots {
            let whole = projection.wholes[*slot];
            self.slots[*slot] = match &ready {
                Some(Value::Number(number)) if whole == Whole::AsInt => {
                    Slot::Ready(Value::Number(number.with_whole_int()))
                }
                Some(value) => Slot::Ready(value.clone()),
                None => Slot::Later {
                    range: start..reader.json.current_index(),
                    whole,
                    value: OnceCell::new(),
                },
            };
        }
        Ok(())
    }

    fn forget(&mut self, at: usize) {
        let projection = self.projection;
        for (_, child) in &projection.nodes[at].children {
            for slot in &projection.nodes[*child].slots {
                self.slots[*slot] = Slot::Missing;
            }
            self.forget(*child);
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
