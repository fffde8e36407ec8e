//! What is given to a client to be brought back: shard iterators, and where the next page of a list begins.
//!
//! Nothing is remembered here: a token says all, and is good over a restart. It has a checksum, so that one that
//! was cut or mistyped is told from one of ours; it gives no right that its bearer does not have without it, so it is
//! not signed. After [`KINESIS_TOKEN_LIFE`] it is refused, as AWS does.
//!
//! ```text
//! base64 of: kind, milliseconds since the epoch when it was issued, what it says, 8 bytes of SHA-256 of all that
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp as JiffTimestamp;
use sha2::Digest;
use sha2::Sha256;

use super::fault::Fault;
use crate::clock::Timestamp;
use crate::limits::KINESIS_TOKEN_BYTES_MAX;
use crate::limits::KINESIS_TOKEN_LIFE;
use crate::stream::Bookmark;

const ITERATOR: u8 = 1;
const PAGE: u8 = 2;
const SUM_BYTES: usize = 8;
const BOOKMARK_BYTES: usize = 16;

/// A place in a shard of a stream (`ShardIterator`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardIterator {
    pub(super) stream: String,
    pub(super) place: Bookmark,
}

impl ShardIterator {
    /// As text that is good from `now` on.
    pub(super) fn issue(&self, now: Timestamp) -> String {
        issue(ITERATOR, now, &[&self.place.to_bytes(), self.stream.as_bytes()])
    }

    /// Reads one, which may stand in double quotes (Kinesis takes those, too).
    pub(super) fn parse(text: &str, now: Timestamp) -> Result<ShardIterator, Fault> {
        let invalid = || Fault::invalid("Invalid ShardIterator.");
        let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        let (issued_at, said) = open(ITERATOR, text).ok_or_else(invalid)?;
        let (place, stream) = said.split_first_chunk::<BOOKMARK_BYTES>().ok_or_else(invalid)?;
        let stream = String::from_utf8(stream.to_vec()).map_err(|_| invalid())?;
        if now.since(issued_at) > KINESIS_TOKEN_LIFE {
            let message = format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} \
                 which is further in the future than the tolerated delay of {} milliseconds.",
                spelled(issued_at),
                spelled(now),
                KINESIS_TOKEN_LIFE.as_millis()
            );
            return Err(Fault::new("ExpiredIteratorException", message));
        }
        Ok(ShardIterator { stream, place: Bookmark::from_bytes(*place) })
    }
}

/// Where a list goes on: what it is a list of, behind which member (`NextToken`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NextPage {
    /// Of which operation it is, with what that has to know.
    pub(super) of: String,
    /// The last member of the page before.
    pub(super) after: String,
}

impl NextPage {
    /// As text that is good from `now` on. Neither part has a line break.
    pub(super) fn issue(&self, now: Timestamp) -> String {
        issue(PAGE, now, &[self.of.as_bytes(), b"\n", self.after.as_bytes()])
    }

    /// Reads one.
    pub(super) fn parse(text: &str, now: Timestamp) -> Result<NextPage, Fault> {
        let invalid = || Fault::invalid("Invalid NextToken.");
        let (issued_at, said) = open(PAGE, text).ok_or_else(invalid)?;
        let said = String::from_utf8(said).map_err(|_| invalid())?;
        let (of, after) = said.split_once('\n').ok_or_else(invalid)?;
        if now.since(issued_at) > KINESIS_TOKEN_LIFE {
            let message = format!(
                "NextToken expired: it was issued at {}, and is good for {} seconds.",
                spelled(issued_at),
                KINESIS_TOKEN_LIFE.as_secs()
            );
            return Err(Fault::new("ExpiredNextTokenException", message));
        }
        Ok(NextPage { of: of.to_owned(), after: after.to_owned() })
    }
}

fn issue(kind: u8, now: Timestamp, said: &[&[u8]]) -> String {
    let mut bytes = vec![kind];
    bytes.extend(now.as_millis().to_be_bytes());
    said.iter().for_each(|part| bytes.extend_from_slice(part));
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum[..SUM_BYTES]);
    STANDARD.encode(bytes)
}

fn open(kind: u8, text: &str) -> Option<(Timestamp, Vec<u8>)> {
    if text.len() > KINESIS_TOKEN_BYTES_MAX {
        return None;
    }
    let mut bytes = STANDARD.decode(text).ok()?;
    let sum = bytes.split_off(bytes.len().checked_sub(SUM_BYTES)?);
    if Sha256::digest(&bytes)[..SUM_BYTES] != sum {
        return None;
    }
    let (found, rest) = bytes.split_first()?;
    let (issued_at, said) = rest.split_first_chunk()?;
    let issued_at = Timestamp::from_millis(i64::from_be_bytes(*issued_at));
    (*found == kind).then(|| (issued_at, said.to_vec()))
}

/// A time as Java writes it, which AWS's messages have.
pub(super) fn spelled(at: Timestamp) -> String {
    match JiffTimestamp::from_millisecond(at.as_millis()) {
        Ok(at) => at.strftime("%a %b %d %H:%M:%S UTC %Y").to_string(),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn iterator(stream: &str) -> ShardIterator {
        ShardIterator { stream: stream.to_owned(), place: Bookmark::from_bytes([7; 16]) }
    }

    #[test]
    fn an_iterator_is_good_for_five_minutes_and_reads_back() {
        let iterator = iterator(&"n".repeat(128));
        let text = iterator.issue(NOW);
        assert!(text.len() <= 512, "the longest that the API's model allows");
        let later = NOW + Duration::from_secs(300);
        assert_eq!(ShardIterator::parse(&text, later), Ok(iterator.clone()));
        assert_eq!(ShardIterator::parse(&format!("\"{text}\""), NOW), Ok(iterator));
        let late = later + Duration::from_millis(1);
        let fault = ShardIterator::parse(&text, late).unwrap_err();
        assert_eq!(fault.kind, "ExpiredIteratorException");
        assert!(fault.message.contains("created at time Tue Nov 14 22:13:20 UTC 2023 while"));
    }

    #[test]
    fn what_is_no_token_of_ours_is_refused() {
        let text = iterator("s").issue(NOW);
        let page = NextPage { of: "shards s".to_owned(), after: "4".to_owned() };
        assert_eq!(NextPage::parse(&page.issue(NOW), NOW), Ok(page.clone()));
        let mut cut = text.clone();
        cut.truncate(8);
        let flipped = text.replacen(['A', 'B'], "C", 1);
        for wrong in ["", "x", "\"", &cut, &flipped, &page.issue(NOW), &"A".repeat(4000)] {
            let fault = ShardIterator::parse(wrong, NOW).unwrap_err();
            assert_eq!(
                (fault.kind, &*fault.message),
                ("InvalidArgumentException", "Invalid ShardIterator.")
            );
        }
        assert!(NextPage::parse(&text, NOW).is_err(), "an iterator is no page");
    }
}
