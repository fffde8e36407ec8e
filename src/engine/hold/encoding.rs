//! A key's state as the bytes of its row.
//!
//! Little-endian, no padding: version, rule fingerprint, clocks, times of AT LEAST, whether the key is a row, watermark, last TRUE message, then a
//! checksum of all that; a message that waits for its turn has a row of its own, so that a batch writes
//! what is new and not the whole buffer. JSON was the alternative: it would need base64 for the payload, and be four times as
//! large for a small one. A reader refuses versions it does not know; the version rises with every
//! change of the layout, and older ones stay readable for as long as a release wrote them.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use crate::clock::Timestamp;
use crate::engine::Cleared;
use crate::engine::Truth;
use crate::engine::event_time::Watermark;
use crate::engine::hold::event::WaitingMessage;
use crate::engine::hold::hold_table::Key;
use crate::engine::hold::packed;
use crate::engine::hold::recent::Recent;
use crate::engine::hold::state::Ending;
use crate::engine::hold::state::Phase;
use crate::engine::hold::state::State;
use crate::engine::message::Message;
use crate::engine::restoration::LeftOut;
use crate::limits::HOLD_TIMES_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::publish::StreamRecord;
use crate::topic::TopicName;

/// Layout written by this build. 6 says what its clocks have left out; 5 has the message packed and says whether the key is a row; 4 added the
/// record that a message is, 3 the times of AT LEAST, 2 event time; in 1 there is always a message.
pub(super) const VERSION: u8 = 6;
/// The first layout in which the message is packed.
const PACKED_SINCE: u8 = 5;
/// The first layout that says what has been left out.
const LEFT_OUT_SINCE: u8 = 6;
/// Layout of a waiting message. 3 has it packed, 2 added the record that it is.
const WAITING_VERSION: u8 = 3;
const CHECKSUM_BYTES: usize = 8;

/// Why a stored row cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Written by a newer build.
    #[error("the row has layout {0}, which this build does not know")]
    Version(u8),
    /// Shorter than its own lengths say, or with bytes left over.
    #[error("the row is cut off or has bytes left over")]
    Length,
    /// The checksum does not fit.
    #[error("the row's checksum is wrong")]
    Checksum,
    /// A field holds something that is never written.
    #[error("the row's {0} is not valid")]
    Field(&'static str),
}

/// A decoded row.
pub(super) struct Row {
    pub(super) fingerprint: u64,
    pub(super) left_out: LeftOut,
    pub(super) state: State,
    pub(super) listed: bool,
    pub(super) event: Option<EventRow>,
    pub(super) message: Option<Message>,
}

/// What a row says of event time.
pub(super) struct EventRow {
    pub(super) watermark: Watermark,
    pub(super) judged: Timestamp,
}

/// FNV-1a, 64 bits: a checksum against torn and flipped bytes, and stable
/// between builds, which the hash maps' hasher is not.
pub(in crate::engine) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Appends the row to `buffer` and splits it off, so that the rows of a batch share one allocation.
pub(super) fn encode(
    buffer: &mut BytesMut,
    fingerprint: u64,
    left_out: LeftOut,
    key: &Key,
) -> Bytes {
    debug_assert!(buffer.is_empty(), "the row before was split off");
    buffer.put_u8(VERSION);
    buffer.put_u64_le(fingerprint);
    put_left_out(buffer, left_out);
    put_state(buffer, &key.state);
    put_option(buffer, key.state.recent.as_deref(), put_recent);
    buffer.put_u8(u8::from(key.listed));
    put_option(buffer, key.event.as_deref(), |b, side| {
        put_watermark(b, &side.queue.watermark);
        put_time(b, side.judged);
    });
    put_option(buffer, key.message.as_ref(), put_message);
    finish(buffer)
}

/// The row without a rule: what all clocks of a table have left out by now.
pub(in crate::engine) fn encode_left_out(
    buffer: &mut BytesMut,
    version: u8,
    left_out: LeftOut,
) -> Bytes {
    debug_assert!(buffer.is_empty(), "the row before was split off");
    buffer.put_u8(version);
    put_left_out(buffer, left_out);
    finish(buffer)
}

