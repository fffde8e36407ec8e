//! Functions of CloudFormation as far as the template alone says what they come to.
//!
//! There is no deployment here that could be asked. What a template has itself is taken: the default of
//! a parameter, the name that another resource is given, text that `Fn::Sub` and `Fn::Join` put together of
//! these. Everything else is told as not resolved, by its name. Specification: AWS CloudFormation
//! Template Reference, "Intrinsic functions".

use std::collections::BTreeMap;

use super::super::parse::embedded::Offsets;
use super::node::Function;
use super::node::Node;
use super::node::Text;

/// Properties that name the resources which rules send to, by the type of the resource.
const NAMES: [(&str, &str); 7] = [
    ("AWS::Kinesis::Stream", "Name"),
    ("AWS::KinesisFirehose::DeliveryStream", "DeliveryStreamName"),
    ("AWS::Lambda::Function", "FunctionName"),
    ("AWS::Serverless::Function", "FunctionName"),
    ("AWS::S3::Bucket", "BucketName"),
    ("AWS::DynamoDB::Table", "TableName"),
    ("AWS::Serverless::SimpleTable", "TableName"),
];
/// Functions inside one another that are looked into.
const FUNCTIONS_DEEP_MAX: usize = 8;
/// A text that functions put together, bytes: some lines must not become a gigabyte.
const RESOLVED_BYTES_MAX: usize = 64 * 1024;

/// What a template says of itself.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// The defaults of its parameters.
    defaults: BTreeMap<String, String>,
    /// The names that its resources are given.
    names: BTreeMap<String, String>,
}

/// What to do with what the template does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Nothing comes of it.
    Refused,
    /// Its own name stands for it.
    Named,
}

/// What a function comes to.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The text.
    pub(super) text: Text,
    /// What was taken for something that only a deployment knows, as "Prefix is 'lab'".
    pub(super) assumed: Vec<String>,
}

/// What is not known, as the template writes it.
pub(super) type Unresolved = String;

impl Template {
    /// Of the outermost value of a template.
    pub(super) fn of(root: Node<'_>) -> Template {
        let mut template = Template::default();
        for section in root.members().unwrap_or_default() {
            let entries = section.value.members().unwrap_or_default();
            for entry in entries {
                let Some(text) = (match section.key.as_str() {
                    "Parameters" => member(entry.value, "Default").and_then(text_of),
                    "Resources" => resource_name(entry.value),
                    _ => None,
                }) else {
                    continue;
                };
                match section.key.as_str() {
                    "Parameters" => template.defaults.insert(entry.key, text),
                    _ => template.names.insert(entry.key, text),
                };
            }
        }
        template
    }

    /// The name that a resource is given.
    pub(super) fn name_of(&self, logical: &str) -> Option<&str> {
        self.names.get(logical).map(String::as_str)
    }

    /// What `function` comes to.
    pub(super) fn resolve(
        &self,
        function: &Function<'_>,
        unknown: Unknown,
    ) -> Result<Resolved, Unresolved> {
        let mut resolver = Resolver { template: self, unknown, assumed: Vec::new() };
        let span = function.argument.span();
        let text = resolver.function(function, 0)?;
        let Resolver { mut assumed, .. } = resolver;
        assumed.sort();
        assumed.dedup();
        Ok(Resolved { text: Text { span, ..text }, assumed })
    }
}

struct Resolver<'r> {
    template: &'r Template,
    unknown: Unknown,
    assumed: Vec<String>,
}

