//! Rows that an appender keeps open from commit to commit, by name, and which of them the current
//! transaction adds to.

use std::collections::HashMap;
use std::sync::Arc;

/// Open rows. The transaction's end has to be told: [`OpenRows::take_touched`] after a commit,
/// [`OpenRows::forget`] when it was undone.
pub(crate) struct OpenRows<T> {
    rows: Vec<OpenRow<T>>,
    by_name: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    /// Places in `rows`, each once.
    touched: Vec<usize>,
}

struct OpenRow<T> {
    row: T,
    is_touched: bool,
}

impl<T> Default for OpenRows<T> {
    fn default() -> Self {
        OpenRows { rows: Vec::new(), by_name: HashMap::default(), touched: Vec::new() }
    }
}

impl<T> OpenRows<T> {
    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row of that name, which the transaction adds to from now on; `open` reads or makes one
    /// that is not open.
    ///
    /// # Errors
    /// Those of `open`; nothing is touched then.
    pub(crate) fn touch<E>(
        &mut self,
        name: &Arc<str>,
        open: impl FnOnce() -> Result<T, E>,
    ) -> Result<&mut T, E> {
        let place = match self.by_name.get(name) {
            Some(place) => *place,
            None => {
                self.rows.push(OpenRow { row: open()?, is_touched: false });
                let place = self.rows.len() - 1;
                self.by_name.insert(Arc::clone(name), place);
                place
            }
        };
        let open = &mut self.rows[place];
        if !open.is_touched {
            open.is_touched = true;
            self.touched.push(place);
        }
        Ok(&mut open.row)
    }

    /// Calls `write` with each row that the transaction adds to, in the order in which they were
    /// touched.
    ///
    /// # Errors
    /// The first of `write`.
    pub(crate) fn each_touched<E>(
        &mut self,
        mut write: impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.touched.iter().try_for_each(|place| write(&mut self.rows[*place].row))
    }

    /// The same after the commit, once for each.
    pub(crate) fn take_touched(&mut self, mut announce: impl FnMut(&mut T)) {
        for place in self.touched.drain(..) {
            let open = &mut self.rows[place];
            open.is_touched = false;
            announce(&mut open.row);
        }
    }

    /// Closes all: the tables are read anew.
    pub(crate) fn forget(&mut self) {
        *self = OpenRows::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_opened_once_and_touched_once_a_transaction() {
        let mut rows = OpenRows::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        for name in [&b, &a, &b] {
            let row = rows.touch(name, || Ok::<_, ()>((Arc::clone(name), 0))).unwrap();
            row.1 += 1;
        }
        assert_eq!(rows.touch(&"c".into(), || Err("no such row")), Err("no such row"));
        let mut touched = Vec::new();
        rows.take_touched(|row| touched.push(row.clone()));
        assert_eq!(touched, [(Arc::clone(&b), 2), (Arc::clone(&a), 1)]);

        rows.touch(&a, || Err("opened again")).unwrap().1 += 1;
        let mut written = Vec::new();
        rows.each_touched(|row| {
            written.push(row.1);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(written, [2]);
        rows.forget();
        rows.take_touched(|row| panic!("{row:?} is forgotten"));
        assert_eq!(rows.len(), 0);
    }
}
