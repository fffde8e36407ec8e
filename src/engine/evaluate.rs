//! Evaluating compiled code over one message.
//!
//! A [`Frame`] is one rule looking at one [`Message`]. Values are borrowed from the message, the
//! program or the variables wherever they exist already; conditions go through [`Frame::truth`],
//! which makes no value at all. Pure but for `newuuid()` and `rand()`. Recursion is bounded by the
//! nesting that `rule` accepts, loops by the [`Budget`].

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use super::call::Replay;
use super::code::Code;
use super::code::Item;
use super::code::Join;
use super::code::Projected;
use super::code::Subquery;
use super::compile::Program;
use super::decode::Slot;
use super::decode::UNDEFINED;
use super::decode::protobuf;
use super::function;
use super::hit::Truth;
use super::latest;
use super::latest::LatestValues;
use super::operators;
use super::operators::Budget;
use super::operators::Setting;
use super::secrets::Secrets;
use super::topic_index::visible_topic;
use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::rule::ast::HoldField;
use crate::rule::ast::JoinKind;
use crate::rule::ast::Segment;
use crate::rule::ast::WindowField;
use crate::rule::function::Function;
use crate::rule::schema::Schema;
use crate::rule::table::RowSource;
use crate::rule::target::Known;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader;

/// What an engine has beside its rules.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'m> {
    pub(super) account_id: &'m str,
    /// Targets that dynamic names may come to; `None` takes any that may be a name.
    pub(super) known: Option<&'m Known>,
    /// Tables that UPSERT writes; `None` where there are none.
    pub(super) latest: Option<&'m dyn LatestValues>,
    /// What `get_secret()` answers; `None` where there are none.
    pub(super) secrets: Option<&'m Secrets>,
}

/// One message and what has been decoded of it; shared by all rules that look at it.
pub(super) struct Message<'m> {
    pub(super) publish: &'m Publish,
    /// The topic without the prefix of Basic Ingest.
    pub(super) topic: &'m str,
    pub(super) surroundings: Surroundings<'m>,
    slots: &'m [Slot],
    /// The whole payload, once a rule asks for it: whole numbers as Int, and as written.
    whole: [OnceCell<Option<Value>>; 2],
}

impl<'m> Message<'m> {
    pub(super) fn new(
        publish: &'m Publish,
        surroundings: Surroundings<'m>,
        slots: &'m [Slot],
    ) -> Self {
        let topic = visible_topic(publish.topic.as_str());
        let whole = [OnceCell::new(), OnceCell::new()];
        Message { publish, topic, surroundings, slots, whole }
    }

    /// What stands where a rule names no key: the partition key of a record, otherwise the topic.
    pub(super) fn own_key(&self) -> &str {
        self.publish.origin.record.as_ref().map_or(self.topic, |record| &record.partition_key)
    }

    /// The payload as a value; `None` when it is not JSON.
    pub(super) fn payload(&self, whole: Whole) -> Option<&Value> {
        let cell = match whole {
            Whole::AsInt => &self.whole[0],
            Whole::AsWritten => &self.whole[1],
        };
        cell.get_or_init(|| json_reader::parse(&self.publish.payload, whole).ok()).as_ref()
    }
}

/// The facts behind `hold.…`.
pub(super) struct Hold {
    pub(super) key: Value,
    pub(super) since: Timestamp,
    pub(super) fired_at: Timestamp,
    pub(super) samples: u64,
    pub(super) at: Timestamp,
    pub(super) reason: Option<&'static str>,
}

impl Hold {
    fn field(&self, field: HoldField) -> Value {
        let count = |n: u128| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
        match field {
            HoldField::Key => self.key.clone(),
            HoldField::Since => Value::int(self.since.as_millis()),
            HoldField::FiredAt => Value::int(self.fired_at.as_millis()),
            HoldField::Samples => count(u128::from(self.samples)),
            HoldField::DurationMs => count(self.at.since(self.since).as_millis()),
            HoldField::Reason => self.reason.map_or(Value::Undefined, Value::string),
        }
    }
}

