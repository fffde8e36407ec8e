//! Checks every byte of the packets that rumqttd decodes, since its readers let much by: reserved
//! bits, doubled properties, NUL, packet identifier 0, bytes after the end.

use super::Version;
use super::Violation;
use super::fields::Fields;
use super::property;
use super::property::Place;

/// What the check of a CONNECT found out on the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnectShape {
    pub(super) version: Version,
    /// Where the password's field starts in the body, when there is one: it is the last field.
    pub(super) password_at: Option<usize>,
}

/// Why a CONNECT goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectRefusal {
    /// Not a CONNECT as either version has it.
    Violation(Version, Violation),
    /// Another protocol level than 4 and 5.
    Level(u8),
}

/// Checks the body of a CONNECT.
pub(super) fn check_connect(body: &[u8]) -> Result<ConnectShape, ConnectRefusal> {
    let mut fields = Fields::new(body);
    let early = |v| ConnectRefusal::Violation(Version::V311, v);
    let name = fields.string().map_err(early)?;
    let level = fields.u8().map_err(early)?;
    let version = match (name, level) {
        ("MQTT", 4) => Version::V311,
        ("MQTT", 5) => Version::V5,
        ("MQTT" | "MQIsdp", level) => return Err(ConnectRefusal::Level(level)),
        _ => return Err(early(Violation::Protocol("not the protocol MQTT"))),
    };
    check_connect_rest(body.len(), fields, version)
        .map_err(|v| ConnectRefusal::Violation(version, v))
}

fn check_connect_rest(
    body_len: usize,
    mut fields: Fields<'_>,
    version: Version,
) -> Result<ConnectShape, Violation> {
    let flags = fields.u8()?;
    let (has_will, has_user, has_password) =
        (flags & 0x04 != 0, flags & 0x80 != 0, flags & 0x40 != 0);
    if flags & 1 != 0 {
        return Err(Violation::Malformed("the reserved CONNECT flag is set"));
    }
    if !has_will && flags & 0b0011_1000 != 0 {
        return Err(Violation::Malformed("will flags without a will"));
    }
    if flags & 0b0001_1000 == 0b0001_1000 {
        return Err(Violation::Malformed("will QoS 3"));
    }
    if version == Version::V311 && has_password && !has_user {
        return Err(Violation::Malformed("a password without a user name"));
    }
    fields.u16()?;
    if version == Version::V5 {
        property::walk(fields.section()?, Place::Connect, |_, _| {})?;
    }
    fields.string()?;
    if has_will {
        if version == Version::V5 {
            property::walk(fields.section()?, Place::Will, |_, _| {})?;
        }
        fields.string()?;
        fields.bytes()?;
    }
    if has_user {
        fields.string()?;
    }
    let password_at = has_password.then(|| body_len - fields.len());
    if has_password {
        fields.bytes()?;
    }
    fields.end()?;
    Ok(ConnectShape { version, password_at })
}

/// Checks the body of a SUBSCRIBE. Its filters' wildcards are the session's business: they fail one
/// by one, in SUBACK.
pub(super) fn check_subscribe(body: &[u8], version: Version) -> Result<(), Violation> {
    let mut fields = Fields::new(body);
    fields.packet_id()?;
    if version == Version::V5 {
        property::walk(fields.section()?, Place::Subscribe, |_, _| {})?;
    }
    if fields.is_empty() {
        return Err(Violation::Protocol("SUBSCRIBE without a filter"));
    }
    while !fields.is_empty() {
        let filter = fields.string()?;
        let options = fields.u8()?;
        let reserved = match version {
            Version::V311 => 0b1111_1100,
            Version::V5 => 0b1100_0000,
        };
        if options & reserved != 0 {
            return Err(Violation::Malformed("reserved subscription options"));
        }
        if options & 0b11 == 0b11 || options & 0b0011_0000 == 0b0011_0000 {
            return Err(Violation::Protocol("subscription options out of range"));
        }
        if options & 0b100 != 0 && filter.starts_with("$share/") {
            return Err(Violation::Protocol("No Local on a shared subscription"));
        }
    }
    Ok(())
}

/// Checks the body of an UNSUBSCRIBE.
pub(super) fn check_unsubscribe(body: &[u8], version: Version) -> Result<(), Violation> {
    let mut fields = Fields::new(body);
    fields.packet_id()?;
    if version == Version::V5 {
        property::walk(fields.section()?, Place::Unsubscribe, |_, _| {})?;
    }
    if fields.is_empty() {
        return Err(Violation::Protocol("UNSUBSCRIBE without a filter"));
    }
    while !fields.is_empty() {
        fields.string()?;
    }
    Ok(())
}

/// Checks the body of a DISCONNECT.
pub(super) fn check_disconnect(body: &[u8], version: Version) -> Result<(), Violation> {
    let mut fields = Fields::new(body);
    if version == Version::V5 && !fields.is_empty() {
        let reason = fields.u8()?;
        if !matches!(reason, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99) {
            return Err(Violation::Protocol("not a reason a client disconnects for"));
        }
        if !fields.is_empty() {
            property::walk(fields.section()?, Place::Disconnect, |_, _| {})?;
        }
    }
    fields.end()
}
