//! A topic filter of an access rule: `devices/%c/#`, with values of the client in place of `%…`.
//!
//! What is decided here is exact: [`Pattern::covers`] whether everything that a filter matches is
//! matched by the pattern, [`Pattern::overlaps`] whether anything is. A topic name is a filter
//! without wildcards, so `covers` also says whether a name matches. The dialect is MQTT's: `a/#`
//! matches `a`, and a wildcard in front matches no topic that begins with `$`.
//!
//! A value never widens a pattern. One that holds `/`, `+`, `#` or NUL, that is empty or missing, or
//! that would put a `$` in front of the whole filter is not put in: [`Pattern::usable`] says up to
//! which level the pattern can be used for a client.

use super::subject::Subject;
use crate::topic::TopicError;
use crate::topic::TopicFilter;

/// The names that stand between `%{` and `}`, without those of claims.
pub(super) const NAMES: [&str; 8] = [
    "client",
    "user",
    "cert.cn",
    "cert.subject",
    "cert.fingerprint",
    "cert.dns",
    "cert.uri",
    "cert.email",
];
/// Claims of a token, and values that a hook answers.
pub(super) const PREFIXES: [&str; 2] = ["jwt.", "hook."];

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("%{{{0}}} is no value of a client")]
    UnknownValue(String),
    #[error("'%' is followed by c, u, {{name}} or another %")]
    LonePercent,
    #[error("a shared subscription is checked by its own filter: leave $share/GROUP/ out")]
    Shared,
    #[error("%c is the identifier itself")]
    OfItself,
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// A piece of a text with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(Box<str>),
    /// The name of a value.
    Value(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// `+`
    Any,
    Literal(Box<str>),
    Template(Box<[Part]>),
}

/// A filter with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Without a `#` at the end; of the [`spelt_out`] filter.
    levels: Box<[Level]>,
    /// Ends with `#`.
    is_open: bool,
}

/// How far a pattern can be used for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usable {
    Whole,
    /// The first level with a value that cannot stand there.
    UpTo(u16),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.starts_with("$share/") {
            return Err(PatternError::Shared);
        }
        let mut levels = Vec::new();
        let mut shape = String::with_capacity(text.len());
        for level in spelt_out(text).split('/') {
            let parts = parse_parts(level)?;
            if !levels.is_empty() {
                shape.push('/');
            }
            levels.push(match &*parts {
                [] => Level::Literal(Box::default()),
                [Part::Text(text)] => {
                    shape.push_str(text);
                    if **text == *"+" { Level::Any } else { Level::Literal(text.clone()) }
                }
                _ => {
                    for part in &parts {
                        // A value is checked as any other character would be.
                        shape.push_str(if let Part::Text(text) = part { text } else { "v" });
                    }
                    Level::Template(parts.into_boxed_slice())
                }
            });
        }
        TopicFilter::parse(&shape)?;
        let is_open = matches!(levels.last(), Some(Level::Literal(last)) if **last == *"#");
        if is_open {
            levels.pop();
        }
        Ok(Pattern { levels: levels.into_boxed_slice(), is_open })
    }

    /// Whether all values that the pattern names can stand where they are named.
    pub(super) fn usable(&self, subject: &Subject) -> Usable {
        let is_fine = |(at, level): (usize, &Level)| match level {
            Level::Any | Level::Literal(_) => true,
            Level::Template(parts) => {
                let mut is_first = at == 0;
                parts.iter().all(|part| match part {
                    Part::Text(_) => {
                        is_first = false;
                        true
                    }
                    Part::Value(name) => subject.value(name).is_some_and(|value| {
                        let leads = std::mem::take(&mut is_first);
                        is_one_level(value) && !(leads && value.starts_with('$'))
                    }),
                })
            }
        };
        match self.levels.iter().enumerate().position(|level| !is_fine(level)) {
            None => Usable::Whole,
            Some(at) => Usable::UpTo(u16::try_from(at).unwrap_or(u16::MAX)),
        }
    }

    /// The levels that count, and whether anything may follow them.
    fn extent(&self, usable: Usable) -> (&[Level], bool) {
        match usable {
            Usable::Whole => (&self.levels, self.is_open),
            Usable::UpTo(at) => (self.levels.get(..usize::from(at)).unwrap_or_default(), true),
        }
    }

    /// Whether every topic that `filter` matches is matched by this. Cut at a level, it matches
    /// whatever begins with the levels before.
    pub(super) fn covers(&self, filter: &str, usable: Usable, subject: &Subject) -> bool {
        let (levels, is_open) = self.extent(usable);
        let mut wanted = spelt_out(filter).split('/');
        for (at, level) in levels.iter().enumerate() {
            match wanted.next() {
                Some(want) if want != "#" && level.covers(want, at == 0, subject) => {}
                Some(_) | None => return false,
            }
        }
        is_open || wanted.next().is_none()
    }

    /// Whether there is a topic that both `filter` and this match.
    pub(super) fn overlaps(&self, filter: &str, usable: Usable, subject: &Subject) -> bool {
        let (levels, is_open) = self.extent(usable);
        let mut wanted = spelt_out(filter).split('/');
        for (at, level) in levels.iter().enumerate() {
            match wanted.next() {
                Some("#") => return true,
                Some(want) if level.meets(want, at == 0, subject) => {}
                Some(_) | None => return false,
            }
        }
        // `a/#` matches `a`.
        is_open || matches!(wanted.next(), None | Some("#"))
    }
}

