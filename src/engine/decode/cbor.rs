//! CBOR (RFC 8949), item by item.
//!
//! Of the tags, times (0 and 1) become epoch milliseconds, as all times of the language, big numbers
//! (2, 3) and decimal fractions (4) become numbers; of any other tag the item inside is taken.

use std::borrow::Cow;

use jiff::Timestamp;
use minicbor::Decoder;
use minicbor::data::Type;

use super::DecodeError;
use super::binary;
use super::binary::Item;
use super::binary::whole_number;
use crate::limits::PAYLOAD_DEPTH_MAX;
use crate::value::Number;

/// Tags that mean something here (RFC 8949, section 3.4).
const DATE_TIME: u64 = 0;
const EPOCH_SECONDS: u64 = 1;
const BIG_NUMBER: u64 = 2;
const NEGATIVE_BIG_NUMBER: u64 = 3;
const DECIMAL_FRACTION: u64 = 4;

/// Reads a payload.
pub(super) struct Reader<'p> {
    cbor: Decoder<'p>,
}

impl<'p> Reader<'p> {
    pub(super) fn new(payload: &'p [u8]) -> Self {
        Reader { cbor: Decoder::new(payload) }
    }

    /// An item that stands alone or inside so many tags.
    fn tagged(&mut self, tags: usize) -> Result<Item<'p>, DecodeError> {
        let at = self.cbor.position();
        let wrong = |error: minicbor::decode::Error| malformed(&error, at);
        let cbor = &mut self.cbor;
        Ok(match cbor.datatype().map_err(wrong)? {
            Type::Bool => Item::Bool(cbor.bool().map_err(wrong)?),
            Type::Null => cbor.null().map(|()| Item::Null).map_err(wrong)?,
            Type::Undefined => cbor.undefined().map(|()| Item::Undefined).map_err(wrong)?,
            Type::Simple => cbor.simple().map(|_| Item::Undefined).map_err(wrong)?,
            Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int => Item::Int(cbor.int().map_err(wrong)?.into()),
            Type::F16 => Item::Single(cbor.f16().map_err(wrong)?),
            Type::F32 => Item::Single(cbor.f32().map_err(wrong)?),
            Type::F64 => Item::Float(cbor.f64().map_err(wrong)?),
            Type::String => Item::Text(Cow::Borrowed(cbor.str().map_err(wrong)?)),
            Type::StringIndef => {
                let parts: Result<String, _> = cbor.str_iter().map_err(wrong)?.collect();
                Item::Text(Cow::Owned(parts.map_err(wrong)?))
            }
            Type::Bytes => Item::Bytes(Cow::Borrowed(cbor.bytes().map_err(wrong)?)),
            Type::BytesIndef => {
                let mut bytes = Vec::new();
                for part in cbor.bytes_iter().map_err(wrong)? {
                    bytes.extend_from_slice(part.map_err(wrong)?);
                }
                Item::Bytes(Cow::Owned(bytes))
            }
            Type::Array | Type::ArrayIndef => Item::Array(cbor.array().map_err(wrong)?),
            Type::Map | Type::MapIndef => Item::Map(cbor.map().map_err(wrong)?),
            Type::Tag => {
                if tags == PAYLOAD_DEPTH_MAX {
                    return Err(DecodeError::TooDeep);
                }
                let tag = cbor.tag().map_err(wrong)?.as_u64();
                self.inside(tag, tags + 1)?
            }
            Type::Break => return Err(unexpected("a break where a value was expected", at)),
            Type::Unknown(byte) => {
                return Err(unexpected(&format!("byte 0x{byte:02x}, which begins no item"), at));
            }
        })
    }

    /// The item inside a tag.
    fn inside(&mut self, tag: u64, tags: usize) -> Result<Item<'p>, DecodeError> {
        if tag == DECIMAL_FRACTION {
            return self.decimal_fraction(tags);
        }
        Ok(match (tag, self.tagged(tags)?) {
            (DATE_TIME, Item::Text(text)) => match text.parse::<Timestamp>() {
                Ok(time) => Item::Number(milliseconds(time)),
                Err(_) => Item::Text(text),
            },
            (EPOCH_SECONDS, Item::Int(seconds)) => {
                Item::Number(seconds.checked_mul(1000).and_then(whole_number))
            }
            (EPOCH_SECONDS, Item::Float(seconds)) => {
                Item::Number(Number::from_f64(seconds).and_then(thousandfold))
            }
            (EPOCH_SECONDS, Item::Single(seconds)) => {
                Item::Number(Number::from_f32(seconds).and_then(thousandfold))
            }
            (BIG_NUMBER, Item::Bytes(bytes)) => {
                Item::Number(magnitude(&bytes).and_then(whole_number))
            }
            (NEGATIVE_BIG_NUMBER, Item::Bytes(bytes)) => {
                Item::Number(magnitude(&bytes).and_then(|n| whole_number(-1 - n)))
            }
            (_, item) => item,
        })
    }

    /// `[exponent, mantissa]`: mantissa × 10^exponent.
    fn decimal_fraction(&mut self, tags: usize) -> Result<Item<'p>, DecodeError> {
        let at = self.cbor.position();
        let Item::Array(Some(2)) = self.tagged(tags)? else {
            return Err(unexpected("a decimal fraction that is no array of two", at));
        };
        let (exponent, mantissa) = (self.tagged(tags)?, self.tagged(tags)?);
        let mantissa = match mantissa {
            Item::Int(mantissa) => whole_number(mantissa),
            Item::Number(mantissa) => mantissa,
            _ => return Err(unexpected("a decimal fraction without a whole mantissa", at)),
        };
        let Item::Int(exponent) = exponent else {
            return Err(unexpected("a decimal fraction without a whole exponent", at));
        };
        let number = mantissa.and_then(|mantissa| Number::parse(&format!("{mantissa}E{exponent}")));
        Ok(Item::Number(number))
    }
}

