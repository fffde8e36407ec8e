//! Exact decimal numbers of 34 digits (AWS IoT SQL, "Data types").
//!
//! A number has one form: whole numbers in 64 bits are `Int`; decimals of up to 18 places are
//! `Short`; only what fits neither goes through libdecnumber as `Wide`. Int and Decimal are
//! different types of the language, because Int / Int truncates and SQL version 2015-10-08 prints
//! `10.0`: a whole Decimal is `Short { 100, 1 }`, never scale 0, and loses the point with
//! [`Number::with_whole_int`]. Trailing zeros beyond that are not kept. Every operation answers
//! `None` where AWS says Undefined: division by zero, or a result beyond ±9.99E999.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;

use compact_str::CompactString;
use compact_str::format_compact;
use dec::Context;
use dec::Decimal128;

use super::Whole;

/// The largest power of ten of the leading digit (AWS: 9.99E999), and the smallest.
const EXPONENT_MAX: i32 = 999;
/// `Short` goes to this many places, so that two of them meet in 128 bits.
const SCALE_MAX: u8 = 18;
/// Larger numbers than this many digits, and smaller ones, print with an exponent.
const PLAIN_DIGITS_MAX: i32 = 40;
const PLAIN_EXPONENT_MIN: i32 = -20;

/// Powers of ten that fit 128 bits.
const POW10: [i128; 39] = {
    let mut table = [1_i128; 39];
    let mut i = 1;
    while i < table.len() {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// A number: exact, 34 decimal digits.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// `mantissa` × 10^-`scale`; the fast form of most readings. Scale 1 to 18.
    Short {
        /// All digits.
        mantissa: i64,
        /// Digits after the point.
        scale: u8,
    },
    /// Anything else: Int when its exponent is not negative. Always finite.
    Wide(Decimal128),
}

/// Ways to drop decimal places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Towards minus infinity.
    Floor,
    /// Towards plus infinity.
    Ceiling,
    /// Towards zero.
    Truncate,
    /// To nearest, ties away from zero.
    HalfAwayFromZero,
}

/// Whether a result is of type Int or Decimal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Decimal,
}

impl Number {
    /// Zero.
    pub const ZERO: Number = Number::Int(0);

    /// Reads a number as JSON and rules write it. Text with a point or an exponent gives a Decimal
    /// (`10.0` too). `None` when it is no number or beyond the range; digits after the 34th are
    /// rounded (half even), and less than 1E-999 is zero.
    pub fn parse(text: &str) -> Option<Number> {
        Number::parse_bytes(text.as_bytes())
    }

