//! A JSON record as a tree, with its numbers as they are written: a reader of JSON that makes them doubles would
//! change long ones.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::limits::COLUMN_NESTING_MAX;

use super::super::fields::Fields;
use super::super::fields::scalar_text;

/// A value of JSON.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The members of a record, or why it has none.
    pub(super) fn record(data: &'a [u8]) -> Result<Vec<(Cow<'a, str>, Node<'a>)>, &'static str> {
        let fields = Fields::of(data).ok_or("the record is not a JSON object")?;
        members(fields, COLUMN_NESTING_MAX)
    }

    fn of(value: &'a RawValue, depth: usize) -> Result<Node<'a>, &'static str> {
        const DAMAGED: &str = "the record has a text that is not Unicode";
        let text = value.get();
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let fields = Fields::of(text.as_bytes()).ok_or(DAMAGED)?;
                Node::Object(members(fields, depth)?)
            }
            Some(b'[') => {
                let depth = deeper(depth)?;
                let items: Vec<&'a RawValue> = serde_json::from_str(text).map_err(|_| DAMAGED)?;
                let items = items.into_iter().map(|item| Node::of(item, depth));
                Node::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Node::Text(scalar_text(value).ok_or(DAMAGED)?),
            Some(b't') => Node::Bool(true),
            Some(b'f') => Node::Bool(false),
            Some(b'n') | None => Node::Null,
            Some(_) => Node::Number(text),
        })
    }

    /// Whether there is anything in it but null and what is empty.
    pub(super) fn says_something(&self) -> bool {
        match self {
            Node::Null => false,
            Node::List(items) => items.iter().any(Node::says_something),
            Node::Object(members) => members.iter().any(|(_, value)| value.says_something()),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) => true,
        }
    }

    /// What it is, for a message.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "true or false",
            Node::Number(_) => "a number",
            Node::Text(_) => "a text",
            Node::List(_) => "an array",
            Node::Object(_) => "an object",
        }
    }
}

fn members(
    fields: Fields<'_>,
    depth: usize,
) -> Result<Vec<(Cow<'_, str>, Node<'_>)>, &'static str> {
    let depth = deeper(depth)?;
    let members = fields.into_members().into_iter();
    members.map(|(name, value)| Ok((name, Node::of(value, depth)?))).collect()
}

fn deeper(depth: usize) -> Result<usize, &'static str> {
    depth.checked_sub(1).ok_or("the record is nested too deep")
}

/// A whole number of 64 bits, as it is written.
pub(super) fn whole(number: &str) -> Option<i64> {
    number.parse().ok()
}

/// The nearest double; `None`: there is none.
pub(super) fn double(number: &str) -> Option<f64> {
    number.parse().ok().filter(|value: &f64| value.is_finite())
}
