//! Recorded telemetry: NDJSON lines `{"t":ms,"topic","payload"|"payload_base64","client_id"?}`.
//!
//! [`Recording`] reads a file or a pipe, gzip or plain (told apart by the first two bytes), one
//! line at a time in bounded memory. A line that is not understood is handed out as
//! [`MalformedLine`] with its number, and reading goes on. Other members of a line are passed over.
//! `payload_b64`, which other recorders write, is `payload_base64`.
//! `payload` is any JSON value and is published as it stands in the line, byte for byte.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytes::BytesMut;
use flate2::read::MultiGzDecoder;
use foldhash::fast::RandomState;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::limits::RECORDED_LINE_BYTES_MAX;
use crate::limits::TOPIC_CACHE_MAX;
use crate::topic::TopicName;

/// Payload bytes that share an allocation.
const PAYLOADS_BYTES: usize = 64 * 1024;
/// Digits of a time that is read at a glance: they fit 64 bits.
const TIME_DIGITS_MAX: usize = 18;
/// What is read, and decompressed, at once.
const READ_BYTES: usize = 64 * 1024;

/// Why a recording cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file does not open.
    #[error("cannot open the recording {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Reading or decompressing failed.
    #[error("cannot read the recording {} after line {line}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The last whole line, from 1; 0 when there was none.
        line: u64,
        /// The reason.
        source: io::Error,
    },
}

/// A line that is no recorded message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct MalformedLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// One recorded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedPublish {
    /// Number of its line, from 1.
    pub line: u64,
    /// When it was recorded.
    pub t: Timestamp,
    /// Its topic.
    pub topic: TopicName,
    /// Its payload.
    pub payload: Bytes,
    /// Who published it, when the recording says.
    pub client_id: Option<Arc<str>>,
    /// The whole line, where its payload has not been looked at; see [`Recording::glancing`].
    pub unread: Option<Bytes>,
}

/// Reads a line that has been handed out [at a glance](Recording::glancing): it may say something else than it
/// seemed to, or be none. `line` is its number.
pub fn read_line(text: &[u8], line: u64) -> Result<RecordedPublish, MalformedLine> {
    Reading::default().parse(text, line).map_err(|reason| MalformedLine { line, reason })
}

/// Reads recorded lines. See the module's text.
pub struct Recording {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    buffer: Vec<u8>,
    reading: Reading,
    is_glancing: bool,
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
    is_ended: bool,
}

