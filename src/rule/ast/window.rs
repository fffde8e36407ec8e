//! GROUP BY: what windows a rule gathers its messages into.

use std::time::Duration;

use super::Expr;
use super::Span;
use super::Spanned;

/// `GROUP BY key, …, window [HAVING condition]`.
#[derive(Clone, Debug)]
pub struct GroupBy {
    /// What messages of one group have in common; with none all messages are one group.
    pub keys: Vec<Expr>,
    /// Which messages of a group belong together.
    pub window: Spanned<Window>,
    /// `HAVING`: whether a window that closes is told of.
    pub having: Option<Expr>,
    /// The clause.
    pub span: Span,
}

/// Kinds of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `TUMBLE(size)`: one after the other, from the Unix epoch in UTC.
    Tumble {
        /// Length.
        size: Duration,
    },
    /// `HOP(size, every)`: a window of `size` begins each `every`, from the Unix epoch in UTC.
    Hop {
        /// Length.
        size: Duration,
        /// Distance of their beginnings.
        every: Duration,
    },
    /// `SLIDE(size)`: one for each message, of the time up to it.
    Slide {
        /// Length.
        size: Duration,
    },
    /// `SESSION(gap)`: ends when no message came for `gap`.
    Session {
        /// Length of the silence.
        gap: Duration,
    },
    /// `COUNT(n)`: each `n` messages.
    Count {
        /// How many.
        messages: u64,
    },
}

impl Window {
    /// The length of the panes that windows of `size`, each begun `every`, have in common: their
    /// greatest common divisor.
    pub fn pane(size: Duration, every: Duration) -> Duration {
        let (mut a, mut b) = (size.as_millis(), every.as_millis());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Duration::from_millis(u64::try_from(a).unwrap_or(u64::MAX))
    }
}

/// `window.…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowField {
    /// When the window begins, epoch ms.
    Start,
    /// When it ends, epoch ms.
    End,
}

impl WindowField {
    /// All of them.
    pub const ALL: [WindowField; 2] = [WindowField::Start, WindowField::End];

    /// The name behind `window.`.
    pub fn as_str(self) -> &'static str {
        match self {
            WindowField::Start => "start",
            WindowField::End => "end",
        }
    }

    /// The field of that name, in any case.
    pub fn parse(name: &str) -> Option<WindowField> {
        WindowField::ALL.into_iter().find(|field| field.as_str().eq_ignore_ascii_case(name))
    }
}
