//! Rules enabled or disabled by hand: between the rules that run and what is on disk of it.
//!
//! A switch lives in the running set ([`Rule::switch`]). What is saved is written whenever it changes,
//! in the commit in which the set takes over, so a crash finds either both or neither. A start and a reload
//! put what is known by name on the rules of the files.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::SavedSwitch;
use crate::rule::Rule;
use crate::rule::switch::Setting;
use crate::rule::switch::Switch;
use crate::storage::Storage;

/// `rules` with the switches that `saved` has of them. Those that say what a text says, or speak of
/// a rule that is not there, are left out.
pub(super) fn switched(rules: Vec<Arc<Rule>>, saved: &[SavedSwitch]) -> Vec<Arc<Rule>> {
    if saved.is_empty() {
        return rules;
    }
    let saved: BTreeMap<&str, &SavedSwitch> = saved.iter().map(|one| (&*one.rule, one)).collect();
    let switch = |rule: &Rule| {
        let SavedSwitch { is_on, at, .. } = **saved.get(&**rule.name())?;
        let setting = if is_on { Setting::Enabled } else { Setting::Disabled };
        Some(Switch { setting, at })
    };
    rules.into_iter().map(|rule| rule.switched(switch(&rule))).collect()
}

/// `rules` as the last run left them.
///
/// # Errors
/// What is on disk cannot be read.
pub(super) fn restored(
    rules: Vec<Arc<Rule>>,
    storage: &Storage,
) -> Result<Vec<Arc<Rule>>, CheckpointError> {
    Ok(switched(rules, &checkpoint::load(storage)?.switches()?))
}

/// What is to be saved of the switches of `rules`.
pub(super) fn of(rules: &[Arc<Rule>]) -> Arc<[SavedSwitch]> {
    let saved = |rule: &Arc<Rule>| {
        let Switch { setting, at } = rule.switch?;
        Some(SavedSwitch { rule: Arc::clone(rule.name()), is_on: setting == Setting::Enabled, at })
    };
    rules.iter().filter_map(saved).collect()
}
