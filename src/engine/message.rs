//! A key's last TRUE message, kept in as little memory as it needs.
//!
//! It is kept as the bytes of its row: one allocation, which also is what goes to the disk and what
//! comes back from it. A record takes it apart again; there is one record to many messages.

use crate::engine::hold::packed;
use crate::publish::Publish;

/// An own copy of a [`Publish`]. Nothing of the packet is shared, because a slice of the socket's read
/// buffer would keep the whole buffer alive for as long as the episode lasts. A message that is as long as the
/// one before takes its place in memory, so that a steady stream of TRUE messages allocates little.
#[derive(Debug)]
pub(super) struct Message(Box<[u8]>);

impl Message {
    pub(super) fn of(publish: &Publish) -> Self {
        let mut bytes = Vec::with_capacity(packed::length(publish));
        packed::put(&mut bytes, publish);
        Message(bytes.into_boxed_slice())
    }

    /// Bytes that [`packed::read`] has read.
    pub(super) fn of_packed(bytes: &[u8]) -> Self {
        Message(Box::from(bytes))
    }

    /// Takes the place of the message before.
    fn replace(&mut self, publish: &Publish) {
        if self.0.len() == packed::length(publish) {
            packed::put(&mut &mut *self.0, publish);
        } else {
            *self = Message::of(publish);
        }
    }

    /// Its bytes in a row.
    pub(super) fn packed(&self) -> &[u8] {
        &self.0
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn to_publish(&self) -> Publish {
        packed::read(&self.0).expect("what was packed here, or read once, can be read")
    }
}

/// A TRUE message on its way to be kept.
#[derive(Debug)]
pub(super) enum Fresh<'a> {
    /// As it came.
    Publish(&'a Publish),
    /// Out of the buffer in which it waited.
    Kept(Message),
}

impl Fresh<'_> {
    /// What [`Message::bytes`] will be for it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Fresh::Publish(publish) => packed::length(publish),
            Fresh::Kept(message) => message.bytes(),
        }
    }

    /// Takes the place of the message before.
    pub(super) fn replace(self, before: &mut Option<Message>) {
        match (self, before) {
            (Fresh::Publish(publish), Some(before)) => before.replace(publish),
            (Fresh::Publish(publish), before) => *before = Some(Message::of(publish)),
            (Fresh::Kept(message), before) => *before = Some(message),
        }
    }
}
