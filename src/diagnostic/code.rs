//! Every code of a rule diagnostic, by name. Codes of the configuration (`C…`) stand where they are
//! given, in `config`.
//!
//! A code keeps its meaning for ever; a retired one is not given again. Each has a paragraph in
//! `docs/diagnostics.md` and a case in `tests/diagnostics`; a test insists on both.

use super::Code;

/// The codes about rules.
impl Code {
    /// The text does not follow the grammar.
    pub const SYNTAX: Code = Code("R001");
    /// A quote, comment or bracket without its partner.
    pub const UNCLOSED: Code = Code("R002");
    /// Nested or chained too deep.
    pub const NESTING: Code = Code("R003");
    /// A statement, or a number of them, beyond its bound.
    pub const SIZE: Code = Code("R004");
    /// A file that cannot be read or is no rule file.
    pub const FILE: Code = Code("R005");
    /// A statement that is not CREATE RULE.
    pub const STATEMENT: Code = Code("R006");
    /// A number that no value can hold.
    pub const NUMBER: Code = Code("R007");
    /// A duration that is not understood or out of range.
    pub const DURATION: Code = Code("R008");
    /// A topic filter or topic that MQTT does not allow.
    pub const TOPIC: Code = Code("R009");
    /// A function that does not exist.
    pub const UNKNOWN_FUNCTION: Code = Code("R010");
    /// Too few or too many arguments.
    pub const ARITY: Code = Code("R011");
    /// Newer than the rule's SQL version.
    pub const SQL_VERSION: Code = Code("R012");
    /// A function that calls an outside service.
    pub const EXTERNAL_FUNCTION: Code = Code("R013");
    /// A regular expression that never compiles.
    pub const REGEX: Code = Code("R014");
    /// Two rules of one name.
    pub const DUPLICATE_RULE: Code = Code("R015");
    /// Beyond AWS, in a rule that asks for strict AWS.
    pub const STRICT: Code = Code("R016");
    /// A condition that is never true.
    pub const NEVER_TRUE: Code = Code("R017");
    /// A rule that republishes to itself.
    pub const LOOP: Code = Code("R018");
    /// Rules that republish to one another.
    pub const LOOP_THROUGH_RULES: Code = Code("R019");
    /// ON CLEARED without WHEN.
    pub const CLEARED_WITHOUT_WHEN: Code = Code("R020");
    /// `hold.…` where nothing is held.
    pub const HOLD: Code = Code("R021");
    /// INVOKE of a hook that no configuration declares.
    pub const UNDECLARED_HOOK: Code = Code("R022");
    /// A target that will be created with defaults.
    pub const DEFAULT_TARGET: Code = Code("R023");
    /// More actions than a rule may have.
    pub const ACTIONS: Code = Code("R024");
    /// No rules at all.
    pub const NO_RULES: Code = Code("R025");
    /// A SET variable that is unknown, given twice or badly named.
    pub const VARIABLE: Code = Code("R026");
    /// A clause that stands twice.
    pub const REPEATED_CLAUSE: Code = Code("R027");
    /// A word that is none of those possible there.
    pub const UNKNOWN_WORD: Code = Code("R028");
    /// A name with characters or a length that it cannot have.
    pub const NAME: Code = Code("R029");
    /// A `${…}` that is wrong.
    pub const TEMPLATE: Code = Code("R030");
    /// A rule that only Basic Ingest reaches.
    pub const NO_FROM: Code = Code("R031");
    /// A target's name with `${…}` that no target fits.
    pub const DYNAMIC_TARGET: Code = Code("R032");
    /// A header that no MQTT 5 message can have.
    pub const HEADER: Code = Code("R033");
    /// A table's file that does not hold rows.
    pub const TABLE: Code = Code("R034");
    /// A table whose rows lack their key, or share one.
    pub const TABLE_KEY: Code = Code("R035");
    /// Two tables of one name.
    pub const DUPLICATE_TABLE: Code = Code("R036");
    /// JOIN of a table that no statement creates.
    pub const UNKNOWN_TABLE: Code = Code("R037");
    /// A JOIN that does not say which row, or a row that is not there yet.
    pub const JOIN: Code = Code("R038");
    /// A column that a table does not have.
    pub const COLUMN: Code = Code("R039");
    /// A time clause that changes nothing, or that no message can answer.
    pub const EVENT_TIME: Code = Code("R040");
    /// An AWS rule document that lacks something, or has it of the wrong kind.
    pub const DOCUMENT: Code = Code("R041");
    /// A key that AWS rule documents do not have.
    pub const UNKNOWN_KEY: Code = Code("R042");
    /// A part of an AWS rule document that has no counterpart here.
    pub const NOT_CARRIED: Code = Code("R043");
    /// A payload format that lacks something, or has no fields where one is named.
    pub const FORMAT: Code = Code("R044");
    /// A filter over the gateway's own topics that matches none of them.
    pub const NO_EVENT: Code = Code("R045");
    /// A Protobuf type that cannot be had.
    pub const DESCRIPTOR: Code = Code("R046");
    /// A time pattern or time zone that is none.
    pub const TIME_PATTERN: Code = Code("R047");
    /// FOREACH over what is no array, or where there is no element.
    pub const FOREACH: Code = Code("R048");
    /// A clause that NO DATA cannot have.
    pub const NO_DATA: Code = Code("R049");
    /// A name that is a reference table's and that of a table that UPSERT writes.
    pub const AMBIGUOUS_TABLE: Code = Code("R050");
    /// A function that asks a machine-learning model.
    pub const PREDICTION: Code = Code("R051");
    /// A secret that no configuration declares.
    pub const UNDECLARED_SECRET: Code = Code("R052");
    /// A call of a function for an AWS service that has nothing to find here.
    pub const SERVICE_CALL: Code = Code("R053");
    /// `aws_lambda()` where nobody can wait for its answer.
    pub const CALL_PLACE: Code = Code("R054");
    /// AT LEAST of a number of times that is not counted to.
    pub const AT_LEAST: Code = Code("R056");
    /// FOR EACH ROW OF where no row can be watched.
    pub const EACH_ROW: Code = Code("R057");
    /// GROUP BY without a window, or with one that cannot be.
    pub const WINDOW: Code = Code("R060");
    /// GROUP BY beside a clause that it does not go with.
    pub const GROUP_CLAUSE: Code = Code("R061");
    /// What only one message has, where a rule speaks of a window.
    pub const NOT_GROUPED: Code = Code("R062");
    /// An aggregate where there is nothing to aggregate, or over what it cannot.
    pub const AGGREGATE: Code = Code("R063");
    /// `window.…` before the window is closed.
    pub const WINDOW_FIELD: Code = Code("R064");
    /// An analytic function where no earlier messages are known.
    pub const ANALYTIC_PLACE: Code = Code("R067");
    /// An analytic function that looks back further than it may.
    pub const LAG: Code = Code("R068");
    /// OVER where nothing is partitioned, or two keys in one rule.
    pub const OVER: Code = Code("R069");
    /// A start of FROM STREAM that is no point in time.
    pub const STREAM_START: Code = Code("R070");
    /// A function of a record where there is none.
    pub const RECORD_FUNCTION: Code = Code("R071");
    /// A function of a published message over a record of a stream.
    pub const TOPIC_FUNCTION: Code = Code("R072");
    /// A stream that rules read and nothing is known to write.
    pub const UNFED_STREAM: Code = Code("R073");
    /// A column of SELECT that is taken for a field elsewhere.
    pub const COLUMN_NAME: Code = Code("R074");
    /// An operand or argument of a type that never does.
    pub const TYPE: Code = Code("R058");
    /// Two sides of `=` that are never equal.
    pub const NEVER_EQUAL: Code = Code("R059");
}

