//! A group and its panes as the bytes of their rows.
//!
//! A group has a row like a key of the hold table has, told from it by its first byte; each pane, and
//! each message that is kept, has a row beside it, so that a batch writes what has changed.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::event_time::Position;
use crate::engine::event_time::Watermark;
use crate::engine::hold::encoding::Reader;
use crate::engine::hold::encoding::RowError;
use crate::engine::hold::encoding::finish;
use crate::engine::hold::encoding::open;
use crate::engine::hold::encoding::put_bytes;
use crate::engine::hold::encoding::put_left_out;
use crate::engine::hold::encoding::put_option;
use crate::engine::hold::encoding::put_time;
use crate::engine::hold::encoding::put_watermark;
use crate::engine::restoration::LeftOut;
use crate::engine::window::cell::Cell;
use crate::engine::window::cell::Moments;
use crate::engine::window::cell::Sum;
use crate::engine::window::cell::value_bytes;
use crate::engine::window::group::Group;
use crate::engine::window::pane::Pane;
use crate::engine::window::pane::Sample;
use crate::engine::window::quantile::Quantile;
use crate::engine::window::spec::WindowSpec;
use crate::topic::TopicName;
use crate::value::Number;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;
use crate::value::json_reader;

/// Layouts from here on are those of windows.
const WINDOWS: u8 = 0x80;
/// Layout of a group written by this build; from 2 on it says what its clock has left out.
pub(super) const VERSION: u8 = WINDOWS + 2;
/// Layout of what stands beside it.
const PART_VERSION: u8 = WINDOWS + 1;

/// Whether a row is one of a window.
pub(in crate::engine) fn is_of_window(row: &[u8]) -> bool {
    row.first().is_some_and(|version| *version >= WINDOWS)
}

/// What the row of a group says.
pub(super) struct GroupRow {
    pub(super) fingerprint: u64,
    pub(super) topic: TopicName,
    /// With what its idle advance has left out.
    pub(super) watermark: Option<(Watermark, LeftOut)>,
    pub(super) closed: Timestamp,
    pub(super) turns: u64,
}

/// A row beside it.
pub(super) enum Part {
    Pane(Pane),
    Sample(Sample),
}

impl Part {
    /// Where it stands among the others of its kind.
    pub(super) fn position(&self) -> Position {
        match self {
            Part::Pane(pane) => Position { event: pane.start, turn: pane.id },
            Part::Sample(sample) => sample.position,
        }
    }
}

pub(super) fn encode_group(
    buffer: &mut BytesMut,
    fingerprint: u64,
    left_out: LeftOut,
    group: &Group,
) -> Bytes {
    buffer.put_u8(VERSION);
    buffer.put_u64_le(fingerprint);
    put_bytes(buffer, group.topic.as_str().as_bytes());
    put_option(buffer, group.watermark, |buffer, watermark| {
        put_watermark(buffer, &watermark);
        put_left_out(buffer, left_out);
    });
    put_time(buffer, group.closed);
    buffer.put_u64_le(group.turns);
    finish(buffer)
}

/// `topic` is that of the row before: groups that share one share its text.
pub(super) fn decode_group(
    bytes: &[u8],
    topic: &mut Option<TopicName>,
) -> Result<GroupRow, RowError> {
    let (version, mut reader) = open_window(bytes, VERSION)?;
    let fingerprint = reader.u64()?;
    let text = reader.text("topic")?;
    let topic = match topic {
        Some(topic) if topic.as_str() == text => topic.clone(),
        _ => topic.insert(TopicName::parse(text).map_err(|_| RowError::Field("topic"))?).clone(),
    };
    let row = GroupRow {
        fingerprint,
        topic,
        watermark: reader.option("watermark", |reader| {
            let watermark = reader.watermark()?;
            let left_out = match version {
                VERSION => reader.left_out()?,
                _ => LeftOut::default(),
            };
            Ok((watermark, left_out))
        })?,
        closed: reader.time()?,
        turns: reader.u64()?,
    };
    reader.end(row)
}

