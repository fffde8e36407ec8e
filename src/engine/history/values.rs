//! The last values of a key, and what they answer.

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::engine::operators;
use crate::rule::analytic::Lookback;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader;

/// The last values of one expression as JSON text: a ring that grows up to its depth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series {
    kept: SmallVec<[CompactString; 1]>,
    /// Where the oldest one is, once the ring is full; 0 before.
    oldest: usize,
}

impl Series {
    /// The value `back` messages ago, from 1.
    fn back(&self, back: usize) -> Option<&CompactString> {
        let length = self.kept.len();
        let from_oldest = length.checked_sub(back)?;
        self.kept.get((self.oldest + from_oldest) % length)
    }

    /// Bytes of the values.
    fn bytes(&self) -> usize {
        self.kept.iter().map(CompactString::len).sum()
    }

    /// The value that makes room for the next one.
    fn leaving(&self, depth: usize) -> Option<&CompactString> {
        if self.kept.len() < depth { None } else { self.kept.get(self.oldest) }
    }

    /// Remembers a value.
    fn push(&mut self, value: CompactString, depth: usize) {
        if self.kept.len() < depth {
            self.kept.push(value);
        } else if let Some(oldest) = self.kept.get_mut(self.oldest) {
            *oldest = value;
            self.oldest = (self.oldest + 1) % depth;
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// All of them, oldest first.
    pub(super) fn values(&self) -> impl Iterator<Item = &CompactString> {
        let (newer, older) = self.kept.split_at_checked(self.oldest).unwrap_or_default();
        older.iter().chain(newer)
    }

    /// A series with these values, oldest first; no more than `depth` of them.
    pub(super) fn of(values: impl Iterator<Item = CompactString>, depth: usize) -> Self {
        let mut series = Series::default();
        values.for_each(|value| series.push(value, depth));
        series
    }
}

/// The last values of a key: a series for each value that a call is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values(pub(super) Box<[Series]>);

/// What a message does to the values of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Something is remembered that was not.
    pub(super) is_new: bool,
    /// Bytes that come.
    pub(super) coming: usize,
    /// Bytes that go.
    pub(super) going: usize,
}

/// What a rule asks of each key.
#[derive(Clone, Debug)]
pub(super) struct Questions {
    pub(super) calls: Box<[Lookback]>,
    /// How the rule reads numbers.
    pub(super) whole: Whole,
}

impl Questions {
    /// The depth of each series.
    pub(super) fn depths(&self) -> impl Iterator<Item = usize> {
        self.calls.iter().flat_map(|call| std::iter::repeat_n(call.depth(), call.arguments()))
    }

    /// A key that remembers nothing.
    pub(super) fn nothing(&self) -> Values {
        Values(self.depths().map(|_| Series::default()).collect())
    }

    /// What the calls answer for a message with the values `now`, an empty text for each Undefined one.
    pub(super) fn answers(&self, before: &Values, now: &[CompactString]) -> Box<[Value]> {
        let mut series = before.0.iter().zip(now);
        let answer = |call: &Lookback| match call {
            Lookback::Lag(back) => {
                let (series, _) = series.next()?;
                series.back(*back).map(|text| self.read(text))
            }
            Lookback::Delta => {
                let (series, now) = series.next()?;
                let before = self.read(series.back(1)?).to_number()?;
                let now = self.read(now).to_number()?;
                now.checked_sub(before).map(Value::Number)
            }
            Lookback::HadChanged(count) => {
                let changed = series
                    .by_ref()
                    .take(*count)
                    .filter(|(series, now)| self.is_change(series.back(1), now))
                    .count();
                Some(Value::Bool(changed > 0))
            }
        };
        self.calls.iter().map(answer).map(Option::unwrap_or_default).collect()
    }

    /// What remembering `now` would change.
    pub(super) fn change(&self, before: &Values, now: &[CompactString]) -> Change {
        let mut change = Change::default();
        for ((series, now), depth) in before.0.iter().zip(now).zip(self.depths()) {
            let leaving = series.leaving(depth);
            // A longer series moves on even if the same value comes again.
            if !now.is_empty() && (depth > 1 || leaving != Some(now)) {
                change.is_new = true;
                change.coming += now.len();
                change.going += leaving.map_or(0, CompactString::len);
            }
        }
        change
    }

    /// Remembers `now`.
    pub(super) fn remember(&self, values: &mut Values, now: Box<[CompactString]>) {
        for ((series, now), depth) in values.0.iter_mut().zip(now).zip(self.depths()) {
            if !now.is_empty() {
                series.push(now, depth);
            }
        }
    }

    fn is_change(&self, before: Option<&CompactString>, now: &CompactString) -> bool {
        match before {
            _ if now.is_empty() => false,
            None => true,
            Some(before) if before == now => false,
            // `7` and `7.0` are different texts of one value.
            Some(before) => operators::equal(&self.read(before), &self.read(now)) != Some(true),
        }
    }

    fn read(&self, text: &CompactString) -> Value {
        json_reader::parse(text.as_bytes(), self.whole).unwrap_or_default()
    }
}

impl Values {
    /// Bytes of all values.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(Series::bytes).sum()
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|series| series.kept.is_empty())
    }
}
