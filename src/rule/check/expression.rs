//! Expressions: names, arity, versions, strict AWS, variables, `hold.…`, regular expressions.

use super::super::aggregate;
use super::super::analytic::is_analytic;
use super::super::ast::BinaryOp;
use super::super::ast::CastTarget;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::HoldField;
use super::super::ast::Join;
use super::super::ast::Projection;
use super::super::ast::Segment;
use super::super::ast::SelectItem;
use super::super::ast::Span;
use super::super::ast::Spanned;
use super::super::ast::SqlVersion;
use super::super::ast::Subquery;
use super::super::function;
use super::super::function::Function;
use super::super::function::FunctionSpec;
use super::super::function::Purity;
use super::super::schema::literal;
use super::super::table::RowSource;
use super::Context;
use super::Language;
use super::analytic;
use super::analytic::Earlier;
use super::analytic::Unknown;
use super::group;
use super::group::Closed;
use super::join;
use super::pattern;
use super::service;
use super::source;
use super::strict;
use super::suggestion;
use super::types;
use super::types::Type;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::value::Value;

/// What `hold.…` means where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldUse {
    /// The rule has no WHEN: a field of the payload.
    Absent,
    /// The rule has WHEN, and this is evaluated before it fires.
    NotYet,
    /// The facts of the firing.
    Known,
}

/// Where an expression stands, and what was found so far.
pub(super) struct Scope<'e, 'd> {
    pub(super) language: Language,
    pub(super) hold: HoldUse,
    /// Whether the rule has FROM STREAM.
    pub(super) reads_stream: bool,
    /// The rule has GROUP BY.
    pub(super) has_group: bool,
    /// Its window is closed where the expression stands.
    pub(super) closed: Option<Closed<'e>>,
    /// Aggregates so far.
    pub(super) aggregates: usize,
    /// Literal regular expressions so far.
    pub(super) regexes: usize,
    /// Assigned so far.
    pub(super) variables: Vec<&'e str>,
    /// The rows joined so far: their names and tables.
    pub(super) rows: Vec<(&'e str, Option<RowSource>)>,
    /// The joins that come later.
    pub(super) not_joined_yet: &'e [Join],
    /// Whether earlier messages are known where the expression stands.
    pub(super) earlier: Earlier,
    /// The variables that look back on them.
    pub(super) lookbacks: Vec<&'e str>,
    /// The rule looks back somewhere.
    pub(super) looks_back: bool,
    /// The aliases of the nested queries around: they hide rows of their name.
    aliases: Vec<&'e str>,
    pub(super) context: Context<'d>,
    /// Why `aws_lambda()` cannot be called here, and what to do instead.
    pub(super) no_calls: Option<&'static str>,
    pub(super) found: &'d mut Vec<Diagnostic>,
    file: &'d str,
}

impl<'e, 'd> Scope<'e, 'd> {
    pub(super) fn new(
        language: Language,
        file: &'d str,
        context: Context<'d>,
        found: &'d mut Vec<Diagnostic>,
    ) -> Self {
        Scope {
            language,
            hold: HoldUse::Absent,
            reads_stream: false,
            has_group: false,
            closed: None,
            aggregates: 0,
            regexes: 0,
            variables: Vec::new(),
            rows: Vec::new(),
            not_joined_yet: &[],
            earlier: Earlier::Known,
            lookbacks: Vec::new(),
            looks_back: false,
            aliases: Vec::new(),
            context,
            no_calls: None,
            found,
            file,
        }
    }

    pub(super) fn projection(&mut self, projection: &'e Projection) {
        if let Projection::Items(items) = projection
            && self.language.strict
        {
            for item in items {
                if let SelectItem::Spread(expr) = item {
                    let advice = format!("name the members: {expr}.a AS a");
                    strict::refuse(self, "`.*`", expr.span.clone(), &advice);
                }
            }
        }
        projection.for_each_expr(&mut |expr| self.expression(expr));
    }

