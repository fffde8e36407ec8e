//! The functions of the language: names, arities, first SQL version, and whether a call of constants
//! is a constant.
//!
//! One table, sorted by name. `check` refuses calls that do not fit it, the engine implements each
//! [`Function`] and matches exhaustively. `cast` is syntax and not here. Source: AWS IoT developer
//! guide, "Functions". `docs/language.md` lists the same functions; a test compares them.

use super::ast::SqlVersion;

/// A function that rules may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `abs`
    Abs,
    /// `accountid`
    AccountId,
    /// `acos`
    Acos,
    /// `asin`
    Asin,
    /// `atan`
    Atan,
    /// `atan2`
    Atan2,
    /// `aws_lambda`
    AwsLambda,
    /// `bitand`
    BitAnd,
    /// `bitnot`
    BitNot,
    /// `bitor`
    BitOr,
    /// `bitxor`
    BitXor,
    /// `ceil`
    Ceil,
    /// `chr`
    Chr,
    /// `clientid`
    ClientId,
    /// `concat`
    Concat,
    /// `cos`
    Cos,
    /// `cosh`
    Cosh,
    /// `decode`
    Decode,
    /// `delta`
    Delta,
    /// `encode`
    Encode,
    /// `endswith`
    EndsWith,
    /// `exp`
    Exp,
    /// `floor`
    Floor,
    /// `get`
    Get,
    /// `get_dynamodb`
    GetDynamodb,
    /// `get_mqtt_property`
    GetMqttProperty,
    /// `get_or_default`
    GetOrDefault,
    /// `get_secret`
    GetSecret,
    /// `get_thing_shadow`
    GetThingShadow,
    /// `get_user_properties`
    GetUserProperties,
    /// `had_changed`
    HadChanged,
    /// `indexof`
    IndexOf,
    /// `isnull`
    IsNull,
    /// `isundefined`
    IsUndefined,
    /// `lag`
    Lag,
    /// `length`
    Length,
    /// `ln`
    Ln,
    /// `log`
    Log,
    /// `lower`
    Lower,
    /// `lpad`
    Lpad,
    /// `ltrim`
    Ltrim,
    /// `md2`
    Md2,
    /// `md5`
    Md5,
    /// `mod`
    Mod,
    /// `nanvl`
    Nanvl,
    /// `newuuid`
    NewUuid,
    /// `numbytes`
    NumBytes,
    /// `parse_time`
    ParseTime,
    /// `partition_key`
    PartitionKey,
    /// `power`
    Power,
    /// `principal`
    Principal,
    /// `rand`
    Rand,
    /// `regexp_matches`
    RegexpMatches,
    /// `regexp_replace`
    RegexpReplace,
    /// `regexp_substr`
    RegexpSubstr,
    /// `remainder`
    Remainder,
    /// `replace`
    Replace,
    /// `round`
    Round,
    /// `rpad`
    Rpad,
    /// `rtrim`
    Rtrim,
    /// `sequence_number`
    SequenceNumber,
    /// `sha1`
    Sha1,
    /// `sha224`
    Sha224,
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
    /// `shard_id`
    ShardId,
    /// `sign`
    Sign,
    /// `sin`
    Sin,
    /// `sinh`
    Sinh,
    /// `sourceip`
    SourceIp,
    /// `sql_version`
    SqlVersion,
    /// `sqrt`
    Sqrt,
    /// `startswith`
    StartsWith,
    /// `substring`
    Substring,
    /// `tan`
    Tan,
    /// `tanh`
    Tanh,
    /// `time_to_epoch`
    TimeToEpoch,
    /// `timestamp`
    Timestamp,
    /// `topic`
    Topic,
    /// `traceid`
    TraceId,
    /// `transform`
    Transform,
    /// `trim`
    Trim,
    /// `trunc`
    Trunc,
    /// `upper`
    Upper,
}

impl Function {
    /// Whether it looks at the record of a stream, and so needs FROM STREAM.
    pub fn is_of_record(self) -> bool {
        matches!(self, Function::PartitionKey | Function::SequenceNumber | Function::ShardId)
    }

    /// Whether it looks at a published message, which a record of a stream is not.
    pub fn is_of_publish(self) -> bool {
        matches!(
            self,
            Function::ClientId
                | Function::GetMqttProperty
                | Function::GetUserProperties
                | Function::Principal
                | Function::SourceIp
                | Function::Topic
                | Function::TraceId
        )
    }
}

/// Whether a call with constant arguments may be computed once, when the rule is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purity {
    /// The arguments decide alone.
    Pure,
    /// It reads the message, the clock, the rule's version, or chance.
    Contextual,
    /// It looks back on earlier messages of a key (`super::analytic`); AWS has none of these.
    Analytic,
}

/// What is known of a function before it is called.
#[derive(Clone, Copy, Debug)]
pub struct FunctionSpec {
    /// Its name in lower case.
    pub name: &'static str,
    /// Which one it is.
    pub function: Function,
    /// Least number of arguments.
    pub args_min: usize,
    /// Greatest number of arguments.
    pub args_max: usize,
    /// The SQL version that brought it.
    pub since: SqlVersion,
    /// Whether it may be computed ahead.
    pub purity: Purity,
}