impl Recording {
    /// Opens `path`; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let error = |source| RecordingError::Open { path: path.to_owned(), source };
        if path.as_os_str() == "-" {
            return Self::start(path, Box::new(io::stdin()), None).map_err(error);
        }
        let file = File::open(path).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        if metadata.is_dir() {
            return Err(error(io::ErrorKind::IsADirectory.into()));
        }
        // Nobody knows how much comes out of a pipe.
        let total = metadata.is_file().then_some(metadata.len());
        Self::start(path, Box::new(file), total).map_err(error)
    }

    fn start(path: &Path, source: Box<dyn Read + Send>, total: Option<u64>) -> io::Result<Self> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut source = Counted { source, bytes_read: bytes_read.clone() };
        let mut magic = Vec::with_capacity(2);
        source.by_ref().take(2).read_to_end(&mut magic)?;
        let is_gzip = magic == [0x1f, 0x8b];
        let whole = io::Cursor::new(magic).chain(source);
        let reader: Box<dyn BufRead + Send> = if is_gzip {
            let source = BufReader::with_capacity(READ_BYTES, whole);
            Box::new(BufReader::with_capacity(READ_BYTES, MultiGzDecoder::new(source)))
        } else {
            Box::new(BufReader::with_capacity(READ_BYTES, whole))
        };
        Ok(Recording {
            path: path.to_owned(),
            reader,
            line: 0,
            buffer: Vec::new(),
            reading: Reading::default(),
            is_glancing: false,
            bytes_read,
            bytes_total: total,
            is_ended: false,
        })
    }

    /// The recording, its lines handed out before their payloads have been looked at, as far as their ends tell
    /// what is payload. Whoever does not find JSON in such a payload must have the line
    /// [read](read_line). Reading a payload twice is a fifth of what a simulation costs.
    pub fn glancing(mut self) -> Self {
        self.is_glancing = true;
        self
    }

    /// Bytes of the file read so far (compressed ones when it is gzip); shared, for a progress bar.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        self.bytes_read.clone()
    }

    /// Size of the file; `None` for a pipe.
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// Reads the next line into the buffer. `None` at the end.
    fn next_line(&mut self) -> io::Result<Option<LineLength>> {
        // One byte more than a line may have: whoever takes it is too long.
        const MOST: u64 = RECORDED_LINE_BYTES_MAX as u64 + 1;
        self.buffer.clear();
        let mut length = LineLength::Whole;
        loop {
            let read = self.reader.by_ref().take(MOST).read_until(b'\n', &mut self.buffer)?;
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
                return Ok(Some(length));
            }
            if self.buffer.len() <= RECORDED_LINE_BYTES_MAX {
                let is_end = read == 0 && length == LineLength::Whole;
                return Ok(if is_end { None } else { Some(length) });
            }
            // The rest of it is read to be passed over.
            length = LineLength::TooLong;
            self.buffer.clear();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineLength {
    Whole,
    TooLong,
}

impl Iterator for Recording {
    type Item = Result<Result<RecordedPublish, MalformedLine>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_ended {
            let length = match self.next_line() {
                Ok(Some(length)) => length,
                Ok(None) => {
                    self.is_ended = true;
                    break;
                }
                Err(source) => {
                    self.is_ended = true;
                    let path = self.path.clone();
                    return Some(Err(RecordingError::Read { path, line: self.line, source }));
                }
            };
            self.line += 1;
            let line = self.line;
            if length == LineLength::TooLong {
                let reason = format!("longer than {RECORDED_LINE_BYTES_MAX} bytes");
                return Some(Ok(Err(MalformedLine { line, reason })));
            }
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if self.is_glancing
                && let Some(publish) = self.reading.glance(&self.buffer, line)
            {
                return Some(Ok(Ok(publish)));
            }
            let parsed = self.reading.parse(&self.buffer, line);
            return Some(Ok(parsed.map_err(|reason| MalformedLine { line, reason })));
        }
        None
    }
}

/// A line as it is written.
#[derive(Deserialize)]
struct WrittenLine<'a> {
    t: i64,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "payload_b64")]
    payload_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    client_id: Option<Cow<'a, str>>,
}

/// `"payload": null` is a payload, not the lack of one.
fn present<'de, D>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Topics and clients of a recording: few, and each comes again and again. All are forgotten when there
/// are too many.
#[derive(Default)]
struct Names {
    topics: HashMap<Box<str>, TopicName, RandomState>,
    clients: HashMap<Box<str>, Arc<str>, RandomState>,
}

impl Names {
    fn topic(&mut self, text: &str) -> Result<TopicName, String> {
        if let Some(topic) = self.topics.get(text) {
            return Ok(topic.clone());
        }
        let topic = TopicName::parse(text).map_err(|error| format!("topic: {error}"))?;
        if self.topics.len() >= TOPIC_CACHE_MAX {
            self.topics.clear();
        }
        self.topics.insert(text.into(), topic.clone());
        Ok(topic)
    }

    fn client(&mut self, text: &str) -> Arc<str> {
        if let Some(client) = self.clients.get(text) {
            return Arc::clone(client);
        }
        let client: Arc<str> = Arc::from(text);
        if self.clients.len() >= TOPIC_CACHE_MAX {
            self.clients.clear();
        }
        self.clients.insert(text.into(), Arc::clone(&client));
        client
    }
}

/// What reading one line leaves for the next.
#[derive(Default)]
struct Reading {
    names: Names,
    /// Payloads are cut from it: one allocation for many.
    payloads: BytesMut,
}

