//! A checked rule's tree → [`Program`].
//!
//! Names are resolved here, once: fields get numbers, variables and aliases places, functions their
//! implementation, and what depends on nothing is computed. Cannot fail: `rule::check` has refused
//! what does not resolve; a name that slipped through reads as Undefined.

mod closed;

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use closed::Closed;
use compact_str::CompactString;

use super::code::ActionCode;
use super::code::Code;
use super::code::Gather;
use super::code::HeaderCode;
use super::code::HeaderText;
use super::code::Item;
use super::code::Join;
use super::code::Lookbacks;
use super::code::Part;
use super::code::Projected;
use super::code::Subquery;
use super::code::Target;
use super::code::Text;
use super::code::TimeCode;
use super::code::Watch;
use super::decode::Decoder;
use super::fold::fold;
use super::function;
use super::function::Implementation;
use super::function::Prepared;
use super::history;
use crate::limits::FOLDED_BYTES_MAX;
use crate::limits::PAYLOAD_DEPTH_MAX;
use crate::rule::Rule;
use crate::rule::analytic::Analytic;
use crate::rule::analytic::AnalyticCall;
use crate::rule::analytic::Lookback;
use crate::rule::analytic::is_analytic;
use crate::rule::ast;
use crate::rule::ast::BinaryOp;
use crate::rule::ast::Condition;
use crate::rule::ast::Expr;
use crate::rule::ast::ExprKind;
use crate::rule::ast::Segment;
use crate::rule::ast::SqlVersion;
use crate::rule::ast::UnaryOp;
use crate::rule::function::Function;
use crate::rule::function::Purity;
use crate::rule::function::lookup;
use crate::rule::schema::SchemaName;
use crate::rule::schema::Schemas;
use crate::rule::schema::literal;
use crate::rule::service::function_name;
use crate::rule::service::secret_names;
use crate::rule::table::LATEST_KEY;
use crate::rule::table::RowSource;
use crate::rule::table::Tables;
use crate::rule::target::TargetName;
use crate::value::Value;
use crate::value::Whole;

/// A rule ready to run.
#[derive(Debug)]
pub(super) struct Program {
    /// How payloads are decoded.
    pub(super) decoder: Decoder,
    /// Paths of the message that the rule reads, by field number. The empty one is `*`, of formats
    /// other than JSON.
    pub(super) fields: Vec<Box<[CompactString]>>,
    /// SET expressions, by variable number.
    pub(super) variables: Box<[Code]>,
    /// FOREACH: what it runs over.
    pub(super) foreach: Option<Code>,
    /// TIMESTAMP BY, where there is a WHEN, a GROUP BY or an analytic function to use it.
    pub(super) timestamp: Option<TimeCode>,
    /// JOIN, in order.
    pub(super) joins: Box<[Join]>,
    /// WHERE.
    pub(super) filter: Option<Code>,
    /// SELECT.
    pub(super) projection: Projected,
    /// WHEN.
    pub(super) watch: Option<Watch>,
    /// `lag` and its like, where there are any.
    pub(super) lookbacks: Option<Lookbacks>,
    /// GROUP BY.
    pub(super) gather: Option<Gather>,
    /// DO.
    pub(super) actions: Box<[ActionCode]>,
    /// ON CLEARED.
    pub(super) on_cleared: Box<[ActionCode]>,
    /// ON ERROR.
    pub(super) on_error: Box<[ActionCode]>,
    /// SQL version.
    pub(super) version: SqlVersion,
    /// What the version makes of whole Decimals.
    pub(super) whole: Whole,
    /// The tables that UPSERT writes and the rule reads.
    pub(super) latest: Box<[Arc<str>]>,
    /// Whether `aws_lambda()` stands anywhere in it.
    pub(super) makes_calls: bool,
}