/// A closed window: what is left where there is no message.
pub(super) struct Window {
    pub(super) keys: Vec<Value>,
    pub(super) values: Box<[Value]>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Window {
    fn key(&self, number: usize) -> &Value {
        self.keys.get(number).unwrap_or(&UNDEFINED)
    }

    fn aggregate(&self, number: usize) -> &Value {
        self.values.get(number).unwrap_or(&UNDEFINED)
    }

    fn field(&self, field: WindowField) -> Value {
        Value::int(match field {
            WindowField::Start => self.start.as_millis(),
            WindowField::End => self.end.as_millis(),
        })
    }
}

/// The element a sub-query is at, and the ones around it.
pub(super) struct Scope<'s> {
    element: &'s Value,
    outer: Option<&'s Scope<'s>>,
}

impl<'s> Scope<'s> {
    fn at(&self, depth: usize) -> Option<&'s Value> {
        match depth {
            0 => Some(self.element),
            deeper => self.outer?.at(deeper - 1),
        }
    }
}

/// One rule over one message.
pub(super) struct Frame<'f> {
    pub(super) message: &'f Message<'f>,
    pub(super) program: &'f Program,
    /// Where the fields of the program are in the slots of the message.
    pub(super) slots: &'f [usize],
    pub(super) hold: Option<&'f Hold>,
    pub(super) budget: &'f Budget,
    /// What analytic functions answer, by the number of the call.
    earlier: &'f [Value],
    /// What `aws_lambda()` has been answered; `None` in a program that does not call.
    replay: Option<&'f Replay>,
    /// Where a window has closed.
    pub(super) window: Option<&'f Window>,
    /// The element of FOREACH.
    each: Option<&'f Value>,
    variables: SmallVec<[OnceCell<Value>; 2]>,
    /// The row of each join, once it is asked for.
    rows: SmallVec<[OnceCell<Option<Cow<'f, Value>>>; 1]>,
}

impl<'f> Frame<'f> {
    pub(super) fn new(
        message: &'f Message<'f>,
        program: &'f Program,
        slots: &'f [usize],
        hold: Option<&'f Hold>,
        budget: &'f Budget,
    ) -> Self {
        let mut variables = SmallVec::new();
        variables.resize_with(program.variables.len(), OnceCell::new);
        let mut rows = SmallVec::new();
        rows.resize_with(program.joins.len(), OnceCell::new);
        Frame {
            message,
            program,
            slots,
            hold,
            budget,
            earlier: &[],
            replay: None,
            window: None,
            each: None,
            variables,
            rows,
        }
    }

    /// The frame with the answers of the rule's analytic functions.
    pub(super) fn with_earlier(self, earlier: &'f [Value]) -> Self {
        Frame { earlier, ..self }
    }

    /// Whether every JOIN that is not LEFT has found its row.
    pub(super) fn is_joined(&self) -> bool {
        let mut joins = self.program.joins.iter().enumerate();
        joins.all(|(join, code)| code.kind == JoinKind::Left || self.row(join).is_some())
    }

    fn row(&self, join: usize) -> Option<&Value> {
        let cell = self.rows.get(join)?;
        let found = cell.get_or_init(|| {
            let Join { source, key, .. } = self.program.joins.get(join)?;
            self.look_up(source, &self.values(key, None))
        });
        found.as_deref()
    }

    /// The row of a key. One of a table that UPSERT writes is found by the key's text.
    fn look_up<'t>(&self, source: &'t RowSource, key: &[Cow<'_, Value>]) -> Option<Cow<'t, Value>> {
        match source {
            RowSource::Reference(table) => table.row(key).map(Cow::Borrowed),
            RowSource::Latest(table) => {
                let [key] = key else { return None };
                let (key, latest) =
                    (key.text(self.program.whole)?, self.message.surroundings.latest);
                latest::row(latest, table, &key, self.program.whole).map(Cow::Owned)
            }
        }
    }

    /// The key of a joined row of a table that UPSERT writes.
    fn row_key(&self, join: usize) -> Value {
        let key = self.program.joins.get(join).and_then(|join| join.key.first());
        match (self.row(join), key) {
            (Some(_), Some(key)) => {
                let text = self.value(key, None).text(self.program.whole).map(Value::string);
                text.unwrap_or_default()
            }
            _ => Value::Undefined,
        }
    }

    /// The same rule over one element of its FOREACH; variables are computed anew.
    pub(super) fn of_element<'e>(&'e self, element: &'e Value) -> Frame<'e> {
        let frame = Frame::new(self.message, self.program, self.slots, self.hold, self.budget);
        Frame { each: Some(element), replay: self.replay, ..frame }
    }

    /// The frame of a program that calls.
    pub(super) fn with_replay(self, replay: &'f Replay) -> Self {
        Frame { replay: Some(replay), ..self }
    }

    /// The same rule over a window that has closed.
    pub(super) fn of_window<'w>(&'w self, window: &'w Window) -> Frame<'w> {
        let frame = Frame::new(self.message, self.program, self.slots, None, self.budget);
        Frame { window: Some(window), ..frame }
    }

    pub(super) fn setting(&self) -> Setting<'_> {
        Setting { whole: self.program.whole, budget: self.budget }
    }

