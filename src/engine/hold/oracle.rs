//! The semantics a second time, as naively as possible: every key alone, millisecond by millisecond.

use crate::engine::Truth;

/// The durations of a rule, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) hold_for: i64,
    pub(super) clear_for: i64,
    pub(super) keep: i64,
    /// Limit, HOLD.
    pub(super) gap: Option<(i64, bool)>,
    pub(super) repeat: Option<i64>,
    pub(super) clear_when: bool,
    /// AT LEAST: how many, within.
    pub(super) at_least: Option<(u32, i64)>,
}

/// A message of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) at: i64,
    pub(super) condition: Truth,
    /// Used when the plan has CLEAR WHEN.
    pub(super) clear: Truth,
}

/// A record: when, what, since, samples, and the time of the message it speaks of.
pub(super) type Told = (i64, &'static str, i64, u64, i64);

#[derive(Default)]
struct Watch {
    on: bool,
    firing: bool,
    since: i64,
    known: i64,
    samples: u64,
    said: i64,
    message: i64,
    clearing: Option<i64>,
    keeping: Option<(i64, &'static str)>,
    /// AT LEAST: every TRUE message since the count began.
    trues: Vec<i64>,
}

impl Watch {
    fn fire(&mut self, at: i64, told: &mut Vec<Told>) {
        (self.firing, self.said) = (true, at);
        told.push((at, "fire", self.since, self.samples, self.message));
    }

    fn end(&mut self, plan: &Plan, at: i64, why: &'static str, told: &mut Vec<Told>) {
        told.push((at, why, self.since, self.samples, self.message));
        let mut trues = std::mem::take(&mut self.trues);
        if plan.gap.is_some_and(|(limit, _)| self.known + limit < at) {
            trues.clear();
        }
        *self = Watch { known: self.known, trues, ..Watch::default() };
    }

    fn end_or_keep(&mut self, plan: &Plan, at: i64, why: &'static str, told: &mut Vec<Told>) {
        if why != "false" {
            self.trues.clear();
        }
        if plan.keep == 0 {
            self.end(plan, at, why, told);
        } else {
            (self.clearing, self.keeping) = (None, Some((at, why)));
        }
    }
}

impl Plan {
    /// How many TRUE messages AT LEAST counts at `now`.
    fn counted(&self, trues: &[i64], now: i64) -> usize {
        let within = self.at_least.map_or(0, |(_, within)| within);
        trues.iter().filter(|time| **time + within >= now).count()
    }

    fn reached(&self, trues: &[i64], now: i64) -> bool {
        self.at_least.is_some_and(|(times, _)| self.counted(trues, now) >= times as usize)
    }

    /// Whether the count was reached a millisecond ago, and is not now.
    fn lapsed(&self, trues: &[i64], now: i64) -> bool {
        self.reached(trues, now - 1) && !self.reached(trues, now)
    }
}

/// What one key must give, up to and including `end`.
pub(super) fn expect(plan: &Plan, heard: &[Heard], end: i64) -> Vec<Told> {
    let mut told = Vec::new();
    let mut watch = Watch::default();
    let usual = if plan.clear_when { "clear_when" } else { "false" };
    for now in 0..=end {
        let silent = plan.gap.is_some_and(|(limit, _)| watch.known + limit == now - 1);
        let held = plan.gap.is_some_and(|(_, hold)| hold);
        if watch.on && plan.lapsed(&watch.trues, now) {
            if !watch.firing {
                watch.on = false;
            } else if !plan.clear_when && watch.clearing.is_none() && watch.keeping.is_none() {
                match plan.clear_for {
                    0 => watch.end_or_keep(plan, now - 1, "false", &mut told),
                    _ => watch.clearing = Some(now - 1),
                }
            }
        }
        if silent && !watch.firing {
            watch = Watch::default();
        } else if watch.on && silent && !held && watch.keeping.is_none() {
            watch.end_or_keep(plan, now - 1, "gap", &mut told);
        }
        if watch.on && !watch.firing && watch.since + plan.hold_for == now {
            watch.fire(now, &mut told);
        }
        if watch.firing && plan.repeat.is_some_and(|every| watch.said + every == now) {
            watch.fire(now, &mut told);
        }
        if watch.clearing.is_some_and(|from| from + plan.clear_for == now) {
            watch.end_or_keep(plan, now, usual, &mut told);
        }
        match watch.keeping {
            Some((from, why)) if from + plan.keep == now => watch.end(plan, now, why, &mut told),
            _ => {}
        }
        for message in heard.iter().filter(|message| message.at == now) {
            hear(plan, &mut watch, message, usual, &mut told);
        }
    }
    told
}

fn hear(plan: &Plan, watch: &mut Watch, heard: &Heard, usual: &'static str, told: &mut Vec<Told>) {
    let now = heard.at;
    let mut is_true = heard.condition == Truth::True;
    if is_true {
        watch.trues.push(now);
        (watch.known, watch.message) = (now, now);
        watch.samples += 1;
        is_true = plan.at_least.is_none() || plan.reached(&watch.trues, now);
    }
    if is_true {
        if !watch.on {
            (watch.on, watch.since) = (true, now);
            let counted = plan.counted(&watch.trues, now) as u64;
            // Not all within reach: the latest that were wanted.
            let wanted = plan.at_least.map_or(1, |(times, _)| u64::from(times));
            watch.samples = counted.min(wanted).max(1);
        }
        (watch.clearing, watch.keeping) = (None, None);
        if !watch.firing && plan.hold_for == 0 {
            watch.fire(now, told);
        }
        return;
    }
    if !watch.firing {
        match (heard.condition, plan.at_least) {
            (Truth::False, None) => *watch = Watch::default(),
            (Truth::False, Some(_)) => watch.known = now,
            _ => {}
        }
        return;
    }
    let clear = match (plan.clear_when, heard.condition) {
        (true, _) => heard.clear,
        (false, Truth::False) if plan.at_least.is_none() => Truth::True,
        (false, _) => Truth::Unknown,
    };
    if heard.condition == Truth::False || clear != Truth::Unknown {
        watch.known = now;
    }
    if watch.keeping.is_some() {
        return;
    }
    match clear {
        Truth::True if plan.clear_for == 0 => watch.end_or_keep(plan, now, usual, told),
        Truth::True => watch.clearing = watch.clearing.or(Some(now)),
        Truth::False => watch.clearing = None,
        Truth::Unknown => {}
    }
}