    pub(super) fn expression(&mut self, expr: &'e Expr) {
        if self.language.strict {
            strict::expression(expr, self);
        }
        if self.language.version < SqlVersion::V2016_03_23 {
            self.version(expr);
        }
        types::operands(expr, self);
        if group::expression(expr, self) {
            return;
        }
        match &expr.kind {
            ExprKind::Window(field) if self.closed.is_none() => self.found.push(
                Diagnostic::error(
                    Code::WINDOW_FIELD,
                    format!("window.{} is known only once the window is closed", field.as_str()),
                )
                .at(expr.span.clone(), "evaluated before")
                .help("use it in SELECT, in HAVING and in actions"),
            ),
            ExprKind::Call { name, args } => self.call(name, args, expr),
            ExprKind::Variable(name) if !self.variables.contains(&name.as_str()) => {
                let help =
                    suggestion(self.found.len(), name, self.variables.iter().copied(), || {
                        "assign it before SELECT: SET @v = … SELECT …".to_owned()
                    });
                self.found.push(
                    Diagnostic::error(Code::VARIABLE, format!("@{name} is not assigned"))
                        .at(expr.span.clone(), "")
                        .help(help.replace("mean ", "mean @")),
                );
            }
            ExprKind::Variable(name) => analytic::variable(name, expr, self),
            ExprKind::Over { call, .. } => analytic::over(call, expr, self),
            ExprKind::Hold(field) if self.hold == HoldUse::NotYet => self.found.push(
                Diagnostic::error(
                    Code::HOLD,
                    format!("hold.{} is known only once the rule fires", field.as_str()),
                )
                .at(expr.span.clone(), "evaluated before")
                .help("use it in SELECT and in actions"),
            ),
            ExprKind::Path { root, segments } => {
                join::column(expr, root, segments, self);
                if self.hold == HoldUse::Absent {
                    self.hold_like_path(expr, root, segments);
                }
            }
            _ => {}
        }
        match &expr.kind {
            ExprKind::Subquery(query) | ExprKind::Exists(query) => {
                self.in_query(|scope| scope.subquery(query));
            }
            ExprKind::Call { name, .. } if is_analytic(&name.node) => {
                self.without_earlier(Unknown::Nested, |scope| {
                    expr.for_each_child(&mut |child| scope.expression(child));
                });
            }
            ExprKind::Over { call, partition_by } => {
                self.expression(call);
                self.without_earlier(Unknown::Source, |scope| {
                    partition_by.iter().for_each(|key| scope.expression(key));
                });
            }
            _ => expr.for_each_child(&mut |child| self.expression(child)),
        }
    }

    fn subquery(&mut self, query: &'e Subquery) {
        self.expression(&query.source);
        // Inside, names are those of the element.
        let closed = self.closed.take();
        self.aliases.extend(query.alias.as_deref());
        query.projection.for_each_expr(&mut |expr| self.expression(expr));
        query.filter.iter().for_each(|filter| self.expression(filter));
        if query.alias.is_some() {
            self.aliases.pop();
        }
        self.closed = closed;
    }

    /// Whether `root` is the alias of a nested query around.
    pub(super) fn is_alias(&self, root: &str) -> bool {
        self.aliases.contains(&root)
    }

    /// `hold.since` in a rule without WHEN is a field of the payload, which is rarely meant.
    fn hold_like_path(&mut self, expr: &Expr, root: &str, segments: &[Segment]) {
        let is_quoted = self.file.as_bytes().get(expr.span.start) == Some(&b'`');
        if root == "hold"
            && !is_quoted
            && !self.language.strict
            && let Some(Segment::Name(field)) = segments.first()
            && HoldField::parse(field).is_some()
        {
            self.found.push(
                Diagnostic::warning(
                    Code::HOLD,
                    format!("without WHEN, hold.{field} is a field of the payload"),
                )
                .at(expr.span.clone(), "")
                .help(format!("add WHEN … FOR …; or write `hold`.{field} if the field is meant")),
            );
        }
    }

    /// A condition that cannot be a Boolean never lets a message through.
    pub(super) fn has_condition(&mut self, expr: &Expr) {
        let is_boolean = match &expr.kind {
            ExprKind::Literal(Value::Bool(value)) => *value,
            // The sum of two fields is a number or a text.
            ExprKind::Star | ExprKind::Binary { op: BinaryOp::Add, .. } => false,
            _ => Type::of(expr).is_none_or(|known| known == Type::Boolean),
        };
        if !is_boolean {
            self.found.push(
                Diagnostic::warning(Code::NEVER_TRUE, "the condition is never true")
                    .at(expr.span.clone(), "this is never the Boolean true")
                    .help("compare it with something, as in temperature > 30"),
            );
        }
    }

    fn call(&mut self, name: &Spanned<String>, args: &[Expr], call: &Expr) {
        let Some(spec) = function::lookup(&name.node) else {
            let wrong = group::misplaced(name, self)
                .unwrap_or_else(|| unknown_function(name, self.found.len()));
            self.found.push(wrong);
            return;
        };
        if self.language.version < spec.since {
            self.found.push(
                Diagnostic::error(
                    Code::SQL_VERSION,
                    format!("{} came with SQL version 2016-03-23", name.node),
                )
                .at(name.span.clone(), "")
                .help("this rule asks for '2015-10-08'; ask for '2016-03-23'"),
            );
        }
        if !(spec.args_min..=spec.args_max).contains(&args.len()) {
            // AWS takes the rule and evaluates the call to Undefined ("Data types").
            self.found.push(
                Diagnostic::warning(
                    Code::ARITY,
                    format!("{} takes {}, not {}", name.node, arity(spec), args.len()),
                )
                .at(call.span.clone(), "always Undefined"),
            );
        } else {
            types::arguments(spec.name, spec.function, args, self);
        }
        source::function(name, spec.function, self);
        if spec.function == Function::Decode {
            self.decode(args, call);
        }
        service::call(spec.function, args, call, self);
        if spec.purity == Purity::Analytic {
            analytic::call(name, args, self);
        }
        pattern::arguments(spec.function, args, self);
    }

