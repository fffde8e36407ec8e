//! Numbers. Arguments are Int, Decimal or a String that reads as a number; anything else is
//! Undefined. Transcendental functions work in double precision, as AWS says of its own; the rest
//! is exact.

use super::Arguments;
use crate::engine::operators::Setting;
use crate::engine::operators::number;
use crate::value::Number;
use crate::value::Rounding;
use crate::value::Value;

fn one(arguments: Arguments<'_, '_>) -> Option<Number> {
    match arguments {
        [x] => x.to_number(),
        _ => None,
    }
}

fn two(arguments: Arguments<'_, '_>) -> Option<(Number, Number)> {
    match arguments {
        [a, b] => Some((a.to_number()?, b.to_number()?)),
        _ => None,
    }
}

fn exact(arguments: Arguments<'_, '_>, apply: impl Fn(Number) -> Number) -> Value {
    number(one(arguments).map(apply))
}

/// NaN and the infinities are Undefined.
fn double(arguments: Arguments<'_, '_>, apply: impl Fn(f64) -> f64) -> Value {
    number(one(arguments).and_then(|x| Number::from_f64(apply(x.to_f64()))))
}

fn bits(arguments: Arguments<'_, '_>, apply: impl Fn(i64, i64) -> i64) -> Value {
    let pair = two(arguments)
        .and_then(|(a, b)| Some((a.to_i64(Rounding::Floor)?, b.to_i64(Rounding::Floor)?)));
    number(pair.map(|(a, b)| Number::Int(apply(a, b))))
}

pub(super) fn abs(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    exact(arguments, Number::abs)
}

pub(super) fn sign(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    exact(arguments, |x| Number::Int(x.signum()))
}

pub(super) fn ceil(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    exact(arguments, |x| x.round_to(0, Rounding::Ceiling))
}

pub(super) fn floor(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    exact(arguments, |x| x.round_to(0, Rounding::Floor))
}

pub(super) fn round(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    exact(arguments, |x| x.round_to(0, Rounding::HalfAwayFromZero))
}

/// The places are rounded down and kept within 0 to 34.
pub(super) fn trunc(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    let truncated = two(arguments).map(|(x, places)| {
        let places = places.to_i64_clamped(Rounding::Floor).clamp(0, 34);
        x.round_to(u8::try_from(places).unwrap_or(34), Rounding::Truncate)
    });
    number(truncated)
}

pub(super) fn remainder(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    number(two(arguments).and_then(|(a, b)| a.checked_rem(b)))
}

pub(super) fn power(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    let power = two(arguments).and_then(|(a, b)| Number::from_f64(a.to_f64().powf(b.to_f64())));
    number(power)
}

pub(super) fn atan2(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    let angle = two(arguments).and_then(|(y, x)| Number::from_f64(y.to_f64().atan2(x.to_f64())));
    number(angle)
}

pub(super) fn bitand(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    bits(arguments, |a, b| a & b)
}

pub(super) fn bitor(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    bits(arguments, |a, b| a | b)
}

pub(super) fn bitxor(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    bits(arguments, |a, b| a ^ b)
}

/// Two's complement: `bitnot(13)` is -14 (AWS's example of 2 is a four-bit NOT).
pub(super) fn bitnot(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    number(one(arguments).and_then(|x| x.to_i64(Rounding::Floor)).map(|x| Number::Int(!x)))
}

pub(super) fn acos(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::acos)
}

pub(super) fn asin(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::asin)
}

pub(super) fn atan(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::atan)
}

pub(super) fn cos(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::cos)
}

pub(super) fn cosh(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::cosh)
}

pub(super) fn exp(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::exp)
}

pub(super) fn ln(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::ln)
}

pub(super) fn log(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::log10)
}

pub(super) fn sin(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::sin)
}

pub(super) fn sinh(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::sinh)
}

pub(super) fn sqrt(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::sqrt)
}

pub(super) fn tan(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::tan)
}

pub(super) fn tanh(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    double(arguments, f64::tanh)
}
