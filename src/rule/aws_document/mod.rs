//! AWS IoT rule documents → the trees of rules.
//!
//! [`parse`] takes the text of a JSON or YAML file and answers what [`super::parse::parse_file`] answers of a
//! rule file; from there on nothing knows the difference. A file holds one or more values, each a
//! document or an array of documents:
//!
//! | form | known by |
//! |---|---|
//! | input of CreateTopicRule | `topicRulePayload` |
//! | answer of GetTopicRule | `rule` |
//! | TopicRulePayload or TopicRule alone | `sql` |
//! | CloudFormation template | `Resources`, of which those of type `AWS::IoT::TopicRule` count, and events of [`serverless`] functions |
//!
//! Every span lies in the file, inside strings too: [`json`] and [`yaml`] keep the places of escapes. The
//! rules are strict: they mean here what they mean at AWS, in the version that the document asks
//! for. What has no counterpart is told as a warning, see [`mapping`]. Specification: AWS IoT API
//! Reference, `CreateTopicRule`, `TopicRulePayload`, `Action`; AWS CloudFormation Template
//! Reference, `AWS::IoT::TopicRule`.

mod action;
mod json;
pub mod mapping;
mod node;
mod reader;
mod serverless;
mod template;
#[cfg(test)]
mod tests;
mod yaml;

use super::ast::Action;
use super::ast::CreateRule;
use super::ast::RuleName;
use super::ast::Span;
use super::ast::Spanned;
use super::ast::SqlVersion;
use super::parse::Parsed;
use super::parse::embedded;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::diagnostic::nearest;
use json::Json;
use node::Member;
use node::Node;
use reader::Case;
use reader::Fields;
use reader::Reader;
use serverless::EVENT;
use serverless::FUNCTION_TYPE;
use template::Template;
use yaml::Documents;

/// The type of CloudFormation resource that is a rule.
const RESOURCE_TYPE: &str = "AWS::IoT::TopicRule";
const CREATE: [&str; 3] = ["ruleName", "topicRulePayload", "tags"];
const GET: [&str; 3] = ["ruleArn", "rule", "ResponseMetadata"];
/// TopicRule; TopicRulePayload is the same without name and time.
const RULE: [&str; 8] = [
    "ruleName",
    "sql",
    "description",
    "actions",
    "errorAction",
    "ruleDisabled",
    "awsIotSqlVersion",
    "createdAt",
];
const RESOURCE: [&str; 3] = ["ruleName", "topicRulePayload", "tags"];

/// How a file of documents is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl Notation {
    /// Of a file whose name ends in `extension`; `None` when it is called as no document is. What is
    /// called a template may be either, which its first character tells.
    pub fn of(extension: &str, text: &str) -> Option<Notation> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "json" => Notation::Json,
            "yaml" | "yml" => Notation::Yaml,
            "template" => Notation::of_text(text),
            _ => return None,
        })
    }

    /// Of a text that has no name.
    pub fn of_text(text: &str) -> Notation {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with(['{', '[']) { Notation::Json } else { Notation::Yaml }
    }
}

/// Parses a file of documents. `stem`, the file's name without its ending, is the name of a rule that
/// has none; what cannot stand in a rule's name becomes `_`.
pub(super) fn parse(text: &str, notation: Notation, stem: &str) -> Parsed {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let stem = stem.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut file = File { stem, parsed: Parsed::default(), other: None };
    match notation {
        Notation::Json => {
            let (values, wrong) = Json::values(text);
            file.documents(values, wrong);
        }
        Notation::Yaml => {
            let (documents, wrong) = Documents::read(text);
            file.documents(documents.roots(), wrong);
        }
    }
    file.parsed.diagnostics.extend(file.other);
    file.parsed
}

/// Words what was found in a document's rule for who reads JSON.
pub(super) fn reword(found: &mut Diagnostic) {
    let help = match found.code {
        Code::STRICT => {
            "a document is AWS IoT SQL and nothing else; `tidegate import` makes a rule of it that \
             may use more"
        }
        Code::SQL_VERSION => {
            "a document without awsIotSqlVersion is of 2015-10-08; ask for \"2016-03-23\""
        }
        _ => return,
    };
    found.help = Some(help.to_owned());
}

struct File {
    stem: String,
    parsed: Parsed,
    /// The first value that has nothing to do with rules.
    other: Option<Diagnostic>,
}

/// What all rules of a document have in common.
#[derive(Clone, Copy)]
struct Form<'f> {
    case: Case,
    template: &'f Template,
}