pub(super) fn encode_pane(buffer: &mut BytesMut, pane: &Pane) -> Bytes {
    buffer.put_u8(PART_VERSION);
    buffer.put_u8(0);
    put_time(buffer, pane.start);
    put_time(buffer, pane.first);
    put_time(buffer, pane.last);
    buffer.put_u64_le(pane.messages);
    buffer.put_u8(pane.hops);
    pane.cells.iter().for_each(|cell| put_cell(buffer, cell));
    finish(buffer)
}

pub(super) fn encode_sample(buffer: &mut BytesMut, sample: &Sample) -> Bytes {
    buffer.put_u8(PART_VERSION);
    buffer.put_u8(1);
    put_time(buffer, sample.position.event);
    buffer.put_u8(sample.hops);
    buffer.put_u8(u8::from(sample.is_counted));
    put_count(buffer, sample.values.len());
    sample.values.iter().for_each(|value| put_value(buffer, value));
    finish(buffer)
}

/// Reads the row with number `id` of a group of `spec` back.
pub(super) fn decode_part(bytes: &[u8], id: u64, spec: &WindowSpec) -> Result<Part, RowError> {
    let (_, mut reader) = open_window(bytes, PART_VERSION)?;
    let part = if reader.flag("kind")? {
        let event = reader.time()?;
        let hops = reader.u8()?;
        let is_counted = reader.flag("counted")?;
        let mut values = Vec::new();
        for _ in 0..reader.u32()? {
            values.push(reader.value()?);
        }
        let position = Position { event, turn: id };
        let values = values.into();
        Part::Sample(Sample { position, values, hops, is_counted, is_stored: true })
    } else {
        let (start, first, last) = (reader.time()?, reader.time()?, reader.time()?);
        let messages = reader.u64()?;
        let hops = reader.u8()?;
        let cells =
            spec.cells.iter().map(|of| reader.cell(Cell::new(of))).collect::<Result<_, _>>()?;
        let mut pane = Pane::of_cells(id, start, cells);
        (pane.first, pane.last, pane.messages, pane.hops) = (first, last, messages, hops);
        pane.is_stored = true;
        Part::Pane(pane)
    };
    reader.end(part)
}

fn open_window(bytes: &[u8], newest: u8) -> Result<(u8, Reader<'_>), RowError> {
    match open(bytes, newest)? {
        (version, reader) if version > WINDOWS => Ok((version, reader)),
        (other, _) => Err(RowError::Version(other)),
    }
}

/// Lengths are written in 32 bits: what a window keeps is bounded far below.
pub(super) fn put_count(buffer: &mut BytesMut, count: usize) {
    buffer.put_u32_le(u32::try_from(count).expect("what a window keeps is bounded"));
}

pub(super) fn put_number(buffer: &mut BytesMut, number: Number) {
    put_bytes(buffer, number.text(Whole::AsWritten).as_bytes());
}

/// As JSON text; the empty text is Undefined.
fn put_value(buffer: &mut BytesMut, value: &Value) {
    put_bytes(buffer, json::text(value, Whole::AsWritten).as_bytes());
}

fn put_position(buffer: &mut BytesMut, position: Position) {
    put_time(buffer, position.event);
    buffer.put_u64_le(position.turn);
}

fn put_kept(buffer: &mut BytesMut, (position, value): &(Position, Value)) {
    put_position(buffer, *position);
    put_value(buffer, value);
}