const V15: SqlVersion = SqlVersion::V2015_10_08;
const V16: SqlVersion = SqlVersion::V2016_03_23;

const fn spec(
    name: &'static str,
    function: Function,
    (args_min, args_max): (usize, usize),
    since: SqlVersion,
    purity: Purity,
) -> FunctionSpec {
    FunctionSpec { name, function, args_min, args_max, since, purity }
}

/// All functions, sorted by name.
#[rustfmt::skip]
pub const FUNCTIONS: &[FunctionSpec] = &[
    spec("abs", Function::Abs, (1, 1), V15, Purity::Pure),
    spec("accountid", Function::AccountId, (0, 0), V15, Purity::Contextual),
    spec("acos", Function::Acos, (1, 1), V15, Purity::Pure),
    spec("asin", Function::Asin, (1, 1), V15, Purity::Pure),
    spec("atan", Function::Atan, (1, 1), V15, Purity::Pure),
    spec("atan2", Function::Atan2, (2, 2), V15, Purity::Pure),
    spec("aws_lambda", Function::AwsLambda, (2, 2), V15, Purity::Contextual),
    spec("bitand", Function::BitAnd, (2, 2), V15, Purity::Pure),
    spec("bitnot", Function::BitNot, (1, 1), V15, Purity::Pure),
    spec("bitor", Function::BitOr, (2, 2), V15, Purity::Pure),
    spec("bitxor", Function::BitXor, (2, 2), V15, Purity::Pure),
    spec("ceil", Function::Ceil, (1, 1), V15, Purity::Pure),
    spec("chr", Function::Chr, (1, 1), V15, Purity::Pure),
    spec("clientid", Function::ClientId, (0, 0), V15, Purity::Contextual),
    spec("concat", Function::Concat, (0, 255), V15, Purity::Pure),
    spec("cos", Function::Cos, (1, 1), V15, Purity::Pure),
    spec("cosh", Function::Cosh, (1, 1), V15, Purity::Pure),
    spec("decode", Function::Decode, (2, 6), V16, Purity::Pure),
    spec("delta", Function::Delta, (1, 1), V15, Purity::Analytic),
    spec("encode", Function::Encode, (2, 2), V16, Purity::Pure),
    spec("endswith", Function::EndsWith, (2, 2), V15, Purity::Pure),
    spec("exp", Function::Exp, (1, 1), V15, Purity::Pure),
    spec("floor", Function::Floor, (1, 1), V15, Purity::Pure),
    spec("get", Function::Get, (2, 2), V15, Purity::Pure),
    spec("get_dynamodb", Function::GetDynamodb, (4, 6), V16, Purity::Contextual),
    spec("get_mqtt_property", Function::GetMqttProperty, (1, 1), V16, Purity::Contextual),
    spec("get_or_default", Function::GetOrDefault, (1, 2), V16, Purity::Pure),
    spec("get_secret", Function::GetSecret, (3, 4), V16, Purity::Contextual),
    spec("get_thing_shadow", Function::GetThingShadow, (2, 3), V16, Purity::Contextual),
    spec("get_user_properties", Function::GetUserProperties, (0, 1), V16, Purity::Contextual),
    spec("had_changed", Function::HadChanged, (1, 255), V15, Purity::Analytic),
    spec("indexof", Function::IndexOf, (2, 2), V16, Purity::Pure),
    spec("isnull", Function::IsNull, (1, 1), V15, Purity::Pure),
    spec("isundefined", Function::IsUndefined, (1, 1), V16, Purity::Pure),
    spec("lag", Function::Lag, (1, 3), V15, Purity::Analytic),
    spec("length", Function::Length, (1, 1), V16, Purity::Pure),
    spec("ln", Function::Ln, (1, 1), V15, Purity::Pure),
    spec("log", Function::Log, (1, 1), V15, Purity::Pure),
    spec("lower", Function::Lower, (1, 1), V15, Purity::Pure),
    spec("lpad", Function::Lpad, (2, 2), V15, Purity::Pure),
    spec("ltrim", Function::Ltrim, (1, 1), V15, Purity::Pure),
    spec("md2", Function::Md2, (1, 1), V15, Purity::Pure),
    spec("md5", Function::Md5, (1, 1), V15, Purity::Pure),
    spec("mod", Function::Mod, (2, 2), V15, Purity::Pure),
    spec("nanvl", Function::Nanvl, (2, 2), V15, Purity::Pure),
    spec("newuuid", Function::NewUuid, (0, 0), V15, Purity::Contextual),
    spec("numbytes", Function::NumBytes, (1, 1), V16, Purity::Pure),
    spec("parse_time", Function::ParseTime, (2, 3), V16, Purity::Pure),
    spec("partition_key", Function::PartitionKey, (0, 0), V16, Purity::Contextual),
    spec("power", Function::Power, (2, 2), V15, Purity::Pure),
    spec("principal", Function::Principal, (0, 0), V15, Purity::Contextual),
    spec("rand", Function::Rand, (0, 0), V15, Purity::Contextual),
    spec("regexp_matches", Function::RegexpMatches, (2, 2), V15, Purity::Pure),
    spec("regexp_replace", Function::RegexpReplace, (3, 3), V15, Purity::Pure),
    spec("regexp_substr", Function::RegexpSubstr, (2, 2), V15, Purity::Pure),
    spec("remainder", Function::Remainder, (2, 2), V15, Purity::Pure),
    spec("replace", Function::Replace, (3, 3), V15, Purity::Pure),
    spec("round", Function::Round, (1, 1), V15, Purity::Pure),
    spec("rpad", Function::Rpad, (2, 2), V15, Purity::Pure),
    spec("rtrim", Function::Rtrim, (1, 1), V15, Purity::Pure),
    spec("sequence_number", Function::SequenceNumber, (0, 0), V16, Purity::Contextual),
    spec("sha1", Function::Sha1, (1, 1), V15, Purity::Pure),
    spec("sha224", Function::Sha224, (1, 1), V15, Purity::Pure),
    spec("sha256", Function::Sha256, (1, 1), V15, Purity::Pure),
    spec("sha384", Function::Sha384, (1, 1), V15, Purity::Pure),
    spec("sha512", Function::Sha512, (1, 1), V15, Purity::Pure),
    spec("shard_id", Function::ShardId, (0, 0), V16, Purity::Contextual),
    spec("sign", Function::Sign, (1, 1), V15, Purity::Pure),
    spec("sin", Function::Sin, (1, 1), V15, Purity::Pure),
    spec("sinh", Function::Sinh, (1, 1), V15, Purity::Pure),
    spec("sourceip", Function::SourceIp, (0, 0), V16, Purity::Contextual),
    spec("sql_version", Function::SqlVersion, (0, 0), V15, Purity::Contextual),
    spec("sqrt", Function::Sqrt, (1, 1), V15, Purity::Pure),
    spec("startswith", Function::StartsWith, (2, 2), V15, Purity::Pure),
    spec("substring", Function::Substring, (2, 3), V15, Purity::Pure),
    spec("tan", Function::Tan, (1, 1), V15, Purity::Pure),
    spec("tanh", Function::Tanh, (1, 1), V15, Purity::Pure),
    spec("time_to_epoch", Function::TimeToEpoch, (2, 2), V16, Purity::Pure),
    spec("timestamp", Function::Timestamp, (0, 0), V15, Purity::Contextual),
    spec("topic", Function::Topic, (0, 1), V15, Purity::Contextual),
    spec("traceid", Function::TraceId, (0, 0), V15, Purity::Contextual),
    spec("transform", Function::Transform, (3, 3), V16, Purity::Pure),
    spec("trim", Function::Trim, (1, 1), V15, Purity::Pure),
    spec("trunc", Function::Trunc, (2, 2), V15, Purity::Pure),
    spec("upper", Function::Upper, (1, 1), V15, Purity::Pure),
];