/// Reads it back.
pub(in crate::engine) fn decode_left_out(bytes: &[u8], newest: u8) -> Result<LeftOut, RowError> {
    let (_, mut reader) = open(bytes, newest)?;
    let left_out = reader.left_out()?;
    reader.end(left_out)
}

/// Appends the row of a message that waits for its turn, and splits it off.
pub(super) fn encode_waiting(
    buffer: &mut BytesMut,
    event: Timestamp,
    waiting: &WaitingMessage,
) -> Bytes {
    debug_assert!(buffer.is_empty(), "the row before was split off");
    buffer.put_u8(WAITING_VERSION);
    put_time(buffer, event);
    buffer.put_u8(truth_code(waiting.condition));
    put_option(buffer, waiting.clear, |b, clear| b.put_u8(truth_code(clear)));
    put_option(buffer, waiting.message.as_ref(), put_message);
    finish(buffer)
}

pub(in crate::engine) fn finish(buffer: &mut BytesMut) -> Bytes {
    let checksum = fnv1a(buffer);
    buffer.put_u64_le(checksum);
    buffer.split().freeze()
}

/// Reads a row back.
pub(super) fn decode(bytes: &[u8]) -> Result<Row, RowError> {
    let (version, mut reader) = open(bytes, VERSION)?;
    reader.has_record = version >= 4;
    let fingerprint = reader.u64()?;
    let left_out = match version {
        ..LEFT_OUT_SINCE => LeftOut::default(),
        _ => reader.left_out()?,
    };
    let (mut state, mut listed) = (reader.state()?, false);
    if version > 2 {
        state.recent = reader.option("times", Reader::recent)?.map(Box::new);
    }
    if version >= PACKED_SINCE {
        listed = reader.flag("listed")?;
    }
    let (event, message) = match version {
        1 => (None, Some(reader.message(version < PACKED_SINCE)?)),
        _ => (
            reader.option("event time", Reader::event)?,
            reader.option("message", |r| r.message(version < PACKED_SINCE))?,
        ),
    };
    let is_whole = match state.phase {
        Phase::Inactive => event.is_some(),
        Phase::Counting => state.recent.is_some(),
        Phase::Pending { .. } | Phase::Firing { .. } => message.is_some(),
    };
    if !is_whole {
        return Err(RowError::Field("phase"));
    }
    reader.end(Row { fingerprint, left_out, state, listed, event, message })
}

/// Reads the row of a waiting message back: its event time, and the message.
pub(super) fn decode_waiting(bytes: &[u8]) -> Result<(Timestamp, WaitingMessage), RowError> {
    let (version, mut reader) = open(bytes, WAITING_VERSION)?;
    reader.has_record = version >= 2;
    let event = reader.time()?;
    let waiting = WaitingMessage {
        condition: reader.truth()?,
        clear: reader.option("clear", Reader::truth)?,
        message: reader.option("message", |r| r.message(version < WAITING_VERSION))?,
    };
    if waiting.condition == Truth::True && waiting.message.is_none() {
        return Err(RowError::Field("condition"));
    }
    reader.end((event, waiting))
}

