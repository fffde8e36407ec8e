//! The access rules: who may publish and subscribe to what.
//!
//! A rule is a line: `allow publish user alice devices/%c/#`. The first rule that speaks of a topic
//! decides, so an exception stands before what it is an exception of, and a reader finds the answer
//! from the top. Where there are rules and none speaks of a topic, it is denied; where there is no
//! rule at all, everything is allowed.
//!
//! A publish is decided for its topic. A subscription is decided for all topics that its filter
//! matches, and never granted too much: it is allowed when a rule that allows *all* of it comes before
//! any that denies *some* of it. Two rules that together allow it are not enough. Which client identifier
//! somebody may use is decided when it connects, by rules of their own (`allow connect …`).
//!
//! [`Permissions`] is made when a client connects and holds the rules that are about it, by number; its
//! two questions allocate nothing. A rule that allows and whose placeholder has no value that could stand
//! there is not about the client; one that denies then denies all below the level of the placeholder.

use std::sync::Arc;

use super::client_ids::ClientIds;
use super::pattern::Pattern;
use super::pattern::PatternError;
use super::pattern::Usable;
use super::subject::Subject;
use crate::limits::ACL_RULES_MAX;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// PUBLISH, and the will.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    /// Everybody.
    Any,
    /// Those who did not log in.
    Anonymous,
    User(Name),
    Group(Box<str>),
    Client(Name),
}

/// A name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Whole(Box<str>),
    Beginning(Box<str>),
}

impl Name {
    fn parse(text: &str) -> Name {
        match text.strip_suffix('*') {
            Some(beginning) => Name::Beginning(Box::from(beginning)),
            None => Name::Whole(Box::from(text)),
        }
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Name::Whole(whole) => **whole == *name,
            Name::Beginning(beginning) => name.starts_with(&**beginning),
        }
    }
}

impl Who {
    fn is(&self, subject: &Subject) -> bool {
        match self {
            Who::Any => true,
            Who::Anonymous => subject.user.is_none(),
            Who::User(name) => subject.user.as_deref().is_some_and(|user| name.is(user)),
            Who::Group(group) => subject.groups.contains(group),
            Who::Client(name) => name.is(&subject.client_id),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    publish: bool,
    subscribe: bool,
    who: Who,
    topics: Vec<Pattern>,
    /// Of a rule about connecting, which names no topics.
    client_ids: Vec<ClientIds>,
}

/// What is wrong with a line of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleProblem {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

/// Access rules in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    rules: Vec<Rule>,
    /// Whether what no rule speaks of is denied: there is a rule, or a file for them.
    denies: bool,
}

impl Acl {
    /// No rule; everything that none speaks of is denied when `denies`.
    pub fn new(denies: bool) -> Acl {
        Acl { rules: Vec::new(), denies }
    }

    /// Adds the rule of a line. An empty line and a comment (`#` in front) have none.
    ///
    /// # Errors
    /// It is no rule, or there are [`ACL_RULES_MAX`].
    pub fn add(&mut self, line: &str) -> Result<(), RuleProblem> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if self.rules.len() >= ACL_RULES_MAX {
            let message = format!("there are more than {ACL_RULES_MAX} access rules");
            return Err(RuleProblem { message, help: "use groups and placeholders".to_owned() });
        }
        let rule = parse_rule(line)?;
        self.denies |= !rule.topics.is_empty();
        self.rules.push(rule);
        Ok(())
    }

    /// Adds those of a file.
    ///
    /// # Errors
    /// The first line, from 1, that is wrong.
    pub fn add_lines(&mut self, text: &str) -> Result<(), (usize, RuleProblem)> {
        self.denies = true;
        for (at, line) in text.lines().enumerate() {
            self.add(line).map_err(|problem| (at + 1, problem))?;
        }
        Ok(())
    }

    /// Those of `other` behind these.
    pub(super) fn then(mut self, other: &Acl) -> Acl {
        self.rules.extend_from_slice(&other.rules);
        self.denies |= other.denies;
        self
    }

    /// Whether somebody may use its client identifier: any, while no rule is about that.
    fn may_connect(&self, subject: &Subject) -> bool {
        let mut rules = self.rules.iter().filter(|rule| !rule.client_ids.is_empty()).peekable();
        let is_met = |rule: &&Rule| {
            let mut ids = rule.client_ids.iter();
            rule.who.is(subject) && ids.any(|ids| ids.are_met(rule.allows, subject))
        };
        rules.peek().is_none() || rules.find(is_met).is_some_and(|rule| rule.allows)
    }