    /// [`Number::parse`] of bytes that need not be UTF-8.
    pub fn parse_bytes(text: &[u8]) -> Option<Number> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        if digits.len() > 18 {
            return parse_slowly(text, digits);
        }
        let mut mantissa = 0_i64;
        let mut point = None;
        for (position, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => mantissa = mantissa * 10 + i64::from(byte - b'0'),
                b'.' if point.is_none() && position > 0 => point = Some(position),
                b'e' | b'E' => {
                    let places = point.map_or(0, |point| position - point - 1);
                    let is_mantissa = position > 0 && (point.is_none() || places > 0);
                    let exponent = digits.get(position + 1..).and_then(small_exponent);
                    let (true, Some(exponent)) = (is_mantissa, exponent) else {
                        return parse_slowly(text, digits);
                    };
                    let mantissa = if negative { -mantissa } else { mantissa };
                    return scaled(mantissa, i32::try_from(places).ok()? - exponent);
                }
                _ => return None,
            }
        }
        let mantissa = if negative { -mantissa } else { mantissa };
        match point {
            None if digits.is_empty() => None,
            None => Some(Number::Int(mantissa)),
            Some(point) => {
                let scale = u8::try_from(digits.len() - point - 1).ok().filter(|s| *s > 0)?;
                Some(short(mantissa, scale))
            }
        }
    }

    /// AWS's conversion of a String: `^-?\d+(\.\d+)?((?i)E-?\d+)?$`, so no leading plus, no bare
    /// point, no blanks (data types page).
    pub fn parse_string(text: &str) -> Option<Number> {
        let exponent_signed =
            || text.as_bytes().windows(2).any(|w| matches!(w, [b'e' | b'E', b'+']));
        if exponent_signed() { None } else { Number::parse(text) }
    }

    /// The nearest decimal that a double prints as; `None` for NaN and the infinities. A Decimal, even
    /// when it is whole.
    pub fn from_f64(value: f64) -> Option<Number> {
        if !value.is_finite() {
            return None;
        }
        if value == 0.0 {
            return Some(short(0, 1));
        }
        Number::parse(&format_compact!("{value:?}")).map(Number::into_decimal)
    }

    /// As [`Number::from_f64`], for a float of 32 bits. A value of at most 15 digits is exact: an
    /// encoder may have found that the float says all of a double. Otherwise it is the shortest
    /// decimal that reads back as the same float: `0.1_f32` is 0.1, not 0.10000000149011612.
    pub fn from_f32(value: f32) -> Option<Number> {
        let exact = format_compact!("{:?}", f64::from(value));
        let mantissa = exact.split('e').next().unwrap_or_default();
        let digits = mantissa.bytes().filter(u8::is_ascii_digit);
        let leading = digits.clone().take_while(|digit| *digit == b'0').count();
        if !value.is_finite() || digits.count() - leading <= 15 {
            return Number::from_f64(value.into());
        }
        Number::parse(&format_compact!("{value:?}")).map(Number::into_decimal)
    }

    /// The nearest double; infinite beyond its range.
    pub fn to_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "nearest double is what is asked for")]
        match self {
            Number::Int(value) => value as f64,
            Number::Short { mantissa, scale } if mantissa.unsigned_abs() < 1 << 53 => {
                mantissa as f64 / POW10[usize::from(scale)] as f64
            }
            Number::Short { .. } | Number::Wide(_) => {
                self.text(Whole::AsInt).parse().unwrap_or(f64::NAN)
            }
        }
    }

    /// Whether its type is Int. A whole Decimal of more than 34 digits counts as one: its exponent
    /// has no room for the point.
    pub fn is_int(self) -> bool {
        match self {
            Number::Int(_) => true,
            Number::Short { .. } => false,
            Number::Wide(wide) => wide.exponent() >= 0,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        match self {
            Number::Int(value) => value == 0,
            Number::Short { mantissa, .. } => mantissa == 0,
            Number::Wide(wide) => wide.is_zero(),
        }
    }

    /// A whole Decimal as Int; anything else as it is.
    #[must_use]
    pub fn with_whole_int(self) -> Number {
        match self {
            Number::Short { mantissa, scale: 1 } if mantissa % 10 == 0 => {
                Number::Int(mantissa / 10)
            }
            Number::Wide(wide) if wide.exponent() < 0 => from_wide(wide, Kind::Int).unwrap_or(self),
            other => other,
        }
    }

    /// The same number as a Decimal: `5` becomes `5.0`.
    #[must_use]
    pub fn into_decimal(self) -> Number {
        match self {
            Number::Int(value) => from_parts(i128::from(value), 0, Kind::Decimal).unwrap_or(self),
            Number::Short { .. } => self,
            Number::Wide(wide) => from_wide(wide, Kind::Decimal).unwrap_or(self),
        }
    }

    /// -1, 0 or 1.
    pub fn signum(self) -> i64 {
        match self {
            Number::Int(value) => value.signum(),
            Number::Short { mantissa, .. } => mantissa.signum(),
            Number::Wide(wide) if wide.is_zero() => 0,
            Number::Wide(wide) if wide.is_negative() => -1,
            Number::Wide(_) => 1,
        }
    }

    /// Without its sign.
    #[must_use]
    pub fn abs(self) -> Number {
        if self.signum() < 0 { self.negate() } else { self }
    }

    /// With the other sign.
    #[must_use]
    pub fn negate(self) -> Number {
        match self {
            Number::Int(value) => match value.checked_neg() {
                Some(value) => Number::Int(value),
                None => from_parts(-i128::from(value), 0, Kind::Int).unwrap_or(self),
            },
            // A mantissa of i64::MIN is never stored as Short, see `from_parts`.
            Number::Short { mantissa, scale } => {
                Number::Short { mantissa: mantissa.saturating_neg(), scale }
            }
            Number::Wide(wide) => Number::Wide(-wide),
        }
    }

    /// The sum; Int when both are.
    pub fn checked_add(self, other: Number) -> Option<Number> {
        if let (Number::Int(a), Number::Int(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
        {
            return Some(Number::Int(sum));
        }
        let kind = kind_of(self, other);
        match (self.aligned(), other.aligned()) {
            (Some(a), Some(b)) => {
                let (x, y, scale) = align(a, b);
                from_parts(x + y, scale, kind)
            }
            _ => from_wide(context().add(self.widen(), other.widen()), kind),
        }
    }

    /// The difference; Int when both are.
    pub fn checked_sub(self, other: Number) -> Option<Number> {
        self.checked_add(other.negate())
    }

    /// The product; Int when both are.
    pub fn checked_mul(self, other: Number) -> Option<Number> {
        let kind = kind_of(self, other);
        match (self.aligned(), other.aligned()) {
            (Some((a, scale_a)), Some((b, scale_b))) => {
                from_parts(i128::from(a) * i128::from(b), scale_a + scale_b, kind)
            }
            _ => from_wide(context().mul(self.widen(), other.widen()), kind),
        }
    }

    /// The quotient: truncated when both are Int, otherwise 34 digits. `None` for a zero divisor.
    pub fn checked_div(self, other: Number) -> Option<Number> {
        if other.is_zero() {
            return None;
        }
        match (self, other, kind_of(self, other)) {
            (Number::Int(a), Number::Int(b), _) if b != -1 => Some(Number::Int(a / b)),
            (_, _, Kind::Int) => {
                from_wide(context().div_integer(self.widen(), other.widen()), Kind::Int)
            }
            (_, _, Kind::Decimal) => {
                from_wide(context().div(self.widen(), other.widen()), Kind::Decimal)
            }
        }
    }

    /// The remainder of the truncated quotient, with the sign of the dividend. `None` for a zero
    /// divisor.
    pub fn checked_rem(self, other: Number) -> Option<Number> {
        if other.is_zero() {
            return None;
        }
        let kind = kind_of(self, other);
        match (self.aligned(), other.aligned()) {
            (Some(a), Some(b)) => {
                let (x, y, scale) = align(a, b);
                from_parts(x % y, scale, kind)
            }
            _ => from_wide(context().rem(self.widen(), other.widen()), kind),
        }
    }

    /// Rounded to `places` after the point. What becomes whole is an Int.
    #[must_use]
    pub fn round_to(self, places: u8, rounding: Rounding) -> Number {
        match self {
            Number::Int(_) => self,
            Number::Short { scale, .. } if scale <= places => self.with_whole_int(),
            Number::Short { mantissa, scale } => {
                let unit = POW10[usize::from(scale - places)];
                let kept = round_quotient(i128::from(mantissa), unit, rounding);
                from_parts(kept, u32::from(places), Kind::Int).unwrap_or(self)
            }
            Number::Wide(wide) if wide.exponent() >= -i32::from(places) => self.with_whole_int(),
            Number::Wide(wide) => {
                let mut context = context();
                context.set_rounding(match rounding {
                    Rounding::Floor => dec::Rounding::Floor,
                    Rounding::Ceiling => dec::Rounding::Ceiling,
                    Rounding::Truncate => dec::Rounding::Down,
                    Rounding::HalfAwayFromZero => dec::Rounding::HalfUp,
                });
                let mut unit = Decimal128::ONE;
                context.set_exponent(&mut unit, -i32::from(places));
                from_wide(context.quantize(wide, unit), Kind::Int).unwrap_or(self)
            }
        }
    }

    /// The whole part under `rounding`, clamped to 64 bits: what index and length arguments need.
    pub fn to_i64_clamped(self, rounding: Rounding) -> i64 {
        match self.round_to(0, rounding) {
            Number::Int(value) => value,
            large if large.signum() < 0 => i64::MIN,
            _ => i64::MAX,
        }
    }

    /// The whole part under `rounding`; `None` beyond 64 bits.
    pub fn to_i64(self, rounding: Rounding) -> Option<i64> {
        match self.round_to(0, rounding) {
            Number::Int(value) => Some(value),
            Number::Short { .. } | Number::Wide(_) => None,
        }
    }

    /// Its digits: plain, or with an exponent where plain would be longer than 40 digits.
    pub fn text(self, whole: Whole) -> String {
        let mut out = Vec::with_capacity(24);
        self.write(&mut out, whole);
        String::from_utf8(out).expect("digits, point, minus and E are ASCII")
    }

    /// Appends [`Number::text`].
    pub(super) fn write(self, out: &mut Vec<u8>, whole: Whole) {
        use std::io::Write as _;

        let number = match whole {
            Whole::AsInt => self.with_whole_int(),
            Whole::AsWritten => self,
        };
        match number {
            Number::Int(value) => write!(out, "{value}").expect("a Vec takes every write"),
            Number::Short { mantissa, scale } => {
                write_scaled(out, i128::from(mantissa), usize::from(scale));
            }
            Number::Wide(wide) => write_wide(out, wide),
        }
    }

    /// Coefficient and scale of the two fast forms.
    fn aligned(self) -> Option<(i64, u32)> {
        match self {
            Number::Int(value) => Some((value, 0)),
            Number::Short { mantissa, scale } => Some((mantissa, u32::from(scale))),
            Number::Wide(_) => None,
        }
    }

    fn widen(self) -> Decimal128 {
        match self {
            Number::Int(value) => Decimal128::from(value),
            Number::Short { mantissa, scale } => {
                let mut wide = Decimal128::from(mantissa);
                context().set_exponent(&mut wide, -i32::from(scale));
                wide
            }
            Number::Wide(wide) => wide,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl Hash for Number {
    /// By mathematical value, as [`Ord`] compares.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.with_whole_int() {
            Number::Int(value) => value.hash(state),
            Number::Short { mantissa, scale } => (mantissa, scale).hash(state),
            // Equal numbers have one nearest double; that two unequal ones share it does no harm.
            wide @ Number::Wide(_) => wide.to_f64().to_bits().hash(state),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    /// By mathematical value, whatever the form: `1` equals `1.0`.
    fn cmp(&self, other: &Number) -> Ordering {
        match (self.aligned(), other.aligned()) {
            (Some((a, scale_a)), Some((b, scale_b))) if scale_a == scale_b => a.cmp(&b),
            (Some(a), Some(b)) => {
                let (x, y, _) = align(a, b);
                x.cmp(&y)
            }
            _ => self
                .widen()
                .partial_cmp(&other.widen())
                .expect("NaN is never stored, see from_wide"),
        }
    }
}

impl fmt::Display for Number {
    /// As JSON, with the point of a whole Decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Whole::AsWritten))
    }
}

fn context() -> Context<Decimal128> {
    Context::default()
}

fn kind_of(a: Number, b: Number) -> Kind {
    if a.is_int() && b.is_int() { Kind::Int } else { Kind::Decimal }
}

/// Two coefficients over the larger scale. 64 bits times 10^18 fit 128 bits.
fn align((a, scale_a): (i64, u32), (b, scale_b): (i64, u32)) -> (i128, i128, u32) {
    let (a, b) = (i128::from(a), i128::from(b));
    if scale_a >= scale_b {
        (a, b * pow10(scale_a - scale_b), scale_a)
    } else {
        (a * pow10(scale_b - scale_a), b, scale_b)
    }
}

fn pow10(exponent: u32) -> i128 {
    usize::try_from(exponent).ok().and_then(|e| POW10.get(e)).copied().unwrap_or(i128::MAX)
}

/// A short decimal brought to its one form: no trailing zeros beyond the first place.
fn short(mut mantissa: i64, mut scale: u8) -> Number {
    while scale > 1 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    Number::Short { mantissa, scale }
}

/// `coefficient` × 10^-`scale` in its one form. `None` only beyond the range.
fn from_parts(mut coefficient: i128, mut scale: u32, kind: Kind) -> Option<Number> {
    let least = u32::from(kind == Kind::Decimal);
    while scale > least && coefficient % 10 == 0 {
        coefficient /= 10;
        scale -= 1;
    }
    if scale < least {
        let decimal = i64::try_from(coefficient).ok().and_then(|c| c.checked_mul(10));
        if let Some(mantissa) = decimal.filter(|m| *m != i64::MIN) {
            return Some(Number::Short { mantissa, scale: 1 });
        }
    }
    match (i64::try_from(coefficient), u8::try_from(scale)) {
        (Ok(value), Ok(0)) if least == 0 => Some(Number::Int(value)),
        (Ok(mantissa), Ok(scale @ 1..=SCALE_MAX)) if mantissa != i64::MIN => {
            Some(Number::Short { mantissa, scale })
        }
        _ => {
            let (coefficient, dropped) = round_to_34_digits(coefficient);
            let mut context = context();
            let wide = context.from_i128(coefficient);
            let shift = Decimal128::from(dropped - i32::try_from(scale).ok()?);
            from_wide(context.scaleb(wide, shift), kind)
        }
    }
}

/// A libdecnumber result in its one form. `None` for NaN, the infinities and what is beyond ±9.99E999;
/// less than 1E-999 is zero.
fn from_wide(wide: Decimal128, kind: Kind) -> Option<Number> {
    if !wide.is_finite() {
        return None;
    }
    let mut context = context();
    let reduced = context.reduce(wide);
    let (digits, exponent) = (i32::try_from(reduced.digits()).ok()?, reduced.exponent());
    let leading = exponent + digits - 1;
    if leading > EXPONENT_MAX {
        return None;
    }
    if reduced.is_zero() || leading < -EXPONENT_MAX {
        return Some(if kind == Kind::Int { Number::Int(0) } else { short(0, 1) });
    }
    let coefficient = reduced.coefficient();
    let lowest = if kind == Kind::Decimal { -1 } else { 0 };
    if exponent >= 0 {
        // A 64-bit coefficient over at most 18 zeros is worth looking at; more cannot fit.
        let zeros = u32::try_from(exponent).ok().filter(|e| *e <= u32::from(SCALE_MAX));
        let plain = zeros.and_then(|e| coefficient.checked_mul(pow10(e)));
        if let Some(value) = plain.and_then(|plain| i64::try_from(plain).ok()) {
            match (kind, value.checked_mul(10)) {
                (Kind::Int, _) => return Some(Number::Int(value)),
                (Kind::Decimal, Some(mantissa)) if mantissa != i64::MIN => {
                    return Some(Number::Short { mantissa, scale: 1 });
                }
                (Kind::Decimal, _) => {}
            }
        }
        // A Decimal keeps its type in the exponent while 34 digits leave room for it.
        if lowest < 0 && digits + exponent < 34 {
            let mut padded = reduced;
            context.rescale(&mut padded, lowest);
            return Some(Number::Wide(padded));
        }
        return Some(Number::Wide(reduced));
    }
    match (i64::try_from(coefficient), u8::try_from(-exponent)) {
        (Ok(mantissa), Ok(scale)) if scale <= SCALE_MAX && mantissa != i64::MIN => {
            Some(Number::Short { mantissa, scale })
        }
        _ => Some(Number::Wide(reduced)),
    }
}

/// An exponent that leaves 18 digits in 128 bits: the ones that sensors write.
fn small_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    let exponent = match digits {
        [ones] => digit(ones)?,
        [tens, ones] => digit(tens)? * 10 + digit(ones)?,
        _ => return None,
    };
    (exponent <= 20).then_some(if negative { -exponent } else { exponent })
}

/// A Decimal of at most 18 digits, `mantissa` × 10^-`scale`; a negative scale is at most 20.
fn scaled(mantissa: i64, scale: i32) -> Option<Number> {
    match u32::try_from(scale) {
        Ok(scale) => from_parts(mantissa.into(), scale, Kind::Decimal),
        Err(_) => {
            let whole = i128::from(mantissa) * pow10(scale.unsigned_abs());
            from_parts(whole, 0, Kind::Decimal)
        }
    }
}

/// Any length, any exponent: through libdecnumber.
fn parse_slowly(text: &[u8], digits: &[u8]) -> Option<Number> {
    let mut rest = digits;
    let mut run = || {
        let length = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        rest = &rest[length..];
        let next = rest.first().copied();
        rest = rest.get(1..).unwrap_or_default();
        (length > 0).then_some(next)
    };
    let mut next = run()?;
    let kind = if next.is_some() { Kind::Decimal } else { Kind::Int };
    if next == Some(b'.') {
        next = run()?;
    }
    if matches!(next, Some(b'e' | b'E')) {
        if let [b'+' | b'-', unsigned @ ..] = rest {
            rest = unsigned;
        }
        let length = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if length == 0 || length != rest.len() {
            return None;
        }
    } else if next.is_some() {
        return None;
    }
    from_wide(context().parse(text).ok()?, kind)
}

/// Half even, and how many digits went. `Context::from_i128` rounds at each 32-bit piece of a longer
/// number, which is not the same.
fn round_to_34_digits(coefficient: i128) -> (i128, i32) {
    let mut dropped = 0;
    while coefficient.unsigned_abs() / pow10(dropped).unsigned_abs() >= pow10(34).unsigned_abs() {
        dropped += 1;
    }
    let unit = pow10(dropped);
    let (kept, rest) = (coefficient / unit, (coefficient % unit).abs());
    let up = match (rest * 2).cmp(&unit) {
        Ordering::Less => 0,
        Ordering::Equal => kept.abs() % 2,
        Ordering::Greater => 1,
    };
    (kept + up * coefficient.signum(), i32::try_from(dropped).unwrap_or(0))
}

fn round_quotient(value: i128, unit: i128, rounding: Rounding) -> i128 {
    match rounding {
        Rounding::Floor => value.div_euclid(unit),
        Rounding::Ceiling => -(-value).div_euclid(unit),
        Rounding::Truncate => value / unit,
        Rounding::HalfAwayFromZero => {
            let away = if value < 0 { -unit / 2 } else { unit / 2 };
            (value + away) / unit
        }
    }
}

/// Digits with a point `scale` places from the right.
fn write_scaled(out: &mut Vec<u8>, coefficient: i128, scale: usize) {
    if coefficient < 0 {
        out.push(b'-');
    }
    let digits = decimal_digits(coefficient.unsigned_abs());
    let digits = digits.as_bytes();
    match digits.len().checked_sub(scale) {
        None | Some(0) => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
            out.extend_from_slice(digits);
        }
        Some(whole) => {
            out.extend_from_slice(&digits[..whole]);
            if scale > 0 {
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
        }
    }
}

fn write_wide(out: &mut Vec<u8>, wide: Decimal128) {
    use std::io::Write as _;

    let (coefficient, exponent) = (wide.coefficient(), wide.exponent());
    let digits = decimal_digits(coefficient.unsigned_abs());
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if exponent >= 0 && length + exponent <= PLAIN_DIGITS_MAX {
        write!(out, "{coefficient}").expect("a Vec takes every write");
        out.extend(std::iter::repeat_n(b'0', usize::try_from(exponent).unwrap_or(0)));
        return;
    }
    if (PLAIN_EXPONENT_MIN - 34..0).contains(&exponent) && length + exponent > PLAIN_EXPONENT_MIN {
        let scale = usize::try_from(-exponent).unwrap_or(0);
        return write_scaled(out, coefficient, scale);
    }
    if coefficient < 0 {
        out.push(b'-');
    }
    let significant = digits.trim_end_matches('0');
    let (first, rest) = significant.split_at(1);
    out.extend_from_slice(first.as_bytes());
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest.as_bytes());
    }
    // No plus sign: AWS's own conversion from String does not read one.
    write!(out, "E{}", exponent + length - 1).expect("a Vec takes every write");
}

fn decimal_digits(value: u128) -> CompactString {
    use std::fmt::Write as _;

    let mut digits = CompactString::default();
    write!(digits, "{value}").expect("writing into a string cannot fail");
    digits
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
