//! What searches cost, and the steps that they may take together.
//!
//! `fancy_regex` bounds a search by a number of steps back that is fixed when the expression is
//! compiled, and does not tell how many it took. So an expression is compiled for a few bounds, each
//! when it is first needed: a search runs under the smallest and, where that is not enough, under the
//! next. What it is charged is the sum of the bounds it ran under: at most five times what it took.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::limits::REGEX_BYTES_MAX;
use crate::limits::REGEX_STEPS_MAX;

use super::RegexError;
use super::TooCostly;
use super::behind;

/// The bounds. Most searches over the text of a sensor are done within the first.
const BOUNDS: [usize; 7] = [64, 256, 1024, 4096, 16_384, 65_536, REGEX_STEPS_MAX];
/// A step back may look over the rest of the text: one over a text of this length counts twice.
const STEP_BYTES: usize = 512;
/// What a linear search reads of a text in the time of a step, bytes.
const LINEAR_BYTES: usize = 16;

/// Steps that may still be taken.
#[derive(Debug)]
pub struct Steps {
    left: Cell<usize>,
}

impl Steps {
    /// `count` steps.
    pub fn new(count: usize) -> Steps {
        Steps { left: Cell::new(count) }
    }

    /// Takes `count` steps; none are left when those are more than there are.
    ///
    /// # Errors
    /// [`TooCostly`].
    pub fn take(&self, count: usize) -> Result<(), TooCostly> {
        let left = self.left.get().checked_sub(count);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(TooCostly)
    }

    /// Takes those of a linear search in `text`.
    pub(super) fn take_linear(&self, text: &str) -> Result<(), TooCostly> {
        self.take(1 + text.len() / LINEAR_BYTES)
    }
}

/// An expression that needs backtracking.
#[derive(Debug)]
pub(super) struct Backtracking {
    pattern: String,
    /// By [`BOUNDS`]; `None` for one that could not be compiled.
    compiled: [OnceLock<Option<Box<fancy_regex::Regex>>>; BOUNDS.len()],
}

impl Backtracking {
    pub(super) fn new(pattern: String) -> Result<Backtracking, RegexError> {
        let first =
            compile(&pattern, BOUNDS[0]).map_err(|error| RegexError::Invalid(error.to_string()))?;
        let compiled = <[OnceLock<_>; BOUNDS.len()]>::default();
        // It is empty.
        compiled[0].set(Some(Box::new(first))).ok();
        Ok(Backtracking { pattern, compiled })
    }

    fn under(&self, place: usize) -> Option<&fancy_regex::Regex> {
        let compile = || compile(&self.pattern, BOUNDS[place]).ok().map(Box::new);
        self.compiled[place].get_or_init(compile).as_deref()
    }

    /// What `search` finds under the first bound that is enough. `search` is given the expression and
    /// what each search with it costs.
    pub(super) fn search<T>(
        &self,
        text: &str,
        steps: &Steps,
        mut search: impl FnMut(&fancy_regex::Regex) -> Result<T, fancy_regex::Error>,
    ) -> Result<T, TooCostly> {
        for (place, cost) in costs(text) {
            steps.take(cost)?;
            if let Some(Ok(found)) = self.under(place).map(&mut search) {
                return Ok(found);
            }
        }
        Err(TooCostly)
    }

    /// The expression under a bound that is enough for every search from match to match over `text`, and
    /// what each of them costs. All that it took to find out has been taken.
    pub(super) fn for_all(
        &self,
        text: &str,
        steps: &Steps,
    ) -> Result<(&fancy_regex::Regex, usize), TooCostly> {
        for (place, cost) in costs(text) {
            let Some(regex) = self.under(place) else { continue };
            steps.take(cost)?;
            let mut is_enough = true;
            let mut next = Some(0);
            while let Some(from) = next {
                steps.take(cost)?;
                let found = regex.find_from_pos(text, from);
                is_enough = found.is_ok();
                next = found.ok().flatten().and_then(|found| behind(text, found.range()));
            }
            if is_enough {
                return Ok((regex, cost));
            }
        }
        Err(TooCostly)
    }
}

/// What a search in `text` costs under each bound.
fn costs(text: &str) -> impl Iterator<Item = (usize, usize)> + use<> {
    let weight = 1 + text.len() / STEP_BYTES;
    BOUNDS.into_iter().map(move |bound| bound.saturating_mul(weight)).enumerate()
}

fn compile(pattern: &str, bound: usize) -> Result<fancy_regex::Regex, fancy_regex::Error> {
    let mut builder = fancy_regex::RegexBuilder::new(pattern);
    builder
        .backtrack_limit(bound)
        .delegate_size_limit(REGEX_BYTES_MAX)
        .delegate_dfa_size_limit(REGEX_BYTES_MAX)
        .max_prog_size(REGEX_BYTES_MAX / size_of::<usize>());
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_goes_back_up_to_its_bound_and_no_further() {
        // The steps back grow with the square of the text, which itself stays short.
        let pattern = "(x*)(?!y)!";
        let regex = Backtracking::new(pattern.to_owned()).unwrap();
        let text = |length: usize| "x".repeat(length);
        let is_enough = |length: usize, bound: usize| {
            compile(pattern, bound).unwrap().is_match(&text(length)).is_ok()
        };
        let most = (1..5000).take_while(|length| is_enough(*length, REGEX_STEPS_MAX)).last();
        let most = most.unwrap();
        assert!(!is_enough(most, BOUNDS[BOUNDS.len() - 2]), "{most} characters ask for the last");
        let search = |length: usize| {
            let steps = Steps::new(usize::MAX);
            regex.search(&text(length), &steps, |regex| regex.is_match(&text(length)))
        };
        assert_eq!(search(most), Ok(false));
        assert_eq!(search(most + 1), Err(TooCostly));
    }
}
