//! What a JOIN's ON says: the key of the row, and nothing else.

use compact_str::CompactString;

use super::ast::BinaryOp;
use super::ast::Expr;
use super::ast::ExprKind;
use super::ast::Join;
use super::ast::Segment;

impl Join {
    /// What its row is called in this rule: a path that begins with it is a column.
    pub fn row_name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.table.node)
    }

    /// What `on` says the key columns of this row are, in the order of `columns`; `None` where it is
    /// anything else than one equation for each of them.
    pub fn key<'j>(&'j self, columns: &[CompactString]) -> Option<Vec<&'j Expr>> {
        let mut equations = Vec::new();
        self.equations(&self.on, &mut equations)?;
        let of = |column: &CompactString| {
            let mut given = equations.iter().filter(|(name, _)| name == column);
            given.next().filter(|_| given.next().is_none()).map(|(_, value)| *value)
        };
        let key: Option<Vec<&Expr>> = columns.iter().map(of).collect();
        key.filter(|key| key.len() == equations.len())
    }

    fn equations<'j>(&'j self, on: &'j Expr, found: &mut Vec<(&'j str, &'j Expr)>) -> Option<()> {
        let ExprKind::Binary { op, left, right } = &on.kind else { return None };
        match op {
            BinaryOp::And => {
                self.equations(left, found)?;
                self.equations(right, found)
            }
            BinaryOp::Equal => {
                let equation = match (self.column(left), self.column(right)) {
                    (Some(column), None) => (column, &**right),
                    (None, Some(column)) => (column, &**left),
                    _ => return None,
                };
                found.push(equation);
                Some(())
            }
            _ => None,
        }
    }

    /// The column of this join's row that `expr` is.
    fn column<'j>(&self, expr: &'j Expr) -> Option<&'j str> {
        match &expr.kind {
            ExprKind::Path { root, segments } if root == self.row_name() => match &**segments {
                [Segment::Name(column)] => Some(column),
                _ => None,
            },
            _ => None,
        }
    }
}