impl Reading {
    fn parse(&mut self, line: &[u8], number: u64) -> Result<RecordedPublish, String> {
        let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let written: WrittenLine<'_> =
            serde_json::from_str(text).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => error.to_string(),
                _ => format!("not JSON: {error}"),
            })?;
        let payload = match (written.payload, written.payload_base64) {
            (Some(json), None) => self.copy(json.get().as_bytes()),
            (None, Some(base64)) => STANDARD
                .decode(base64.as_bytes())
                .map_err(|error| format!("payload_base64: {error}"))?
                .into(),
            (Some(_), Some(_)) => {
                return Err("both payload and payload_base64 are given".to_owned());
            }
            (None, None) => return Err("payload or payload_base64 is missing".to_owned()),
        };
        let client_id = written.client_id.filter(|id| !id.is_empty());
        Ok(RecordedPublish {
            line: number,
            t: Timestamp::from_millis(written.t),
            topic: self.names.topic(&written.topic)?,
            payload,
            client_id: client_id.map(|id| self.names.client(&id)),
            unread: None,
        })
    }

    /// A line as recorders write nearly all of them, its payload not looked at. `None` for any other.
    fn glance(&mut self, line: &[u8], number: u64) -> Option<RecordedPublish> {
        let rest = line.strip_prefix(b"{\"t\":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (t, rest) = rest.split_at_checked(digits).filter(|_| digits <= TIME_DIGITS_MAX)?;
        if t.is_empty() || t.len() > 1 && t.starts_with(b"0") {
            return None;
        }
        let t = t.iter().fold(0, |t, digit| t * 10 + i64::from(digit - b'0'));
        let rest = rest.strip_prefix(b",\"topic\":\"")?;
        let (topic, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'"')?)?;
        if topic.iter().any(|byte| *byte == b'\\' || *byte < b' ') {
            return None;
        }
        let payload = rest.strip_prefix(b"\",\"payload\":")?.strip_suffix(b"}")?;
        // What else the line says behind it would be seen here, or is when the payload is read.
        if !matches!((payload.first()?, payload.last()?), (b'{', b'}') | (b'[', b']')) {
            return None;
        }
        let topic = self.names.topic(std::str::from_utf8(topic).ok()?).ok()?;
        let start = line.len() - 1 - payload.len();
        let line = self.copy(line);
        let payload = line.slice(start..line.len() - 1);
        let (t, unread) = (Timestamp::from_millis(t), Some(line));
        Some(RecordedPublish { line: number, t, topic, payload, client_id: None, unread })
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.payloads.capacity() < bytes.len() {
            self.payloads.reserve(bytes.len().max(PAYLOADS_BYTES));
        }
        self.payloads.extend_from_slice(bytes);
        self.payloads.split().freeze()
    }
}