/// Checks version and checksum.
pub(in crate::engine) fn open(bytes: &[u8], newest: u8) -> Result<(u8, Reader<'_>), RowError> {
    // The version comes first and is judged first: a newer layout may keep its checksum elsewhere.
    let version = match bytes.first() {
        None => return Err(RowError::Length),
        Some(0) => return Err(RowError::Field("version")),
        Some(&other) if other > newest => return Err(RowError::Version(other)),
        Some(&version) => version,
    };
    let Some((body, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(RowError::Length);
    };
    if fnv1a(body) != u64::from_le_bytes(*checksum) {
        return Err(RowError::Checksum);
    }
    let mut reader = Reader::new(body);
    reader.u8()?;
    Ok((version, reader))
}

pub(in crate::engine) fn put_time(buffer: &mut BytesMut, time: Timestamp) {
    buffer.put_i64_le(time.as_millis());
}

pub(in crate::engine) fn put_watermark(buffer: &mut BytesMut, watermark: &Watermark) {
    put_time(buffer, watermark.newest);
    put_time(buffer, watermark.heard_at);
    put_time(buffer, watermark.passed);
}

pub(in crate::engine) fn put_left_out(buffer: &mut BytesMut, left_out: LeftOut) {
    buffer.put_i64_le(left_out.outages);
    buffer.put_i64_le(left_out.steps);
}

fn put_state(buffer: &mut BytesMut, state: &State) {
    put_time(buffer, state.since);
    let excluded = match state.phase {
        Phase::Pending { excluded } => excluded,
        Phase::Inactive | Phase::Counting | Phase::Firing { .. } => 0,
    };
    buffer.put_i64_le(excluded);
    put_time(buffer, state.last_known);
    buffer.put_u64_le(state.samples);
    match state.phase {
        Phase::Inactive => buffer.put_u8(0),
        Phase::Pending { .. } => buffer.put_u8(1),
        Phase::Counting => buffer.put_u8(3),
        Phase::Firing { fired_at, repeated_at, ending } => {
            buffer.put_u8(2);
            put_time(buffer, fired_at);
            put_time(buffer, repeated_at);
            match ending {
                Ending::No => buffer.put_u8(0),
                Ending::Clearing { since } => {
                    buffer.put_u8(1);
                    put_time(buffer, since);
                }
                Ending::Keeping { since, reason } => {
                    buffer.put_u8(2);
                    put_time(buffer, since);
                    buffer.put_u8(reason_code(reason));
                }
            }
        }
    }
}

fn put_recent(buffer: &mut BytesMut, recent: &Recent) {
    let times = recent.times();
    // There are never more than HOLD_TIMES_MAX.
    buffer.put_u32_le(u32::try_from(times.len()).unwrap_or(u32::MAX));
    times.for_each(|time| put_time(buffer, time));
}

fn truth_code(truth: Truth) -> u8 {
    match truth {
        Truth::False => 0,
        Truth::True => 1,
        Truth::Unknown => 2,
    }
}

fn reason_code(reason: Cleared) -> u8 {
    match reason {
        Cleared::False => 0,
        Cleared::ClearWhen => 1,
        Cleared::Gap => 2,
        Cleared::RuleChanged => 3,
        Cleared::RuleRemoved => 4,
        Cleared::Data => 5,
        Cleared::RowRemoved => 6,
    }
}

/// Lengths are written in 32 bits: packets, and so all their parts, are far below 4 GiB.
pub(in crate::engine) fn put_bytes(buffer: &mut impl BufMut, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("an MQTT packet has at most 256 MiB");
    buffer.put_u32_le(length);
    buffer.put_slice(bytes);
}

pub(in crate::engine) fn put_option<B: BufMut, T>(
    buffer: &mut B,
    value: Option<T>,
    put: impl FnOnce(&mut B, T),
) {
    buffer.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(buffer, value);
    }
}

pub(in crate::engine) fn put_message(buffer: &mut BytesMut, message: &Message) {
    put_bytes(buffer, message.packed());
}

/// Bytes that [`put_properties`] will write.
pub(super) fn properties_length(properties: &PublishProperties) -> usize {
    let bytes = |length: Option<usize>| 1 + length.map_or(0, |length| size_of::<u32>() + length);
    let pairs = properties.user_properties.iter();
    1 + usize::from(properties.payload_format.is_some())
        + 1
        + properties.message_expiry.map_or(0, |_| size_of::<u32>())
        + bytes(properties.content_type.as_ref().map(String::len))
        + bytes(properties.response_topic.as_ref().map(String::len))
        + bytes(properties.correlation_data.as_ref().map(Bytes::len))
        + size_of::<u32>()
        + pairs.map(|(name, value)| 2 * size_of::<u32>() + name.len() + value.len()).sum::<usize>()
}