impl<'f> Form<'f> {
    fn reader(self, found: &'f mut Vec<Diagnostic>) -> Reader<'f> {
        Reader { case: self.case, template: self.template, found }
    }
}

/// A rule as one of the forms holds it.
struct Document<'t> {
    /// What the form calls it.
    name: Option<Member<'t>>,
    /// What it is called otherwise, and where to mark that.
    fallback: Spanned<String>,
    rule: Node<'t>,
    /// The one action of a rule that has no list of them.
    call: Option<Spanned<Action>>,
}

impl File {
    fn documents(&mut self, values: Vec<Node<'_>>, wrong: Option<Diagnostic>) {
        self.parsed.diagnostics.extend(wrong);
        for value in values {
            match value.elements() {
                Some(documents) => documents.into_iter().for_each(|one| self.document(one)),
                None => self.document(value),
            }
        }
    }

    fn document(&mut self, document: Node<'_>) {
        let members = document.members().unwrap_or_default();
        let has = |key: &str| members.iter().find(|member| member.key == key);
        if has("topicRulePayload").is_some() {
            self.wrapped(document, "the document", &CREATE, "topicRulePayload");
        } else if has("rule").is_some() {
            self.wrapped(document, "the document", &GET, "rule");
        } else if has("sql").is_some() {
            let fallback = self.fallback(document);
            let template = Template::default();
            let form = Form { case: Case::Camel, template: &template };
            self.rule(form, Document { name: None, fallback, rule: document, call: None });
        } else if let Some(resources) = has("Resources") {
            self.template(document, resources.value);
        } else if has("rules").is_some() || members.iter().any(is_misspelt) {
            let is_list = has("rules").is_some();
            self.parsed.diagnostics.push(no_rule(document, Severity::Warning, is_list));
        } else {
            // Rows of a table, say, which may well lie among rules.
            self.other.get_or_insert_with(|| no_rule(document, Severity::Note, false));
        }
    }

    fn fallback(&self, document: Node<'_>) -> Spanned<String> {
        Spanned { node: self.stem.clone(), span: document.begin() }
    }

    /// A rule inside an object that has its name.
    fn wrapped(&mut self, document: Node<'_>, what: &str, known: &[&'static str], rule: &str) {
        let template = Template::default();
        let form = Form { case: Case::Camel, template: &template };
        let mut reader = form.reader(&mut self.parsed.diagnostics);
        let Some(fields) = reader.fields(document, what, known.iter().copied()) else { return };
        let Some(rule) = fields.get(rule) else { return };
        let fallback = self.fallback(document);
        let name = fields.get("ruleName").cloned();
        self.rule(form, Document { name, fallback, rule: rule.value, call: None });
    }

    /// The rules among the resources of a CloudFormation template.
    fn template(&mut self, document: Node<'_>, resources: Node<'_>) {
        let template = Template::of(document);
        let form = Form { case: Case::Pascal, template: &template };
        let mut has_rule = false;
        for resource in resources.members().unwrap_or_default() {
            let members = resource.value.members().unwrap_or_default();
            let get = |key: &str| members.iter().find(|member| member.key == key);
            let kind = get("Type").and_then(|kind| kind.value.text()).and_then(Result::ok);
            match kind.as_ref().map(|kind| kind.text.as_str()) {
                Some(RESOURCE_TYPE) => has_rule = true,
                Some(FUNCTION_TYPE) => {
                    has_rule |= self.function(form, &resource);
                    continue;
                }
                _ => continue,
            }
            let mut reader = form.reader(&mut self.parsed.diagnostics);
            let what = resource.key.as_str();
            let Some(properties) = get("Properties") else {
                let message = format!("{what} has no Properties");
                let wrong = Diagnostic::error(Code::DOCUMENT, message);
                self.parsed.diagnostics.push(wrong.at(resource.key_span.clone(), ""));
                continue;
            };
            let Some(fields) = reader.fields(properties.value, what, RESOURCE) else { continue };
            let Some(rule) = reader.required(&fields, "topicRulePayload", what) else { continue };
            let name = fields.get("ruleName").cloned();
            let fallback = Spanned { node: resource.key.clone(), span: resource.key_span.clone() };
            self.rule(form, Document { name, fallback, rule: rule.value, call: None });
        }
        if !has_rule {
            let message = format!("the template has no resource of type {RESOURCE_TYPE}");
            let none = Diagnostic::warning(Code::NO_RULES, message)
                .at(resources.span(), "")
                .help(format!("nor a {FUNCTION_TYPE} with an event of type IoTRule"));
            self.parsed.diagnostics.push(none);
        }
    }

    fn rule(&mut self, form: Form<'_>, document: Document<'_>) {
        let from = self.parsed.diagnostics.len();
        let Document { name, fallback, rule, call } = document;
        let mut reader = form.reader(&mut self.parsed.diagnostics);
        let known = if call.is_some() { &EVENT[..] } else { &RULE };
        let Some(fields) = reader.fields(rule, "a rule", known.iter().copied()) else { return };
        let name = name.as_ref().or_else(|| fields.get("ruleName"));
        let name = match name.map(|member| reader.string(member)) {
            Some(Some(text)) => Spanned { node: text.text, span: text.span },
            Some(None) | None => fallback,
        };
        let name = embedded::rule_name(&name.node, name.span, reader.found);
        let Some(rule) = reader.rule(name, &fields, call) else { return };
        let found = self.parsed.diagnostics.get(from..).unwrap_or_default();
        let is_sound = found.iter().all(|found| found.severity != Severity::Error);
        if is_sound { &mut self.parsed.rules } else { &mut self.parsed.unsound }.push(rule);
    }
}