impl Resolver<'_> {
    fn function(&mut self, function: &Function<'_>, depth: usize) -> Result<Text, Unresolved> {
        if depth == FUNCTIONS_DEEP_MAX {
            return Err(function.written.clone());
        }
        let argument = function.argument;
        let joined = |text: String| {
            let span = argument.span();
            Text { text, offsets: Offsets::at(span.start), span }
        };
        match function.name.as_str() {
            "Ref" => {
                let name = text_of(argument).ok_or_else(|| function.written.clone())?;
                self.reference(&name).map(joined)
            }
            "Fn::GetAtt" => {
                let name = attribute_of(argument).ok_or_else(|| function.written.clone())?;
                self.reference(&name).map(joined)
            }
            "Fn::Sub" => self.substitute(function, depth),
            "Fn::Join" => self.join(function, depth).map(joined),
            _ => Err(function.written.clone()),
        }
    }

    /// What `Ref` or `${…}` of `name` comes to.
    fn reference(&mut self, name: &str) -> Result<String, Unresolved> {
        let logical = name.split('.').next().unwrap_or(name);
        let template = self.template;
        let known = template.defaults.get(name).or_else(|| template.names.get(logical));
        let text = match (known, self.unknown) {
            (Some(known), _) => known.clone(),
            (None, Unknown::Refused) => return Err(name.to_owned()),
            // AWS::Region
            (None, Unknown::Named) => logical.rsplit("::").next().unwrap_or(logical).to_owned(),
        };
        if !template.names.contains_key(logical) {
            self.assumed.push(format!("{name} is '{text}'"));
        }
        Ok(text)
    }

    fn substitute(&mut self, function: &Function<'_>, depth: usize) -> Result<Text, Unresolved> {
        let unresolved = || function.written.clone();
        let (template, own) = match function.argument.elements() {
            None => (function.argument, Vec::new()),
            Some(parts) => {
                let [template, own] = parts.as_slice() else { return Err(unresolved()) };
                (*template, own.members().unwrap_or_default())
            }
        };
        let Some(Ok(template)) = template.text() else { return Err(unresolved()) };
        let mut text = String::new();
        let mut dropped = Vec::new();
        let mut is_as_written = true;
        let mut rest = template.text.as_str();
        while let Some((before, behind)) = rest.split_once("${") {
            let Some((name, after)) = behind.split_once('}') else { break };
            text.push_str(before);
            rest = after;
            if let Some(literal) = name.strip_prefix('!') {
                text.push_str("${");
                dropped.push(text.len());
                text.push_str(literal);
                text.push('}');
                continue;
            }
            is_as_written = false;
            let name = name.trim();
            let value = match own.iter().find(|member| member.key == name) {
                Some(member) => self.value(member.value, depth)?,
                None => self.reference(name)?,
            };
            text.push_str(&value);
            if text.len() > RESOLVED_BYTES_MAX {
                return Err(unresolved());
            }
        }
        text.push_str(rest);
        let Text { offsets, span, .. } = template;
        let offsets = match is_as_written {
            true => offsets.shortened(dropped),
            false => Offsets::at(span.start),
        };
        Ok(Text { text, offsets, span })
    }

    fn join(&mut self, function: &Function<'_>, depth: usize) -> Result<String, Unresolved> {
        let unresolved = || function.written.clone();
        let parts = function.argument.elements().unwrap_or_default();
        let [separator, parts] = parts.as_slice() else { return Err(unresolved()) };
        let separator = match separator.text() {
            Some(Ok(separator)) => separator.text,
            _ => return Err(unresolved()),
        };
        let mut text = String::new();
        for (number, part) in parts.elements().ok_or_else(unresolved)?.into_iter().enumerate() {
            if number > 0 {
                text.push_str(&separator);
            }
            text.push_str(&self.value(part, depth)?);
            if text.len() > RESOLVED_BYTES_MAX {
                return Err(unresolved());
            }
        }
        Ok(text)
    }

    /// A text or what a function comes to.
    fn value(&mut self, node: Node<'_>, depth: usize) -> Result<String, Unresolved> {
        if let Some(function) = node.function() {
            return self.function(&function, depth + 1).map(|text| text.text);
        }
        text_of(node).ok_or_else(|| node.kind().to_owned())
    }
}

/// The value of a member.
pub(super) fn member<'t>(object: Node<'t>, key: &str) -> Option<Node<'t>> {
    let members = object.members()?;
    members.into_iter().find(|member| member.key == key).map(|member| member.value)
}

/// The text that a value is.
pub(super) fn text_of(node: Node<'_>) -> Option<String> {
    Some(node.text()?.ok()?.text)
}

/// The name of a resource that a rule may send to, where its template gives it one.
fn resource_name(resource: Node<'_>) -> Option<String> {
    let kind = member(resource, "Type").and_then(text_of)?;
    let (_, property) = NAMES.iter().find(|(known, _)| *known == kind)?;
    text_of(member(member(resource, "Properties")?, property)?)
}

/// The logical name of `[name, attribute]`, or of `name.attribute`.
fn attribute_of(argument: Node<'_>) -> Option<String> {
    let name = match argument.elements() {
        Some(parts) => text_of(*parts.first()?)?,
        None => text_of(argument)?,
    };
    Some(name.split('.').next().unwrap_or_default().to_owned())
}