pub(super) fn put_properties<B: BufMut>(buffer: &mut B, properties: &PublishProperties) {
    let put_text = |b: &mut B, text: &String| put_bytes(b, text.as_bytes());
    put_option(buffer, properties.payload_format, BufMut::put_u8);
    put_option(buffer, properties.message_expiry, BufMut::put_u32_le);
    put_option(buffer, properties.content_type.as_ref(), put_text);
    put_option(buffer, properties.response_topic.as_ref(), put_text);
    put_option(buffer, properties.correlation_data.as_ref(), |b, data| put_bytes(b, data));
    let count = u32::try_from(properties.user_properties.len())
        .expect("an MQTT packet has room for fewer than 2^32 properties");
    buffer.put_u32_le(count);
    for (name, value) in &properties.user_properties {
        put_text(buffer, name);
        put_text(buffer, value);
    }
}

/// Takes fields off the front; every read is checked against what is left.
pub(in crate::engine) struct Reader<'a> {
    rest: &'a [u8],
    /// Whether the layout says of a message which record it is.
    pub(in crate::engine) has_record: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, has_record: false }
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// `row`, if nothing is left over.
    pub(in crate::engine) fn end<T>(self, row: T) -> Result<T, RowError> {
        if self.rest.is_empty() { Ok(row) } else { Err(RowError::Length) }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RowError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RowError::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(in crate::engine) fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(RowError::Length)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(in crate::engine) fn u8(&mut self) -> Result<u8, RowError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(in crate::engine) fn u32(&mut self) -> Result<u32, RowError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::engine) fn u64(&mut self) -> Result<u64, RowError> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, RowError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(in crate::engine) fn time(&mut self) -> Result<Timestamp, RowError> {
        self.i64().map(Timestamp::from_millis)
    }

    pub(in crate::engine) fn flag(&mut self, field: &'static str) -> Result<bool, RowError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RowError::Field(field)),
        }
    }

    pub(in crate::engine) fn bytes(&mut self) -> Result<&'a [u8], RowError> {
        let length = usize::try_from(self.u32()?).map_err(|_| RowError::Length)?;
        self.take(length)
    }

    pub(in crate::engine) fn text(&mut self, field: &'static str) -> Result<&'a str, RowError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RowError::Field(field))
    }

    pub(in crate::engine) fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, RowError>,
    ) -> Result<Option<T>, RowError> {
        if self.flag(field)? { read(self).map(Some) } else { Ok(None) }
    }

    pub(in crate::engine) fn left_out(&mut self) -> Result<LeftOut, RowError> {
        Ok(LeftOut { outages: self.i64()?, steps: self.i64()? })
    }

    fn state(&mut self) -> Result<State, RowError> {
        let since = self.time()?;
        let excluded = self.i64()?;
        let last_known = self.time()?;
        let samples = self.u64()?;
        let phase = match self.u8()? {
            0 => Phase::Inactive,
            1 => Phase::Pending { excluded },
            3 => Phase::Counting,
            2 => Phase::Firing {
                fired_at: self.time()?,
                repeated_at: self.time()?,
                ending: self.ending()?,
            },
            _ => return Err(RowError::Field("phase")),
        };
        Ok(State { phase, since, last_known, samples, recent: None })
    }

    fn recent(&mut self) -> Result<Recent, RowError> {
        let count = self.u32()?;
        if count > HOLD_TIMES_MAX {
            return Err(RowError::Field("times"));
        }
        (0..count).map(|_| self.time()).collect::<Result<_, _>>().map(Recent::of)
    }

    fn event(&mut self) -> Result<EventRow, RowError> {
        Ok(EventRow { watermark: self.watermark()?, judged: self.time()? })
    }

    pub(in crate::engine) fn watermark(&mut self) -> Result<Watermark, RowError> {
        Ok(Watermark { newest: self.time()?, heard_at: self.time()?, passed: self.time()? })
    }

    fn truth(&mut self) -> Result<Truth, RowError> {
        match self.u8()? {
            0 => Ok(Truth::False),
            1 => Ok(Truth::True),
            2 => Ok(Truth::Unknown),
            _ => Err(RowError::Field("truth")),
        }
    }

    fn ending(&mut self) -> Result<Ending, RowError> {
        match self.u8()? {
            0 => Ok(Ending::No),
            1 => Ok(Ending::Clearing { since: self.time()? }),
            2 => Ok(Ending::Keeping { since: self.time()?, reason: self.reason()? }),
            _ => Err(RowError::Field("ending")),
        }
    }

    fn reason(&mut self) -> Result<Cleared, RowError> {
        match self.u8()? {
            0 => Ok(Cleared::False),
            1 => Ok(Cleared::ClearWhen),
            2 => Ok(Cleared::Gap),
            3 => Ok(Cleared::RuleChanged),
            4 => Ok(Cleared::RuleRemoved),
            5 => Ok(Cleared::Data),
            6 => Ok(Cleared::RowRemoved),
            _ => Err(RowError::Field("reason")),
        }
    }

    /// A message: packed, or in the layout before that.
    pub(in crate::engine) fn message(&mut self, is_old: bool) -> Result<Message, RowError> {
        if is_old {
            return self.old_message().map(|publish| Message::of(&publish));
        }
        let bytes = self.bytes()?;
        // What cannot be read is found now, and not when the key fires.
        packed::read(bytes)?;
        Ok(Message::of_packed(bytes))
    }

    fn old_message(&mut self) -> Result<Publish, RowError> {
        let topic = TopicName::parse(self.text("topic")?).map_err(|_| RowError::Field("topic"))?;
        Ok(Publish {
            topic,
            payload: Bytes::copy_from_slice(self.bytes()?),
            qos: QoS::from_bits(self.u8()?).ok_or(RowError::Field("qos"))?,
            retain: self.flag("retain")?,
            hops: self.u8()?,
            received_at: self.time()?,
            origin: self.origin()?,
            properties: self.option("properties", Self::properties)?.map(Arc::new),
        })
    }

    fn origin(&mut self) -> Result<Arc<Origin>, RowError> {
        let client_id = self.option("client id", |r| r.text("client id").map(Arc::from))?;
        let principal = self.option("principal", |r| r.text("principal").map(Arc::from))?;
        let source_ip = self.option("address", |r| {
            let octets = r.bytes()?;
            if let Ok(v4) = <[u8; 4]>::try_from(octets) {
                return Ok(IpAddr::from(v4));
            }
            <[u8; 16]>::try_from(octets).map(IpAddr::from).map_err(|_| RowError::Field("address"))
        })?;
        let record = match self.has_record {
            true => self.option("record", Self::record)?,
            false => None,
        };
        Ok(Arc::new(Origin { client_id, principal, source_ip, record }))
    }

    fn record(&mut self) -> Result<StreamRecord, RowError> {
        Ok(StreamRecord {
            shard_id: Arc::from(self.text("shard")?),
            sequence_number: self.text("sequence number")?.into(),
            partition_key: self.text("partition key")?.into(),
            arrived_at: self.time()?,
        })
    }

    pub(super) fn properties(&mut self) -> Result<PublishProperties, RowError> {
        let text = |field| move |r: &mut Self| r.text(field).map(str::to_owned);
        let mut properties = PublishProperties {
            payload_format: self.option("payload format", Self::u8)?,
            message_expiry: self.option("message expiry", Self::u32)?,
            content_type: self.option("content type", text("content type"))?,
            response_topic: self.option("response topic", text("response topic"))?,
            correlation_data: self
                .option("correlation data", |r| r.bytes().map(Bytes::copy_from_slice))?,
            user_properties: Vec::new(),
        };
        // The count is not trusted with an allocation: each entry takes at least eight bytes.
        for _ in 0..self.u32()? {
            let name = self.text("user property")?.to_owned();
            properties.user_properties.push((name, self.text("user property")?.to_owned()));
        }
        Ok(properties)
    }
}