    /// The type of a Protobuf message is found when rules are loaded.
    fn decode(&mut self, args: &[Expr], call: &Expr) {
        let is_proto = args.get(1).and_then(literal) == Some("proto");
        if is_proto && args.len() == 6 {
            let unknown = args.iter().skip(2).find(|arg| literal(arg).is_none());
            self.found.extend(unknown.map(|arg| {
                Diagnostic::error(Code::DESCRIPTOR, "the type of the message is not known ahead")
                    .at(arg.span.clone(), "not a text in quotes")
                    .help("rules are checked against it before they run: name it literally")
            }));
        } else if is_proto || args.len() > 2 {
            self.found.push(
                Diagnostic::warning(
                    Code::ARITY,
                    "decode takes 6 arguments with 'proto', and otherwise 2",
                )
                .at(call.span.clone(), "always Undefined"),
            );
        }
    }

    fn version(&mut self, expr: &Expr) {
        let what = match &expr.kind {
            ExprKind::Subquery(_) | ExprKind::Exists(_) => "nested queries",
            ExprKind::Array(_) => "array literals",
            ExprKind::Object(_) => "object literals",
            ExprKind::Cast { target: CastTarget::Bool, .. } => "cast to Boolean",
            ExprKind::Cast { target: CastTarget::Decimal, .. }
                if !self.text(expr).to_ascii_lowercase().contains("double") =>
            {
                "cast to Decimal (Double is older)"
            }
            _ => return,
        };
        self.found.push(
            Diagnostic::error(
                Code::SQL_VERSION,
                format!("{what} came with SQL version 2016-03-23"),
            )
            .at(expr.span.clone(), "")
            .help("this rule asks for '2015-10-08'; ask for '2016-03-23'"),
        );
    }

    /// What stands in the file at `expr`.
    pub(super) fn text(&self, expr: &Expr) -> &'d str {
        self.file.get(expr.span.clone()).unwrap_or_default()
    }

    /// What stands in the file at `span`.
    pub(super) fn written(&self, span: Span) -> &'d str {
        self.file.get(span).unwrap_or_default()
    }

    /// What stands between two operands.
    pub(super) fn between(&self, left: &Expr, right: &Expr) -> &'d str {
        self.file.get(left.span.end..right.span.start).unwrap_or_default()
    }
}

fn unknown_function(name: &Spanned<String>, found: usize) -> Diagnostic {
    let written = &name.node;
    if written.eq_ignore_ascii_case("machinelearning_predict") {
        return Diagnostic::error(
            Code::PREDICTION,
            format!("{written} asks a model at AWS, which is not there"),
        )
        .at(name.span.clone(), "")
        .help(
            "serve the model over HTTP, declare it as a hook, and call aws_lambda('hook', record)",
        );
    }
    if function::is_external(written) {
        return Diagnostic::error(
            Code::EXTERNAL_FUNCTION,
            format!("{written} calls an AWS service, which is not there"),
        )
        .at(name.span.clone(), "")
        .help("call a hook that knows: aws_lambda('name', {…}), or DO INVOKE name");
    }
    let instead = match written.to_ascii_lowercase().as_str() {
        "if" | "iif" | "decode_case" => Some("CASE WHEN condition THEN a ELSE b END"),
        "coalesce" | "ifnull" | "nvl" => Some("nanvl(a, b) or get_or_default(a, b)"),
        "now" | "current_timestamp" => Some("timestamp()"),
        "len" | "char_length" => Some("length(text)"),
        "pow" => Some("power(a, b)"),
        "ceiling" => Some("ceil(x)"),
        "substr" => Some("substring(text, from, to)"),
        _ => None,
    };
    let known = function::FUNCTIONS.iter().map(|spec| spec.name).chain(["cast", "exists"]);
    let known = known.chain(aggregate::AGGREGATES.iter().map(|spec| spec.name));
    let help = match instead {
        Some(instead) => format!("use {instead}"),
        None => {
            suggestion(found, written, known, || "docs/language.md lists all functions".to_owned())
        }
    };
    Diagnostic::error(Code::UNKNOWN_FUNCTION, format!("there is no function {written}"))
        .at(name.span.clone(), "")
        .help(help)
}

/// "2 arguments", "1 or 2 arguments".
fn arity(spec: &FunctionSpec) -> String {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    match (spec.args_min, spec.args_max) {
        (0, 0) => "no arguments".to_owned(),
        (min, max) if min == max => format!("{min} {}", plural(min)),
        (min, max) if max == min + 1 => format!("{min} or {max} {}", plural(max)),
        (min, max) => format!("{min} to {max} arguments"),
    }
}
