//! Where the values of a record stand in columns: the tree of its types, with the levels that Parquet has instead of
//! nesting ("Nested Encoding" of the format's specification).
//!
//! Every value may be null, so each step down adds a definition level; an array adds one for that it has elements, and
//! a repetition level.

use std::ops::Range;
use std::sync::Arc;

use foldhash::HashMap;
use jiff::civil::Date;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use parquet::basic::ConvertedType;
use parquet::basic::LogicalType;
use parquet::basic::Repetition;
use parquet::basic::TimeUnit;
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::schema::types::Type;

use crate::config::Column;
use crate::config::ColumnType;

use super::node::Node;
use super::node::double;
use super::node::whole;

/// A value's place.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) shape: Shape,
    /// The definition level of a value that is there.
    pub(super) def: i16,
    /// The columns of all that stands under it.
    pub(super) leaves: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Shape {
    /// One column.
    Leaf(Scalar),
    /// Elements, and the repetition level of all but the first.
    List(Box<Slot>, i16),
    Struct(Members),
}

/// What an object has.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) slots: Vec<(String, Slot)>,
    pub(super) places: HashMap<String, usize>,
}

/// What one column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Boolean,
    Int,
    Bigint,
    Float,
    Double,
    Text,
    Timestamp,
    Date,
}

/// A value as a column has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Bool(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Text(&'a str),
}

/// A column and its highest levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafLevels {
    pub(super) scalar: Scalar,
    pub(super) def_max: i16,
    pub(super) rep_max: i16,
}

impl Members {
    /// The tree of `columns`; adds the leaves of each to `leaves`.
    pub(super) fn of(columns: &[Column], leaves: &mut Vec<LeafLevels>) -> Members {
        members(columns, 0, 0, leaves)
    }

    /// Columns that stand under all of it.
    pub(super) fn leaves(&self) -> usize {
        self.slots.iter().map(|(_, slot)| slot.leaves.len()).sum()
    }
}

fn members(columns: &[Column], def: i16, rep: i16, leaves: &mut Vec<LeafLevels>) -> Members {
    let mut members = Members::default();
    for Column { name, kind } in columns {
        members.places.insert(name.clone(), members.slots.len());
        members.slots.push((name.clone(), slot(kind, def + 1, rep, leaves)));
    }
    members
}

fn slot(kind: &ColumnType, def: i16, rep: i16, leaves: &mut Vec<LeafLevels>) -> Slot {
    let first = leaves.len();
    let shape = match kind {
        ColumnType::Array(element) => {
            Shape::List(Box::new(slot(element, def + 2, rep + 1, leaves)), rep + 1)
        }
        ColumnType::Struct(columns) => Shape::Struct(members(columns, def, rep, leaves)),
        plain => {
            let scalar = scalar(plain);
            leaves.push(LeafLevels { scalar, def_max: def, rep_max: rep });
            Shape::Leaf(scalar)
        }
    };
    Slot { shape, def, leaves: first..leaves.len() }
}

fn scalar(kind: &ColumnType) -> Scalar {
    match kind {
        ColumnType::Boolean => Scalar::Boolean,
        ColumnType::Int => Scalar::Int,
        ColumnType::Bigint => Scalar::Bigint,
        ColumnType::Float => Scalar::Float,
        ColumnType::Double => Scalar::Double,
        ColumnType::Timestamp => Scalar::Timestamp,
        ColumnType::Date => Scalar::Date,
        // Arrays and structs have no leaf of their own.
        ColumnType::Text | ColumnType::Array(_) | ColumnType::Struct(_) => Scalar::Text,
    }
}

/// The schema of a file.
pub(super) fn schema(columns: &[Column]) -> Result<Arc<Type>, ParquetError> {
    Ok(Arc::new(Type::group_type_builder("record").with_fields(fields(columns)?).build()?))
}

fn fields(columns: &[Column]) -> Result<Vec<Arc<Type>>, ParquetError> {
    columns.iter().map(|Column { name, kind }| Ok(Arc::new(field(name, kind)?))).collect()
}

fn field(name: &str, kind: &ColumnType) -> Result<Type, ParquetError> {
    let (physical, logical) = match kind {
        ColumnType::Array(element) => {
            let element = Arc::new(field("element", element)?);
            let list = Type::group_type_builder("list")
                .with_repetition(Repetition::REPEATED)
                .with_fields(vec![element])
                .build()?;
            return Type::group_type_builder(name)
                .with_repetition(Repetition::OPTIONAL)
                .with_converted_type(ConvertedType::LIST)
                .with_logical_type(Some(LogicalType::List))
                .with_fields(vec![Arc::new(list)])
                .build();
        }
        ColumnType::Struct(columns) => {
            return Type::group_type_builder(name)
                .with_repetition(Repetition::OPTIONAL)
                .with_fields(fields(columns)?)
                .build();
        }
        ColumnType::Boolean => (PhysicalType::BOOLEAN, None),
        ColumnType::Int => (PhysicalType::INT32, None),
        ColumnType::Bigint => (PhysicalType::INT64, None),
        ColumnType::Float => (PhysicalType::FLOAT, None),
        ColumnType::Double => (PhysicalType::DOUBLE, None),
        ColumnType::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Timestamp => {
            (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
        }
        ColumnType::Date => (PhysicalType::INT32, Some(LogicalType::Date)),
    };
    Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

impl Scalar {
    /// The value as this type has it. `None`: it cannot.
    pub(super) fn cell<'n>(self, value: &'n Node<'_>) -> Option<Cell<'n>> {
        Some(match (self, value) {
            (Scalar::Boolean, Node::Bool(value)) => Cell::Bool(*value),
            (Scalar::Int, Node::Number(number)) => Cell::Int(integral(number)?.try_into().ok()?),
            (Scalar::Bigint, Node::Number(number)) => Cell::Long(integral(number)?),
            (Scalar::Float, Node::Number(number)) => {
                Cell::Float(number.parse().ok().filter(|value: &f32| value.is_finite())?)
            }
            (Scalar::Double, Node::Number(number)) => Cell::Double(double(number)?),
            (Scalar::Text, Node::Text(text)) => Cell::Text(text),
            (Scalar::Timestamp, Node::Number(number)) => {
                Cell::Long(integral(number)?.checked_mul(1000)?)
            }
            (Scalar::Timestamp, Node::Text(text)) => Cell::Long(micros(text)?),
            (Scalar::Date, Node::Text(text)) => {
                let date: Date = text.parse().ok()?;
                Cell::Int(date.since(Date::constant(1970, 1, 1)).ok()?.get_days())
            }
            _ => return None,
        })
    }

    /// As a configuration writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Scalar::Boolean => "boolean",
            Scalar::Int => "int",
            Scalar::Bigint => "bigint",
            Scalar::Float => "float",
            Scalar::Double => "double",
            Scalar::Text => "string",
            Scalar::Timestamp => "timestamp",
            Scalar::Date => "date",
        }
    }
}

/// A number without a fraction, also where it is written with one (`21.0`).
fn integral(number: &str) -> Option<i64> {
    /// Doubles up to here are exact whole numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    whole(number).or_else(|| {
        let value = double(number).filter(|value| value.fract() == 0.0 && value.abs() <= EXACT)?;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and at most 2^53")]
        let value = value as i64;
        Some(value)
    })
}

/// Microseconds since the epoch of an instant; without an offset it is in UTC.
fn micros(text: &str) -> Option<i64> {
    let instant = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    Some(instant.as_microsecond())
}
