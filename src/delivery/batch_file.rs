//! A batch becomes a file, and those of its records that cannot be in it another.
//!
//! The batch is read a part at a time: neither the memory nor a read transaction grows with it. Where its columns
//! come from its records it is read twice.

use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crate::clock::Timestamp;
use crate::config::Column;

use super::block::read_block;
use super::columnar::Inference;
use super::failed_record;
use super::failed_record::Reason;
use super::form::NotPushed;
use super::form::Packing;
use super::object::ObjectWriter;
use super::table;
use super::table::Batch;
use super::worker::FlushError;
use super::worker::Worker;

/// A written batch.
pub(super) struct Written {
    /// The file; that of the errors, when nothing else was written.
    pub(super) path: PathBuf,
    pub(super) file_bytes: u64,
    pub(super) files: u64,
    pub(super) records: u64,
    /// Records that went to the error output instead.
    pub(super) failed: u64,
}

/// A block as it is stored.
struct Block {
    number: i64,
    oldest: Timestamp,
    blob: Vec<u8>,
}

/// The file of errors, which is made with the first.
#[derive(Default)]
struct Errors {
    file: Option<ObjectWriter>,
    lines: Vec<u8>,
    count: u64,
}

impl Worker {
    /// Writes the whole file, and one of the records that cannot be in it.
    pub(super) fn write_object(&self, batch: Batch) -> Result<Written, FlushError> {
        let inferred = batch.form.is_inferred().then(|| self.infer(&batch)).transpose()?;
        let mut encoder = batch.form.encoder(inferred)?;
        let directory = &self.delivery.directory(&self.delivery.config());
        let mut file = ObjectWriter::create(directory, &batch.object, batch.form.packing())?;
        let (mut out, mut records, mut errors) = (Vec::new(), 0, Errors::default());
        encoder.begin(&mut out);
        self.each_part(&batch, |blocks| {
            for block in blocks {
                let mut result = Ok(());
                let read = read_block(&block.blob, |data| match encoder.push(data, &mut out) {
                    Ok(()) => records += 1,
                    Err(NotPushed::Misfit(why)) => errors.push(data, block.oldest, &why),
                    Err(NotPushed::Failed(error)) => result = Err(error),
                });
                result?;
                if let Err(damage) = read {
                    self.delivery.metrics.damaged_blocks.inc();
                    tracing::error!(
                        delivery = %self.delivery.name, block = block.number, error = %damage,
                        "a block of a delivery buffer cannot be read; its records are lost"
                    );
                }
            }
            file.write(&out)?;
            out.clear();
            errors.write(directory, &batch)
        })?;
        encoder.finish(&mut out)?;
        file.write(&out)?;
        // The errors first, so that what is finished is finished whole.
        let failed = errors.count;
        let error_file = errors.file.map(ObjectWriter::finish).transpose()?;
        let files = 1 + u64::from(records > 0 && error_file.is_some());
        let (path, file_bytes) = match error_file {
            // A file of nothing but a header is nobody's.
            Some(errors) if records == 0 => errors,
            _ => file.finish()?,
        };
        Ok(Written { path, file_bytes, files, records, failed })
    }

    /// The columns of a batch, by its records.
    fn infer(&self, batch: &Batch) -> Result<Vec<Column>, FlushError> {
        let mut inference = Inference::default();
        self.each_part(batch, |blocks| {
            for block in blocks {
                // That a block is damaged is told when the file is written.
                read_block(&block.blob, |data| inference.take(data)).ok();
            }
            Ok(())
        })?;
        Ok(inference.columns())
    }

    /// Calls `take` with the blocks of a batch, in order, some at a time.
    fn each_part(
        &self,
        batch: &Batch,
        mut take: impl FnMut(Vec<Block>) -> Result<(), FlushError>,
    ) -> Result<(), FlushError> {
        let mut after = self.backlog.extent().floor.block;
        while after < batch.last.block {
            if self.tools.abort.load(Ordering::Relaxed) {
                return Err(FlushError::Stopped);
            }
            let mut blocks = Vec::new();
            after = table::read_blocks(
                self.tools.reader.lock().sqlite(),
                self.backlog.row,
                after,
                batch.last.block,
                |number, oldest, blob| blocks.push(Block { number, oldest, blob: blob.to_vec() }),
            )?;
            take(blocks)?;
        }
        Ok(())
    }
}

impl Errors {
    fn push(&mut self, data: &[u8], oldest: Timestamp, why: &str) {
        let line = failed_record::line(data, oldest, Reason::Format, why);
        self.lines.extend_from_slice(&line);
        self.lines.push(b'\n');
        self.count += 1;
    }

    /// Writes what has been pushed.
    fn write(&mut self, directory: &Path, batch: &Batch) -> Result<(), FlushError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let made = ObjectWriter::create(directory, &batch.error_object, Packing::None)?;
                self.file.insert(made)
            }
        };
        file.write(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}
