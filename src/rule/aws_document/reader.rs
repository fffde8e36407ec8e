//! Objects of a document whose members are known by name, and what is told about the others.

use super::super::ast::Span;
use super::json::Json;
use super::json::Member;
use super::json::Text;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;

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
    pub(super) found: &'d mut Vec<Diagnostic>,
}

/// An object and the members that it may have.
pub(super) struct Fields<'t> {
    members: Vec<Member<'t>>,
    case: Case,
    /// Where it stands.
    pub(super) span: Span,
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
        object: Json<'t>,
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
        Some(Fields { members: seen, case, span: object.span() })
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
                    .at(fields.span.start..fields.span.start + 1, "")
                    .help(format!("AWS IoT asks for {name} here")),
            );
        }
        member
    }

    /// The string that a member holds.
    pub(super) fn string(&mut self, member: &Member<'_>) -> Option<Text> {
        match member.value.text() {
            Some(Ok(text)) => Some(text),
            Some(Err(half)) => {
                self.found.push(half);
                None
            }
            None => {
                match self.intrinsic(member) {
                    Some((function, _)) => self.found.push(
                        Diagnostic::error(Code::DOCUMENT, unresolved(&function, member))
                            .at(member.value.span(), "")
                            .help(
                                "write the text itself, or use the deployed rule, as \
                                 `aws iot get-topic-rule` shows it",
                            ),
                    ),
                    None => self.wrong_kind(member.value, &member.key, "a string"),
                }
                None
            }
        }
    }

    /// The function of a CloudFormation template that stands for a member's value, and its argument.
    fn intrinsic<'t>(&self, member: &Member<'t>) -> Option<(String, Json<'t>)> {
        let mut members = member.value.members().filter(|_| self.case == Case::Pascal)?;
        let only = members.pop().filter(|_| members.is_empty())?;
        let is_function = only.key == "Ref" || only.key.starts_with("Fn::");
        is_function.then_some((only.key, only.value))
    }

    /// The name that a member holds. A CloudFormation reference to a resource of the template stands
    /// for its logical name, which is told.
    pub(super) fn target(&mut self, member: &Member<'_>) -> Option<Text> {
        let reference = self.intrinsic(member).and_then(|(function, argument)| {
            logical_name(&function, argument).map(|text| (function, text))
        });
        let Some((function, text)) = reference else { return self.string(member) };
        self.found.push(
            Diagnostic::warning(Code::NOT_CARRIED, unresolved(&function, member))
                .at(member.value.span(), format!("{} is the name here", text.text))
                .help("write the name itself to choose another"),
        );
        Some(text)
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
        match (self.case, member.value.text()) {
            (Case::Pascal, Some(Ok(text))) => text.text.parse().ok(),
            _ => None,
        }
    }

    /// The elements of the array that a member holds.
    pub(super) fn list<'t>(&mut self, member: &Member<'t>) -> Vec<Json<'t>> {
        member.value.elements().unwrap_or_else(|| {
            self.wrong_kind(member.value, &member.key, "an array");
            Vec::new()
        })
    }

    /// Tells that `what` is something else than `wanted`.
    pub(super) fn wrong_kind(&mut self, value: Json<'_>, what: &str, wanted: &str) {
        let message = format!("{what} must be {wanted}, not {}", value.kind());
        self.found.push(Diagnostic::error(Code::DOCUMENT, message).at(value.span(), ""));
    }

    fn unknown(&mut self, member: &Member<'_>, what: &str, known: &[String]) {
        let help = match nearest(&member.key, known.iter().map(String::as_str)) {
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

fn unresolved(function: &str, member: &Member<'_>) -> String {
    format!("{function} of {} is not resolved", member.key)
}

/// The logical name that a `Ref` or `Fn::GetAtt` refers to.
fn logical_name(function: &str, argument: Json<'_>) -> Option<Text> {
    match function {
        "Ref" => argument.text()?.ok(),
        "Fn::GetAtt" => {
            let first = argument.elements()?.into_iter().next()?;
            first.text()?.ok()
        }
        _ => None,
    }
}
