//! The walk over a binary format that describes itself, CBOR or MessagePack.
//!
//! A [`Read`] hands over one item after the other, borrowed from the payload; what is made of them
//! is decided here, alike for both. Byte strings become base64 (as `encode(*, 'base64')` writes it),
//! keys that are no strings become their text, NaN and the infinities are Undefined, floats are the
//! shortest decimal that reads back as the same float of the same width, and a payload is exactly
//! one item. Lengths that an item announces are only ever counted down, never allocated.

use std::borrow::Cow;
use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use compact_str::CompactString;
use compact_str::ToCompactString;

use super::DecodeError;
use super::Encoding;
use super::INLINE_BYTES;
use super::Projection;
use super::Slot;
use crate::limits::PAYLOAD_DEPTH_MAX;
use crate::value::Number;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;

/// One item, or the head of a container whose items come next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item<'p> {
    Undefined,
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Single(f32),
    /// `None`: beyond the range.
    Number(Option<Number>),
    Text(Cow<'p, str>),
    Bytes(Cow<'p, [u8]>),
    /// So many items; `None` up to an end of their own.
    Array(Option<u64>),
    /// So many pairs; `None` up to an end of their own.
    Map(Option<u64>),
}

/// Hands over the items of a payload in order.
pub(super) trait Read<'p> {
    /// The next item.
    fn item(&mut self) -> Result<Item<'p>, DecodeError>;

    /// Whether the container of unknown length that is being read ends here; then its end is read.
    fn ends(&mut self) -> Result<bool, DecodeError>;

    /// Bytes read so far.
    fn position(&self) -> usize;

    /// Bytes that are left.
    fn rest(&self) -> usize;
}

/// Fills `slots`, one for each of the projection.
pub(super) fn project<'p, R: Read<'p>>(
    reader: R,
    encoding: Encoding,
    projection: &Projection,
    slots: &mut [Slot],
) -> Result<(), DecodeError> {
    let mut walk = Walk { reader, encoding, projection, slots };
    walk.value(Some(0), 0)?;
    finish(&walk.reader)
}

/// Makes the whole payload a value.
pub(super) fn parse<'p, R: Read<'p>>(mut reader: R, whole: Whole) -> Result<Value, DecodeError> {
    let value = value(&mut reader, whole, 0)?;
    finish(&reader)?;
    Ok(value)
}

fn finish<'p>(reader: &impl Read<'p>) -> Result<(), DecodeError> {
    match reader.rest() {
        0 => Ok(()),
        rest => {
            let at = reader.position();
            Err(DecodeError::Malformed(format!("{rest} bytes behind the value, from byte {at}")))
        }
    }
}

/// Answers the depth inside a container that opens at `depth`.
pub(super) fn descend(depth: usize) -> Result<usize, DecodeError> {
    if depth < PAYLOAD_DEPTH_MAX { Ok(depth + 1) } else { Err(DecodeError::TooDeep) }
}

/// Whether a container goes on; counts `left` down where its length is known.
fn goes_on<'p>(reader: &mut impl Read<'p>, left: &mut Option<u64>) -> Result<bool, DecodeError> {
    match left {
        None => Ok(!reader.ends()?),
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
    }
}

/// The text of a map's key.
fn key<'p>(reader: &mut impl Read<'p>) -> Result<Cow<'p, str>, DecodeError> {
    let at = reader.position();
    let kind = match reader.item()? {
        Item::Text(text) => return Ok(text),
        Item::Int(number) => return Ok(number.to_string().into()),
        Item::Bool(value) => return Ok(value.to_string().into()),
        Item::Bytes(bytes) => return Ok(STANDARD.encode(bytes).into()),
        Item::Float(_) | Item::Single(_) | Item::Number(_) => "a number that is not whole",
        Item::Undefined | Item::Null => "null",
        Item::Array(_) => "an array",
        Item::Map(_) => "a map",
    };
    Err(DecodeError::Malformed(format!("{kind} as the key of a map, at byte {at}")))
}

