//! What a key remembers as the bytes of its row.
//!
//! The layout is that of [`hold::encoding`](crate::engine::hold::encoding): version, rule fingerprint, when
//! the key was heard last, what its clocks have left out, watermark, each series oldest first, checksum. A message that waits for its turn has a row of its own.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::event_time::Watermark;
use crate::engine::history::event::WaitingMessage;
use crate::engine::history::values::Values;
use crate::engine::hold::RowError;
use crate::engine::hold::encoding::Reader;
use crate::engine::hold::encoding::finish;
use crate::engine::hold::encoding::open;
use crate::engine::hold::encoding::put_bytes;
use crate::engine::hold::encoding::put_left_out;
use crate::engine::hold::encoding::put_message;
use crate::engine::hold::encoding::put_option;
use crate::engine::hold::encoding::put_time;
use crate::engine::hold::encoding::put_watermark;
use crate::engine::restoration::LeftOut;
use crate::limits::HISTORY_VALUES_MAX;

/// Layout of a key. 3 says what its clocks have left out, 2 added when it was heard last.
pub(super) const VERSION: u8 = 3;
/// Layout of a waiting message.
const WAITING_VERSION: u8 = 1;

/// A decoded row.
pub(super) struct Row {
    pub(super) fingerprint: u64,
    /// When it was heard last; `None` where that was not written yet.
    pub(super) heard: Option<Timestamp>,
    pub(super) left_out: LeftOut,
    pub(super) watermark: Option<Watermark>,
    /// Oldest first, of each series.
    pub(super) values: Vec<Vec<CompactString>>,
}

/// Appends the row of a key to `buffer` and splits it off.
pub(super) fn encode(
    buffer: &mut BytesMut,
    fingerprint: u64,
    (heard, left_out): (Timestamp, LeftOut),
    watermark: Option<&Watermark>,
    values: &Values,
) -> Bytes {
    debug_assert!(buffer.is_empty(), "the row before was split off");
    buffer.put_u8(VERSION);
    buffer.put_u64_le(fingerprint);
    put_time(buffer, heard);
    put_left_out(buffer, left_out);
    put_option(buffer, watermark, put_watermark);
    put_count(buffer, values.0.len());
    for series in &values.0 {
        put_texts(buffer, series.len(), series.values());
    }
    finish(buffer)
}

/// Appends the row of a waiting message, and splits it off.
pub(super) fn encode_waiting(
    buffer: &mut BytesMut,
    event: Timestamp,
    waiting: &WaitingMessage,
) -> Bytes {
    debug_assert!(buffer.is_empty(), "the row before was split off");
    buffer.put_u8(WAITING_VERSION);
    put_time(buffer, event);
    put_texts(buffer, waiting.values.len(), waiting.values.iter());
    put_message(buffer, &waiting.message);
    finish(buffer)
}

/// Reads a row back.
pub(super) fn decode(bytes: &[u8]) -> Result<Row, RowError> {
    let (version, mut reader) = open(bytes, VERSION)?;
    let fingerprint = reader.u64()?;
    let heard = if version < 2 { None } else { Some(reader.time()?) };
    let left_out = if version < 3 { LeftOut::default() } else { reader.left_out()? };
    let watermark = reader.option("watermark", Reader::watermark)?;
    let values = (0..count(&mut reader)?).map(|_| texts(&mut reader)).collect::<Result<_, _>>()?;
    reader.end(Row { fingerprint, heard, left_out, watermark, values })
}

/// Reads the row of a waiting message back: its event time, and the message.
pub(super) fn decode_waiting(bytes: &[u8]) -> Result<(Timestamp, WaitingMessage), RowError> {
    let (_, mut reader) = open(bytes, WAITING_VERSION)?;
    let event = reader.time()?;
    let values = texts(&mut reader)?.into();
    let message = reader.message(false)?;
    reader.end((event, WaitingMessage { values, message }))
}

/// Never more than [`HISTORY_VALUES_MAX`].
fn put_count(buffer: &mut BytesMut, count: usize) {
    buffer.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}

fn count(reader: &mut Reader<'_>) -> Result<usize, RowError> {
    let count = usize::try_from(reader.u32()?).ok().filter(|count| *count <= HISTORY_VALUES_MAX);
    count.ok_or(RowError::Field("count"))
}

fn put_texts<'t>(
    buffer: &mut BytesMut,
    count: usize,
    texts: impl Iterator<Item = &'t CompactString>,
) {
    put_count(buffer, count);
    texts.for_each(|text| put_bytes(buffer, text.as_bytes()));
}

fn texts(reader: &mut Reader<'_>) -> Result<Vec<CompactString>, RowError> {
    (0..count(reader)?).map(|_| reader.text("value").map(CompactString::from)).collect()
}
