//! Durations as rules write them: `5 MINUTES`, `1 HOUR 30 MINUTES`, `500ms`.

use std::time::Duration;

use pest::iterators::Pair;

use super::Builder;
use super::Rule;
use super::children;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::diagnostic::nearest_after;
use crate::limits::HOLD_MAX;

/// Units by their names and their length in milliseconds. A single `m` is none: minutes to some,
/// months or metres to others.
const UNITS: &[(&str, u64)] = &[
    ("milliseconds", 1),
    ("millisecond", 1),
    ("msec", 1),
    ("ms", 1),
    ("seconds", 1_000),
    ("second", 1_000),
    ("sec", 1_000),
    ("s", 1_000),
    ("minutes", 60_000),
    ("minute", 60_000),
    ("min", 60_000),
    ("hours", 3_600_000),
    ("hour", 3_600_000),
    ("h", 3_600_000),
    ("days", 86_400_000),
    ("day", 86_400_000),
    ("d", 86_400_000),
];

/// Whether `word` is a unit of time, or nearly one.
pub(super) fn is_unit(word: &str) -> bool {
    let mut names = UNITS.iter().map(|(name, _)| *name);
    names.clone().any(|name| name.eq_ignore_ascii_case(word))
        || word.len() > 3 && nearest(word, &mut names).is_some()
}

/// Whether a clause may say zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// Zero means at once.
    Allowed,
    /// Zero would mean nothing.
    Refused,
}

impl Builder<'_> {
    /// The duration; zero where it is wrong.
    pub(super) fn duration(&mut self, pair: Pair<'_, Rule>, zero: Zero) -> Duration {
        let span = self.span(&pair);
        let mut total_ms = Some(0_u64);
        for part in children(pair) {
            let Some(part_ms) = self.duration_part(part) else { return Duration::ZERO };
            total_ms = total_ms.zip(part_ms).and_then(|(total, part)| total.checked_add(part));
        }
        let total = total_ms.map(Duration::from_millis).filter(|total| *total <= HOLD_MAX);
        match total {
            Some(Duration::ZERO) if zero == Zero::Refused => {
                self.found.push(
                    Diagnostic::error(Code::DURATION, "this duration must be longer than zero")
                        .at(span, "")
                        .help("durations reach from 1 MILLISECOND to 366 DAYS"),
                );
                Duration::ZERO
            }
            Some(total) => total,
            None => {
                self.found.push(
                    Diagnostic::error(Code::DURATION, "the duration is too long")
                        .at(span, "")
                        .help("durations reach from 1 MILLISECOND to 366 DAYS"),
                );
                Duration::ZERO
            }
        }
    }

    /// Milliseconds of `5 MINUTES`: `None` where it is wrong, `Some(None)` where it is beyond 64 bits.
    fn duration_part(&mut self, part: Pair<'_, Rule>) -> Option<Option<u64>> {
        let mut words = children(part);
        let amount = words.next().expect("a part of a duration has an amount");
        let unit = words.next().expect("a part of a duration has a unit");
        let written = unit.as_str();
        let found = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(written));
        let Some((_, unit_ms)) = found else {
            let names = UNITS.iter().map(|(name, _)| *name);
            let help = match nearest_after(self.found.len(), written, names) {
                Some(near) if written.len() > 1 => {
                    format!("did you mean {}?", near.to_uppercase())
                }
                _ => "units are MILLISECONDS (ms), SECONDS (s), MINUTES (min), HOURS (h), DAYS (d)"
                    .to_owned(),
            };
            self.found.push(
                Diagnostic::error(Code::DURATION, format!("{written} is not a unit of time"))
                    .at(self.span(&unit), "")
                    .help(help),
            );
            return None;
        };
        if amount.as_str().contains('.') {
            self.found.push(
                Diagnostic::error(Code::DURATION, "a duration counts in whole units")
                    .at(self.span(&amount), "")
                    .help("use a smaller unit, as in 1 HOUR 30 MINUTES"),
            );
            return None;
        }
        Some(amount.as_str().parse::<u64>().ok().and_then(|n| n.checked_mul(*unit_ms)))
    }
}
