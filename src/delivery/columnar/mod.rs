//! Records → a Parquet file.
//!
//! The columns are given ([`crate::config::ParquetConfig`]), or come from the records of the file ([`Inference`], in a pass of its
//! own). A record is read as a tree ([`node`]), checked whole against the columns ([`shape`]), and only then taken apart into
//! them ([`leaf`]); so one that does not fit leaves nothing behind.
//!
//! A row group is collected in memory and ends at [`PARQUET_GROUP_BYTES_MAX`] bytes of values or
//! [`PARQUET_GROUP_ROWS_MAX`] rows; what it becomes is handed on at once. What is kept until the end is the footer: some hundred
//! bytes a column of each group.
//!
//! The crate `parquet` is used below its arrow layer: our values are rows of JSON, of which arrow would make arrays, and
//! arrow doubles what has to be compiled.

mod inference;
mod leaf;
mod node;
mod shape;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::basic::GzipLevel;
use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use crate::config::Column;
use crate::limits::PARQUET_GROUP_BYTES_MAX;
use crate::limits::PARQUET_GROUP_ROWS_MAX;
use crate::limits::PARQUET_RECORD_CELLS_MAX;

use super::form::NotPushed;
use super::form::Packing;

pub(super) use inference::Inference;

use leaf::Leaf;
use node::Node;
use shape::Members;
use shape::Shape;
use shape::Slot;

/// Characters of a number that a message quotes.
const QUOTED_CHARS: usize = 40;

/// A file on its way.
pub(super) struct ColumnFile {
    root: Members,
    leaves: Vec<Leaf>,
    /// Whether a field without a column is one too many; else it is left out.
    is_inferred: bool,
    /// Of the row group: bytes that it takes, and rows.
    bytes: usize,
    rows: usize,
    writer: SerializedFileWriter<Vec<u8>>,
}

impl ColumnFile {
    /// Begins a file of `columns`.
    pub(super) fn new(
        columns: &[Column],
        is_inferred: bool,
        packing: Packing,
    ) -> io::Result<ColumnFile> {
        let mut levels = Vec::new();
        let root = Members::of(columns, &mut levels);
        let compression = match packing {
            Packing::None => Compression::UNCOMPRESSED,
            Packing::Gzip | Packing::Zip => Compression::GZIP(GzipLevel::default()),
            Packing::Snappy | Packing::HadoopSnappy => Compression::SNAPPY,
            Packing::Zstd => Compression::ZSTD(ZstdLevel::default()),
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by(concat!("tidegate version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = shape::schema(columns).map_err(io::Error::other)?;
        let writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties));
        Ok(ColumnFile {
            root,
            leaves: levels.into_iter().map(Leaf::new).collect(),
            is_inferred,
            bytes: 0,
            rows: 0,
            writer: writer.map_err(io::Error::other)?,
        })
    }

    /// Adds a record; `out` gets what of the file is ready.
    pub(super) fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), NotPushed> {
        let misfit = |why: Cow<'static, str>| NotPushed::Misfit(why);
        let record = Node::record(data).map_err(|why| misfit(why.into()))?;
        if self.leaves.is_empty() {
            return Err(misfit("no record of the file has a field with a type".into()));
        }
        let mut check = Check { is_inferred: self.is_inferred, cells: 0, path: Vec::new() };
        check.members(&record, &self.root).map_err(|why| misfit(why.into()))?;
        self.bytes += write_members(&mut self.leaves, &record, &self.root, 0);
        self.rows += 1;
        if self.bytes >= PARQUET_GROUP_BYTES_MAX || self.rows >= PARQUET_GROUP_ROWS_MAX {
            self.end_group().map_err(|error| NotPushed::Failed(io::Error::other(error)))?;
            out.append(self.writer.inner_mut());
        }
        Ok(())
    }

    /// Adds the rest of the file.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.rows > 0 {
            self.end_group().map_err(io::Error::other)?;
        }
        self.writer.finish().map_err(io::Error::other)?;
        out.append(self.writer.inner_mut());
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for leaf in &mut self.leaves {
            let Some(mut column) = group.next_column()? else { break };
            leaf.write(&mut column)?;
            column.close()?;
        }
        group.close()?;
        (self.bytes, self.rows) = (0, 0);
        Ok(())
    }
}