    /// WHERE, WHEN: exactly true, exactly false, or neither.
    pub(super) fn condition(&self, code: &Code) -> Truth {
        match self.exactly(code, None) {
            Some(true) => Truth::True,
            Some(false) => Truth::False,
            None => Truth::Unknown,
        }
    }

    /// The Boolean that `code` is; strings are none.
    fn exactly<'s>(&'s self, code: &'s Code, scope: Option<&'s Scope<'s>>) -> Option<bool> {
        match code {
            Code::Not(_)
            | Code::And(_)
            | Code::Or(_)
            | Code::Compare { .. }
            | Code::In { .. }
            | Code::Between { .. }
            | Code::Like { .. }
            | Code::Is { .. }
            | Code::Exists(_) => self.truth(code, scope),
            _ => match *self.value(code, scope) {
                Value::Bool(value) => Some(value),
                _ => None,
            },
        }
    }

    /// The operand of AND, OR and NOT: `"true"` and `"false"` count (three-valued: `None` is neither).
    fn truth<'s>(&'s self, code: &'s Code, scope: Option<&'s Scope<'s>>) -> Option<bool> {
        match code {
            Code::Not(operand) => self.truth(operand, scope).map(|truth| !truth),
            Code::And(terms) => self.decided_by(false, terms, scope),
            Code::Or(terms) => self.decided_by(true, terms, scope),
            Code::Compare { op, sides } => {
                let [left, right] = &**sides;
                operators::compare(*op, &self.value(left, scope), &self.value(right, scope))
            }
            Code::In { sides, negated } => {
                let [needle, haystack] = &**sides;
                let haystack = self.value(haystack, scope);
                if let Value::Array(items) = &*haystack
                    && !self.budget.work(items.len())
                {
                    return None;
                }
                operators::contains(&self.value(needle, scope), &haystack)
                    .map(|found| found != *negated)
            }
            Code::Between { parts, negated } => {
                let [value, low, high] = &**parts;
                let low = self.value(low, scope);
                operators::between(&self.value(value, scope), &low, &self.value(high, scope))
                    .map(|inside| inside != *negated)
            }
            Code::Like { sides, negated } => {
                let [value, pattern] = &**sides;
                let value = self.value(value, scope);
                operators::like(&value, &self.value(pattern, scope), self.program.whole)
                    .map(|matched| matched != *negated)
            }
            Code::Is { value, what, negated } => {
                let value = self.value(value, scope);
                operators::is(&value, *what).map(|is| is != *negated)
            }
            Code::Exists(query) => self.exists(query, scope),
            _ => self.value(code, scope).to_bool(),
        }
    }

    /// AND is decided by a false term, OR by a true one, whatever the others are; otherwise every
    /// term must be known.
    fn decided_by<'s>(
        &'s self,
        decisive: bool,
        terms: &'s [Code],
        scope: Option<&'s Scope<'s>>,
    ) -> Option<bool> {
        let mut known = true;
        for term in terms {
            match self.truth(term, scope) {
                Some(truth) if truth == decisive => return Some(decisive),
                Some(_) => {}
                None => known = false,
            }
        }
        known.then_some(!decisive)
    }

    /// The value of an expression, borrowed where it exists already.
    pub(super) fn value<'s>(
        &'s self,
        code: &'s Code,
        scope: Option<&'s Scope<'s>>,
    ) -> Cow<'s, Value> {
        let owned = match code {
            Code::Constant(value) => return Cow::Borrowed(value),
            Code::Field { field, steps } => {
                let slot = &self.message.slots[self.slots[*field]];
                return Cow::Borrowed(walk(slot.get(&self.message.publish.payload), steps));
            }
            Code::Element { depth, steps } => {
                let element = scope.and_then(|scope| scope.at(*depth)).unwrap_or(&UNDEFINED);
                return Cow::Borrowed(walk(element, steps));
            }
            Code::Joined { join, steps } => {
                return Cow::Borrowed(walk(self.row(*join).unwrap_or(&UNDEFINED), steps));
            }
            Code::Each { steps } => {
                return Cow::Borrowed(walk(self.each.unwrap_or(&UNDEFINED), steps));
            }
            Code::Earlier { call, otherwise } => return self.earlier(*call, otherwise, scope),
            Code::Variable(number) => return Cow::Borrowed(self.variable(*number)),
            Code::Payload => {
                let payload = self.message.payload(self.program.whole);
                return Cow::Borrowed(payload.unwrap_or(&UNDEFINED));
            }
            Code::Member { of, steps } => return self.member(of, steps, scope),
            Code::Case { operand, branches, otherwise } => {
                return self.case(operand.as_deref(), branches, otherwise, scope);
            }
            Code::JoinedKey { join } => self.row_key(*join),
            Code::Key(_) | Code::Aggregate(_) | Code::Window(_) => return self.of_closed(code),
            Code::Hold(field) => self.hold.map_or(Value::Undefined, |hold| hold.field(*field)),
            Code::Array(items) => self.array(items, scope),
            Code::Object(members) => self.columns(members, scope),
            Code::Negate(operand) => operators::negate(&self.value(operand, scope)),
            Code::Arithmetic { op, sides } => {
                let [left, right] = &**sides;
                let left = self.value(left, scope);
                operators::arithmetic(*op, &left, &self.value(right, scope), self.setting())
            }
            Code::LookUp { source, key } => return self.found(source, key, scope),
            Code::Lambda { hook, argument } => self.lambda(hook, argument, scope),
            Code::Secret { names, key } => self.secret(names, key.as_deref(), scope),
            Code::DecodeProto { value, schema } => self.decode_proto(value, schema, scope),
            Code::Cast { value, target } => {
                operators::cast(&self.value(value, scope), *target, self.setting())
            }
            Code::Call { native, arguments, function: _ } => {
                let arguments = self.values(arguments, scope);
                if !self.pay_for(&arguments) {
                    return Cow::Borrowed(&UNDEFINED);
                }
                native(&arguments, self.setting())
            }
            Code::Context { function, arguments } => self.context(*function, arguments, scope),
            Code::Prepared { call, arguments } => {
                call.call(&self.values(arguments, scope), self.setting())
            }
            Code::EncodedPayload => self.encoded_payload(),
            Code::Subquery(query) => self.subquery(query, scope),
            Code::Not(_)
            | Code::And(_)
            | Code::Or(_)
            | Code::Compare { .. }
            | Code::In { .. }
            | Code::Between { .. }
            | Code::Like { .. }
            | Code::Is { .. }
            | Code::Exists(_) => operators::truth(self.truth(code, scope)),
        };
        Cow::Owned(owned)
    }

    /// What an analytic function answers, or else `otherwise`.
    fn earlier<'s>(
        &'s self,
        call: usize,
        otherwise: &'s Code,
        scope: Option<&'s Scope<'s>>,
    ) -> Cow<'s, Value> {
        match self.earlier.get(call) {
            Some(value) if !value.is_undefined() => Cow::Borrowed(value),
            _ => self.value(otherwise, scope),
        }
    }

    fn values<'s>(
        &'s self,
        codes: &'s [Code],
        scope: Option<&'s Scope<'s>>,
    ) -> SmallVec<[Cow<'s, Value>; 3]> {
        codes.iter().map(|code| self.value(code, scope)).collect()
    }

    /// Takes the steps of a function that reads its arguments; false when they are too many.
    fn pay_for(&self, arguments: &[Cow<'_, Value>]) -> bool {
        let sizes = arguments.iter().map(|argument| match &**argument {
            Value::String(text) => text.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        });
        self.budget.work(sizes.sum())
    }

    fn variable(&self, number: usize) -> &Value {
        match (self.variables.get(number), self.program.variables.get(number)) {
            // Made when first read, kept: `SET @id = newuuid()` is one id a message.
            (Some(cell), Some(code)) => cell.get_or_init(|| self.value(code, None).into_owned()),
            _ => &UNDEFINED,
        }
    }

    fn member<'s>(
        &'s self,
        of: &'s Code,
        steps: &'s [Segment],
        scope: Option<&'s Scope<'s>>,
    ) -> Cow<'s, Value> {
        match self.value(of, scope) {
            Cow::Borrowed(value) => Cow::Borrowed(walk(value, steps)),
            Cow::Owned(value) => Cow::Owned(walk(&value, steps).clone()),
        }
    }

    fn case<'s>(
        &'s self,
        operand: Option<&'s Code>,
        branches: &'s [(Code, Code)],
        otherwise: &'s Code,
        scope: Option<&'s Scope<'s>>,
    ) -> Cow<'s, Value> {
        let operand = operand.map(|code| self.value(code, scope));
        if operand.as_ref().is_some_and(|operand| operand.is_undefined()) {
            return Cow::Borrowed(&UNDEFINED);
        }
        let taken = branches.iter().find(|(when, _)| match &operand {
            Some(operand) => operators::equal(operand, &self.value(when, scope)) == Some(true),
            None => self.exactly(when, scope) == Some(true),
        });
        self.value(taken.map_or(otherwise, |(_, then)| then), scope)
    }

    fn context<'s>(
        &'s self,
        function: Function,
        arguments: &'s [Code],
        scope: Option<&'s Scope<'s>>,
    ) -> Value {
        let arguments = self.values(arguments, scope);
        let call =
            || function::call_contextual(function, self.message, self.program.version, &arguments);
        match (function, self.replay) {
            (Function::NewUuid | Function::Rand, Some(replay)) => replay.chance(call),
            _ => call(),
        }
    }

    /// What does not decode is Null, as `decode(x, 'base64')` has it.
    fn decode_proto<'s>(
        &'s self,
        value: &'s Code,
        schema: &Schema,
        scope: Option<&'s Scope<'s>>,
    ) -> Value {
        let whole = self.program.whole;
        let decoded = if let Code::EncodedPayload = value {
            protobuf::decode(schema, &self.message.publish.payload, whole)
        } else {
            let value = self.value(value, scope);
            let Some(text) = value.text(whole) else { return Value::Undefined };
            let Ok(bytes) = STANDARD.decode(text.as_bytes()) else { return Value::Null };
            protobuf::decode(schema, &bytes, whole)
        };
        decoded.unwrap_or(Value::Null)
    }

    fn encoded_payload(&self) -> Value {
        let payload = &self.message.publish.payload;
        // Four characters for every three bytes.
        if self.budget.allows(payload.len().saturating_mul(4).div_ceil(3)) {
            Value::string(STANDARD.encode(payload))
        } else {
            Value::Undefined
        }
    }

    /// The row of a key, or Undefined.
    fn found<'s>(
        &'s self,
        source: &'s RowSource,
        key: &'s [Code],
        scope: Option<&'s Scope<'s>>,
    ) -> Cow<'s, Value> {
        self.look_up(source, &self.values(key, scope)).unwrap_or_default()
    }

    fn lambda<'s>(
        &'s self,
        hook: &Arc<str>,
        argument: &'s Code,
        scope: Option<&'s Scope<'s>>,
    ) -> Value {
        let Some(replay) = self.replay else { return Value::Undefined };
        replay.call(hook, &self.value(argument, scope), self.program.whole)
    }

    fn secret<'s>(
        &'s self,
        names: &[Box<str>],
        key: Option<&'s Code>,
        scope: Option<&'s Scope<'s>>,
    ) -> Value {
        let key = key.map(|key| self.value(key, scope));
        let secrets = self.message.surroundings.secrets;
        secrets.map_or(Value::Undefined, |secrets| secrets.get(names, key.as_deref()))
    }

    /// What a closed window has.
    fn of_closed(&self, code: &Code) -> Cow<'_, Value> {
        match (code, self.window) {
            (Code::Key(number), Some(window)) => Cow::Borrowed(window.key(*number)),
            (Code::Aggregate(number), Some(window)) => Cow::Borrowed(window.aggregate(*number)),
            (Code::Window(field), Some(window)) => Cow::Owned(window.field(*field)),
            _ => Cow::Borrowed(&UNDEFINED),
        }
    }

    fn array<'s>(&'s self, items: &'s [Code], scope: Option<&'s Scope<'s>>) -> Value {
        self.budget.take(items.len());
        Value::array(items.iter().map(|item| self.value(item, scope).into_owned()).collect())
    }

    fn columns<'s>(
        &'s self,
        columns: &'s [(compact_str::CompactString, Code)],
        scope: Option<&'s Scope<'s>>,
    ) -> Value {
        self.budget.take(columns.len());
        let mut object = ObjectBuilder::default();
        for (name, code) in columns {
            let value = self.value(code, scope);
            if !value.is_undefined() {
                object.insert(name.clone(), value.into_owned());
            }
        }
        object.finish()
    }

    /// Calls `visit` with every element whose WHERE is true, until it answers false. Answers whether
    /// there was anything to run over.
    fn elements<'s>(
        &'s self,
        query: &'s Subquery,
        scope: Option<&'s Scope<'s>>,
        mut visit: impl FnMut(&Scope<'_>) -> bool,
    ) -> bool {
        let source = self.value(&query.source, scope);
        let elements = match &*source {
            Value::Array(items) => items.as_slice(),
            object @ Value::Object(_) => std::slice::from_ref(object),
            _ => return false,
        };
        for element in elements {
            if !self.budget.take(1) {
                break;
            }
            let inner = Scope { element, outer: scope };
            let wanted = query
                .filter
                .as_ref()
                .is_none_or(|filter| self.exactly(filter, Some(&inner)) == Some(true));
            if wanted && !visit(&inner) {
                break;
            }
        }
        true
    }

    fn subquery<'s>(&'s self, query: &'s Subquery, scope: Option<&'s Scope<'s>>) -> Value {
        let mut results = Vec::new();
        let ran = self.elements(query, scope, |inner| {
            let result = self.projected(&query.projection, Some(inner));
            if !result.is_undefined() {
                results.push(result);
            }
            true
        });
        if ran { Value::array(results) } else { Value::Undefined }
    }

    fn exists<'s>(&'s self, query: &'s Subquery, scope: Option<&'s Scope<'s>>) -> Option<bool> {
        let mut found = false;
        let ran = self.elements(query, scope, |_| {
            found = true;
            false
        });
        ran.then_some(found)
    }

    /// What SELECT makes of the message (no scope) or of an element.
    pub(super) fn projected<'s>(
        &'s self,
        projection: &'s Projected,
        scope: Option<&'s Scope<'s>>,
    ) -> Value {
        match projection {
            Projected::Value(code) => self.value(code, scope).into_owned(),
            Projected::Columns(columns) => self.columns(columns, scope),
            Projected::Bytes => self.encoded_payload(),
            Projected::Whole => match scope {
                Some(scope) => scope.element.clone(),
                None => self.value(&Code::Payload, None).into_owned(),
            },
            Projected::Items(items) => self.items(items, scope),
        }
    }

    fn items<'s>(&'s self, items: &'s [Item], scope: Option<&'s Scope<'s>>) -> Value {
        let mut object = ObjectBuilder::default();
        for item in items {
            match item {
                Item::Spread(code) => {
                    if let Value::Object(members) = &*self.value(code, scope) {
                        for (key, member) in members.iter() {
                            object.insert(key.clone(), member.clone());
                        }
                    }
                }
                Item::Named(path, code) => {
                    let value = self.value(code, scope);
                    if !value.is_undefined() {
                        object.insert_at(path, value.into_owned());
                    }
                }
            }
        }
        object.finish()
    }
}

/// Follows the steps; Undefined where one leads nowhere.
pub(super) fn walk<'v>(value: &'v Value, steps: &[Segment]) -> &'v Value {
    steps.iter().fold(value, |at, step| {
        let next = match step {
            Segment::Name(name) => at.member(name),
            Segment::Index(index) => at.element(*index),
        };
        next.unwrap_or(&UNDEFINED)
    })
}