/// The same filter with all the levels that every topic it matches has: no topic is empty.
fn spelt_out(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        filter => filter,
    }
}

impl Level {
    /// Whether all that `want` stands for is this. `first`: of the whole topic.
    fn covers(&self, want: &str, first: bool, subject: &Subject) -> bool {
        match self {
            Level::Any => !(first && want.starts_with('$')),
            Level::Literal(text) => **text == *want,
            Level::Template(parts) => want != "+" && is_filled(parts, want, subject),
        }
    }

    /// Whether some of what `want` stands for is this.
    fn meets(&self, want: &str, first: bool, subject: &Subject) -> bool {
        if want != "+" {
            return self.covers(want, first, subject);
        }
        let begins_with_dollar = match self {
            Level::Any => false,
            Level::Literal(text) => text.starts_with('$'),
            Level::Template(parts) => {
                matches!(parts.first(), Some(Part::Text(text)) if text.starts_with('$'))
            }
        };
        !(first && begins_with_dollar)
    }
}

/// Whether `level` is the parts, one after the other.
fn is_filled(parts: &[Part], level: &str, subject: &Subject) -> bool {
    let mut rest = level;
    for part in parts {
        let text = match part {
            Part::Text(text) => Some(&**text),
            Part::Value(name) => subject.value(name),
        };
        match text.and_then(|text| rest.strip_prefix(text)) {
            Some(left) => rest = left,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Whether a value can be a part of one level.
fn is_one_level(value: &str) -> bool {
    !value.is_empty() && !value.contains(['/', '+', '#', '\0'])
}

/// Takes a text apart at its values.
pub(super) fn parse_parts(text_with_values: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = text_with_values;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let mut following = after.chars();
        let name = match following.next() {
            Some('%') => {
                text.push('%');
                rest = following.as_str();
                continue;
            }
            Some('c') => "client",
            Some('u') => "user",
            Some('{') => {
                let (name, left) =
                    following.as_str().split_once('}').ok_or(PatternError::LonePercent)?;
                following = left.chars();
                name
            }
            _ => return Err(PatternError::LonePercent),
        };
        let is_known = NAMES.contains(&name)
            || PREFIXES.iter().any(|prefix| name.len() > prefix.len() && name.starts_with(prefix));
        if !is_known {
            return Err(PatternError::UnknownValue(name.to_owned()));
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text).into_boxed_str()));
        }
        parts.push(Part::Value(Box::from(name)));
        rest = following.as_str();
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text.into_boxed_str()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::Dialect;

    fn subject(client: &str) -> Subject {
        Subject::new(client, None, &[])
    }

    fn covers(pattern: &str, filter: &str) -> bool {
        Pattern::parse(pattern).unwrap().covers(filter, Usable::Whole, &subject("c1"))
    }

    #[test]
    fn a_pattern_covers_what_lies_inside_it() {
        for (pattern, filter, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/#", "a/+/#", true),
            ("a/#", "a/b/+", true),
            ("a/+/#", "a/#", false),
            ("a/+/#", "a/+", true),
            ("a/+", "a/+", true),
            ("a/+", "a/b", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("a/b", "a/b/#", false),
            ("#", "#", true),
            ("+/#", "#", true),
            ("#", "+/#", true),
            ("+", "#", false),
            ("+/+/#", "#", false),
            ("#", "$SYS/#", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$events/#", "#", false),
            ("devices/%c/#", "devices/c1/up", true),
            ("devices/%c/#", "devices/c2/up", false),
            ("devices/%c/#", "devices/+/up", false),
            ("devices/x-%c%%/#", "devices/x-c1%", true),
        ] {
            assert_eq!(covers(pattern, filter), expected, "{pattern} over {filter}");
        }
    }

    #[test]
    fn a_value_that_would_widen_a_pattern_is_not_put_in() {
        for client in ["", "+", "#", "a/b", "a/../+", "x#", "a\0", "é/"] {
            let pattern = Pattern::parse("devices/%c/#").unwrap();
            let subject = subject(client);
            assert_eq!(pattern.usable(&subject), Usable::UpTo(1), "{client:?}");
            assert!(pattern.covers("devices/other", Usable::UpTo(1), &subject));
            assert!(!pattern.covers("other/x", Usable::UpTo(1), &subject));
        }
        let own = Pattern::parse("%c/#").unwrap();
        assert_eq!(own.usable(&subject("$SYS")), Usable::UpTo(0));
        assert_eq!(own.usable(&subject("a$SYS")), Usable::Whole);
        let user = Pattern::parse("x/%u").unwrap();
        assert_eq!(user.usable(&subject("c")), Usable::UpTo(1), "nobody logged in");
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, expected) in [
            ("", PatternError::Topic(TopicError::Empty)),
            ("a/#/b", PatternError::Topic(TopicError::HashNotLast)),
            ("a/x+", PatternError::Topic(TopicError::PlusNotAlone)),
            ("a/%c+", PatternError::Topic(TopicError::PlusNotAlone)),
            ("a/100%", PatternError::LonePercent),
            ("a/%{client", PatternError::LonePercent),
            ("a/%{jwt.}", PatternError::UnknownValue("jwt.".to_owned())),
            ("a/%{cert.ou}", PatternError::UnknownValue("cert.ou".to_owned())),
            ("$share/g/a", PatternError::Shared),
        ] {
            assert_eq!(Pattern::parse(text), Err(expected), "{text}");
        }
    }

    /// Every topic of up to three levels over a small alphabet.
    fn topics() -> Vec<String> {
        let levels = ["a", "b", "", "$s", "c1"];
        let mut topics: Vec<String> = Vec::new();
        for a in levels {
            topics.push(a.to_owned());
            for b in levels {
                topics.push(format!("{a}/{b}"));
                topics.extend(levels.iter().map(|c| format!("{a}/{b}/{c}")));
            }
        }
        topics.retain(|topic| !topic.is_empty());
        topics
    }

    /// The letter `z` stands for whatever the pattern does not name.
    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "", "$s", "c1", "+"]);
        let tail = prop::sample::select(vec!["", "/#"]);
        let levels = prop::collection::vec(level, 1..=2);
        let filter = (levels, tail).prop_map(|(levels, tail)| levels.join("/") + tail);
        prop_oneof![8 => filter, 1 => Just("#".to_owned())].prop_filter("text", |f| !f.is_empty())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn containment_and_overlap_are_what_brute_force_finds(
            pattern in filter(),
            filter in filter(),
        ) {
            let parsed = Pattern::parse(&pattern.replace("c1", "%c")).unwrap();
            let subject = subject("c1");
            let of_pattern = TopicFilter::parse(&pattern).unwrap();
            let of_filter = TopicFilter::parse(&filter).unwrap();
            // A level that neither names, and one level more than either has, stand for all others.
            let mut all = topics();
            let more: Vec<String> =
                all.iter().flat_map(|t| [format!("{t}/z"), t.replace('b', "z")]).collect();
            all.extend(more);
            let matched: Vec<(bool, bool)> = all
                .iter()
                .map(|t| (of_pattern.matches(t, Dialect::Mqtt), of_filter.matches(t, Dialect::Mqtt)))
                .collect();
            let covers = matched.iter().all(|(pattern, filter)| *pattern || !*filter);
            let overlaps = matched.iter().any(|(pattern, filter)| *pattern && *filter);
            prop_assert_eq!(parsed.usable(&subject), Usable::Whole);
            prop_assert_eq!(parsed.covers(&filter, Usable::Whole, &subject), covers);
            prop_assert_eq!(parsed.overlaps(&filter, Usable::Whole, &subject), overlaps);
        }

        #[test]
        fn a_cut_pattern_matches_all_that_the_whole_one_could(
            client in "[a-c/+#$%]{0,4}",
            topic in "[a-c/$]{1,8}",
        ) {
            let pattern = Pattern::parse("a/%c/b").unwrap();
            let subject = subject(&client);
            if format!("a/{client}/b") == topic {
                prop_assert!(pattern.covers(&topic, pattern.usable(&subject), &subject));
            }
            if pattern.usable(&subject) == Usable::Whole {
                let is_own = topic == format!("a/{client}/b");
                prop_assert_eq!(pattern.covers(&topic, Usable::Whole, &subject), is_own);
            }
        }

        #[test]
        fn no_text_makes_the_pattern_reader_panic(text in "[a%{}c/+#$.é]{0,20}") {
            drop(Pattern::parse(&text));
        }
    }
}