/// A number under an SQL version; Undefined beyond the range.
pub(super) fn number(number: Option<Number>, whole: Whole) -> Value {
    let number = match whole {
        Whole::AsInt => number.map(Number::with_whole_int),
        Whole::AsWritten => number,
    };
    number.map_or(Value::Undefined, Value::Number)
}

/// The value of an item that is no container.
fn scalar(item: &Item<'_>, whole: Whole) -> Value {
    match item {
        Item::Undefined | Item::Array(_) | Item::Map(_) => Value::Undefined,
        Item::Null => Value::Null,
        Item::Bool(value) => Value::Bool(*value),
        Item::Int(value) => number(whole_number(*value), whole),
        Item::Float(value) => number(Number::from_f64(*value), whole),
        Item::Single(value) => number(Number::from_f32(*value), whole),
        Item::Number(value) => number(*value, whole),
        Item::Text(text) => Value::string(text),
        Item::Bytes(bytes) => Value::string(STANDARD.encode(bytes)),
    }
}

/// A whole number of any width.
pub(super) fn whole_number(value: i128) -> Option<Number> {
    match i64::try_from(value) {
        Ok(value) => Some(Number::Int(value)),
        Err(_) => Number::parse(&value.to_compact_string()),
    }
}

fn value<'p, R: Read<'p>>(
    reader: &mut R,
    whole: Whole,
    depth: usize,
) -> Result<Value, DecodeError> {
    Ok(match reader.item()? {
        Item::Array(mut left) => {
            let depth = descend(depth)?;
            let mut items = Vec::new();
            while goes_on(reader, &mut left)? {
                items.push(value(reader, whole, depth)?);
            }
            Value::array(items)
        }
        Item::Map(mut left) => {
            let depth = descend(depth)?;
            let mut members = ObjectBuilder::default();
            while goes_on(reader, &mut left)? {
                let key = CompactString::from(key(reader)?);
                members.insert(key, value(reader, whole, depth)?);
            }
            members.finish()
        }
        item => scalar(&item, whole),
    })
}

struct Walk<'a, R> {
    reader: R,
    encoding: Encoding,
    projection: &'a Projection,
    slots: &'a mut [Slot],
}

impl<'p, R: Read<'p>> Walk<'_, R> {
    /// Reads a value; `at` is its node, when some rule names it or something in it.
    fn value(&mut self, at: Option<usize>, depth: usize) -> Result<(), DecodeError> {
        let start = self.reader.position();
        let item = self.reader.item()?;
        match &item {
            Item::Array(left) => {
                let depth = descend(depth)?;
                let mut left = *left;
                while goes_on(&mut self.reader, &mut left)? {
                    self.value(None, depth)?;
                }
            }
            Item::Map(left) => self.map(*left, at, depth)?,
            _ => {}
        }
        if let Some(at) = at {
            self.keep(at, start, &item);
        }
        Ok(())
    }

    fn map(
        &mut self,
        mut left: Option<u64>,
        at: Option<usize>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        let depth = descend(depth)?;
        let projection = self.projection;
        let node = at.map(|at| &projection.nodes[at]).filter(|node| !node.children.is_empty());
        while goes_on(&mut self.reader, &mut left)? {
            let key = key(&mut self.reader)?;
            let child = node.and_then(|node| node.child(&key));
            if let Some(child) = child {
                projection.forget(child, self.slots);
            }
            self.value(child, depth)?;
        }
        Ok(())
    }

    fn keep(&mut self, at: usize, start: usize, item: &Item<'_>) {
        let is_large = match item {
            Item::Array(_) | Item::Map(_) | Item::Bytes(_) => true,
            Item::Text(text) => text.len() > INLINE_BYTES,
            _ => false,
        };
        let range = start..self.reader.position();
        for slot in &self.projection.nodes[at].slots {
            let whole = self.projection.wholes[*slot];
            self.slots[*slot] = if is_large {
                let (encoding, range) = (self.encoding, range.clone());
                Slot::Later { encoding, range, whole, value: OnceCell::new() }
            } else {
                Slot::Ready(scalar(item, whole))
            };
        }
    }
}