/// Compiles one rule.
pub(super) fn compile(rule: &Rule) -> Program {
    let select = &rule.definition.select;
    let whole = match rule.version {
        SqlVersion::V2015_10_08 => Whole::AsWritten,
        SqlVersion::V2016_03_23 => Whole::AsInt,
    };
    let analytic = Analytic::of(&rule.definition);
    let format = select.format.as_ref().map_or(&ast::Format::Json, |format| &format.node);
    let mut compiler = Compiler {
        decoder: Decoder::new(format, &rule.schemas),
        schemas: &rule.schemas,
        fields: Vec::new(),
        numbers: HashMap::new(),
        variables: Vec::new(),
        tables: &rule.tables,
        latest: Vec::new(),
        makes_calls: false,
        rows: Vec::new(),
        closed: None,
        scopes: Vec::new(),
        each: select.foreach.as_ref().map(|each| each.alias.node.clone()),
        lookbacks: analytic.as_ref().map(|found| &*found.calls).unwrap_or_default(),
        whole,
        folding_left: FOLDED_BYTES_MAX,
    };
    let mut variables = Vec::new();
    for (name, expr) in &select.sets {
        // A variable sees only the ones before it, so evaluation cannot go in circles.
        variables.push(compiler.expr(expr));
        compiler.variables.push(name.node.clone());
    }
    let foreach = select.foreach.as_ref().map(|each| compiler.expr(&each.array));
    let has_state = select.when.is_some() || select.group.is_some() || analytic.is_some();
    let timed = select.timestamp.as_ref().filter(|_| has_state);
    let timestamp =
        timed.map(|clause| TimeCode { value: compiler.expr(&clause.expr), unit: clause.unit });
    let joins = compiler.joins(rule);
    let filter = select.filter.as_ref().map(|expr| compiler.expr(expr));
    let gather = compiler.gather(&rule.definition);
    let projection = compiler.projection(&select.projection);
    let watch = select.when.as_ref().map(|when| Watch {
        condition: match &when.condition {
            Condition::Expr(condition) => compiler.expr(condition),
            Condition::NoData => Code::Constant(Value::Bool(true)),
        },
        is_absence: matches!(when.condition, Condition::NoData),
        clear: when.clear_when.as_ref().map(|expr| compiler.expr(expr)),
        partition_by: compiler.exprs(&when.partition_by),
    });
    let lookbacks = analytic.as_ref().map(|analytic| compiler.lookbacks(rule, analytic));
    let definition = &rule.definition;
    let (gather, actions) = compiler.behind_select(gather, definition);
    Program {
        actions,
        on_cleared: compiler.actions(&definition.on_cleared),
        on_error: compiler.actions(&definition.on_error),
        variables: variables.into(),
        foreach,
        timestamp,
        joins,
        filter,
        projection,
        watch,
        lookbacks,
        gather,
        decoder: compiler.decoder,
        fields: compiler.fields,
        version: rule.version,
        whole,
        latest: compiler.latest.into(),
        makes_calls: compiler.makes_calls,
    }
}

struct Compiler<'r> {
    decoder: Decoder,
    schemas: &'r Schemas,
    fields: Vec<Box<[CompactString]>>,
    /// The numbers of the fields.
    numbers: HashMap<Box<[CompactString]>, usize>,
    variables: Vec<String>,
    tables: &'r Tables,
    /// The tables that UPSERT writes, as the rule reads them.
    latest: Vec<Arc<str>>,
    makes_calls: bool,
    /// The names of the rows joined so far, in the order of the joins, and whether each is of a table
    /// that UPSERT writes.
    rows: Vec<(String, bool)>,
    /// The window is closed where the expression stands.
    closed: Option<Closed<'r>>,
    /// The aliases of the sub-queries around, outermost first; `None` without AS.
    scopes: Vec<Option<String>>,
    /// The alias of FOREACH.
    each: Option<String>,
    /// The calls of analytic functions, by number.
    lookbacks: &'r [AnalyticCall<'r>],
    whole: Whole,
    /// Bytes that folded constants may still have.
    folding_left: usize,
}

