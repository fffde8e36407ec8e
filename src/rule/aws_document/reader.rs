//! Objects of a document whose members are known by name, and what is told about the others.

use super::super::ast::Span;
use super::node::Function;
use super::node::Member;
use super::node::Node;
use super::node::Text;
use super::template::Resolved;
use super::template::Template;
use super::template::Unknown;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest_after;

/// How a document writes the names of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// `topicRulePayload`: the API and the AWS command line.
    Camel,
    /// `TopicRulePayload`: CloudFormation.
    Pascal,
}

impl Case {
    /// `name` of the API as this document writes it.
    pub(super) fn write(self, name: &str) -> String {
        match self {
            Case::Camel => name.to_owned(),
            Case::Pascal => {
                let mut chars = name.chars();
                let first = chars.next().map(|first| first.to_ascii_uppercase());
                first.into_iter().chain(chars).collect()
            }
        }
    }
}

/// Reads one rule of a document.
pub(super) struct Reader<'d> {
    pub(super) case: Case,
    /// What its template says of itself, if it is in one.
    pub(super) template: &'d Template,
    pub(super) found: &'d mut Vec<Diagnostic>,
}

/// An object and the members that it may have.
pub(super) struct Fields<'t> {
    members: Vec<Member<'t>>,
    case: Case,
    /// Where it stands.
    pub(super) span: Span,
    /// Its first character.
    begin: Span,
}

impl<'t> Fields<'t> {
    /// The member of that name in the API.
    pub(super) fn get(&self, name: &str) -> Option<&Member<'t>> {
        let name = self.case.write(name);
        self.members.iter().find(|member| member.key == name)
    }
}

