//! One aggregate over the messages of one pane: what is gathered, never the messages themselves.
//!
//! A [`Cell`] takes values in, merges with the cell of another pane, and gives the aggregate. NULL,
//! Undefined and, where numbers are asked for, whatever is none are passed over, as in SQL. Sums are
//! exact decimals of 34 digits, the variance is made of sums of differences to the first value, so
//! neither depends on the order of messages, of merging, or on a restart, as long as 34 digits hold
//! them.

use std::collections::BTreeSet;

use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::event_time::Position;
use crate::engine::window::quantile::Quantile;
use crate::engine::window::spec::CellSpec;
use crate::limits::WINDOW_VALUES_BYTES_MAX;
use crate::limits::WINDOW_VALUES_MAX;
use crate::rule::aggregate::Aggregate;
use crate::value::Number;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;

/// Numbers added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) count: u64,
    /// `None` once it is beyond the range of numbers.
    pub(super) sum: Option<Number>,
}

/// What the variance is made of: sums of `x - origin` and of its square. `None` beyond the range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moments {
    pub(super) count: u64,
    /// The first value.
    pub(super) origin: Number,
    pub(super) sums: Option<(Number, Number)>,
}

/// Values kept, each with its place among the messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) values: Vec<(Position, Value)>,
    pub(super) bytes: usize,
}

/// Different values, as JSON text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Distinct {
    pub(super) values: BTreeSet<CompactString>,
    pub(super) bytes: usize,
}

/// What one aggregate has gathered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Count(u64),
    Sum(Sum),
    Least(Option<Number>),
    Greatest(Option<Number>),
    /// Boxed, as it is larger than all others.
    Moments(Option<Box<Moments>>),
    First(Option<(Position, Value)>),
    Last(Option<(Position, Value)>),
    Collect(Kept),
    Distinct(Distinct),
    Quantile(Quantile),
}

