//! Message types of Protobuf, out of descriptor sets (`protoc --include_imports --descriptor_set_out`).
//!
//! A rule names a type behind `AS PROTOBUF`, or in `decode(…, 'proto', …)` with literal arguments.
//! [`Descriptors`] reads the files of a rule set, each once, and finds the types; [`Schemas`] holds
//! those of one rule, for the engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use prost_reflect::DescriptorPool;
use prost_reflect::FileDescriptor;
use prost_reflect::MessageDescriptor;

use super::ast::CreateRule;
use super::ast::Expr;
use super::ast::ExprKind;
use super::ast::Format;
use super::ast::Span;
use super::ast::Spanned;
use super::function::Function;
use super::function::lookup;
use super::table::NamedFiles;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::limits::DESCRIPTOR_BYTES_MAX;
use crate::value::Value;

/// A type of message. Equal when it is the same type of the same descriptor set.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema(MessageDescriptor);

impl Schema {
    /// The type.
    pub fn descriptor(&self) -> &MessageDescriptor {
        &self.0
    }
}

/// What a rule says of a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaName {
    /// The descriptor file, as the rule file writes it.
    pub file: String,
    /// The `.proto` file that has the type, with or without its ending; any when not said.
    pub proto: Option<String>,
    /// The type: with its package, or, where the `.proto` file is said, without.
    pub message: String,
}

impl SchemaName {
    /// What `PROTOBUF 'file' MESSAGE 'message'` names.
    pub fn of_format(file: &Spanned<String>, message: &Spanned<String>) -> SchemaName {
        SchemaName { file: file.node.clone(), proto: None, message: message.node.clone() }
    }

    /// What `decode(x, 'proto', 'bucket', 'key', 'proto', 'message')` names: bucket and key are a path
    /// from the rule file's folder. `None` for other calls of `decode`.
    pub fn of_call(args: &[Expr]) -> Option<SchemaName> {
        let [_, scheme, bucket, key, proto, message] = args else { return None };
        let (file, scheme) = (format!("{}/{}", literal(bucket)?, literal(key)?), literal(scheme)?);
        let (proto, message) = (literal(proto)?.to_owned(), literal(message)?.to_owned());
        (scheme == "proto").then_some(SchemaName { file, proto: Some(proto), message })
    }
}

