//! MQTT's byte stream in WebSocket messages (MQTT 5, section 6).
//!
//! Packets may span messages, and messages may hold many packets [MQTT-6.0.0-2]: what comes out is the
//! bytes, in order. Each write is one message, so a batch is. Only binary messages are taken
//! [MQTT-6.0.0-1]; anything else ends the connection with the close code that says why. Pings are
//! answered by tungstenite, as often as there is room: at most [`WEBSOCKET_PONG_BYTES_MAX`] of answers
//! wait for a client that does not read.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use futures_util::Sink;
use futures_util::Stream;
use futures_util::stream::FusedStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::limits::WEBSOCKET_PONG_BYTES_MAX;
use crate::limits::WRITE_BUFFER_HIGH;

/// The bytes of a frame's header from a server, at most.
const HEADER_BYTES_MAX: usize = 10;

/// Bytes both ways in WebSocket messages.
#[derive(Debug)]
pub(super) struct WebSocket<S> {
    messages: WebSocketStream<S>,
    /// Of the last message, not read yet.
    rest: Bytes,
    /// What the client is told at the end.
    code: CloseCode,
    /// The close frame is on its way.
    is_parting: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A server's end. `read` came behind the request for the upgrade; a message may have
    /// `message_bytes_max` bytes, in however many frames. `read_buffer` bytes are read at once.
    pub(super) async fn new(
        stream: S,
        read: Bytes,
        message_bytes_max: usize,
        read_buffer: usize,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(read_buffer)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_HIGH + HEADER_BYTES_MAX + WEBSOCKET_PONG_BYTES_MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let (read, role) = (read.to_vec(), Role::Server);
        let messages = WebSocketStream::from_partially_read(stream, read, role, Some(config)).await;
        WebSocket { messages, rest: Bytes::new(), code: CloseCode::Normal, is_parting: false }
    }

    /// What it travels in.
    pub(super) fn get_ref(&self) -> &S {
        self.messages.get_ref()
    }

    /// After the end of the messages: what comes is thrown away until the peer closes, so that a reset
    /// does not overtake the close frame.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(self.messages.get_mut()).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn refused(&mut self, code: CloseCode, error: impl Into<io::Error>) -> io::Error {
        self.code = code;
        error.into()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            if this.code != CloseCode::Normal {
                return match this.is_parting {
                    true => this.poll_discard(context),
                    false => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                };
            }
            if this.messages.is_terminated() {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.messages).poll_next(context)) {
                Some(Ok(Message::Binary(message))) => this.rest = message,
                Some(Ok(Message::Text(_))) => {
                    let error = this.refused(CloseCode::Unsupported, io::ErrorKind::InvalidData);
                    return Poll::Ready(Err(error));
                }
                Some(Ok(_)) | None => {}
                Some(Err(error)) => {
                    let code = close_code(&error);
                    let error = this.refused(code, io::Error::other(error));
                    return Poll::Ready(Err(error));
                }
            }
        }
        let n = this.rest.len().min(buffer.remaining());
        buffer.put_slice(&this.rest.split_to(n));
        Poll::Ready(Ok(()))
    }
}

/// RFC 6455, section 7.4.1.
fn close_code(error: &Error) -> CloseCode {
    match error {
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        Error::Protocol(_) => CloseCode::Protocol,
        // Nobody is there to be told.
        _ => CloseCode::Abnormal,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // One message at a time waits for the socket, so the sender's bound is the bound.
        ready!(Pin::new(&mut self.messages).poll_flush(context)).map_err(io::Error::other)?;
        let n = bytes.len().min(WRITE_BUFFER_HIGH);
        let message = Bytes::copy_from_slice(bytes.get(..n).unwrap_or_default());
        let sent = Pin::new(&mut self.messages).start_send(Message::Binary(message));
        Poll::Ready(sent.map(|()| n).map_err(io::Error::other))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_flush(context).map_err(io::Error::other)
    }

    /// Begins the closing handshake; its end is the end of what is read.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.code == CloseCode::Abnormal {
            self.is_parting = true;
            return Pin::new(self.messages.get_mut()).poll_shutdown(context);
        }
        if !self.is_parting {
            self.is_parting = true;
            let reason = Utf8Bytes::from_static(reason(self.code));
            let close = Message::Close(Some(CloseFrame { code: self.code, reason }));
            if let Err(error) = Pin::new(&mut self.messages).start_send(close) {
                tracing::debug!(%error, "the client had closed before");
            }
        }
        Pin::new(&mut self.messages).poll_flush(context).map_err(io::Error::other)
    }
}