/// Whether a record fits, before anything of it is written.
struct Check<'n> {
    is_inferred: bool,
    /// Cells that the record takes.
    cells: usize,
    /// The way to the value that is looked at.
    path: Vec<&'n str>,
}

impl<'n> Check<'n> {
    fn members(
        &mut self,
        found: &'n [(Cow<'_, str>, Node<'_>)],
        members: &Members,
    ) -> Result<(), String> {
        for (name, value) in found {
            self.path.push(name);
            match members.places.get(&**name) {
                Some(place) => self.value(value, &members.slots[*place].1)?,
                None if self.is_inferred && value.says_something() => {
                    return Err(self.told("does not fit what other records of the file have"));
                }
                None => {}
            }
            self.path.pop();
        }
        // What is absent takes cells as well.
        self.take(members.leaves())
    }

    fn value(&mut self, value: &'n Node<'_>, slot: &Slot) -> Result<(), String> {
        match (&slot.shape, value) {
            (_, Node::Null) => self.take(slot.leaves.len()),
            (Shape::Leaf(scalar), value) => match scalar.cell(value) {
                Some(_) => self.take(1),
                None => {
                    Err(self.told(&format!("is {}, its column {}", shown(value), scalar.name())))
                }
            },
            (Shape::List(element, _), Node::List(items)) => {
                self.take(slot.leaves.len())?;
                items.iter().try_for_each(|item| self.value(item, element))
            }
            (Shape::Struct(members), Node::Object(found)) => self.members(found, members),
            (Shape::List(..), other) => {
                Err(self.told(&format!("is {}, its column an array", shown(other))))
            }
            (Shape::Struct(_), other) => {
                Err(self.told(&format!("is {}, its column a struct", shown(other))))
            }
        }
    }

    fn take(&mut self, cells: usize) -> Result<(), String> {
        self.cells += cells;
        match self.cells <= PARQUET_RECORD_CELLS_MAX {
            true => Ok(()),
            false => Err(format!("the record takes more than {PARQUET_RECORD_CELLS_MAX} cells")),
        }
    }

    fn told(&self, what: &str) -> String {
        format!("the field {} {what}", self.path.join("."))
    }
}

/// A value in a message.
fn shown(value: &Node<'_>) -> String {
    match value {
        Node::Number(number) => {
            format!("the number {}", number.chars().take(QUOTED_CHARS).collect::<String>())
        }
        other => other.what().to_owned(),
    }
}

/// Writes an object whose definition level is one below those of `members`; answers by how many bytes the columns have
/// grown. Of members with the same name the last counts.
fn write_members(
    leaves: &mut [Leaf],
    found: &[(Cow<'_, str>, Node<'_>)],
    members: &Members,
    rep: i16,
) -> usize {
    let mut values: Vec<Option<&Node<'_>>> = vec![None; members.slots.len()];
    for (name, value) in found {
        if let Some(place) = members.places.get(&**name) {
            values[*place] = Some(value);
        }
    }
    let slots = members.slots.iter().zip(values);
    slots.map(|((_, slot), value)| write_value(leaves, value, slot, slot.def - 1, rep)).sum()
}

/// Writes a value, or that there is none: then the last that there is has the definition level `above`.
fn write_value(
    leaves: &mut [Leaf],
    value: Option<&Node<'_>>,
    slot: &Slot,
    above: i16,
    rep: i16,
) -> usize {
    let absent = |leaves: &mut [Leaf], def| -> usize {
        leaves[slot.leaves.clone()].iter_mut().map(|leaf| leaf.push_absence(def, rep)).sum()
    };
    match (&slot.shape, value) {
        (Shape::Leaf(scalar), Some(value)) => match scalar.cell(value) {
            Some(cell) => leaves[slot.leaves.start].push(cell, rep),
            None => absent(leaves, above),
        },
        (Shape::List(..), Some(Node::List(items))) if items.is_empty() => absent(leaves, slot.def),
        (Shape::List(element, rep_next), Some(Node::List(items))) => {
            let mut rep = rep;
            items
                .iter()
                .map(|item| {
                    let rep = std::mem::replace(&mut rep, *rep_next);
                    write_value(leaves, Some(item), element, slot.def + 1, rep)
                })
                .sum()
        }
        (Shape::Struct(members), Some(Node::Object(found))) => {
            write_members(leaves, found, members, rep)
        }
        _ => absent(leaves, above),
    }
}

#[cfg(test)]
mod tests;
