//! GROUP BY and its windows.

use pest::iterators::Pair;

use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::GroupBy;
use super::super::ast::Span;
use super::super::ast::Spanned;
use super::super::ast::Window;
use super::Builder;
use super::Rule;
use super::advice::WINDOWS;
use super::children;
use super::duration::Zero;
use super::only;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::limits::WINDOW_COUNT_MAX;

const ADD_WINDOW: &str = "add one, as in GROUP BY room, TUMBLE(1 MINUTE)";

impl Builder<'_> {
    /// `GROUP BY …, TUMBLE(…) HAVING …`; `None` where no window is among it.
    pub(super) fn group_by(&mut self, pair: Pair<'_, Rule>) -> Option<GroupBy> {
        let span = self.span(&pair);
        let (mut keys, mut window, mut having) = (Vec::new(), None::<Spanned<Window>>, None);
        for part in children(pair) {
            let place = self.span(&part);
            match part.as_rule() {
                Rule::having => having = Some(self.expression(only(part), 0)),
                Rule::tumble | Rule::hop | Rule::slide | Rule::session | Rule::count_window => {
                    let node = self.window(part);
                    if let Some(first) = &window {
                        self.found.push(
                            Diagnostic::error(Code::WINDOW, "a rule has one window")
                                .at(place, "the second")
                                .also(first.span.clone(), "the first")
                                .help("write a rule for each, over the same FROM"),
                        );
                    } else {
                        window = Some(Spanned { node, span: place });
                    }
                }
                _ => keys.push(self.expression(part, 0)),
            }
        }
        let Some(window) = window else {
            self.no_window(&keys, span);
            return None;
        };
        Some(GroupBy { keys, window, having, span })
    }

    /// There is none among `keys`, but perhaps what was meant for one.
    fn no_window(&mut self, keys: &[Expr], span: Span) {
        let meant = keys.iter().find_map(|key| match &key.kind {
            ExprKind::Call { name, .. } => Some((key, nearest(&name.node, WINDOWS)?)),
            _ => None,
        });
        let none =
            Diagnostic::error(Code::WINDOW, "GROUP BY does not say when a group is complete");
        self.found.push(match meant {
            None => none.at(span, "no window").help(ADD_WINDOW),
            Some((key, "COUNT")) => {
                none.at(key.span.clone(), "").help("did you mean a window such as COUNT(100)?")
            }
            Some((key, near)) => none
                .at(key.span.clone(), "")
                .help(format!("did you mean a window such as {near}(1 MINUTE)?")),
        });
    }

    fn window(&mut self, pair: Pair<'_, Rule>) -> Window {
        let kind = pair.as_rule();
        let mut parts = children(pair);
        let first = parts.next().expect("the grammar gives a window a length");
        if kind == Rule::count_window {
            return Window::Count { messages: self.messages(&first) };
        }
        let size = self.duration(first, Zero::Refused);
        match kind {
            Rule::hop => {
                let every = parts.next().expect("the grammar gives HOP two durations");
                Window::Hop { size, every: self.duration(every, Zero::Refused) }
            }
            Rule::slide => Window::Slide { size },
            Rule::session => Window::Session { gap: size },
            _ => Window::Tumble { size },
        }
    }

    fn messages(&mut self, pair: &Pair<'_, Rule>) -> u64 {
        let messages = pair.as_str().parse().ok();
        messages.filter(|count| (1..=WINDOW_COUNT_MAX).contains(count)).unwrap_or_else(|| {
            self.found.push(
                Diagnostic::error(Code::WINDOW, "a window cannot have so many messages")
                    .at(self.span(pair), "")
                    .help(format!("COUNT takes 1 to {WINDOW_COUNT_MAX}")),
            );
            1
        })
    }
}
