//! Records on their way to the disk: the [`Appender`] of the journal's writer, and single ones where no gateway runs.

mod table;

pub(super) use table::Appended;
pub(crate) use table::Appender;
pub(super) use table::append_one;