/// AWS functions that call an outside service that has no counterpart here; no rule may use them.
pub const EXTERNAL_FUNCTIONS: &[&str] = &["get_registry_data", "machinelearning_predict"];

/// The function called `name`, in any case.
pub fn lookup(name: &str) -> Option<&'static FunctionSpec> {
    let name = name.to_ascii_lowercase();
    let position = FUNCTIONS.binary_search_by(|spec| spec.name.cmp(name.as_str())).ok()?;
    FUNCTIONS.get(position)
}

/// Whether `name`, in any case, is an AWS function that calls an outside service.
pub fn is_external(name: &str) -> bool {
    EXTERNAL_FUNCTIONS.iter().any(|external| external.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name_in_any_case() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name), "lookup searches by bisection");
        for spec in FUNCTIONS {
            let found = lookup(&spec.name.to_ascii_uppercase()).unwrap();
            assert_eq!(found.function, spec.function);
            assert!(found.args_min <= found.args_max);
        }
        assert!(lookup("cast").is_none() && lookup("").is_none());
    }

    #[test]
    fn the_manual_lists_the_functions_as_the_table_has_them() {
        let manual = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/language.md"));
        let (_, table) = manual.split_once("| function | arguments | since |").unwrap();
        let listed: Vec<&str> =
            table.lines().skip(2).take_while(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = FUNCTIONS
            .iter()
            .map(|spec| {
                let args = match (spec.args_min, spec.args_max) {
                    (min, max) if min == max => min.to_string(),
                    (min, 255) => format!("{min} or more"),
                    (min, max) => format!("{min} to {max}"),
                };
                let since = match (spec.purity, spec.since) {
                    (Purity::Analytic, _) => "not in AWS",
                    (_, V15) => "2015-10-08",
                    (_, V16) => "2016-03-23",
                };
                format!("| `{}` | {args} | {since} |", spec.name)
            })
            .collect();
        assert_eq!(listed, expected);
    }
}
