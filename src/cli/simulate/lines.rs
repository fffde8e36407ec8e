//! Recorded lines, read ahead by a thread of their own: decompressing and parsing cost about as much
//! as the rules do.

use std::sync::mpsc;

use crate::recording::MalformedLine;
use crate::recording::RecordedPublish;
use crate::recording::Recording;
use crate::recording::RecordingError;

/// Lines handed over at once: the cost of a hand-over is spread over them.
const BATCH: usize = 512;
/// Batches read ahead.
const BATCHES_AHEAD: usize = 4;

/// A line, or why it is none, or why there will be no more.
pub(super) type Line = Result<Result<RecordedPublish, MalformedLine>, RecordingError>;

/// Starts reading; ends when the recording does, or when the receiver is dropped.
pub(super) fn read_ahead(recording: Recording) -> mpsc::Receiver<Vec<Line>> {
    let (batches, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
    std::thread::spawn(move || {
        let mut lines = recording.glancing();
        loop {
            let batch: Vec<Line> = lines.by_ref().take(BATCH).collect();
            if batch.is_empty() || batches.send(batch).is_err() {
                return;
            }
        }
    });
    receiver
}
