//! Rules enabled or disabled by hand, whatever their text says.
//!
//! A [`Switch`] belongs to a rule's name and outlives reloads and restarts. It is there only while it
//! says something else than the text: a text that comes to say the same takes over again.

use std::sync::Arc;

use super::Rule;
use crate::clock::Timestamp;

/// Whether a rule runs (AWS IoT: `EnableTopicRule`, `DisableTopicRule`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It does.
    Enabled,
    /// It is loaded, and judges nothing.
    Disabled,
}

impl Setting {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Setting::Enabled => "enabled",
            Setting::Disabled => "disabled",
        }
    }
}

/// What somebody has set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Which way.
    pub setting: Setting,
    /// When.
    pub at: Timestamp,
}

impl Rule {
    /// What the rule's text says, without regard to a switch.
    pub fn written(&self) -> Setting {
        if self.definition.disabled { Setting::Disabled } else { Setting::Enabled }
    }

    /// Whether the rule runs.
    pub fn setting(&self) -> Setting {
        self.switch.map_or_else(|| self.written(), |switch| switch.setting)
    }

    /// Whether the rule is loaded only, and judges nothing.
    pub fn is_disabled(&self) -> bool {
        self.setting() == Setting::Disabled
    }

    /// The same rule with `switch` in the place of its own; one that says what the text says is left
    /// out.
    pub fn switched(self: &Arc<Rule>, switch: Option<Switch>) -> Arc<Rule> {
        let switch = switch.filter(|switch| switch.setting != self.written());
        if switch == self.switch {
            return Arc::clone(self);
        }
        Arc::new(Rule { switch, ..Rule::clone(self) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::ast::SqlVersion;
    use crate::rule::table::NoFiles;

    #[test]
    fn a_switch_lasts_while_the_text_says_otherwise() {
        let tables = Arc::default();
        let sql = "SELECT * FROM 'a'";
        let rule = Rule::from_select("r", sql, SqlVersion::default(), &tables, &mut NoFiles);
        let rule = Arc::new(rule.expect("the SELECT is sound"));
        let switch = |setting| Some(Switch { setting, at: Timestamp::from_millis(7) });
        assert!(!rule.is_disabled());
        let off = rule.switched(switch(Setting::Disabled));
        assert!(off.is_disabled() && off.written() == Setting::Enabled);
        assert_eq!(off.switched(switch(Setting::Enabled)).switch, None);
        assert!(!off.switched(None).is_disabled());

        let mut written_off = Rule::clone(&rule);
        Arc::make_mut(&mut written_off.definition).disabled = true;
        let written_off = Arc::new(written_off);
        assert_eq!(written_off.switched(off.switch).switch, None, "the text says it now");
        let on = written_off.switched(switch(Setting::Enabled));
        assert!(!on.is_disabled());
    }
}