impl Reader<'_> {
    /// The members of `object`, which is called `what`. Unknown ones are told, and left out.
    pub(super) fn fields<'t>(
        &mut self,
        object: Node<'t>,
        what: &str,
        known: impl IntoIterator<Item = &'static str>,
    ) -> Option<Fields<'t>> {
        let Some(members) = object.members() else {
            self.wrong_kind(object, what, "an object");
            return None;
        };
        let case = self.case;
        let known: Vec<String> = known.into_iter().map(|name| case.write(name)).collect();
        let mut seen: Vec<Member<'t>> = Vec::new();
        for member in members {
            if !known.contains(&member.key) {
                self.unknown(&member, what, &known);
            } else if let Some(first) = seen.iter().find(|first| first.key == member.key) {
                self.found.push(
                    Diagnostic::error(Code::REPEATED_CLAUSE, format!("{} stands twice", first.key))
                        .at(member.key_span, "the second")
                        .also(first.key_span.clone(), "the first")
                        .help("keep one"),
                );
            } else {
                seen.push(member);
            }
        }
        Some(Fields { members: seen, case, span: object.span(), begin: object.begin() })
    }

    /// As [`Fields::get`]; tells when it is not there.
    pub(super) fn required<'f, 't>(
        &mut self,
        fields: &'f Fields<'t>,
        name: &str,
        what: &str,
    ) -> Option<&'f Member<'t>> {
        let member = fields.get(name);
        if member.is_none() {
            let name = self.case.write(name);
            self.found.push(
                Diagnostic::error(Code::DOCUMENT, format!("{what} has no {name}"))
                    .at(fields.begin.clone(), "")
                    .help(format!("AWS IoT asks for {name} here")),
            );
        }
        member
    }

    /// The string that a member holds.
    pub(super) fn string(&mut self, member: &Member<'_>) -> Option<Text> {
        self.text(member, Unknown::Refused)
    }

    /// The name that a member holds. What of it only a deployment knows stands for itself, which is
    /// told.
    pub(super) fn target(&mut self, member: &Member<'_>) -> Option<Text> {
        self.text(member, Unknown::Named)
    }

    fn text(&mut self, member: &Member<'_>, unknown: Unknown) -> Option<Text> {
        if let Some(function) = self.function(member.value) {
            return self.resolved(&function, member, unknown);
        }
        match member.value.text() {
            Some(Ok(text)) => Some(text),
            Some(Err(half)) => {
                self.found.push(half);
                None
            }
            None => {
                self.wrong_kind(member.value, &member.key, "a string");
                None
            }
        }
    }

    fn resolved(
        &mut self,
        function: &Function<'_>,
        member: &Member<'_>,
        unknown: Unknown,
    ) -> Option<Text> {
        let told = unresolved(function, &member.key);
        match self.template.resolve(function, unknown) {
            Ok(Resolved { text, assumed }) => {
                if !assumed.is_empty() {
                    let here = format!("{} here", assumed.join(", "));
                    self.found.push(
                        Diagnostic::warning(Code::NOT_CARRIED, told)
                            .at(member.value.span(), here)
                            .help("write the text itself to choose another"),
                    );
                }
                Some(text)
            }
            Err(what) => {
                self.found.push(
                    Diagnostic::error(Code::DOCUMENT, told)
                        .at(member.value.span(), format!("nothing here says what {what} is"))
                        .help(
                            "write the text itself, or use the deployed rule, as \
                             `aws iot get-topic-rule` shows it",
                        ),
                );
                None
            }
        }
    }

    /// The function of a CloudFormation template that stands for a value.
    pub(super) fn function<'t>(&self, value: Node<'t>) -> Option<Function<'t>> {
        value.function().filter(|_| self.case == Case::Pascal)
    }

    /// The Boolean that a member holds, `false` when there is none.
    pub(super) fn boolean(&mut self, member: Option<&Member<'_>>) -> bool {
        let Some(member) = member else { return false };
        let value = member.value.boolean().or_else(|| self.parsed_text(member));
        value.unwrap_or_else(|| {
            self.wrong_kind(member.value, &member.key, "true or false");
            false
        })
    }

    /// The whole number that a member holds.
    pub(super) fn whole(&mut self, member: &Member<'_>) -> Option<u64> {
        let whole = member.value.whole().or_else(|| self.parsed_text(member));
        if whole.is_none() {
            self.wrong_kind(member.value, &member.key, "a whole number");
        }
        whole
    }

    /// CloudFormation takes `"true"` and `"1"` for true and 1.
    fn parsed_text<T: std::str::FromStr>(&self, member: &Member<'_>) -> Option<T> {
        if self.case != Case::Pascal {
            return None;
        }
        let text = match self.function(member.value) {
            Some(function) => self.template.resolve(&function, Unknown::Refused).ok()?.text,
            None => member.value.text()?.ok()?,
        };
        text.text.parse().ok()
    }

    /// The elements of the array that a member holds.
    pub(super) fn list<'t>(&mut self, member: &Member<'t>) -> Vec<Node<'t>> {
        member.value.elements().unwrap_or_else(|| {
            self.wrong_kind(member.value, &member.key, "an array");
            Vec::new()
        })
    }

    /// Tells that `what` is something else than `wanted`.
    pub(super) fn wrong_kind(&mut self, value: Node<'_>, what: &str, wanted: &str) {
        let message = match self.function(value) {
            Some(function) => unresolved(&function, what),
            None => format!("{what} must be {wanted}, not {}", value.kind()),
        };
        self.found.push(Diagnostic::error(Code::DOCUMENT, message).at(value.span(), ""));
    }

    fn unknown(&mut self, member: &Member<'_>, what: &str, known: &[String]) {
        let known_names = known.iter().map(String::as_str);
        let help = match nearest_after(self.found.len(), &member.key, known_names) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("{what} has {}", known.join(", ")),
        };
        let shown: String = member.key.chars().take(64).collect();
        self.found.push(
            Diagnostic::warning(Code::UNKNOWN_KEY, format!("{what} has no {shown}"))
                .at(member.key_span.clone(), "")
                .help(help),
        );
    }
}

/// That `function`, which stands for `what`, is not resolved.
pub(super) fn unresolved(function: &Function<'_>, what: &str) -> String {
    format!("{} of {what} is not resolved", function.written)
}
