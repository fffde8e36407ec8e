//! How commands write what they found: as text for people, or as JSON for programs.

use std::io::Write;

use clap::Args;
use clap::ValueEnum;

use super::data_folder::DataArgs;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON, for programs.
    Json,
}

/// What a command takes that shows what a gateway has.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) data: DataArgs,
    /// How to write the answer
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) format: Format,
}

/// The head of a column, and where its cells stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Text: at the left.
    Left(&'static str),
    /// A number: at the right.
    Right(&'static str),
}

/// Writes rows below their heads, each column as wide as its widest cell.
///
/// # Errors
/// The writer's.
pub(super) fn write_columns<const N: usize>(
    answer: &mut dyn Write,
    columns: [Column; N],
    rows: &[[String; N]],
) -> std::io::Result<()> {
    let heads = columns.map(|column| match column {
        Column::Left(head) | Column::Right(head) => head.to_owned(),
    });
    let mut widths = heads.each_ref().map(|head| head.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in std::iter::once(&heads).chain(rows) {
        let cells = columns.iter().zip(&widths).zip(row);
        let cells = cells.map(|((column, width), cell)| match column {
            Column::Left(_) => format!("{cell:width$}"),
            Column::Right(_) => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(answer, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut answer = Vec::new();
        let columns = [Column::Left("NAME"), Column::Right("N"), Column::Left("NOTE")];
        let rows = [["a", "12345", "x"], ["größer", "7", ""]].map(|row| row.map(str::to_owned));
        write_columns(&mut answer, columns, &rows).unwrap();
        let expected = "NAME        N  NOTE\na       12345  x\ngrößer      7\n";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
}
