//! Operands and arguments whose type is known and never does: `sqrt('abc')`, `1 - TRUE`, `x IN 5`.
//!
//! A type is known of literals, and of what operators and functions give whenever they give anything;
//! of fields it never is. All of it is warnings: AWS IoT takes such a rule, and the result is
//! Undefined ("Data types": conversions).

use super::super::ast::BinaryOp;
use super::super::ast::CastTarget;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::HoldField;
use super::super::ast::UnaryOp;
use super::super::function;
use super::super::function::Function;
use super::expression::Scope;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::value::Value;

/// What an expression is, if it is not Undefined.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Type<'e> {
    Number,
    /// A text, and which one where that is known.
    Text(Option<&'e Value>),
    Boolean,
    Null,
    Array,
    Object,
}

/// What an argument must be, or become by AWS's conversions.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    /// A number, or a text that is one.
    Number,
    /// Anything with a text: not NULL.
    Text,
    /// A text: nothing is converted.
    Name,
    /// `'base64'`.
    Base64,
    /// `'base64'` or `'proto'`.
    Decoding,
    /// An array, an object or a text.
    Collection,
    /// `'enrichArray'`.
    EnrichArray,
    Object,
    Array,
    Anything,
}

impl<'e> Type<'e> {
    /// The type of `expr`; `None` where only a message can tell.
    pub(super) fn of(expr: &'e Expr) -> Option<Type<'e>> {
        Some(match &expr.kind {
            ExprKind::Literal(value) => return Type::of_value(value),
            ExprKind::Array(_) | ExprKind::Subquery(_) => Type::Array,
            ExprKind::Object(_) => Type::Object,
            ExprKind::Unary { op: UnaryOp::Negate, .. } => Type::Number,
            ExprKind::Unary { op: UnaryOp::Not, .. }
            | ExprKind::In { .. }
            | ExprKind::Between { .. }
            | ExprKind::Like { .. }
            | ExprKind::Is { .. }
            | ExprKind::Exists(_) => Type::Boolean,
            ExprKind::Binary { op, left, right } => return Type::of_operator(*op, left, right),
            ExprKind::Cast { target, .. } => match target {
                CastTarget::String => Type::Text(None),
                CastTarget::Int | CastTarget::Decimal => Type::Number,
                CastTarget::Bool => Type::Boolean,
            },
            ExprKind::Hold(field) => match field {
                HoldField::Key => return None,
                HoldField::Reason => Type::Text(None),
                HoldField::Since
                | HoldField::FiredAt
                | HoldField::Samples
                | HoldField::DurationMs => Type::Number,
            },
            ExprKind::Window(_) => Type::Number,
            ExprKind::Call { name, .. } => {
                return function::lookup(&name.node).and_then(|spec| signature(spec.function).1);
            }
            ExprKind::Path { .. }
            | ExprKind::Variable(_)
            | ExprKind::Star
            | ExprKind::Member { .. }
            | ExprKind::Case { .. }
            | ExprKind::Over { .. } => return None,
        })
    }

    fn of_value(value: &'e Value) -> Option<Type<'e>> {
        Some(match value {
            // Stands where an error was told.
            Value::Undefined => return None,
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Boolean,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::Text(Some(value)),
            Value::Array(_) => Type::Array,
            Value::Object(_) => Type::Object,
        })
    }

    fn of_operator(op: BinaryOp, left: &'e Expr, right: &'e Expr) -> Option<Type<'e>> {
        match op {
            BinaryOp::Or
            | BinaryOp::And
            | BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessOrEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterOrEqual => Some(Type::Boolean),
            BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder => {
                Some(Type::Number)
            }
            BinaryOp::Add => match (Type::of(left), Type::of(right)) {
                (Some(Type::Text(_)), _) | (_, Some(Type::Text(_))) => Some(Type::Text(None)),
                (Some(_), Some(_)) => Some(Type::Number),
                _ => None,
            },
        }
    }

    /// Whether it may become a number.
    fn may_be_number(self) -> bool {
        match self {
            Type::Number | Type::Text(None) => true,
            Type::Text(Some(text)) => text.to_number().is_some(),
            Type::Boolean | Type::Null | Type::Array | Type::Object => false,
        }
    }

    /// Whether it may be an operand of AND, OR and NOT.
    fn may_be_condition(self) -> bool {
        match self {
            Type::Boolean | Type::Text(None) => true,
            Type::Text(Some(text)) => text.to_bool().is_some(),
            Type::Number | Type::Null | Type::Array | Type::Object => false,
        }
    }

    /// Whether values of both types are never the same.
    fn differs(self, other: Type<'_>) -> bool {
        match (self, other) {
            (Type::Text(_), Type::Text(_)) => false,
            (a, b) => a != b,
        }
    }

    /// As [`Type::words`], where a number is wanted.
    fn words_for_number(self) -> &'static str {
        match self {
            Type::Text(Some(_)) => "a text that is no number",
            other => other.words(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Type::Number => "a number",
            Type::Text(_) => "a text",
            Type::Boolean => "a Boolean",
            Type::Null => "NULL",
            Type::Array => "an array",
            Type::Object => "an object",
        }
    }
}

impl Wanted {
    fn takes(self, given: Type<'_>) -> bool {
        let is_one_of = |words: &[&str]| match given {
            Type::Text(Some(Value::String(text))) => words.contains(&text.as_str()),
            Type::Text(_) => true,
            _ => false,
        };
        match self {
            Wanted::Number => given.may_be_number(),
            Wanted::Text => given != Type::Null,
            Wanted::Name => matches!(given, Type::Text(_)),
            Wanted::Base64 => is_one_of(&["base64"]),
            Wanted::Decoding => is_one_of(&["base64", "proto"]),
            Wanted::Collection => matches!(given, Type::Array | Type::Object | Type::Text(_)),
            Wanted::EnrichArray => is_one_of(&["enrichArray"]),
            // A nested query over an object is an array of one, which stands for its element here.
            Wanted::Object => matches!(given, Type::Object | Type::Array),
            Wanted::Array => given == Type::Array,
            Wanted::Anything => true,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Wanted::Number => "a number",
            Wanted::Text | Wanted::Name => "a text",
            Wanted::Base64 => "'base64'",
            Wanted::Decoding => "'base64' or 'proto'",
            Wanted::Collection => "an array, an object or a text",
            Wanted::EnrichArray => "'enrichArray'",
            Wanted::Object => "an object",
            Wanted::Array => "an array",
            Wanted::Anything => "anything",
        }
    }
}

/// Judges the operands of `expr` itself; what is inside them is judged apart.
pub(super) fn operands(expr: &Expr, scope: &mut Scope<'_, '_>) {
    match &expr.kind {
        ExprKind::Unary { op: UnaryOp::Negate, operand } => numbers("-", &[operand], scope),
        ExprKind::Unary { op: UnaryOp::Not, operand } => conditions("NOT", &[operand], scope),
        ExprKind::Binary { op, left, right } => match op {
            BinaryOp::And => conditions("AND", &[left, right], scope),
            BinaryOp::Or => conditions("OR", &[left, right], scope),
            BinaryOp::Equal | BinaryOp::NotEqual => equality(left, right, scope),
            BinaryOp::Less => ordered("`<`", &[left, right], scope),
            BinaryOp::LessOrEqual => ordered("`<=`", &[left, right], scope),
            BinaryOp::Greater => ordered("`>`", &[left, right], scope),
            BinaryOp::GreaterOrEqual => ordered("`>=`", &[left, right], scope),
            BinaryOp::Add => sum(left, right, scope),
            BinaryOp::Subtract => numbers("-", &[left, right], scope),
            BinaryOp::Multiply => numbers("*", &[left, right], scope),
            BinaryOp::Divide => numbers("/", &[left, right], scope),
            BinaryOp::Remainder => numbers("%", &[left, right], scope),
        },
        ExprKind::Between { value, low, high, .. } => {
            ordered("BETWEEN", &[value], scope);
            bounds(&[low, high], scope);
        }
        ExprKind::In { haystack, .. } => {
            if let Some(found) = Type::of(haystack).filter(|found| *found != Type::Array) {
                undefined("IN looks into an array", haystack, found.words(), scope);
            }
        }
        ExprKind::Like { value, pattern, .. } => {
            if let Some(found) = Type::of(value).filter(|found| *found == Type::Null) {
                undefined("LIKE compares a text", value, found.words(), scope);
            }
            let given = Type::of(pattern).filter(|given| !matches!(given, Type::Text(_)));
            if let Some(given) = given {
                scope.found.push(
                    Diagnostic::warning(Code::TYPE, "the pattern of LIKE is a text")
                        .at(pattern.span.clone(), given.words())
                        .help("in quotes, with % for any text and _ for one character"),
                );
            }
        }
        ExprKind::Case { operand: None, branches, .. } => {
            for (when, _) in branches {
                if let Some(found) = Type::of(when).filter(|found| *found != Type::Boolean) {
                    scope.found.push(
                        Diagnostic::warning(Code::TYPE, "the branch is never taken")
                            .at(when.span.clone(), format!("{}, and no condition", found.words()))
                            .help("ask a condition, as in CASE WHEN temperature > 30 THEN …"),
                    );
                }
            }
        }
        ExprKind::Subquery(query) | ExprKind::Exists(query) => {
            let is_wrong = |found: &Type<'_>| !matches!(found, Type::Array | Type::Object);
            if let Some(found) = Type::of(&query.source).filter(is_wrong) {
                let rule = "a nested query runs over an array";
                undefined(rule, &query.source, found.words(), scope);
            }
        }
        _ => {}
    }
}

/// Judges the arguments of a call that has as many as it should.
pub(super) fn arguments(name: &str, function: Function, args: &[Expr], scope: &mut Scope<'_, '_>) {
    let (wanted, _) = signature(function);
    for (at, arg) in args.iter().enumerate() {
        // The last one stands for all that follow.
        let Some(wanted) = wanted.get(at).or(wanted.last()) else { return };
        if let Some(given) = Type::of(arg).filter(|given| !wanted.takes(*given)) {
            let label = match wanted {
                Wanted::Number => given.words_for_number(),
                Wanted::Base64 | Wanted::Decoding | Wanted::EnrichArray
                    if matches!(given, Type::Text(_)) =>
                {
                    "another text"
                }
                _ => given.words(),
            };
            undefined(&format!("{name} takes {} here", wanted.words()), arg, label, scope);
        }
    }
}

/// Tells of an operand that makes the result Undefined.
fn undefined(rule: &str, operand: &Expr, label: &str, scope: &mut Scope<'_, '_>) {
    scope.found.push(
        Diagnostic::warning(Code::TYPE, format!("{rule}; the result is always Undefined"))
            .at(operand.span.clone(), label),
    );
}

fn numbers(sign: &str, operands: &[&Expr], scope: &mut Scope<'_, '_>) {
    for operand in operands {
        if let Some(found) = Type::of(operand).filter(|found| !found.may_be_number()) {
            let label = found.words_for_number();
            undefined(&format!("`{sign}` takes numbers"), operand, label, scope);
        }
    }
}

fn ordered(sign: &str, operands: &[&Expr], scope: &mut Scope<'_, '_>) {
    for operand in operands {
        if let Some(found) = Type::of(operand).filter(|found| !found.may_be_number()) {
            let label = found.words_for_number();
            undefined(
                &format!("{sign} puts numbers in order, and nothing else"),
                operand,
                label,
                scope,
            );
        }
    }
}

/// A number may be outside of the other bound, so the result is not always Undefined.
fn bounds(bounds: &[&Expr], scope: &mut Scope<'_, '_>) {
    for bound in bounds {
        if let Some(found) = Type::of(bound).filter(|found| !found.may_be_number()) {
            let message = "the bounds of BETWEEN are numbers; nothing is between these";
            let wrong = Diagnostic::warning(Code::TYPE, message);
            scope.found.push(wrong.at(bound.span.clone(), found.words_for_number()));
        }
    }
}

fn conditions(word: &str, operands: &[&Expr], scope: &mut Scope<'_, '_>) {
    for operand in operands {
        if let Some(found) = Type::of(operand).filter(|found| !found.may_be_condition()) {
            let message = format!("{word} takes conditions; this is neither true nor false");
            scope.found.push(
                Diagnostic::warning(Code::TYPE, message)
                    .at(operand.span.clone(), found.words())
                    .help("compare it with something, as in temperature > 30"),
            );
        }
    }
}

/// `+` joins texts as soon as one side is one, and else adds numbers.
fn sum(left: &Expr, right: &Expr, scope: &mut Scope<'_, '_>) {
    let (Some(a), Some(b)) = (Type::of(left), Type::of(right)) else {
        // Whatever the other side is, nothing is joined or added with NULL.
        for side in [left, right] {
            if let Some(found) = Type::of(side).filter(|found| *found == Type::Null) {
                undefined("`+` takes numbers or texts", side, found.words(), scope);
            }
        }
        return;
    };
    let joins = matches!(a, Type::Text(_)) || matches!(b, Type::Text(_));
    for (side, found) in [(left, a), (right, b)] {
        let fits = if joins { found != Type::Null } else { found.may_be_number() };
        if !fits {
            undefined("`+` takes numbers or texts", side, found.words(), scope);
        }
    }
}

fn equality(left: &Expr, right: &Expr, scope: &mut Scope<'_, '_>) {
    if let (Some(a), Some(b)) = (Type::of(left), Type::of(right))
        && a.differs(b)
    {
        scope.found.push(
            Diagnostic::warning(Code::NEVER_EQUAL, "the two sides are never equal")
                .at(left.span.clone(), a.words())
                .also(right.span.clone(), b.words())
                .help("`=` and `<>` convert nothing: '5' is not 5, and 'true' is not TRUE"),
        );
    }
}

/// What the arguments of a function must be, the last for all that follow; and what it gives, where
/// that is always the same.
fn signature<'e>(function: Function) -> (&'static [Wanted], Option<Type<'e>>) {
    use Function as F;
    use Wanted as W;
    let text = Some(Type::Text(None));
    match function {
        math if is_of_numbers(math) => (&[W::Number], Some(Type::Number)),
        F::Chr | F::Topic => (&[W::Number], text),
        F::IndexOf | F::Length | F::NumBytes | F::TimeToEpoch => (&[W::Text], Some(Type::Number)),
        F::EndsWith | F::RegexpMatches | F::StartsWith => (&[W::Text], Some(Type::Boolean)),
        F::Lower
        | F::Ltrim
        | F::Md2
        | F::Md5
        | F::RegexpReplace
        | F::RegexpSubstr
        | F::Replace
        | F::Rtrim
        | F::Sha1
        | F::Sha224
        | F::Sha256
        | F::Sha384
        | F::Sha512
        | F::Trim
        | F::Upper => (&[W::Text], text),
        F::Lpad | F::Rpad | F::Substring => (&[W::Text, W::Number], text),
        F::ParseTime => (&[W::Text, W::Number, W::Text], text),
        F::Encode => (&[W::Text, W::Base64], text),
        F::Decode => (&[W::Text, W::Decoding, W::Anything], None),
        F::Get => (&[W::Collection, W::Anything], None),
        F::Transform => (&[W::EnrichArray, W::Object, W::Array], Some(Type::Array)),
        F::GetMqttProperty => (&[W::Name], text),
        F::GetUserProperties => (&[W::Name], Some(Type::Array)),
        F::IsNull | F::IsUndefined => (&[W::Anything], Some(Type::Boolean)),
        F::Rand | F::Timestamp => (&[], Some(Type::Number)),
        F::AccountId
        | F::ClientId
        | F::NewUuid
        | F::PartitionKey
        | F::Principal
        | F::SequenceNumber
        | F::ShardId
        | F::SourceIp
        | F::SqlVersion
        | F::TraceId => (&[], text),
        // What a service is asked is judged in `service`, and the others take anything.
        _ => (&[W::Anything], None),
    }
}

/// Whether it makes numbers of numbers.
fn is_of_numbers(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::Abs
            | F::Acos
            | F::Asin
            | F::Atan
            | F::Atan2
            | F::BitAnd
            | F::BitNot
            | F::BitOr
            | F::BitXor
            | F::Ceil
            | F::Cos
            | F::Cosh
            | F::Exp
            | F::Floor
            | F::Ln
            | F::Log
            | F::Mod
            | F::Power
            | F::Remainder
            | F::Round
            | F::Sign
            | F::Sin
            | F::Sinh
            | F::Sqrt
            | F::Tan
            | F::Tanh
            | F::Trunc
    )
}