impl Compiler<'_> {
    fn exprs(&mut self, exprs: &[Expr]) -> Box<[Code]> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn boxed(&mut self, expr: &Expr) -> Box<Code> {
        Box::new(self.expr(expr))
    }

    fn pair(&mut self, left: &Expr, right: &Expr) -> Box<[Code; 2]> {
        Box::new([self.expr(left), self.expr(right)])
    }

    fn expr(&mut self, expr: &Expr) -> Code {
        if let Some(code) = self.of_window(expr) {
            return code;
        }
        let code = self.unfolded(expr);
        fold(code, self.whole, &mut self.folding_left)
    }

    fn unfolded(&mut self, expr: &Expr) -> Code {
        match &expr.kind {
            ExprKind::Literal(value) => Code::Constant(value.clone()),
            ExprKind::Path { root, segments } => self.path(root, segments),
            ExprKind::Variable(name) => self.variable(name),
            ExprKind::Hold(field) => Code::Hold(*field),
            ExprKind::Window(field) => Code::Window(*field),
            ExprKind::Star => self.star(),
            ExprKind::Array(items) => Code::Array(self.exprs(items)),
            ExprKind::Object(members) => Code::Object(
                members.iter().map(|(key, member)| (key.into(), self.expr(member))).collect(),
            ),
            ExprKind::Member { base, segments } => self.member(base, segments),
            ExprKind::Unary { op, operand } => self.unary(*op, operand),
            ExprKind::Binary { op, left, right } => self.binary(*op, left, right),
            ExprKind::In { needle, haystack, negated } => {
                Code::In { sides: self.pair(needle, haystack), negated: *negated }
            }
            ExprKind::Between { value, low, high, negated } => Code::Between {
                parts: Box::new([self.expr(value), self.expr(low), self.expr(high)]),
                negated: *negated,
            },
            ExprKind::Like { value, pattern, negated } => {
                Code::Like { sides: self.pair(value, pattern), negated: *negated }
            }
            ExprKind::Is { value, what, negated } => {
                Code::Is { value: self.boxed(value), what: *what, negated: *negated }
            }
            ExprKind::Case { operand, branches, otherwise } => Code::Case {
                operand: operand.as_ref().map(|operand| self.boxed(operand)),
                branches: branches.iter().map(|(w, t)| (self.expr(w), self.expr(t))).collect(),
                otherwise: match otherwise {
                    Some(otherwise) => self.boxed(otherwise),
                    None => Box::new(Code::Constant(Value::Undefined)),
                },
            },
            ExprKind::Call { name, args } => self.call(&name.node, args),
            ExprKind::Over { call, .. } => self.expr(call),
            ExprKind::Cast { value, target } => {
                Code::Cast { value: self.boxed(value), target: *target }
            }
            ExprKind::Subquery(query) => Code::Subquery(self.subquery(query)),
            ExprKind::Exists(query) => Code::Exists(self.subquery(query)),
        }
    }

    /// A join sees the rows of those before it alone, so evaluation cannot go in circles.
    fn joins(&mut self, rule: &Rule) -> Box<[Join]> {
        let mut joins = Vec::new();
        for join in &rule.definition.select.joins {
            let Some(source) = self.source(&join.table.node) else { continue };
            let key = join.key(source.key()).unwrap_or_default();
            let key = key.into_iter().map(|value| self.expr(value)).collect();
            let is_latest = matches!(source, RowSource::Latest(_));
            joins.push(Join { source, key, kind: join.kind });
            self.rows.push((join.row_name().to_owned(), is_latest));
        }
        joins.into()
    }

    /// The table of that name, which the rule reads.
    fn source(&mut self, name: &str) -> Option<RowSource> {
        let source = self.tables.get(name)?;
        if let RowSource::Latest(name) = &source
            && !self.latest.contains(name)
        {
            self.latest.push(Arc::clone(name));
        }
        Some(source)
    }

    fn variable(&self, name: &str) -> Code {
        match self.variables.iter().position(|known| known == name) {
            Some(number) => Code::Variable(number),
            None => Code::Constant(Value::Undefined),
        }
    }

    /// `*` is the element inside a sub-query, and the payload outside.
    fn star(&mut self) -> Code {
        if !self.scopes.is_empty() {
            return Code::Element { depth: 0, steps: Box::default() };
        }
        match self.decoder {
            Decoder::Json => Code::Payload,
            Decoder::Bytes => Code::EncodedPayload,
            _ => self.field(&[]),
        }
    }

    fn path(&mut self, root: &str, segments: &[Segment]) -> Code {
        let alias = |scope: &Option<String>| scope.as_deref() == Some(root);
        if let Some(depth) = self.scopes.iter().rev().position(alias) {
            return Code::Element { depth, steps: segments.into() };
        }
        if let Some(join) = self.rows.iter().position(|(row, _)| row == root) {
            let is_latest = self.rows.get(join).is_some_and(|(_, is_latest)| *is_latest);
            if is_latest && matches!(segments, [Segment::Name(name)] if name == LATEST_KEY) {
                return Code::JoinedKey { join };
            }
            return Code::Joined { join, steps: segments.into() };
        }
        if self.each.as_deref() == Some(root) {
            return Code::Each { steps: segments.into() };
        }
        let mut steps = vec![Segment::Name(root.to_owned())];
        steps.extend_from_slice(segments);
        if self.scopes.is_empty() {
            self.field(&steps)
        } else {
            Code::Element { depth: 0, steps: steps.into() }
        }
    }

    /// The names up to the first index are projected; the rest is taken from the value.
    fn field(&mut self, steps: &[Segment]) -> Code {
        let names: Box<[CompactString]> = steps
            .iter()
            .map_while(|step| match step {
                Segment::Name(name) => Some(CompactString::new(name)),
                Segment::Index(_) => None,
            })
            .collect();
        // Deeper than any payload: there is nothing to read, and walking the paths stays bounded.
        if names.len() > PAYLOAD_DEPTH_MAX || self.decoder == Decoder::Bytes {
            return Code::Constant(Value::Undefined);
        }
        let steps = steps.get(names.len()..).unwrap_or_default().into();
        let number = self.numbers.len();
        let field = *self.numbers.entry(names).or_insert_with_key(|names| {
            self.fields.push(names.clone());
            number
        });
        Code::Field { field, steps }
    }

    fn member(&mut self, base: &Expr, segments: &[Segment]) -> Code {
        let of_payload = matches!(base.kind, ExprKind::Star) && self.scopes.is_empty();
        match segments.first() {
            // `*.a.b` is the field `a.b`.
            Some(Segment::Name(_)) if of_payload => self.field(segments),
            _ => Code::Member { of: self.boxed(base), steps: segments.into() },
        }
    }

    fn unary(&mut self, op: UnaryOp, operand: &Expr) -> Code {
        let operand = self.boxed(operand);
        match op {
            UnaryOp::Negate => Code::Negate(operand),
            UnaryOp::Not => Code::Not(operand),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) -> Code {
        match op {
            BinaryOp::And | BinaryOp::Or => {
                let mut terms = Vec::new();
                self.terms(op, left, &mut terms);
                self.terms(op, right, &mut terms);
                match op {
                    BinaryOp::And => Code::And(terms.into()),
                    _ => Code::Or(terms.into()),
                }
            }
            BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessOrEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterOrEqual => Code::Compare { op, sides: self.pair(left, right) },
            BinaryOp::Add
            | BinaryOp::Subtract
            | BinaryOp::Multiply
            | BinaryOp::Divide
            | BinaryOp::Remainder => Code::Arithmetic { op, sides: self.pair(left, right) },
        }
    }

    /// `a AND (b AND c)` is three terms: fewer steps to walk, and the same in three-valued logic.
    fn terms(&mut self, op: BinaryOp, expr: &Expr, terms: &mut Vec<Code>) {
        match &expr.kind {
            ExprKind::Binary { op: inner, left, right } if *inner == op => {
                self.terms(op, left, terms);
                self.terms(op, right, terms);
            }
            _ => terms.push(self.expr(expr)),
        }
    }

    fn call(&mut self, name: &str, args: &[Expr]) -> Code {
        let Some(spec) = lookup(name) else { return Code::Constant(Value::Undefined) };
        if spec.purity == Purity::Analytic {
            return self.lookback(name, args);
        }
        if spec.function == Function::Encode && self.scopes.is_empty() && is_payload_as_base64(args)
        {
            return Code::EncodedPayload;
        }
        if spec.function == Function::Decode
            && let Some(schema) = SchemaName::of_call(args).and_then(|name| self.schemas.get(&name))
            && let Some(value) = args.first()
        {
            return Code::DecodeProto { value: self.boxed(value), schema: schema.clone() };
        }
        if let Some(code) = self.service(spec.function, args) {
            return code;
        }
        let mut arguments = self.exprs(args).into_vec();
        if let Some((place, call)) = Prepared::of_call(spec.function, &arguments) {
            arguments.remove(place);
            return Code::Prepared { call: Box::new(call), arguments: arguments.into() };
        }
        let arguments = arguments.into();
        match function::implementation(spec.function) {
            Implementation::Native(native) => {
                Code::Call { function: spec.function, native, arguments }
            }
            Implementation::Contextual => Code::Context { function: spec.function, arguments },
        }
    }

    /// A call of a function for a service of AWS; `None` where `function` is none, or is called with a
    /// number of arguments that makes it Undefined.
    fn service(&mut self, function: Function, args: &[Expr]) -> Option<Code> {
        match (function, args) {
            (Function::GetThingShadow, [thing, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
                let source = self.source(self.tables.shadows())?;
                let thing = self.expr(thing);
                let key = match rest {
                    // Neither a thing's name nor a shadow's has a slash in it.
                    [shadow, _] => Code::Call {
                        function: Function::Concat,
                        native: function::concat,
                        arguments: Box::new([
                            thing,
                            Code::Constant(Value::string("/")),
                            self.expr(shadow),
                        ]),
                    },
                    _ => thing,
                };
                Some(Code::LookUp { source, key: Box::new([key]) })
            }
            (Function::GetDynamodb, [table, name, value, _]) => {
                self.keyed_row(table, &[(name, value)])
            }
            (Function::GetDynamodb, [table, name, value, sort, sort_value, _]) => {
                self.keyed_row(table, &[(name, value), (sort, sort_value)])
            }
            (Function::AwsLambda, [name, argument]) => {
                self.makes_calls = true;
                let hook = Arc::from(function_name(literal(name)?));
                Some(Code::Lambda { hook, argument: self.boxed(argument) })
            }
            (Function::GetSecret, [id, _, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
                let names = secret_names(literal(id)?).map(Box::from).collect();
                let key = rest.first().filter(|_| rest.len() == 2).map(|key| self.boxed(key));
                Some(Code::Secret { names, key })
            }
            _ => None,
        }
    }

    /// The row whose columns have these values. The key of a table that UPSERT writes is one value, or
    /// an array of two.
    fn keyed_row(&mut self, table: &Expr, columns: &[(&Expr, &Expr)]) -> Option<Code> {
        let source = self.source(literal(table)?)?;
        let key = match &source {
            RowSource::Reference(table) => {
                let of = |column: &CompactString| {
                    let is = |name: &Expr| literal(name) == Some(column.as_str());
                    columns.iter().find(|(name, _)| is(name)).map(|(_, value)| self.expr(value))
                };
                table.key().iter().map(of).collect::<Option<Box<[Code]>>>()?
            }
            RowSource::Latest(_) => {
                let mut values: Vec<Code> =
                    columns.iter().map(|(_, value)| self.expr(value)).collect();
                match values.len() {
                    1 => Box::new([values.pop()?]),
                    _ => Box::new([Code::Array(values.into())]) as Box<[Code]>,
                }
            }
        };
        Some(Code::LookUp { source, key })
    }

    /// What the stage has found out; the third argument of `lag` is of the message itself.
    fn lookback(&mut self, name: &str, args: &[Expr]) -> Code {
        let call = AnalyticCall::new(name, args);
        let known =
            call.and_then(|call| self.lookbacks.iter().position(|known| known.is_same(&call)));
        let Some(call) = known else { return Code::Constant(Value::Undefined) };
        let is_lag = matches!(self.lookbacks[call].lookback, Lookback::Lag(_));
        let otherwise = match args.get(2).filter(|_| is_lag) {
            Some(otherwise) => self.expr(otherwise),
            None => Code::Constant(Value::Undefined),
        };
        Code::Earlier { call, otherwise: Box::new(otherwise) }
    }

    fn lookbacks(&mut self, rule: &Rule, analytic: &Analytic<'_>) -> Lookbacks {
        let select = &rule.definition.select;
        let is_alone = |filter: &Expr| select.joins.is_empty() && !reads_message(filter);
        let values = analytic.calls.iter().flat_map(|call| call.values);
        // What is looked back on is of the message, also where it is the key of its group.
        let closed = self.closed.take();
        let lookbacks = Lookbacks {
            fingerprint: history::fingerprint(rule, analytic),
            calls: analytic.calls.iter().map(|call| call.lookback).collect(),
            values: values.map(|value| self.expr(value)).collect(),
            partition_by: self.exprs(analytic.partition_by),
            filter_is_alone: select.filter.as_ref().is_some_and(is_alone),
        };
        self.closed = closed;
        lookbacks
    }

    fn subquery(&mut self, query: &ast::Subquery) -> Box<Subquery> {
        let source = self.expr(&query.source);
        self.scopes.push(query.alias.clone());
        let filter = query.filter.as_ref().map(|expr| self.expr(expr));
        let projection = self.projection(&query.projection);
        self.scopes.pop();
        Box::new(Subquery { source, filter, projection })
    }

    fn projection(&mut self, projection: &ast::Projection) -> Projected {
        let items = match projection {
            ast::Projection::Value(expr) => return Projected::Value(self.expr(expr)),
            ast::Projection::Items(items) => items,
        };
        if let [ast::SelectItem::Star(_)] = items.as_slice() {
            return match self.decoder {
                Decoder::Bytes if self.scopes.is_empty() => Projected::Bytes,
                Decoder::Json => Projected::Whole,
                _ => Projected::Value(self.star()),
            };
        }
        let items: Vec<Item> =
            items.iter().zip(1..).map(|(item, position)| self.item(item, position)).collect();
        let mut names: HashSet<&CompactString> = HashSet::new();
        for item in &items {
            match item {
                Item::Named(path, _) => match &**path {
                    [name] if names.insert(name) => {}
                    _ => return Projected::Items(items.into()),
                },
                Item::Spread(_) => return Projected::Items(items.into()),
            }
        }
        let column = |item| match item {
            Item::Named(path, code) => path.into_vec().pop().map(|name| (name, code)),
            Item::Spread(_) => None,
        };
        Projected::Columns(items.into_iter().filter_map(column).collect())
    }

    fn item(&mut self, item: &ast::SelectItem, position: usize) -> Item {
        match item {
            ast::SelectItem::Star(_) => Item::Spread(self.star()),
            ast::SelectItem::Spread(expr) => Item::Spread(self.expr(expr)),
            ast::SelectItem::Expr { expr, alias } => {
                let path = match alias {
                    Some(alias) => alias.node.iter().map(CompactString::new).collect(),
                    None => Box::from([column_name(expr, position)]),
                };
                Item::Named(path, self.expr(expr))
            }
        }
    }

    fn text(&mut self, template: &ast::Template) -> Text {
        let part = |part: &ast::TemplatePart| match part {
            ast::TemplatePart::Text(text) => Part::Literal(text.as_str().into()),
            ast::TemplatePart::Expr(expr) => Part::Code(self.expr(expr)),
        };
        Text(template.parts.iter().map(part).collect())
    }

    fn target(&mut self, name: &TargetName) -> Target {
        match name {
            TargetName::Fixed(name) => Target::Fixed(Arc::from(name.as_str())),
            TargetName::Dynamic(template) => Target::Dynamic(self.text(template)),
        }
    }

    fn header(&mut self, header: &ast::Header) -> HeaderText {
        let name = match &header.name.node {
            ast::HeaderName::ContentType => HeaderCode::ContentType,
            ast::HeaderName::CorrelationData => HeaderCode::CorrelationData,
            ast::HeaderName::MessageExpiry => HeaderCode::MessageExpiry,
            ast::HeaderName::PayloadFormat => HeaderCode::PayloadFormat,
            ast::HeaderName::ResponseTopic => HeaderCode::ResponseTopic,
            ast::HeaderName::User(name) => HeaderCode::User(self.text(name)),
        };
        HeaderText { name, value: self.text(&header.value.node) }
    }

    fn actions(&mut self, actions: &[ast::Spanned<ast::Action>]) -> Box<[ActionCode]> {
        actions.iter().map(|action| self.action(&action.node)).collect()
    }

    fn action(&mut self, action: &ast::Action) -> ActionCode {
        match action {
            ast::Action::Stream { name, key, hash_key, batch } => ActionCode::Stream {
                stream: self.target(&name.node),
                key: key.as_ref().map(|key| self.expr(key)),
                hash_key: hash_key.as_ref().map(|key| self.expr(key)),
                batch: *batch,
            },
            ast::Action::Deliver { name, batch } => {
                ActionCode::Deliver { delivery: self.target(&name.node), batch: *batch }
            }
            ast::Action::Invoke { name } => ActionCode::Invoke { hook: self.target(&name.node) },
            ast::Action::Republish { topic, qos, retain, headers } => ActionCode::Republish {
                topic: self.text(&topic.node),
                qos: *qos,
                retain: *retain,
                headers: headers.iter().map(|header| self.header(header)).collect(),
            },
            ast::Action::Upsert { name, key } => ActionCode::Upsert {
                table: self.target(&name.node),
                key: key.as_ref().map(|key| self.expr(key)),
            },
            ast::Action::Log { text } => {
                ActionCode::Log { text: text.as_ref().map(|text| self.text(&text.node)) }
            }
        }
    }
}

/// Whether it takes more than analytic functions' answers to evaluate `expr`.
fn reads_message(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Path { .. }
        | ExprKind::Star
        | ExprKind::Variable(_)
        | ExprKind::Subquery(_)
        | ExprKind::Exists(_) => true,
        ExprKind::Call { name, args } if is_analytic(&name.node) => {
            args.iter().skip(2).any(reads_message)
        }
        ExprKind::Over { call, .. } => reads_message(call),
        _ => {
            let mut reads = false;
            expr.for_each_child(&mut |child| reads = reads || reads_message(child));
            reads
        }
    }
}

/// `(*, 'base64')`
fn is_payload_as_base64(args: &[Expr]) -> bool {
    match args {
        [value, scheme] => {
            matches!(value.kind, ExprKind::Star)
                && matches!(&scheme.kind, ExprKind::Literal(Value::String(s)) if s == "base64")
        }
        _ => false,
    }
}

/// The key of an item without AS: a path's last name, a function's name; AWS says nothing of other
/// expressions, which are numbered.
fn column_name(expr: &Expr, position: usize) -> CompactString {
    let last_name = |segments: &[Segment]| {
        segments.iter().rev().find_map(|segment| match segment {
            Segment::Name(name) => Some(CompactString::new(name)),
            Segment::Index(_) => None,
        })
    };
    let named = match &expr.kind {
        ExprKind::Path { root, segments } => {
            Some(last_name(segments).unwrap_or_else(|| root.into()))
        }
        ExprKind::Member { base, segments } => {
            Some(last_name(segments).unwrap_or_else(|| column_name(base, position)))
        }
        ExprKind::Variable(name) => Some(name.into()),
        ExprKind::Call { name, .. } => Some(CompactString::new(&name.node)),
        ExprKind::Over { call, .. } => Some(column_name(call, position)),
        ExprKind::Cast { .. } => Some(CompactString::const_new("cast")),
        ExprKind::Hold(field) => Some(CompactString::const_new(match field {
            ast::HoldField::Key => "key",
            ast::HoldField::Since => "since",
            ast::HoldField::FiredAt => "fired_at",
            ast::HoldField::Samples => "samples",
            ast::HoldField::DurationMs => "duration_ms",
            ast::HoldField::Reason => "reason",
        })),
        ExprKind::Window(field) => Some(CompactString::const_new(field.as_str())),
        _ => None,
    };
    named.unwrap_or_else(|| compact_str::format_compact!("expr_{position}"))
}