/// All of them, in order.
pub const RULE_CODES: &[Code] = &[
    Code::SYNTAX,
    Code::UNCLOSED,
    Code::NESTING,
    Code::SIZE,
    Code::FILE,
    Code::STATEMENT,
    Code::NUMBER,
    Code::DURATION,
    Code::TOPIC,
    Code::UNKNOWN_FUNCTION,
    Code::ARITY,
    Code::SQL_VERSION,
    Code::EXTERNAL_FUNCTION,
    Code::REGEX,
    Code::DUPLICATE_RULE,
    Code::STRICT,
    Code::NEVER_TRUE,
    Code::LOOP,
    Code::LOOP_THROUGH_RULES,
    Code::CLEARED_WITHOUT_WHEN,
    Code::HOLD,
    Code::UNDECLARED_HOOK,
    Code::DEFAULT_TARGET,
    Code::ACTIONS,
    Code::NO_RULES,
    Code::VARIABLE,
    Code::REPEATED_CLAUSE,
    Code::UNKNOWN_WORD,
    Code::NAME,
    Code::TEMPLATE,
    Code::NO_FROM,
    Code::DYNAMIC_TARGET,
    Code::HEADER,
    Code::TABLE,
    Code::TABLE_KEY,
    Code::DUPLICATE_TABLE,
    Code::UNKNOWN_TABLE,
    Code::JOIN,
    Code::COLUMN,
    Code::EVENT_TIME,
    Code::DOCUMENT,
    Code::UNKNOWN_KEY,
    Code::NOT_CARRIED,
    Code::FORMAT,
    Code::NO_EVENT,
    Code::DESCRIPTOR,
    Code::TIME_PATTERN,
    Code::FOREACH,
    Code::NO_DATA,
    Code::AMBIGUOUS_TABLE,
    Code::PREDICTION,
    Code::UNDECLARED_SECRET,
    Code::SERVICE_CALL,
    Code::CALL_PLACE,
    Code::AT_LEAST,
    Code::EACH_ROW,
    Code::WINDOW,
    Code::GROUP_CLAUSE,
    Code::NOT_GROUPED,
    Code::AGGREGATE,
    Code::WINDOW_FIELD,
    Code::ANALYTIC_PLACE,
    Code::LAG,
    Code::OVER,
    Code::STREAM_START,
    Code::RECORD_FUNCTION,
    Code::TOPIC_FUNCTION,
    Code::UNFED_STREAM,
    Code::COLUMN_NAME,
    Code::TYPE,
    Code::NEVER_EQUAL,
];