fn reason(code: CloseCode) -> &'static str {
    match code {
        CloseCode::Unsupported => "MQTT comes in binary frames",
        CloseCode::Size => "a message is too large",
        CloseCode::Protocol | CloseCode::Invalid => "this is no WebSocket",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt;
    use futures_util::StreamExt;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

    use super::*;

    async fn pair() -> (WebSocket<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (here, there) = tokio::io::duplex(1 << 20);
        let server = WebSocket::new(here, Bytes::new(), 4096, 512).await;
        let client = WebSocketStream::from_raw_socket(there, Role::Client, None).await;
        (server, client)
    }

    fn part(bytes: &'static [u8], code: Data, is_last: bool) -> Message {
        Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(code), is_last))
    }

    async fn closed_with(
        mut server: WebSocket<DuplexStream>,
        mut client: WebSocketStream<DuplexStream>,
    ) -> CloseCode {
        let mut bytes = Vec::new();
        assert!(server.read_to_end(&mut bytes).await.is_err());
        server.shutdown().await.unwrap();
        drop(server);
        loop {
            let message = client.next().await.expect("a close frame").expect("a good frame");
            if let Message::Close(frame) = message {
                return frame.expect("a code").code;
            }
        }
    }

    #[tokio::test]
    async fn packets_may_span_messages_and_frames_and_share_them() {
        let (mut server, mut client) = pair().await;
        client.send(Message::Binary(Bytes::from_static(b"ab"))).await.unwrap();
        client.send(part(b"c", Data::Binary, false)).await.unwrap();
        client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        client.send(part(b"d", Data::Continue, false)).await.unwrap();
        client.send(part(b"", Data::Continue, true)).await.unwrap();
        client.send(Message::Binary(Bytes::new())).await.unwrap();
        client.send(Message::Binary(Bytes::from_static(b"efg"))).await.unwrap();
        let mut bytes = [0; 7];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"abcdefg");
        server.write_all(b"answer").await.unwrap();
        server.flush().await.unwrap();
        let Some(Ok(Message::Pong(pong))) = client.next().await else { panic!("a pong") };
        assert_eq!(&*pong, b"?");
        let Some(Ok(Message::Binary(answer))) = client.next().await else { panic!("a message") };
        assert_eq!(&*answer, b"answer");
        client.close(None).await.unwrap();
        assert_eq!(server.read(&mut bytes).await.unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn text_and_what_is_too_large_end_it_with_their_codes() {
        let (server, mut client) = pair().await;
        client.send(Message::text("hello")).await.unwrap();
        assert_eq!(closed_with(server, client).await, CloseCode::Unsupported);

        let (server, mut client) = pair().await;
        client.send(Message::Binary(vec![0; 5000].into())).await.unwrap();
        assert_eq!(closed_with(server, client).await, CloseCode::Size);

        let (server, mut client) = pair().await;
        for _ in 0..3 {
            client.send(part(&[0; 2000], Data::Binary, false)).await.unwrap();
            client.send(part(&[0; 2100], Data::Continue, false)).await.unwrap();
        }
        assert_eq!(closed_with(server, client).await, CloseCode::Size);

        let (server, mut client) = pair().await;
        client.get_mut().write_all(&[0x82, 0x01, b'a']).await.unwrap();
        assert_eq!(closed_with(server, client).await, CloseCode::Protocol, "not masked");
    }

    #[tokio::test]
    async fn pings_of_a_client_that_does_not_read_fill_no_memory() {
        let (here, there) = tokio::io::duplex(1024);
        let mut server = WebSocket::new(here, Bytes::new(), 4096, 512).await;
        let mut client = WebSocketStream::from_raw_socket(there, Role::Client, None).await;
        let flood = async {
            for _ in 0..10_000 {
                client.send(Message::Ping(vec![7; 125].into())).await.unwrap();
            }
            client.send(Message::Binary(Bytes::from_static(b"x"))).await.unwrap();
        };
        let mut byte = [0];
        let (_, read) = tokio::join!(flood, server.read_exact(&mut byte));
        read.unwrap();
        assert_eq!(&byte, b"x", "and what it says is heard");
    }
}
