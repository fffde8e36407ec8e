//! The functions of AWS IoT SQL that need no outside service (developer guide, "Functions").
//!
//! A function is a [`Native`] of its arguments, or reads the message and then goes through
//! [`message::call`]. Every one is total: a wrong type or number of arguments is Undefined, and what
//! it builds is paid from the budget. [`implementation`] is exhaustive over `rule::function`.

mod collection;
mod encoding;
mod math;
mod message;
mod prepared;
mod regexp;
mod string;
mod time;

use std::borrow::Cow;

pub(super) use collection::concat;
pub(super) use message::call as call_contextual;
pub(super) use message::trace_id;
pub(super) use prepared::Prepared;

use super::operators::Setting;
use crate::rule::function::Function;
use crate::value::Value;

/// The arguments of a call.
pub(super) type Arguments<'a, 'v> = &'a [Cow<'v, Value>];

/// A function of its arguments alone.
pub(super) type Native = fn(Arguments<'_, '_>, Setting<'_>) -> Value;

/// Where a function is carried out.
pub(super) enum Implementation {
    /// By its arguments alone.
    Native(Native),
    /// With a look at the message, the gateway or chance.
    Contextual,
}

/// What carries out `function`.
pub(super) fn implementation(function: Function) -> Implementation {
    if let Some(native) = math_native(function).or_else(|| text_native(function)) {
        return Implementation::Native(native);
    }
    let native: Native = match function {
        Function::Concat => collection::concat,
        Function::Get => collection::get,
        Function::GetOrDefault => collection::get_or_default,
        Function::IsNull => collection::is_null,
        Function::IsUndefined => collection::is_undefined,
        Function::Nanvl => collection::nanvl,
        Function::Transform => collection::transform,
        Function::Decode => encoding::decode,
        Function::Encode => encoding::encode,
        Function::Md2 => encoding::md2,
        Function::Md5 => encoding::md5,
        Function::Sha1 => encoding::sha1,
        Function::Sha224 => encoding::sha224,
        Function::Sha256 => encoding::sha256,
        Function::Sha384 => encoding::sha384,
        Function::Sha512 => encoding::sha512,
        Function::ParseTime => time::parse_time,
        Function::TimeToEpoch => time::time_to_epoch,
        _ => return Implementation::Contextual,
    };
    Implementation::Native(native)
}

fn math_native(function: Function) -> Option<Native> {
    Some(match function {
        Function::Abs => math::abs,
        Function::Acos => math::acos,
        Function::Asin => math::asin,
        Function::Atan => math::atan,
        Function::Atan2 => math::atan2,
        Function::BitAnd => math::bitand,
        Function::BitNot => math::bitnot,
        Function::BitOr => math::bitor,
        Function::BitXor => math::bitxor,
        Function::Ceil => math::ceil,
        Function::Cos => math::cos,
        Function::Cosh => math::cosh,
        Function::Exp => math::exp,
        Function::Floor => math::floor,
        Function::Ln => math::ln,
        Function::Log => math::log,
        Function::Mod | Function::Remainder => math::remainder,
        Function::Power => math::power,
        Function::Round => math::round,
        Function::Sign => math::sign,
        Function::Sin => math::sin,
        Function::Sinh => math::sinh,
        Function::Sqrt => math::sqrt,
        Function::Tan => math::tan,
        Function::Tanh => math::tanh,
        Function::Trunc => math::trunc,
        _ => return None,
    })
}

fn text_native(function: Function) -> Option<Native> {
    Some(match function {
        Function::Chr => string::chr,
        Function::EndsWith => string::endswith,
        Function::IndexOf => string::indexof,
        Function::Length => string::length,
        Function::Lower => string::lower,
        Function::Lpad => string::lpad,
        Function::Ltrim => string::ltrim,
        Function::NumBytes => string::numbytes,
        Function::RegexpMatches => regexp::matches,
        Function::RegexpReplace => regexp::replace,
        Function::RegexpSubstr => regexp::substr,
        Function::Replace => string::replace,
        Function::Rpad => string::rpad,
        Function::Rtrim => string::rtrim,
        Function::StartsWith => string::startswith,
        Function::Substring => string::substring,
        Function::Trim => string::trim,
        Function::Upper => string::upper,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::function::FUNCTIONS;
    use crate::rule::function::Purity;

    #[test]
    fn pure_functions_are_exactly_those_with_a_native() {
        for spec in FUNCTIONS {
            let native = matches!(implementation(spec.function), Implementation::Native(_));
            assert_eq!(native, spec.purity == Purity::Pure, "{}", spec.name);
        }
    }
}
