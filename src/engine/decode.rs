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
use jiter::JiterError;
use jiter::Peek;
use smallvec::SmallVec;

use crate::value::Number;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader::DecodeError;
use crate::value::json_reader::Reader;
use crate::value::json_reader::parse;

/// Strings up to this long are stored inside a [`CompactString`], without allocating.
const INLINE_BYTES: usize = 24;

/// What a field reads as when the message has none.
pub(super) static UNDEFINED: Value = Value::Undefined;

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
    let mut reader = Reader::with_tape(payload, tape);
    let mut walk = Projecting { projection, slots: &mut buffers.slots };
    let outcome = walk.root(&mut reader).and_then(|()| reader.json.finish());
    let outcome = outcome.map_err(|error| reader.explain(&error));
    buffers.tape = reader.json.into_tape();
    if outcome.is_err() {
        buffers.slots.fill_with(Slot::default);
    }
    outcome
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