impl Reader<'_> {
    /// The rule, unless its SQL has an error.
    fn rule(
        &mut self,
        name: Spanned<RuleName>,
        fields: &Fields<'_>,
        call: Option<Spanned<Action>>,
    ) -> Option<CreateRule> {
        let sql = self.required(fields, "sql", "a rule").and_then(|sql| self.string(sql));
        let select = sql.and_then(|sql| embedded::select(&sql.text, sql.offsets, self.found));
        let version = self.version(fields.get("awsIotSqlVersion"));
        let description = fields.get("description").and_then(|member| self.string(member));
        let description = description.map(|text| text.text).filter(|text| !text.is_empty());
        let disabled = self.boolean(fields.get("ruleDisabled"));
        let mut actions: Vec<_> = call.into_iter().collect();
        if actions.is_empty()
            && let Some(list) = self.required(fields, "actions", "a rule")
        {
            for action in self.list(list) {
                actions.extend(self.actions(action));
            }
            if actions.is_empty() {
                actions.push(self.stand_in(list));
            }
        }
        let error_action = fields.get("errorAction").map(|action| self.actions(action.value));
        Some(CreateRule {
            name,
            strict: Some(version),
            description,
            disabled,
            select: select?,
            actions,
            on_cleared: Vec::new(),
            on_error: error_action.unwrap_or_default(),
            span: fields.span.clone(),
        })
    }

    /// A rule whose matches would go nowhere shows them on the log.
    fn stand_in(&mut self, list: &Member<'_>) -> Spanned<Action> {
        let span: Span = list.key_span.clone();
        self.found.push(
            Diagnostic::warning(Code::NOT_CARRIED, "no action of the rule is carried over")
                .at(span.clone(), "")
                .help("LOG stands in, so that its matches can be seen"),
        );
        Spanned { node: Action::Log { text: None }, span }
    }

    /// The SQL version. One that is not said is the first (AWS CloudFormation Template Reference,
    /// `AwsIotSqlVersion`).
    fn version(&mut self, member: Option<&Member<'_>>) -> SqlVersion {
        let text = member.and_then(|member| self.string(member));
        let Some(text) = text else { return SqlVersion::V2015_10_08 };
        if text.text == "beta" {
            self.found.push(
                Diagnostic::warning(Code::NOT_CARRIED, "there is no beta of AWS IoT SQL here")
                    .at(text.span, "2016-03-23 is used")
                    .help("ask for \"2016-03-23\""),
            );
            return SqlVersion::V2016_03_23;
        }
        embedded::sql_version(&text.text, text.span, self.found)
    }
}

/// Whether a key is nearly one that makes an object a document.
fn is_misspelt(member: &Member<'_>) -> bool {
    let marks = ["topicRulePayload", "ruleName", "Resources", "awsIotSqlVersion", "ruleDisabled"];
    nearest(&member.key, marks).is_some()
}

/// What is told of a value that is no document.
fn no_rule(value: Node<'_>, severity: Severity, is_list: bool) -> Diagnostic {
    let help = if is_list {
        "the answer of list-topic-rules has no rules, only their names: \
         `aws iot get-topic-rule --rule-name NAME` has one"
    } else {
        "a rule is what `aws iot create-topic-rule --cli-input-json` takes, what \
         `aws iot get-topic-rule` shows, or in a CloudFormation template"
    };
    let told = Diagnostic::note(Code::NO_RULES, "this is no rule of AWS IoT");
    Diagnostic { severity, ..told.at(value.begin(), "").help(help) }
}