    /// Whether anything is denied by there being rules.
    pub fn is_open(&self) -> bool {
        !self.denies
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

const RULE_HELP: &str = "allow or deny; publish, subscribe, both or connect; any, anonymous, user NAME, group NAME or \
     client NAME; then topic filters, or what client identifiers look like, such as: allow publish user alice \
     devices/%c/#";

fn parse_rule(line: &str) -> Result<Rule, RuleProblem> {
    let words =
        split_words(line).ok_or_else(|| problem("a quotation mark is not closed".to_owned()))?;
    let mut words = words.iter().map(String::as_str);
    let allows = match next(&mut words, "allow or deny")? {
        "allow" => true,
        "deny" => false,
        other => return Err(problem(format!("a rule begins with allow or deny, not {other:?}"))),
    };
    let (publish, subscribe) = match next(&mut words, "publish, subscribe, both or connect")? {
        "publish" => (true, false),
        "subscribe" => (false, true),
        "both" => (true, true),
        "connect" => (false, false),
        other => {
            return Err(problem(format!("{other:?} is not publish, subscribe, both or connect")));
        }
    };
    let who = match next(&mut words, "whom it is about")? {
        "any" => Who::Any,
        "anonymous" => Who::Anonymous,
        "user" => Who::User(Name::parse(next(&mut words, "the user's name")?)),
        "group" => Who::Group(Box::from(next(&mut words, "the group's name")?)),
        "client" => Who::Client(Name::parse(next(&mut words, "the client's identifier")?)),
        other => {
            return Err(problem(format!("{other:?} is not any, anonymous, user, group or client")));
        }
    };
    let is_connect = !publish && !subscribe;
    let (mut topics, mut client_ids) = (Vec::new(), Vec::new());
    for text in words {
        if is_connect {
            let wrong = |error| pattern_problem(text, "client identifier", &error);
            client_ids.push(ClientIds::parse(text).map_err(wrong)?);
        } else {
            let wrong = |error| pattern_problem(text, "topic filter", &error);
            topics.push(Pattern::parse(text).map_err(wrong)?);
        }
    }
    if topics.is_empty() && client_ids.is_empty() {
        let missing = if is_connect { "client identifier" } else { "topic" };
        return Err(problem(format!("the rule names no {missing}")));
    }
    Ok(Rule { allows, publish, subscribe, who, topics, client_ids })
}

fn problem(message: String) -> RuleProblem {
    RuleProblem { message, help: RULE_HELP.to_owned() }
}

fn next<'a>(
    words: &mut impl Iterator<Item = &'a str>,
    wanted: &str,
) -> Result<&'a str, RuleProblem> {
    words.next().ok_or_else(|| problem(format!("the rule ends where {wanted} should stand")))
}

fn pattern_problem(text: &str, noun: &str, error: &PatternError) -> RuleProblem {
    let help = match error {
        PatternError::UnknownValue(_) => {
            let names = super::pattern::NAMES.join("}, %{");
            format!("known: %c, %u, %{{{names}}}, %{{jwt.CLAIM}}")
        }
        PatternError::OfItself => "%u is the name that was proved".to_owned(),
        _ => String::new(),
    };
    RuleProblem { message: format!("{text:?} is not a {noun}: {error}"), help }
}

/// Words between spaces; one in quotation marks may hold spaces. `None`: a mark is not closed.
fn split_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, left) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = left.trim_start();
    }
    Some(words)
}

/// A rule's filter that is about a client: numbers of both, and how far the filter can be used.
#[derive(Clone, Copy, Debug)]
struct Applied {
    rule: u32,
    topic: u32,
    usable: Usable,
}

/// What one client may do.
#[derive(Clone, Debug)]
pub struct Permissions {
    acl: Arc<Acl>,
    subject: Arc<Subject>,
    publish: Box<[Applied]>,
    subscribe: Box<[Applied]>,
    may_connect: bool,
    /// Of the access rules that they were made of.
    version: u64,
}

impl Permissions {
    pub(super) fn new(acl: Arc<Acl>, subject: Subject, version: u64) -> Permissions {
        let (mut publish, mut subscribe) = (Vec::new(), Vec::new());
        for (number, rule) in (0..).zip(&acl.rules) {
            if !rule.who.is(&subject) {
                continue;
            }
            for (topic, pattern) in (0..).zip(&rule.topics) {
                let usable = pattern.usable(&subject);
                if rule.allows && usable != Usable::Whole {
                    continue;
                }
                let applied = Applied { rule: number, topic, usable };
                if rule.publish {
                    publish.push(applied);
                }
                if rule.subscribe {
                    subscribe.push(applied);
                }
            }
        }
        Permissions {
            may_connect: acl.may_connect(&subject),
            acl,
            subject: Arc::new(subject),
            publish: publish.into_boxed_slice(),
            subscribe: subscribe.into_boxed_slice(),
            version,
        }
    }

