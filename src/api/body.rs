//! The body of a request, within its bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use bytes::BytesMut;
use futures_util::StreamExt;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("a body has at most {0} bytes")]
    TooLarge(usize),
    #[error("the body broke off")]
    BrokenOff,
    #[error("the body did not arrive within {0:?}")]
    TooSlow(Duration),
}

/// Reads a body of at most `bytes_max` that arrives within `patience`. As much again is read and
/// forgotten: a client that is still sending when the connection closes would see a reset instead of
/// the answer.
pub(crate) async fn read(
    body: Body,
    bytes_max: usize,
    patience: Duration,
) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(patience, read_bounded(body, bytes_max)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TooSlow(patience)),
    }
}

async fn read_bounded(body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyError::BrokenOff)?;
        length += chunk.len();
        if length <= bytes_max {
            bytes.extend_from_slice(&chunk);
        } else if length > 2 * bytes_max {
            break;
        }
    }
    if length > bytes_max {
        return Err(BodyError::TooLarge(bytes_max));
    }
    Ok(bytes.freeze())
}