/// A value that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Cell {
    /// Nothing yet.
    pub(super) fn new(spec: &CellSpec) -> Self {
        match spec.aggregate {
            Aggregate::Count => Cell::Count(0),
            Aggregate::Sum | Aggregate::Avg => Cell::Sum(Sum::default()),
            Aggregate::Min => Cell::Least(None),
            Aggregate::Max => Cell::Greatest(None),
            Aggregate::StddevPop
            | Aggregate::StddevSamp
            | Aggregate::VarPop
            | Aggregate::VarSamp => Cell::Moments(None),
            Aggregate::First => Cell::First(None),
            Aggregate::Last => Cell::Last(None),
            Aggregate::Collect => Cell::Collect(Kept::default()),
            Aggregate::CountDistinct => Cell::Distinct(Distinct::default()),
            Aggregate::Percentile => Cell::Quantile(Quantile::default()),
        }
    }

    /// Memory beside its fixed part, about, bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Cell::Count(_) | Cell::Sum(_) | Cell::Least(_) | Cell::Greatest(_) => 0,
            Cell::Moments(_) => size_of::<Moments>(),
            Cell::First(kept) | Cell::Last(kept) => {
                kept.as_ref().map_or(0, |(_, value)| value_bytes(value))
            }
            Cell::Collect(kept) => kept.bytes,
            Cell::Distinct(distinct) => distinct.bytes,
            Cell::Quantile(quantile) => quantile.bytes(),
        }
    }

    /// Takes the value of the message at `position` in.
    pub(super) fn add(&mut self, value: &Value, position: Position) -> Result<(), Full> {
        if matches!(value, Value::Undefined | Value::Null) {
            return Ok(());
        }
        match self {
            Cell::Count(count) => *count += 1,
            Cell::First(kept) => {
                if kept.as_ref().is_none_or(|(first, _)| position < *first) {
                    *kept = Some((position, value.clone()));
                }
            }
            Cell::Last(kept) => {
                if kept.as_ref().is_none_or(|(last, _)| position > *last) {
                    *kept = Some((position, value.clone()));
                }
            }
            Cell::Collect(kept) => return kept.add(value, position),
            Cell::Distinct(distinct) => {
                return distinct.add(CompactString::from(json::text(value, Whole::AsInt)));
            }
            Cell::Sum(_)
            | Cell::Least(_)
            | Cell::Greatest(_)
            | Cell::Moments(_)
            | Cell::Quantile(_) => {
                if let Some(number) = value.to_number() {
                    self.add_number(number);
                }
            }
        }
        Ok(())
    }

    fn add_number(&mut self, number: Number) {
        match self {
            Cell::Sum(sum) => sum.merge(&Sum { count: 1, sum: Some(number) }),
            Cell::Least(least) => *least = Some(least.map_or(number, |least| least.min(number))),
            Cell::Greatest(most) => *most = Some(most.map_or(number, |most| most.max(number))),
            Cell::Moments(moments) => {
                let sums = Some((Number::ZERO, Number::ZERO));
                let one = Moments { count: 1, origin: number, sums };
                merge_moments(moments, &one);
            }
            Cell::Quantile(quantile) => quantile.add(number),
            Cell::Count(_)
            | Cell::First(_)
            | Cell::Last(_)
            | Cell::Collect(_)
            | Cell::Distinct(_) => {}
        }
    }

    /// Takes what came after `now` as come at `now`; the order stays.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        let cut = |at: &mut Position| at.event = at.event.min(now);
        match self {
            Cell::First(Some((at, _))) | Cell::Last(Some((at, _))) => cut(at),
            Cell::Collect(kept) => kept.values.iter_mut().for_each(|(at, _)| cut(at)),
            _ => {}
        }
    }

    /// Takes in what another cell of the same aggregate has gathered.
    pub(super) fn merge(&mut self, other: &Cell) -> Result<(), Full> {
        match (self, other) {
            (Cell::Count(count), Cell::Count(more)) => *count += more,
            (Cell::Sum(sum), Cell::Sum(more)) => sum.merge(more),
            (Cell::Moments(moments), Cell::Moments(Some(more))) => merge_moments(moments, more),
            (Cell::Quantile(quantile), Cell::Quantile(more)) => quantile.merge(more),
            (
                cell @ (Cell::Least(_) | Cell::Greatest(_)),
                Cell::Least(Some(number)) | Cell::Greatest(Some(number)),
            ) => cell.add_number(*number),
            (
                cell @ (Cell::First(_) | Cell::Last(_)),
                Cell::First(Some((position, value))) | Cell::Last(Some((position, value))),
            ) => return cell.add(value, *position),
            (Cell::Collect(kept), Cell::Collect(more)) => {
                let added = more.values.iter().map(|(at, value)| kept.add(value, *at));
                return all(added);
            }
            (Cell::Distinct(distinct), Cell::Distinct(more)) => {
                return all(more.values.iter().map(|text| distinct.add(text.clone())));
            }
            // The other one is empty; cells of different aggregates never meet.
            _ => {}
        }
        Ok(())
    }

    /// The aggregate.
    pub(super) fn value(&self, spec: &CellSpec) -> Value {
        let number = |number: Option<Number>| number.map_or(Value::Undefined, Value::Number);
        match self {
            Cell::Count(count) => Value::int(whole(*count)),
            Cell::Sum(Sum { count: 0, .. }) => Value::Null,
            Cell::Sum(Sum { count, sum }) if spec.aggregate == Aggregate::Avg => number(
                sum.and_then(|sum| sum.into_decimal().checked_div(Number::Int(whole(*count)))),
            ),
            Cell::Sum(Sum { sum, .. }) => number(*sum),
            Cell::Least(number) | Cell::Greatest(number) => {
                number.map_or(Value::Null, Value::Number)
            }
            Cell::Moments(None) => Value::Null,
            Cell::Moments(Some(moments)) => moments.value(spec.aggregate),
            Cell::First(kept) | Cell::Last(kept) => {
                kept.as_ref().map_or(Value::Null, |(_, value)| value.clone())
            }
            Cell::Collect(kept) => {
                Value::array(kept.values.iter().map(|(_, value)| value.clone()).collect())
            }
            Cell::Distinct(distinct) => Value::int(whole(distinct.values.len() as u64)),
            Cell::Quantile(quantile) => quantile.at(spec.rank).map_or(Value::Null, Value::Number),
        }
    }
}

