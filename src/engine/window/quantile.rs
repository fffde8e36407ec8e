//! Percentiles: exact for few values, within [`ERROR`] of a value for many.
//!
//! Up to [`WINDOW_EXACT_VALUES_MAX`] values are kept as they are. Beyond that they are counted in
//! buckets whose bounds grow by a constant factor, so that every value lies within [`ERROR`] of its
//! bucket's middle (Masson, Rim, Lee: "DDSketch", VLDB 2019). Which bucket a value falls into depends
//! on the value alone: the order of arrival and of merging changes nothing.

use std::collections::BTreeMap;

use bytes::BufMut;
use bytes::BytesMut;

use crate::engine::hold::encoding::Reader;
use crate::engine::hold::encoding::RowError;
use crate::engine::window::encoding::put_count;
use crate::engine::window::encoding::put_number;
use crate::limits::WINDOW_EXACT_VALUES_MAX;
use crate::value::Number;
use crate::value::Rounding;

/// Relative error of a value that was counted in a bucket.
const ERROR: f64 = 0.005;
/// The ratio of the bounds of a bucket.
const GAMMA: f64 = (1.0 + ERROR) / (1.0 - ERROR);
/// Magnitudes below this are taken as zero.
const LEAST: f64 = 1e-12;
/// Magnitudes above this are taken as this.
const GREATEST: f64 = 1e15;

/// The values of a window.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Quantile {
    /// All of them, in no order.
    Exact(Vec<Number>),
    /// How many in each bucket: negative buckets are numbered by sign and magnitude.
    Counted { total: u64, buckets: BTreeMap<i32, u64> },
}

impl Default for Quantile {
    fn default() -> Self {
        Quantile::Exact(Vec::new())
    }
}

/// The bucket of a value, in the order of values: 0 is zero.
fn bucket(value: Number) -> i32 {
    let value = value.to_f64();
    let magnitude = value.abs().min(GREATEST);
    if magnitude < LEAST {
        return 0;
    }
    // Within ±6200, and moved so that the least magnitude has number 1.
    let number = ((magnitude / LEAST).ln() / GAMMA.ln()).ceil().max(0.0) + 1.0;
    #[expect(clippy::cast_possible_truncation, reason = "at most 6200")]
    let number = number as i32;
    if value < 0.0 { -number } else { number }
}

/// The value that is within [`ERROR`] of all in a bucket.
fn middle(bucket: i32) -> Number {
    if bucket == 0 {
        return Number::ZERO;
    }
    let upper = LEAST * GAMMA.powi(bucket.abs() - 1);
    let value = 2.0 * upper / (GAMMA + 1.0);
    // The digits beyond the error say nothing.
    let text = format!("{:.4e}", if bucket < 0 { -value } else { value });
    Number::parse(&text).unwrap_or(Number::ZERO)
}

impl Quantile {
    /// Memory beside its fixed part, about, bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Quantile::Exact(values) => size_of_val(values.as_slice()),
            Quantile::Counted { buckets, .. } => buckets.len() * 2 * size_of::<(i32, u64)>(),
        }
    }

    pub(super) fn add(&mut self, value: Number) {
        match self {
            Quantile::Exact(values) if values.len() < WINDOW_EXACT_VALUES_MAX => values.push(value),
            Quantile::Exact(_) => {
                self.count();
                self.add(value);
            }
            Quantile::Counted { total, buckets } => {
                *total += 1;
                *buckets.entry(bucket(value)).or_insert(0) += 1;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Quantile) {
        match other {
            Quantile::Exact(values) => values.iter().for_each(|value| self.add(*value)),
            Quantile::Counted { total, buckets } => {
                let (mine, counted) = self.count();
                *mine += total;
                for (bucket, count) in buckets {
                    *counted.entry(*bucket).or_insert(0) += count;
                }
            }
        }
    }

    /// Counts in buckets from here on.
    fn count(&mut self) -> (&mut u64, &mut BTreeMap<i32, u64>) {
        if let Quantile::Exact(values) = self {
            let mut buckets = BTreeMap::new();
            for value in values.iter() {
                *buckets.entry(bucket(*value)).or_insert(0) += 1;
            }
            *self = Quantile::Counted { total: values.len() as u64, buckets };
        }
        match self {
            Quantile::Counted { total, buckets } => (total, buckets),
            Quantile::Exact(_) => unreachable!("it was turned into counts above"),
        }
    }

    /// The value below which `rank` percent lie, between the two nearest ones in proportion; of
    /// buckets, the one it falls into. `None` without values.
    pub(super) fn at(&self, rank: Number) -> Option<Number> {
        let place = |count: u64| {
            let steps = Number::Int(i64::try_from(count.checked_sub(1)?).ok()?);
            rank.checked_mul(steps)?.into_decimal().checked_div(Number::Int(100))
        };
        match self {
            Quantile::Exact(values) => {
                let place = place(values.len() as u64)?;
                let mut sorted = values.clone();
                sorted.sort_unstable();
                let below = place.to_i64(Rounding::Floor)?;
                let low = *sorted.get(usize::try_from(below).ok()?)?;
                let part = place.checked_sub(Number::Int(below))?;
                let high = sorted.get(usize::try_from(below).ok()? + 1);
                match high {
                    Some(high) if !part.is_zero() => {
                        low.checked_add(high.checked_sub(low)?.checked_mul(part)?)
                    }
                    _ => Some(low),
                }
            }
            Quantile::Counted { total, buckets } => {
                let place = u64::try_from(place(*total)?.to_i64(Rounding::Floor)?).ok()?;
                let mut passed = 0_u64;
                let found = buckets.iter().find(|(_, count)| {
                    passed += **count;
                    passed > place
                });
                found.map(|(bucket, _)| middle(*bucket))
            }
        }
    }

    pub(super) fn put(&self, buffer: &mut BytesMut) {
        match self {
            Quantile::Exact(values) => {
                buffer.put_u8(0);
                put_count(buffer, values.len());
                values.iter().for_each(|value| put_number(buffer, *value));
            }
            Quantile::Counted { buckets, .. } => {
                buffer.put_u8(1);
                put_count(buffer, buckets.len());
                for (bucket, count) in buckets {
                    buffer.put_i32_le(*bucket);
                    buffer.put_u64_le(*count);
                }
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RowError> {
        if !reader.flag("percentile")? {
            let mut values = Vec::new();
            for _ in 0..reader.u32()? {
                values.push(reader.number()?);
            }
            return Ok(Quantile::Exact(values));
        }
        let (mut total, mut buckets) = (0_u64, BTreeMap::new());
        for _ in 0..reader.u32()? {
            let bucket = reader.array().map(i32::from_le_bytes)?;
            let count = reader.u64()?;
            total = total.checked_add(count).ok_or(RowError::Field("percentile"))?;
            buckets.insert(bucket, count);
        }
        Ok(Quantile::Counted { total, buckets })
    }
}
