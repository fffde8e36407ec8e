//! The columns of a file from its records.
//!
//! Each record that fits adds what it has: a field that is new becomes a column, whole numbers become doubles where
//! another record has a fraction. Nothing else is promoted: what a field is first, it stays, and a record in which it is
//! something else changes nothing here and does not fit later either.

use std::borrow::Cow;

use foldhash::HashMap;

use crate::config::Column;
use crate::config::ColumnType;
use crate::limits::COLUMNS_MAX;

use super::node::Node;
use super::node::double;
use super::node::whole;

/// What is known of a value.
#[derive(Clone, Debug, Default)]
enum Guess {
    /// It was null or empty.
    #[default]
    Nothing,
    Boolean,
    Whole,
    Double,
    Text,
    List(Box<Guess>),
    Struct(Members),
}

#[derive(Clone, Debug, Default)]
struct Members {
    all: Vec<(String, Guess)>,
    places: HashMap<String, usize>,
}

/// What the records of a file have in common.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Inference {
    root: Members,
}

/// It cannot be both.
struct Conflict;

impl Inference {
    /// Learns from a record.
    pub(in crate::delivery) fn take(&mut self, data: &[u8]) {
        let Ok(record) = Node::record(data) else { return };
        if self.root.cover(&record) {
            return;
        }
        let mut root = self.root.clone();
        if root.merge(&record).is_ok() && root.leaves() <= COLUMNS_MAX {
            self.root = root;
        }
    }

    /// In the order in which they came first.
    pub(in crate::delivery) fn columns(self) -> Vec<Column> {
        self.root.columns()
    }
}

impl Members {
    /// Whether a record has nothing new.
    fn cover(&self, members: &[(Cow<'_, str>, Node<'_>)]) -> bool {
        members.iter().all(|(name, value)| match self.places.get(&**name) {
            Some(place) => self.all[*place].1.covers(value),
            None => false,
        })
    }

    fn merge(&mut self, members: &[(Cow<'_, str>, Node<'_>)]) -> Result<(), Conflict> {
        for (name, value) in members {
            let place = match self.places.get(&**name) {
                Some(place) => *place,
                None => {
                    self.all.push((name.clone().into_owned(), Guess::Nothing));
                    self.places.insert(name.clone().into_owned(), self.all.len() - 1);
                    self.all.len() - 1
                }
            };
            self.all[place].1.merge(value)?;
        }
        Ok(())
    }

    /// Columns, those among them that nothing is known of too: they take room as well.
    fn leaves(&self) -> usize {
        self.all.iter().map(|(_, guess)| guess.leaves()).sum()
    }

    fn columns(self) -> Vec<Column> {
        let known = |(name, guess): (String, Guess)| Some(Column { name, kind: guess.known()? });
        self.all.into_iter().filter_map(known).collect()
    }
}

impl Guess {
    fn covers(&self, value: &Node<'_>) -> bool {
        match (self, value) {
            (_, Node::Null) => true,
            (Guess::Boolean, Node::Bool(_)) | (Guess::Text, Node::Text(_)) => true,
            (Guess::Whole, Node::Number(number)) => whole(number).is_some(),
            (Guess::Double, Node::Number(number)) => double(number).is_some(),
            (Guess::List(element), Node::List(items)) => {
                items.iter().all(|item| element.covers(item))
            }
            (Guess::Struct(members), Node::Object(found)) => members.cover(found),
            _ => false,
        }
    }

    fn merge(&mut self, value: &Node<'_>) -> Result<(), Conflict> {
        match (&mut *self, value) {
            (_, Node::Null) => {}
            (Guess::Nothing, _) => *self = Guess::first(value)?,
            (Guess::Boolean, Node::Bool(_)) | (Guess::Text, Node::Text(_)) => {}
            (Guess::Whole | Guess::Double, Node::Number(number)) => {
                let is_whole = matches!(self, Guess::Whole) && whole(number).is_some();
                if !is_whole {
                    double(number).ok_or(Conflict)?;
                    *self = Guess::Double;
                }
            }
            (Guess::List(element), Node::List(items)) => {
                items.iter().try_for_each(|item| element.merge(item))?;
            }
            (Guess::Struct(members), Node::Object(found)) => members.merge(found)?,
            _ => return Err(Conflict),
        }
        Ok(())
    }

    fn first(value: &Node<'_>) -> Result<Guess, Conflict> {
        let mut guess = match value {
            Node::Null => Guess::Nothing,
            Node::Bool(_) => Guess::Boolean,
            Node::Number(_) => Guess::Whole,
            Node::Text(_) => Guess::Text,
            Node::List(_) => Guess::List(Box::default()),
            Node::Object(_) => Guess::Struct(Members::default()),
        };
        if !matches!(value, Node::Null) {
            guess.merge(value)?;
        }
        Ok(guess)
    }

    fn leaves(&self) -> usize {
        match self {
            Guess::List(element) => element.leaves(),
            Guess::Struct(members) => members.leaves().max(1),
            _ => 1,
        }
    }

    /// `None`: nothing but null, empty arrays and empty objects, for which Parquet has no type.
    fn known(self) -> Option<ColumnType> {
        Some(match self {
            Guess::Nothing => return None,
            Guess::Boolean => ColumnType::Boolean,
            Guess::Whole => ColumnType::Bigint,
            Guess::Double => ColumnType::Double,
            Guess::Text => ColumnType::Text,
            Guess::List(element) => ColumnType::Array(Box::new(element.known()?)),
            Guess::Struct(members) => {
                let columns = members.columns();
                return (!columns.is_empty()).then_some(ColumnType::Struct(columns));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(records: &[&str]) -> Vec<String> {
        let mut inference = Inference::default();
        records.iter().for_each(|record| inference.take(record.as_bytes()));
        inference.columns().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn records_add_what_they_have() {
        let columns = inferred(&[
            r#"{"id":1,"t":2,"on":true,"at":{"room":"a"},"none":null,"empty":[],"void":{}}"#,
            r#"{"t":2.5,"tags":["x"],"rows":[{"n":1},{"n":2.5,"m":"y"}],"at":{"level":3}}"#,
            r#"{"t":9223372036854775808,"empty":[null]}"#,
        ]);
        assert_eq!(
            columns,
            [
                "id bigint",
                "t double",
                "on boolean",
                "at struct<room:string,level:bigint>",
                "tags array<string>",
                "rows array<struct<n:double,m:string>>",
            ]
        );
    }

    #[test]
    fn a_record_that_does_not_fit_adds_nothing() {
        for record in [
            r#"{"b":1,"a":"x"}"#,
            r#"{"b":1,"a":1e999}"#,
            r#"{"b":[1,"x"]}"#,
            r#"{"b":{"c":1,"c":{}}}"#,
            r#"{"b":1,"a":{}}"#,
            "[1]",
            "{",
        ] {
            assert_eq!(inferred(&[r#"{"a":1}"#, record]), ["a bigint"], "{record}");
        }
        let many: Vec<String> = (0..=COLUMNS_MAX).map(|n| format!("\"c{n}\":1")).collect();
        assert!(inferred(&[&format!("{{{}}}", many.join(","))]).is_empty());
        assert_eq!(inferred(&[&format!("{{{}}}", many[1..].join(","))]).len(), COLUMNS_MAX);
    }
}
