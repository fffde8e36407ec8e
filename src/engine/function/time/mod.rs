//! `parse_time` and `time_to_epoch`: times as text, and back. The patterns' letters differ and are
//! read in [`crate::rule::time_pattern`].

mod read;
mod resolve;
mod write;

pub(super) use read::read;
pub(super) use read::time_to_epoch;
pub(super) use write::parse_time;
pub(super) use write::write;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use crate::engine::function::Native;
    use crate::engine::operators::Budget;
    use crate::engine::operators::Setting;
    use crate::value::Value;
    use crate::value::Whole;

    #[track_caller]
    pub(super) fn check(function: Native, arguments: &[Value], expected: &str) {
        let budget = Budget::default();
        let arguments: Vec<_> = arguments.iter().map(Cow::Borrowed).collect();
        let result = function(&arguments, Setting { whole: Whole::AsInt, budget: &budget });
        let shown = result.text(Whole::AsInt);
        assert_eq!(shown.as_deref().unwrap_or("Undefined"), expected, "{arguments:?}");
    }
}