/// Does all, and says whether one failed.
fn all(results: impl Iterator<Item = Result<(), Full>>) -> Result<(), Full> {
    results.fold(Ok(()), Result::and)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Memory of a value, about, bytes.
pub(super) fn value_bytes(value: &Value) -> usize {
    let inner = match value {
        Value::Undefined | Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        Value::Object(members) => {
            members.iter().map(|(key, member)| key.len() + value_bytes(member)).sum()
        }
    };
    size_of::<Value>() + inner
}

impl Sum {
    fn merge(&mut self, other: &Sum) {
        self.sum = match (self.count, other.count) {
            (_, 0) => return,
            (0, _) => other.sum,
            _ => self.sum.zip(other.sum).and_then(|(a, b)| a.checked_add(b)),
        };
        self.count += other.count;
    }
}

fn merge_moments(moments: &mut Option<Box<Moments>>, other: &Moments) {
    match moments {
        None => *moments = Some(Box::new(other.clone())),
        Some(moments) => {
            moments.sums = moments.merged(other);
            moments.count += other.count;
        }
    }
}

impl Moments {
    /// The sums of both, as differences to the own origin.
    fn merged(&self, other: &Moments) -> Option<(Number, Number)> {
        let ((sum, squares), (more, more_squares)) = self.sums.zip(other.sums)?;
        let count = Number::Int(whole(other.count));
        let moved = other.origin.checked_sub(self.origin)?;
        let sum = sum.checked_add(more)?.checked_add(count.checked_mul(moved)?)?;
        let across = moved.checked_mul(more)?.checked_mul(Number::Int(2))?;
        let square = moved.checked_mul(moved)?.checked_mul(count)?;
        let squares = squares.checked_add(more_squares)?.checked_add(across)?;
        Some((sum, squares.checked_add(square)?))
    }

    fn value(&self, aggregate: Aggregate) -> Value {
        let is_sample = matches!(aggregate, Aggregate::StddevSamp | Aggregate::VarSamp);
        let freedom = self.count.saturating_sub(u64::from(is_sample));
        if freedom == 0 {
            return Value::Null;
        }
        let Some(variance) = self.variance(freedom) else { return Value::Undefined };
        let is_root = matches!(aggregate, Aggregate::StddevSamp | Aggregate::StddevPop);
        let number =
            if is_root { Number::from_f64(variance.to_f64().sqrt()) } else { Some(variance) };
        number.map_or(Value::Undefined, Value::Number)
    }

    fn variance(&self, freedom: u64) -> Option<Number> {
        let (sum, squares) = self.sums?;
        let count = Number::Int(whole(self.count));
        let spread = count.checked_mul(squares)?.checked_sub(sum.checked_mul(sum)?)?;
        // Rounding may leave a little less than nothing.
        let spread = spread.max(Number::ZERO).into_decimal();
        spread.checked_div(count.checked_mul(Number::Int(whole(freedom)))?)
    }
}

impl Kept {
    fn add(&mut self, value: &Value, position: Position) -> Result<(), Full> {
        let bytes = size_of::<Position>() + value_bytes(value);
        if self.values.len() >= WINDOW_VALUES_MAX || self.bytes + bytes > WINDOW_VALUES_BYTES_MAX {
            return Err(Full);
        }
        let place = self.values.partition_point(|(other, _)| *other < position);
        self.values.insert(place, (position, value.clone()));
        self.bytes += bytes;
        Ok(())
    }
}

impl Distinct {
    fn add(&mut self, text: CompactString) -> Result<(), Full> {
        if self.values.contains(&text) {
            return Ok(());
        }
        let bytes = size_of::<CompactString>() + text.len();
        if self.values.len() >= WINDOW_VALUES_MAX || self.bytes + bytes > WINDOW_VALUES_BYTES_MAX {
            return Err(Full);
        }
        self.bytes += bytes;
        self.values.insert(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these values an aggregate keeps before it is full.
    fn kept(mut cell: Cell, values: impl Iterator<Item = Value>) -> usize {
        let added = (0..)
            .zip(values)
            .map(|(turn, value)| cell.add(&value, Position { event: Timestamp::EPOCH, turn }));
        added.take_while(Result::is_ok).count()
    }

    #[test]
    fn values_are_kept_up_to_their_number_and_bytes() {
        let collect = || Cell::Collect(Kept::default());
        let distinct = || Cell::Distinct(Distinct::default());
        let small = || (0..2000).map(Value::int);
        assert_eq!(kept(collect(), small()), WINDOW_VALUES_MAX);
        assert_eq!(kept(distinct(), small()), WINDOW_VALUES_MAX);
        // Texts of which `room` and no byte more is left beside what each takes by itself.
        let texts = |each: usize, around: usize, more: usize| {
            let length = WINDOW_VALUES_BYTES_MAX / each - around;
            let last = if more > 0 { each - 1 } else { each };
            (0..each).map(move |n| {
                let length = if n == last { length + more } else { length };
                Value::string(format!("{n:0length$}"))
            })
        };
        let around = size_of::<Position>() + size_of::<Value>();
        assert_eq!(kept(collect(), texts(8, around, 0)), 8);
        assert_eq!(kept(collect(), texts(8, around, 1)), 7);
        // As JSON text, with its quotes.
        let around = size_of::<CompactString>() + 2;
        assert_eq!(kept(distinct(), texts(8, around, 0)), 8);
        assert_eq!(kept(distinct(), texts(8, around, 1)), 7);
    }
}
