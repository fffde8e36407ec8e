//! JSON text as values: jiter, with a bound on depth and our own numbers.
//!
//! [`parse`] builds all of a text. [`Reader`] is for those who walk it themselves: the engine, which
//! builds only the fields that rules name, and reference tables, which know where each row stands.
//! Recursion is bounded by [`PAYLOAD_DEPTH_MAX`].

use compact_str::CompactString;
use jiter::Jiter;
use jiter::JiterError;
use jiter::Peek;

use super::Number;
use super::ObjectBuilder;
use super::Value;
use super::Whole;
use crate::limits::PAYLOAD_DEPTH_MAX;

/// Why a JSON text could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It is not JSON; the text says where and why.
    NotJson(String),
    /// It nests deeper than [`PAYLOAD_DEPTH_MAX`].
    TooDeep,
}

/// Decodes a whole JSON text.
pub(crate) fn parse(text: &[u8], whole: Whole) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(text);
    let value = reader.json.peek().and_then(|peek| reader.value(peek, whole, 0));
    let value = value.and_then(|value| reader.json.finish().map(|()| value));
    value.map_err(|error| reader.explain(&error))
}

/// jiter, with our bound on depth.
pub(crate) struct Reader<'p> {
    /// Where the reader is.
    pub(crate) json: Jiter<'p>,
    /// Set when the error that ends the walk is ours.
    too_deep: bool,
}

impl<'p> Reader<'p> {
    /// A reader of `text`.
    pub(crate) fn new(text: &'p [u8]) -> Self {
        Reader { json: Jiter::new(text), too_deep: false }
    }

    /// A reader of `text` that decodes strings with escapes in `tape`.
    pub(crate) fn with_tape(text: &'p [u8], tape: Vec<u8>) -> Self {
        Reader { json: Jiter::with_tape(text, tape), too_deep: false }
    }

    /// What `error` of this reader's walk means.
    pub(crate) fn explain(&self, error: &JiterError) -> DecodeError {
        if self.too_deep {
            return DecodeError::TooDeep;
        }
        let position = self.json.error_position(error.index);
        DecodeError::NotJson(format!("{} at {position}", error.error_type))
    }

    /// Answers the depth inside a container that opens at `depth`.
    pub(crate) fn descend(&mut self, depth: usize) -> Result<usize, JiterError> {
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

    /// Builds the value that `peek` begins, at `depth` containers.
    pub(crate) fn value(
        &mut self,
        peek: Peek,
        whole: Whole,
        depth: usize,
    ) -> Result<Value, JiterError> {
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
    pub(crate) fn skip(&mut self, peek: Peek, depth: usize) -> Result<(), JiterError> {
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