fn put_cell(buffer: &mut BytesMut, cell: &Cell) {
    match cell {
        Cell::Count(count) => buffer.put_u64_le(*count),
        Cell::Sum(Sum { count, sum }) => {
            buffer.put_u64_le(*count);
            put_option(buffer, *sum, put_number);
        }
        Cell::Least(number) | Cell::Greatest(number) => put_option(buffer, *number, put_number),
        Cell::Moments(moments) => put_option(buffer, moments.as_ref(), |buffer, moments| {
            buffer.put_u64_le(moments.count);
            put_number(buffer, moments.origin);
            put_option(buffer, moments.sums, |buffer, (sum, squares)| {
                put_number(buffer, sum);
                put_number(buffer, squares);
            });
        }),
        Cell::First(kept) | Cell::Last(kept) => put_option(buffer, kept.as_ref(), put_kept),
        Cell::Collect(kept) => {
            put_count(buffer, kept.values.len());
            kept.values.iter().for_each(|kept| put_kept(buffer, kept));
        }
        Cell::Distinct(distinct) => {
            put_count(buffer, distinct.values.len());
            distinct.values.iter().for_each(|text| put_bytes(buffer, text.as_bytes()));
        }
        Cell::Quantile(quantile) => quantile.put(buffer),
    }
}

/// A row of [`encode_group`] with a watermark, as the layout before had it.
#[cfg(test)]
pub(super) fn in_layout_1(row: &[u8]) -> Bytes {
    // Behind the watermark: what it has left out, when windows were closed, turns, the checksum.
    let end = row.len() - 3 * size_of::<u64>();
    let (head, tail) = (&row[1..end - 2 * size_of::<i64>()], &row[end..row.len() - 8]);
    let mut buffer = BytesMut::new();
    buffer.put_u8(WINDOWS + 1);
    buffer.put_slice(head);
    buffer.put_slice(tail);
    finish(&mut buffer)
}

impl Reader<'_> {
    pub(super) fn number(&mut self) -> Result<Number, RowError> {
        Number::parse(self.text("number")?).ok_or(RowError::Field("number"))
    }

    fn value(&mut self) -> Result<Value, RowError> {
        let text = self.bytes()?;
        if text.is_empty() {
            return Ok(Value::Undefined);
        }
        json_reader::parse(text, Whole::AsWritten).map_err(|_| RowError::Field("value"))
    }

    fn position(&mut self) -> Result<Position, RowError> {
        Ok(Position { event: self.time()?, turn: self.u64()? })
    }

    fn kept(&mut self) -> Result<(Position, Value), RowError> {
        Ok((self.position()?, self.value()?))
    }

    /// A cell of the kind of the `empty` one.
    fn cell(&mut self, empty: Cell) -> Result<Cell, RowError> {
        Ok(match empty {
            Cell::Count(_) => Cell::Count(self.u64()?),
            Cell::Sum(_) => {
                Cell::Sum(Sum { count: self.u64()?, sum: self.option("sum", Self::number)? })
            }
            Cell::Least(_) => Cell::Least(self.option("min", Self::number)?),
            Cell::Greatest(_) => Cell::Greatest(self.option("max", Self::number)?),
            Cell::Moments(_) => Cell::Moments(self.option("variance", |reader| {
                Ok(Box::new(Moments {
                    count: reader.u64()?,
                    origin: reader.number()?,
                    sums: reader.option("variance", |r| Ok((r.number()?, r.number()?)))?,
                }))
            })?),
            Cell::First(_) => Cell::First(self.option("first", Self::kept)?),
            Cell::Last(_) => Cell::Last(self.option("last", Self::kept)?),
            Cell::Collect(mut kept) => {
                for _ in 0..self.u32()? {
                    let (position, value) = self.kept()?;
                    kept.bytes += size_of::<Position>() + value_bytes(&value);
                    kept.values.push((position, value));
                }
                Cell::Collect(kept)
            }
            Cell::Distinct(mut distinct) => {
                for _ in 0..self.u32()? {
                    let text = CompactString::from(self.text("distinct")?);
                    distinct.bytes += size_of::<CompactString>() + text.len();
                    distinct.values.insert(text);
                }
                Cell::Distinct(distinct)
            }
            Cell::Quantile(_) => Cell::Quantile(Quantile::read(self)?),
        })
    }
}