impl<'p> binary::Read<'p> for Reader<'p> {
    fn item(&mut self) -> Result<Item<'p>, DecodeError> {
        self.tagged(0)
    }

    fn ends(&mut self) -> Result<bool, DecodeError> {
        let at = self.cbor.position();
        if self.cbor.datatype().map_err(|error| malformed(&error, at))? != Type::Break {
            return Ok(false);
        }
        self.cbor.set_position(at + 1);
        Ok(true)
    }

    fn position(&self) -> usize {
        self.cbor.position()
    }

    fn rest(&self) -> usize {
        self.cbor.input().len().saturating_sub(self.cbor.position())
    }
}

fn thousandfold(number: Number) -> Option<Number> {
    number.checked_mul(Number::Int(1000))
}

/// Epoch milliseconds, with the places below them where there are any.
pub(super) fn milliseconds(time: Timestamp) -> Option<Number> {
    let nanoseconds = whole_number(time.as_nanosecond())?;
    let milliseconds = nanoseconds.checked_mul(Number::parse("1E-6")?)?;
    Some(milliseconds.with_whole_int())
}

/// A number of at most 127 bits, the most significant byte first; `None` beyond.
fn magnitude(bytes: &[u8]) -> Option<i128> {
    let significant = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = bytes.get(significant..).unwrap_or_default();
    if bytes.len() > 16 {
        return None;
    }
    let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    i128::try_from(number).ok()
}

fn unexpected(what: &str, at: usize) -> DecodeError {
    DecodeError::Malformed(format!("{what}, at byte {at}"))
}

fn malformed(error: &minicbor::decode::Error, at: usize) -> DecodeError {
    if error.is_end_of_input() {
        return DecodeError::Malformed("the payload ends within a value".to_owned());
    }
    unexpected(&error.to_string(), error.position().unwrap_or(at))
}