/// The text of a literal.
pub(crate) fn literal(expr: &Expr) -> Option<&str> {
    match &expr.kind {
        ExprKind::Literal(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The types that one rule names.
#[derive(Clone, Debug, Default)]
pub struct Schemas(BTreeMap<SchemaName, Schema>);

impl Schemas {
    /// The type of that name; `None` only where an error was told of it.
    pub fn get(&self, name: &SchemaName) -> Option<&Schema> {
        self.0.get(name)
    }
}

/// A type where a rule names it.
struct Use {
    name: SchemaName,
    /// Where the file is named, and the type.
    file: Span,
    message: Span,
}

/// The uses in a rule, its actions included.
fn uses(rule: &CreateRule) -> Vec<Use> {
    let mut uses = Vec::new();
    if let Some(Spanned { node: Format::Protobuf { file, message }, .. }) = &rule.select.format {
        let name = SchemaName::of_format(file, message);
        uses.push(Use { name, file: file.span.clone(), message: message.span.clone() });
    }
    rule.for_each_expr(&mut |expr| calls(expr, &mut uses));
    uses
}

/// The uses in an expression.
fn calls(expr: &Expr, uses: &mut Vec<Use>) {
    if let ExprKind::Call { name, args } = &expr.kind
        && lookup(&name.node).is_some_and(|spec| spec.function == Function::Decode)
        && let (Some(name), [_, _, _, key, _, message]) = (SchemaName::of_call(args), &**args)
    {
        uses.push(Use { name, file: key.span.clone(), message: message.span.clone() });
    }
    expr.for_each_child(&mut |child| calls(child, uses));
}

/// The descriptor files of a rule set.
pub(super) struct Descriptors<'f> {
    files: &'f mut dyn NamedFiles,
    /// By the folder of the rule file and the name in it.
    read: BTreeMap<(PathBuf, String), Result<DescriptorSet, Diagnostic>>,
}

impl<'f> Descriptors<'f> {
    /// None is read yet.
    pub(super) fn new(files: &'f mut dyn NamedFiles) -> Self {
        Descriptors { files, read: BTreeMap::new() }
    }

    /// The types that a rule of the file `by` names.
    pub(super) fn schemas(
        &mut self,
        rule: &CreateRule,
        by: &Path,
        found: &mut Vec<Diagnostic>,
    ) -> Schemas {
        let mut schemas = BTreeMap::new();
        for Use { name, file, message } in uses(rule) {
            match self.set(by, &name.file) {
                Err(wrong) => found.push(wrong.clone().at(file, "")),
                Ok(set) => match set.find(&name) {
                    Ok(schema) => drop(schemas.insert(name, schema)),
                    Err(help) => {
                        let problem = format!("{} has no message {}", name.file, name.message);
                        let wrong = Diagnostic::error(Code::DESCRIPTOR, problem);
                        found.push(wrong.at(message, "").help(help));
                    }
                },
            }
        }
        Schemas(schemas)
    }

    fn set(&mut self, by: &Path, name: &str) -> Result<&DescriptorSet, &Diagnostic> {
        let folder = by.parent().unwrap_or(Path::new("")).to_owned();
        let files = &mut *self.files;
        let set = self.read.entry((folder, name.to_owned())).or_insert_with(|| {
            let bytes = files.read(by, name, DESCRIPTOR_BYTES_MAX)?.content?;
            DescriptorSet::read(&bytes).map_err(|problem| {
                let message = format!("{name} is no descriptor set: {problem}");
                Diagnostic::error(Code::DESCRIPTOR, message).help(
                    "make it with protoc --include_imports --descriptor_set_out=FILE.desc FILE.proto",
                )
            })
        });
        set.as_ref()
    }
}

/// A descriptor file.
#[derive(Clone, Debug)]
struct DescriptorSet(DescriptorPool);

impl DescriptorSet {
    /// Reads a serialised `FileDescriptorSet`; or says what is wrong with it.
    fn read(bytes: &[u8]) -> Result<DescriptorSet, String> {
        let pool = DescriptorPool::decode(bytes).map_err(|error| error.to_string())?;
        // The library's own types come with whatever uses them.
        let is_empty = pool.files().all(|file| file.package_name() == "google.protobuf");
        if is_empty { Err("it describes nothing".to_owned()) } else { Ok(DescriptorSet(pool)) }
    }

    /// Finds a type; or says what to write instead.
    fn find(&self, name: &SchemaName) -> Result<Schema, String> {
        let Some(proto) = &name.proto else {
            let found = self.0.get_message_by_name(&name.message);
            return found.map(Schema).ok_or_else(|| {
                let names: Vec<String> = self.names(|_| true, MessageDescriptor::full_name);
                suggestion(&name.message, &names, "the set has")
            });
        };
        let is_meant = |file: &FileDescriptor| {
            let bare = proto.strip_suffix(".proto").unwrap_or(proto);
            let known = file.name().strip_suffix(".proto").unwrap_or(file.name());
            known == bare || known.rsplit('/').next() == Some(bare)
        };
        let mut files = self.0.files().filter(is_meant).peekable();
        if files.peek().is_none() {
            let names: Vec<String> = self.0.files().map(|file| file.name().to_owned()).collect();
            return Err(suggestion(proto, &names, "the set has the files"));
        }
        let full_names = files.map(|file| match file.package_name() {
            "" => name.message.clone(),
            package => format!("{package}.{}", name.message),
        });
        let of_files = |message: &MessageDescriptor| is_meant(&message.parent_file());
        let mut candidates = full_names.chain([name.message.clone()]);
        let found = candidates.find_map(|full_name| {
            self.0.get_message_by_name(&full_name).filter(|message| of_files(message))
        });
        found.map(Schema).ok_or_else(|| {
            let names = self.names(of_files, in_package);
            format!("the file has {}", names.join(", "))
        })
    }

    fn names(
        &self,
        is_meant: impl Fn(&MessageDescriptor) -> bool,
        name: fn(&MessageDescriptor) -> &str,
    ) -> Vec<String> {
        let is_written = |message: &MessageDescriptor| {
            !message.is_map_entry() && message.package_name() != "google.protobuf"
        };
        let messages = self.0.all_messages().filter(|m| is_written(m) && is_meant(m));
        messages.map(|message| name(&message).to_owned()).collect()
    }
}

/// The name of a type without its package.
fn in_package(message: &MessageDescriptor) -> &str {
    let inside = message.full_name().strip_prefix(message.package_name());
    inside.unwrap_or(message.full_name()).trim_start_matches('.')
}

/// "did you mean …?", or some of what there is.
fn suggestion(written: &str, known: &[String], has: &str) -> String {
    const SHOWN: usize = 8;
    if let Some(near) = nearest(written, known.iter().map(String::as_str)) {
        return format!("did you mean {near}?");
    }
    let more = if known.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<&str> = known.iter().take(SHOWN).map(String::as_str).collect();
    format!("{has} {}{more}", shown.join(", "))
}
