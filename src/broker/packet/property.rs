//! MQTT 5 properties: which may stand where, once or more often, and their values' limits (MQTT 5,
//! section 2.2.2.2).

use super::Violation;
use super::fields::Fields;

/// The place of a property section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    Connect = 1 << 0,
    Will = 1 << 1,
    Publish = 1 << 2,
    Ack = 1 << 3,
    Subscribe = 1 << 4,
    Unsubscribe = 1 << 5,
    Disconnect = 1 << 6,
}

/// A property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Byte(u8),
    Two(u16),
    Four(u32),
    Varint(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
pub(crate) const CONTENT_TYPE: u8 = 0x03;
pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
pub(crate) const CORRELATION_DATA: u8 = 0x09;
pub(crate) const SUBSCRIPTION_ID: u8 = 0x0b;
pub(super) const SESSION_EXPIRY: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const REQUEST_PROBLEM: u8 = 0x17;
const WILL_DELAY: u8 = 0x18;
const REQUEST_RESPONSE: u8 = 0x19;
pub(super) const REASON_STRING: u8 = 0x1f;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(crate) const TOPIC_ALIAS: u8 = 0x23;
pub(crate) const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// Where clients may send a property; 0 for what only servers send or nobody knows.
fn places(id: u8) -> u8 {
    const MESSAGE: u8 = Place::Publish as u8 | Place::Will as u8;
    match id {
        PAYLOAD_FORMAT | MESSAGE_EXPIRY | CONTENT_TYPE | RESPONSE_TOPIC | CORRELATION_DATA => {
            MESSAGE
        }
        SUBSCRIPTION_ID => Place::Subscribe as u8,
        SESSION_EXPIRY => Place::Connect as u8 | Place::Disconnect as u8,
        WILL_DELAY => Place::Will as u8,
        REASON_STRING => Place::Ack as u8 | Place::Disconnect as u8,
        TOPIC_ALIAS => Place::Publish as u8,
        AUTHENTICATION_METHOD
        | AUTHENTICATION_DATA
        | REQUEST_PROBLEM
        | REQUEST_RESPONSE
        | RECEIVE_MAXIMUM
        | TOPIC_ALIAS_MAXIMUM
        | MAXIMUM_PACKET_SIZE => Place::Connect as u8,
        USER_PROPERTY => u8::MAX,
        _ => 0,
    }
}

/// Reads a whole property section, strictly, and shows every property to `visit`.
pub(crate) fn walk<'a>(
    mut section: Fields<'a>,
    place: Place,
    mut visit: impl FnMut(u8, Value<'a>),
) -> Result<(), Violation> {
    let mut seen = 0_u64;
    while !section.is_empty() {
        let id = section.u8()?;
        if places(id) & place as u8 == 0 {
            return Err(Violation::Malformed("a property that must not stand here"));
        }
        let bit = 1_u64 << id;
        if seen & bit != 0 && id != USER_PROPERTY {
            return Err(Violation::Protocol("a property stands twice"));
        }
        seen |= bit;
        let value = read_value(id, &mut section)?;
        check_value(id, value)?;
        visit(id, value);
    }
    if seen & (1 << AUTHENTICATION_DATA) != 0 && seen & (1 << AUTHENTICATION_METHOD) == 0 {
        return Err(Violation::Protocol("authentication data without a method"));
    }
    Ok(())
}

fn read_value<'a>(id: u8, section: &mut Fields<'a>) -> Result<Value<'a>, Violation> {
    Ok(match id {
        PAYLOAD_FORMAT | REQUEST_PROBLEM | REQUEST_RESPONSE => Value::Byte(section.u8()?),
        RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => Value::Two(section.u16()?),
        MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | MAXIMUM_PACKET_SIZE => {
            Value::Four(section.u32()?)
        }
        SUBSCRIPTION_ID => Value::Varint(section.varint()?),
        CORRELATION_DATA | AUTHENTICATION_DATA => Value::Binary(section.bytes()?),
        USER_PROPERTY => Value::Pair(section.string()?, section.string()?),
        _ => Value::Text(section.string()?),
    })
}

fn check_value(id: u8, value: Value<'_>) -> Result<(), Violation> {
    match (id, value) {
        (TOPIC_ALIAS, Value::Two(0)) => Err(Violation::TopicAlias),
        (PAYLOAD_FORMAT | REQUEST_PROBLEM | REQUEST_RESPONSE, Value::Byte(2..)) => {
            Err(Violation::Protocol("a flag is neither 0 nor 1"))
        }
        (RECEIVE_MAXIMUM, Value::Two(0))
        | (MAXIMUM_PACKET_SIZE, Value::Four(0))
        | (SUBSCRIPTION_ID, Value::Varint(0)) => {
            Err(Violation::Protocol("a property must not be 0"))
        }
        (RESPONSE_TOPIC, Value::Text(text)) if text.contains(['+', '#']) => {
            Err(Violation::Protocol("a response topic with wildcards"))
        }
        _ => Ok(()),
    }
}
