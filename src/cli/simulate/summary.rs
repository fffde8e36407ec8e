//! What each rule did over a recording, as a table for people.

use std::collections::HashSet;
use std::io;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::clock::Timestamp;
use crate::diagnostic::render::counted;
use crate::engine::Engine;
use crate::engine::Hit;
use crate::engine::HitEvent;
use crate::engine::RuleIndex;

/// One rule's line.
#[derive(Debug, Default)]
struct RuleLine {
    matches: u64,
    windows: u64,
    episodes: u64,
    longest: Option<Duration>,
    /// Keys that fired, or had a window. As many as the hold table holds at most over the time of an episode; over a
    /// recording there may be more.
    keys: HashSet<Arc<str>, RandomState>,
    /// Episodes that have not ended: their keys, and since when.
    open: Vec<(Arc<str>, Timestamp)>,
}

impl RuleLine {
    fn add(&mut self, hit: &Hit) {
        match &hit.event {
            HitEvent::Match => self.matches += 1,
            // A repetition speaks of an episode that has been counted.
            HitEvent::Firing(facts) if facts.fired_at == hit.at => {
                self.episodes += 1;
                self.keys.insert(Arc::clone(&facts.key));
                self.open.push((Arc::clone(&facts.key), facts.since));
            }
            HitEvent::Firing(_) => {}
            HitEvent::Window(facts) => {
                self.windows += 1;
                self.keys.insert(Arc::clone(&facts.key));
            }
            HitEvent::Cleared(facts, _) => {
                self.open.retain(|(key, _)| *key != facts.key);
                self.saw(hit.at.since(facts.since));
            }
        }
    }

    fn saw(&mut self, length: Duration) {
        self.longest = self.longest.max(Some(length));
    }
}

/// The lines of all rules, by their place in the engine.
#[derive(Debug, Default)]
pub(super) struct Summary {
    rules: Vec<RuleLine>,
}

impl Summary {
    pub(super) fn add(&mut self, hit: &Hit) {
        let place = hit.rule.0 as usize;
        if self.rules.len() <= place {
            self.rules.resize_with(place + 1, RuleLine::default);
        }
        if let Some(line) = self.rules.get_mut(place) {
            line.add(hit);
        }
    }

    /// Writes the table; episodes that are still open count until `end`. `troubles` gives the messages
    /// that a rule could not decide, and its faults.
    pub(super) fn write(
        mut self,
        engine: &Engine,
        end: Timestamp,
        troubles: impl Fn(RuleIndex) -> (u64, u64),
        answer: &mut dyn Write,
    ) -> io::Result<()> {
        self.rules.resize_with(engine.rules().len(), RuleLine::default);
        let mut rows = vec![HEAD.map(str::to_owned)];
        for ((place, rule), mut line) in (0..).zip(engine.rules()).zip(self.rules) {
            for (_, since) in std::mem::take(&mut line.open) {
                line.saw(end.since(since));
            }
            let (unknown, faults) = troubles(RuleIndex(place));
            rows.push([
                rule.name().to_string(),
                line.matches.to_string(),
                line.episodes.to_string(),
                line.windows.to_string(),
                line.longest.map_or_else(|| "–".to_owned(), in_words),
                line.keys.len().to_string(),
                unknown.to_string(),
                faults.to_string(),
            ]);
        }
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; HEAD.len()] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            writeln!(answer, "{}", cells.collect::<Vec<_>>().join("  "))?;
        }
        writeln!(answer, "{}", counted(engine.rules().len() as u64, "rule"))
    }
}

const HEAD: [&str; 8] =
    ["rule", "matches", "episodes", "windows", "longest", "keys", "unknown", "faults"];

/// Two units are enough: `24 h 3 min`.
pub(super) fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{:.3} s", duration.as_secs_f64()),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