    /// Of somebody who may do nothing.
    pub fn none(version: u64) -> Permissions {
        Permissions::new(Arc::new(Acl::new(true)), Subject::default(), version)
    }

    /// Grows when access rules or users change; permissions of another version are out of date.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the client may use its identifier. One that the gateway has given it is nobody else's, so it
    /// need not be asked about.
    pub fn may_connect(&self) -> bool {
        self.may_connect
    }

    /// Whether the client may publish to the topic `name`.
    pub fn may_publish(&self, name: &str) -> bool {
        for applied in &self.publish {
            let (allows, pattern) = self.pattern(applied);
            if pattern.covers(name, applied.usable, &self.subject) {
                return allows;
            }
        }
        self.acl.is_open()
    }

    /// Whether the client may subscribe to all that `filter` matches; of a shared subscription its own
    /// filter, without `$share/GROUP/`.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        for applied in &self.subscribe {
            let (allows, pattern) = self.pattern(applied);
            let decides = match allows {
                true => pattern.covers(filter, applied.usable, &self.subject),
                false => pattern.overlaps(filter, applied.usable, &self.subject),
            };
            if decides {
                return allows;
            }
        }
        self.acl.is_open()
    }

    /// The same question for a deed.
    pub fn may(&self, deed: Deed, topic: &str) -> bool {
        match deed {
            Deed::Publish => self.may_publish(topic),
            Deed::Subscribe => self.may_subscribe(topic),
        }
    }

    fn pattern(&self, applied: &Applied) -> (bool, &Pattern) {
        let rule = &self.acl.rules[applied.rule as usize];
        (rule.allows, &rule.topics[applied.topic as usize])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::Dialect;
    use crate::topic::TopicFilter;

    fn acl(lines: &[&str]) -> Arc<Acl> {
        let mut acl = Acl::default();
        for line in lines {
            acl.add(line).unwrap();
        }
        Arc::new(acl)
    }

    fn of(acl: &Arc<Acl>, client: &str, user: Option<&str>, groups: &[&str]) -> Permissions {
        let groups: Vec<Box<str>> = groups.iter().map(|group| Box::from(*group)).collect();
        let subject = Subject::new(client, user.map(Arc::from), &groups);
        Permissions::new(Arc::clone(acl), subject, 1)
    }

    #[test]
    fn without_a_rule_everything_is_allowed_and_with_one_nothing_else() {
        let open = of(&acl(&[]), "c", None, &[]);
        assert!(open.may_publish("a") && open.may_subscribe("#"));
        let closed = of(&acl(&["allow publish user alice a"]), "c", None, &[]);
        assert!(!closed.may_publish("a") && !closed.may_subscribe("a"));
        let empty = of(&Arc::new(Acl::new(true)), "c", None, &[]);
        assert!(!empty.may_publish("a"), "an empty file of rules is one");
    }

    #[test]
    fn the_first_rule_that_speaks_of_a_topic_decides() {
        let acl = acl(&[
            "# the exception stands first",
            "deny both any secret/#",
            "allow both user alice #",
            "allow publish group sensors devices/%c/# \"with space/+\"",
            "allow subscribe client gate-* $events/#",
            "allow publish anonymous guest/%c",
        ]);
        assert_eq!(acl.len(), 5);
        let alice = of(&acl, "c", Some("alice"), &[]);
        assert!(alice.may_publish("a/b") && alice.may(Deed::Subscribe, "a/#"));
        assert!(!alice.may_publish("secret") && !alice.may_publish("secret/x"));
        assert!(!alice.may_subscribe("#"), "some of it is secret");
        assert!(!alice.may_subscribe("+/x") && alice.may_subscribe("a/+"));
        assert!(!alice.may_subscribe("$events/#") && !alice.may_publish("$SYS/x"));
        let sensor = of(&acl, "s1", Some("x"), &["sensors"]);
        assert!(sensor.may(Deed::Publish, "devices/s1/up") && sensor.may_publish("with space/x"));
        assert!(!sensor.may_publish("devices/s2/up") && !sensor.may_subscribe("devices/s1/up"));
        let gate = of(&acl, "gate-7", None, &[]);
        assert!(gate.may_subscribe("$events/client/+/connected"));
        assert!(gate.may_publish("guest/gate-7") && !sensor.may_publish("guest/s1"));
    }

    #[test]
    fn a_client_with_slashes_gets_nothing_that_its_name_should_give_and_all_that_it_should_deny() {
        let acl = acl(&["deny both any locked/%c", "allow both any own/%c/# locked/#"]);
        for client in ["#", "+", "a/b", "x/#"] {
            let odd = of(&acl, client, None, &[]);
            assert!(!odd.may_publish("own/a/b") && !odd.may_subscribe("own/#"), "{client}");
            assert!(!odd.may_publish("locked/a/b") && !odd.may_publish("locked/c"), "{client}");
        }
        let plain = of(&acl, "c", None, &[]);
        assert!(plain.may_publish("own/c/x") && plain.may_publish("locked/other"));
        assert!(!plain.may_publish("locked/c") && !plain.may_subscribe("locked/+"));
    }

    #[test]
    fn identifiers_are_free_until_a_rule_is_about_them() {
        let may = |acl: &Arc<Acl>, client: &str, user, groups: &[&str]| {
            of(acl, client, user, groups).may_connect()
        };
        let topics_only = acl(&["allow both any a"]);
        assert!(may(&topics_only, "anything", None, &[]));
        let bound = acl(&[
            "deny connect any admin-*",
            "allow connect group ops *",
            "allow connect any %u %u-*",
            "allow connect anonymous guest-*",
        ]);
        for (client, user, groups, expected) in [
            ("alice", Some("alice"), &[][..], true),
            ("alice-2", Some("alice"), &[], true),
            ("bob", Some("alice"), &[], false),
            ("bob", Some("alice"), &["ops"], true),
            ("admin-1", Some("alice"), &["ops"], false),
            ("guest-1", None, &[], true),
            ("guest-1", Some("alice"), &[], false),
            ("alice", None, &[], false),
        ] {
            assert_eq!(may(&bound, client, user, groups), expected, "{client} {user:?}");
        }
        assert!(of(&bound, "alice", Some("alice"), &[]).may_publish("a"), "topics are not bound");
        let closed = Arc::new(Acl::clone(&bound).then(&topics_only));
        assert!(!may(&closed, "bob", Some("alice"), &[]));
    }

    #[test]
    fn what_is_no_rule_says_what_would_be_one() {
        for (line, word) in [
            ("permit both any #", "permit"),
            ("allow", "publish, subscribe, both or connect"),
            ("allow read any #", "read"),
            ("allow both everyone #", "everyone"),
            ("allow both user", "the user's name"),
            ("allow both any", "names no topic"),
            ("allow both any a/#/b", "a/#/b"),
            ("allow both any %{cert.cm}", "cert.cm"),
            ("allow both any \"a", "not closed"),
            ("allow both any $share/g/a", "$share/GROUP/"),
            ("allow connect any", "names no client identifier"),
            ("allow connect any %c", "the identifier itself"),
            ("allow connect any %{cert.cm}", "cert.cm"),
        ] {
            let problem = Acl::default().add(line).unwrap_err();
            assert!(problem.message.contains(word), "{line}: {problem:?}");
        }
        let (line, _) = Acl::default().add_lines("\n# a\nallow both any #\nno\n").unwrap_err();
        assert_eq!(line, 4);
    }

    fn rule() -> impl Strategy<Value = String> {
        let verdict = prop::sample::select(vec!["allow", "deny"]);
        let filter = prop::sample::select(vec![
            "#", "+", "a", "a/#", "a/+", "+/b", "a/b", "+/+", "a/+/#", "+/b/#", "$s/#", "%c/#",
            "a/%c",
        ]);
        (verdict, filter).prop_map(|(verdict, filter)| format!("{verdict} both any {filter}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What a granted subscription gets could be allowed topic by topic.
        #[test]
        fn a_granted_subscription_matches_no_topic_that_is_denied(
            rules in prop::collection::vec(rule(), 0..6),
            filter in prop::sample::select(vec![
                "#", "+", "a", "b", "a/#", "a/+", "+/b", "a/b", "+/+", "a/+/#", "b/#", "$s/#", "$s/x",
            ]),
        ) {
            let lines: Vec<&str> = rules.iter().map(String::as_str).collect();
            let permissions = of(&acl(&lines), "b", None, &[]);
            if permissions.may_subscribe(filter) {
                let filter = TopicFilter::parse(filter).unwrap();
                for topic in ["a", "b", "z", "a/b", "a/z", "b/b", "b/z", "z/z", "a/b/z", "a/z/z", "z/b/z",
                              "b/a/z", "$s", "$s/x", "$s/b", "$z/b", "a//b", "/", "/b"] {
                    if filter.matches(topic, Dialect::Mqtt) {
                        prop_assert!(permissions.may_publish(topic), "{:?} {}", rules, topic);
                    }
                }
            }
        }

        #[test]
        fn no_text_makes_the_rule_reader_panic(line in "[a-z%{}\"/+#$ ]{0,60}") {
            drop(Acl::default().add(&line));
        }
    }
}
