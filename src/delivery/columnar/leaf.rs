//! One column of a row group while it is collected.
//!
//! Levels are kept as runs: a column that is always there, or never, takes next to nothing, so a thousand columns of which a
//! record has three cost three.

use bytes::Bytes;
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::BoolType;
use parquet::data_type::ByteArray;
use parquet::data_type::ByteArrayType;
use parquet::data_type::DataType;
use parquet::data_type::DoubleType;
use parquet::data_type::FloatType;
use parquet::data_type::Int32Type;
use parquet::data_type::Int64Type;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;

use super::shape::Cell;
use super::shape::LeafLevels;
use super::shape::Scalar;

/// Levels written at once, about: a record is not divided.
const CHUNK_LEVELS: usize = 8192;

/// The same levels so many times.
#[derive(Clone, Copy, Debug)]
struct Run {
    def: i16,
    rep: i16,
    count: u32,
}

#[derive(Debug)]
enum Values {
    Bool(Vec<bool>),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    /// One behind the other, and where each ends.
    Text(Vec<u8>, Vec<usize>),
}

/// A column.
#[derive(Debug)]
pub(super) struct Leaf {
    levels: LeafLevels,
    runs: Vec<Run>,
    values: Values,
}

impl Leaf {
    pub(super) fn new(levels: LeafLevels) -> Leaf {
        let values = match levels.scalar {
            Scalar::Boolean => Values::Bool(Vec::new()),
            Scalar::Int | Scalar::Date => Values::Int(Vec::new()),
            Scalar::Bigint | Scalar::Timestamp => Values::Long(Vec::new()),
            Scalar::Float => Values::Float(Vec::new()),
            Scalar::Double => Values::Double(Vec::new()),
            Scalar::Text => Values::Text(Vec::new(), Vec::new()),
        };
        Leaf { levels, runs: Vec::new(), values }
    }

    /// Adds that there is nothing below level `def`; answers by how many bytes it has grown.
    pub(super) fn push_absence(&mut self, def: i16, rep: i16) -> usize {
        match self.runs.last_mut() {
            Some(run) if run.def == def && run.rep == rep && run.count < u32::MAX => {
                run.count += 1;
                0
            }
            _ => {
                self.runs.push(Run { def, rep, count: 1 });
                size_of::<Run>()
            }
        }
    }

    /// Adds a value of the column's own type; answers by how many bytes it has grown.
    pub(super) fn push(&mut self, cell: Cell<'_>, rep: i16) -> usize {
        let size = match (&mut self.values, cell) {
            (Values::Bool(all), Cell::Bool(value)) => add(all, value),
            (Values::Int(all), Cell::Int(value)) => add(all, value),
            (Values::Long(all), Cell::Long(value)) => add(all, value),
            (Values::Float(all), Cell::Float(value)) => add(all, value),
            (Values::Double(all), Cell::Double(value)) => add(all, value),
            (Values::Text(bytes, ends), Cell::Text(text)) => {
                bytes.extend_from_slice(text.as_bytes());
                text.len() + add(ends, bytes.len())
            }
            (_, cell) => unreachable!("a column of {:?} is given {cell:?}", self.levels.scalar),
        };
        size + self.push_absence(self.levels.def_max, rep)
    }

    /// Writes all there is, and is empty.
    pub(super) fn write(
        &mut self,
        writer: &mut SerializedColumnWriter<'_>,
    ) -> Result<(), ParquetError> {
        let runs = std::mem::take(&mut self.runs);
        let mut chunks = Chunks::new(&runs, self.levels);
        match &mut self.values {
            Values::Bool(all) => chunks.write(writer.typed::<BoolType>(), std::mem::take(all)),
            Values::Int(all) => chunks.write(writer.typed::<Int32Type>(), std::mem::take(all)),
            Values::Long(all) => chunks.write(writer.typed::<Int64Type>(), std::mem::take(all)),
            Values::Float(all) => chunks.write(writer.typed::<FloatType>(), std::mem::take(all)),
            Values::Double(all) => chunks.write(writer.typed::<DoubleType>(), std::mem::take(all)),
            Values::Text(bytes, ends) => {
                let bytes = Bytes::from(std::mem::take(bytes));
                let mut begin = 0;
                let texts = std::mem::take(ends).into_iter().map(|end| {
                    ByteArray::from(bytes.slice(std::mem::replace(&mut begin, end)..end))
                });
                chunks.write(writer.typed::<ByteArrayType>(), texts.collect())
            }
        }
    }
}

fn add<T>(all: &mut Vec<T>, value: T) -> usize {
    all.push(value);
    size_of::<T>()
}

/// Runs, some records at a time.
struct Chunks<'r> {
    runs: std::slice::Iter<'r, Run>,
    /// What is left of the one begun.
    rest: Option<Run>,
    levels: LeafLevels,
    defs: Vec<i16>,
    reps: Vec<i16>,
}

impl<'r> Chunks<'r> {
    fn new(runs: &'r [Run], levels: LeafLevels) -> Chunks<'r> {
        let mut runs = runs.iter();
        let rest = runs.next().copied();
        Chunks { runs, rest, levels, defs: Vec::new(), reps: Vec::new() }
    }

    /// Puts the levels of the next records into `defs` and `reps`; answers whether there are any.
    fn next(&mut self) -> bool {
        self.defs.clear();
        self.reps.clear();
        while let Some(run) = &mut self.rest {
            let room = CHUNK_LEVELS.saturating_sub(self.defs.len());
            // A record begins with each level of 0, and only there may it be cut.
            let now = if run.rep == 0 { room.min(run.count as usize) } else { run.count as usize };
            if now == 0 {
                break;
            }
            self.defs.resize(self.defs.len() + now, run.def);
            self.reps.resize(self.reps.len() + now, run.rep);
            run.count -= u32::try_from(now).expect("it is not more than the run has");
            if run.count == 0 {
                self.rest = self.runs.next().copied();
            }
        }
        !self.defs.is_empty()
    }

    fn write<T: DataType>(
        &mut self,
        writer: &mut ColumnWriterImpl<'_, T>,
        values: Vec<T::T>,
    ) -> Result<(), ParquetError> {
        let mut rest = &values[..];
        while self.next() {
            let is_value = |def: &&i16| **def == self.levels.def_max;
            let (now, later) = rest.split_at(self.defs.iter().filter(is_value).count());
            let reps = (self.levels.rep_max > 0).then_some(&self.reps[..]);
            writer.write_batch(now, Some(&self.defs), reps)?;
            rest = later;
        }
        Ok(())
    }
}
