//! JSON (RFC 8259): the payload is walked once, only what rules name is built.
//!
//! What no rule names is passed over but still validated, so that a payload is JSON for every rule or
//! for none. Recursion is bounded by the reader.

use std::cell::OnceCell;

use jiter::JiterError;
use jiter::Peek;

use super::Buffers;
use super::DecodeError;
use super::Encoding;
use super::INLINE_BYTES;
use super::Projection;
use super::Slot;
use crate::value::Number;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader::Reader;

/// Fills `buffers.slots`, one for each of the projection, from `payload`.
pub(super) fn project(
    projection: &Projection,
    payload: &[u8],
    buffers: &mut Buffers,
) -> Result<(), DecodeError> {
    let tape = std::mem::take(&mut buffers.tape);
    let mut reader = Reader::with_tape(payload, tape);
    let mut walk = Projecting { projection, slots: &mut buffers.slots };
    let outcome = walk.root(&mut reader).and_then(|()| reader.json.finish());
    let outcome = outcome.map_err(|error| reader.explain(&error).into());
    buffers.tape = reader.json.into_tape();
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
            projection.forget(at, self.slots);
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
                    encoding: Encoding::Json,
                    range: start..reader.json.current_index(),
                    whole,
                    value: OnceCell::new(),
                },
            };
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