/// Counts what passes through.
struct Counted {
    source: Box<dyn Read + Send>,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(bytes)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<Result<RecordedPublish, MalformedLine>> {
        let source = Box::new(io::Cursor::new(bytes.to_vec()));
        Recording::start(Path::new("test"), source, None).unwrap().map(Result::unwrap).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    const LINES: &str = concat!(
        "{\"t\":1,\"topic\":\"lab/1\",\"payload\":{\"n\":1.50, \"s\":\"é\"},\"src\":\"x\"}\n",
        "\r\n",
        "{\"t\":2,\"topic\":\"lab/\\u0031\",\"payload_base64\":\"AP8=\",\"client_id\":\"mote-1\"}\n",
        "{\"t\":3,\"topic\":\"lab/1\",\"payload\":null}\n",
        "{\"t\":3,\"topic\":\"lab/1\",\"payload_b64\":\"AA==\"}",
    );

    #[test]
    fn payload_is_published_as_it_stands_in_the_line() {
        let lines: Vec<_> = read(LINES.as_bytes()).into_iter().map(Result::unwrap).collect();
        assert_eq!(lines[0].payload, "{\"n\":1.50, \"s\":\"é\"}".as_bytes());
        assert_eq!(lines[1].payload, [0u8, 255][..]);
        assert_eq!(lines[1].topic.as_str(), "lab/1");
        assert_eq!(lines[1].client_id.as_deref(), Some("mote-1"));
        assert_eq!((lines[1].line, lines[1].t), (3, Timestamp::from_millis(2)));
        assert_eq!(lines[2].payload, "null".as_bytes());
        assert_eq!(lines[3].payload, [0u8][..]);
    }

    #[test]
    fn gzip_is_known_by_its_first_bytes_and_may_have_several_members() {
        let plain = read(LINES.as_bytes());
        let (first, rest) = LINES.as_bytes().split_at(70);
        let members = [gzip(first), gzip(rest)].concat();
        assert_eq!(read(&members), plain);
    }

    #[test]
    fn a_glance_sees_what_is_there_or_leaves_the_line_to_be_read() {
        let lines = [
            (r#"{"t":1,"topic":"a/b","payload":{"n":1.50,"s":"é"}}"#, true),
            (r#"{"t":0,"topic":"é","payload":[1,{"a":[]},null]}"#, true),
            (r#"{"t":1,"topic":"a","payload":{"x":}}"#, true),
            (r#"{"t":1,"topic":"a","payload":{"x":1},"meta":{"y":2}}"#, true),
            (r#"{"t":1,"topic":"a","payload":{"x":1},"client_id":"m"}"#, false),
            (r#"{"t":1,"topic":"a","payload":1}"#, false),
            (r#"{"t":1,"topic":"a","payload":{} }"#, false),
            (r#"{"t":01,"topic":"a","payload":{}}"#, false),
            (r#"{"t":-1,"topic":"a","payload":{}}"#, false),
            (r#"{"t":1.5,"topic":"a","payload":{}}"#, false),
            (r#"{"t":9999999999999999999,"topic":"a","payload":{}}"#, false),
            (r#"{"t":1,"topic":"a/#","payload":{}}"#, false),
            (r#"{"t":1,"topic":"a\u0062","payload":{}}"#, false),
            (r#"{"topic":"a","t":1,"payload":{}}"#, false),
            (r#" {"t":1,"topic":"a","payload":{}}"#, false),
        ];
        for (line, is_seen) in lines {
            let read = Reading::default().parse(line.as_bytes(), 7);
            let glance = Reading::default().glance(line.as_bytes(), 7);
            assert_eq!(glance.is_some(), is_seen, "{line}");
            let Some(glance) = glance else { continue };
            assert_eq!(
                read_line(line.as_bytes(), 7).map_err(|malformed| malformed.reason),
                read,
                "{line}"
            );
            if serde_json::from_slice::<&RawValue>(&glance.payload).is_ok() {
                assert_eq!(RecordedPublish { unread: None, ..glance }, read.unwrap(), "{line}");
            }
        }
    }

    #[test]
    fn malformed_lines_are_named_and_reading_goes_on() {
        let lines = read(
            b"{\"t\":1,\"topic\":\"a/+\",\"payload\":1}\n\
              [1]\n\
              {\"t\":1,\"topic\":\"a\"}\n\
              {\"t\":1,\"topic\":\"a\",\"payload\":1,\"payload_base64\":\"\"}\n\
              {\"t\":1,\"topic\":\"a\",\"payload_base64\":\"*\"}\n\
              {\"t\":1,\"topic\":\"a\",\"payload\":{\n\
              \xff\n\
              {\"t\":1,\"topic\":\"a\",\"payload\":1}\n",
        );
        let told: Vec<_> = lines
            .iter()
            .map(|line| match line {
                Ok(publish) => format!("line {}: ok", publish.line),
                Err(malformed) => malformed.to_string(),
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let mut bytes = vec![b'x'; RECORDED_LINE_BYTES_MAX + 2];
        bytes.extend_from_slice(b"\n{\"t\":1,\"topic\":\"a\",\"payload\":1}");
        let lines = read(&bytes);
        assert_eq!(lines[0].as_ref().unwrap_err().line, 1);
        assert_eq!(lines[1].as_ref().unwrap().line, 2);
    }

    #[test]
    fn a_cut_off_gzip_file_is_an_error_after_its_whole_lines() {
        let mut cut = gzip(LINES.repeat(1000).as_bytes());
        cut.truncate(cut.len() - 8);
        let source = Box::new(io::Cursor::new(cut));
        let last = Recording::start(Path::new("cut.gz"), source, None).unwrap().last().unwrap();
        assert!(matches!(last, Err(RecordingError::Read { line: 1.., .. })), "{last:?}");
    }

    #[test]
    fn opening_a_folder_or_nothing_is_an_error() {
        assert!(Recording::open(Path::new("/")).is_err());
        assert!(Recording::open(Path::new("/no/such/recording")).is_err());
    }
}
