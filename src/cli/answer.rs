//! Standard output, as the commands see it.

use std::error::Error;
use std::fmt;
use std::io;
use std::io::BufWriter;
use std::io::Stdout;
use std::io::Write;

/// Marks the write error of a standard output whose reader has gone. A socket's broken pipe is a
/// failure; this one is how `| head` says that it has seen enough.
#[derive(Debug)]
struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output has gone")
    }
}

impl Error for ReaderGone {}

/// Buffered standard output that tells its own broken pipe from any other.
pub(super) struct Answer<W: Write> {
    out: BufWriter<W>,
}

impl Answer<Stdout> {
    /// The process's standard output.
    pub(super) fn stdout() -> Self {
        Answer { out: BufWriter::new(io::stdout()) }
    }
}

impl<W: Write> Write for Answer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(mark)
    }
}

fn mark(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        io::Error::new(io::ErrorKind::BrokenPipe, ReaderGone)
    } else {
        error
    }
}

/// Whether `error` came from an [`Answer`] whose reader has gone.
pub(super) fn reader_has_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(|inner| inner.is::<ReaderGone>())
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_standard_output_is_told_from_another_broken_pipe() {
        let mut answer = Answer { out: BufWriter::new(Closed) };
        answer.write_all(b"hit\n").unwrap();
        let gone = anyhow::Error::from(answer.flush().unwrap_err());
        assert!(reader_has_gone(&gone));
        let wrapped = Err::<(), _>(gone).context("while following the stream").unwrap_err();
        assert!(reader_has_gone(&wrapped));

        let socket = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(!reader_has_gone(&socket));
        // The buffer would try once more when it is dropped; nothing is left to be told then.
        std::mem::forget(answer);
    }
}
