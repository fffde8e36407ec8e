//! What leaves a rule: its output as bytes, and its actions with their expressions evaluated.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;
use smallvec::smallvec;

use super::Fault;
use super::FaultCode;
use super::Output;
use super::PreparedAction;
use super::code::ActionCode;
use super::code::Code;
use super::code::Part;
use super::code::Projected;
use super::code::Target;
use super::code::Text;
use super::evaluate::Frame;
use super::headers;
use crate::limits::EVALUATION_STEPS_MAX;
use crate::limits::HOPS_MAX;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::limits::PARTITION_KEY_CHARS_MAX;
use crate::limits::REGEX_STEPS_MAX;
use crate::limits::TABLE_KEY_BYTES_MAX;
use crate::limits::TARGET_NAME_BYTES_MAX;
use crate::rule::ast::SqlVersion;
use crate::rule::target::TargetKind;
use crate::rule::target::is_target_name;
use crate::topic::TopicName;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;

/// Why an output or action could not be made.
pub(super) type Refusal = (FaultCode, String);

/// The output, and the value behind it where a BATCH action will take it apart.
pub(super) struct Made {
    pub(super) output: Output,
    value: Option<Value>,
}

impl Made {
    /// A JSON document that no rule selected.
    pub(super) fn document(text: Vec<u8>) -> Made {
        Made { output: Output::Json(Bytes::from(text)), value: None }
    }
}

/// Evaluates SELECT.
pub(super) fn make(frame: &Frame<'_>, actions: &[ActionCode]) -> Result<Made, Refusal> {
    let projection = &frame.program.projection;
    let made = if let Projected::Columns(columns) = projection
        && !actions.iter().any(ActionCode::is_batch)
    {
        let text = write_columns(frame, columns)?;
        Made { output: Output::Json(Bytes::from(text)), value: None }
    } else if passes_bytes(frame) {
        Made { output: Output::Raw(frame.message.publish.payload.clone()), value: None }
    } else {
        let value = top_level(frame, frame.projected(projection, None));
        let output = match &value {
            // Undefined by itself is the empty payload.
            Value::Undefined => Output::Raw(Bytes::new()),
            value => Output::Json(Bytes::from(to_json(value, frame.program.whole)?)),
        };
        Made { output, value: Some(value) }
    };
    budget_kept(frame)?;
    Ok(made)
}

/// Whether SELECT sends the payload on as it came.
fn passes_bytes(frame: &Frame<'_>) -> bool {
    match frame.program.projection {
        Projected::Bytes => true,
        Projected::Whole => frame.message.payload(frame.program.whole).is_none(),
        _ => false,
    }
}

/// The old SQL version has no arrays at the top: `SELECT VALUE` of one is Undefined.
fn top_level(frame: &Frame<'_>, value: Value) -> Value {
    let is_value = matches!(frame.program.projection, Projected::Value(_));
    match value {
        Value::Array(_) if is_value && frame.program.version < SqlVersion::V2016_03_23 => {
            Value::Undefined
        }
        other => other,
    }
}

/// A fault where evaluation went over its bounds.
pub(super) fn budget_kept(frame: &Frame<'_>) -> Result<(), Refusal> {
    match frame.budget.fault() {
        None => Ok(()),
        Some(FaultCode::RegexTooCostly) => Err((
            FaultCode::RegexTooCostly,
            format!(
                "a regular expression took more than {REGEX_STEPS_MAX} steps, or all searches together \
                 more than {EVALUATION_STEPS_MAX}"
            ),
        )),
        Some(FaultCode::EvaluationTooCostly) => Err((
            FaultCode::EvaluationTooCostly,
            format!("evaluating the rule took more than {EVALUATION_STEPS_MAX} steps"),
        )),
        Some(code) => Err((code, "evaluating the rule built more than it may".to_owned())),
    }
}

fn to_json(value: &Value, whole: Whole) -> Result<Vec<u8>, Refusal> {
    let mut text = Vec::with_capacity(256);
    json::write(&mut text, value, whole, OUTPUT_BYTES_MAX).map_err(too_large)?;
    Ok(text)
}

fn too_large(error: json::TooLong) -> Refusal {
    (FaultCode::OutputTooLarge, error.to_string())
}

/// Plain columns are written as they are evaluated.
fn write_columns(frame: &Frame<'_>, columns: &[(CompactString, Code)]) -> Result<Vec<u8>, Refusal> {
    let mut text = Vec::with_capacity(256);
    text.push(b'{');
    for (name, code) in columns {
        let value = frame.value(code, None);
        if value.is_undefined() {
            continue;
        }
        if text.len() > 1 {
            text.push(b',');
        }
        json::write_string(&mut text, name);
        text.push(b':');
        json::write(&mut text, &value, frame.program.whole, OUTPUT_BYTES_MAX).map_err(too_large)?;
    }
    text.push(b'}');
    // The brace, and a name whose value is short, have not been compared with the bound.
    if text.len() > OUTPUT_BYTES_MAX {
        return Err(too_large(json::TooLong { limit: OUTPUT_BYTES_MAX }));
    }
    Ok(text)
}

/// Prepares every action; one that cannot be carried out does not keep the others.
pub(super) fn prepare(
    frame: &Frame<'_>,
    actions: &[ActionCode],
    made: &Made,
    fault: impl Fn(Refusal) -> Fault,
) -> SmallVec<[Result<PreparedAction, Fault>; 2]> {
    let one = |action| {
        let prepared = prepare_one(frame, action, made);
        prepared.and_then(|action| budget_kept(frame).map(|()| action)).map_err(&fault)
    };
    actions.iter().map(one).collect()
}

fn prepare_one(
    frame: &Frame<'_>,
    action: &ActionCode,
    made: &Made,
) -> Result<PreparedAction, Refusal> {
    let payload = || made.output.bytes().clone();
    Ok(match action {
        ActionCode::Stream { stream, key, hash_key, batch } => PreparedAction::Stream {
            stream: target(frame, TargetKind::Stream, stream)?,
            key: partition_key(frame, key.as_ref())?,
            hash_key: match hash_key {
                Some(code) => Some(explicit_hash_key(frame, code)?),
                None => None,
            },
            records: records(frame, made, *batch)?,
        },
        ActionCode::Deliver { delivery, batch } => PreparedAction::Deliver {
            delivery: target(frame, TargetKind::Delivery, delivery)?,
            records: records(frame, made, *batch)?,
        },
        ActionCode::Invoke { hook } => {
            let hook = target(frame, TargetKind::Hook, hook)?;
            PreparedAction::Invoke { hook, payload: payload() }
        }
        ActionCode::Republish { topic, qos, retain, headers } => PreparedAction::Republish {
            topic: republish_topic(frame, topic)?,
            qos: *qos,
            retain: *retain,
            properties: headers::properties(frame, headers, made.output.bytes())?,
            payload: payload(),
        },
        ActionCode::Upsert { table, key } => PreparedAction::Upsert {
            table: target(frame, TargetKind::Table, table)?,
            key: table_key(frame, key.as_ref())?,
            value: payload(),
        },
        ActionCode::Log { text } => PreparedAction::Log {
            text: match text {
                Some(text) => render(frame, text)?,
                None => String::from_utf8_lossy(made.output.bytes()).into_owned(),
            },
        },
    })
}

/// The name of an action's target. A message completes names, and never makes a target.
fn target(frame: &Frame<'_>, kind: TargetKind, target: &Target) -> Result<Arc<str>, Refusal> {
    let text = match target {
        Target::Fixed(name) => return Ok(Arc::clone(name)),
        Target::Dynamic(text) => text,
    };
    let name = render(frame, text)?;
    let found = match frame.message.surroundings.known {
        Some(known) => known.get(kind, &name).cloned(),
        None => is_target_name(&name).then(|| Arc::from(&*name)),
    };
    found.ok_or_else(|| {
        let shown: String = name.chars().take(TARGET_NAME_BYTES_MAX).collect();
        let problem = format!("there is no {} '{shown}'; messages create none", kind.as_str());
        (FaultCode::TargetUnknown, problem)
    })
}

/// One record, or with BATCH one per element of an array.
fn records(frame: &Frame<'_>, made: &Made, batch: bool) -> Result<SmallVec<[Bytes; 1]>, Refusal> {
    let Some(Value::Array(items)) = made.value.as_ref().filter(|_| batch) else {
        return Ok(smallvec![made.output.bytes().clone()]);
    };
    let record = |item| to_json(item, frame.program.whole).map(Bytes::from);
    items.iter().map(record).collect()
}

fn partition_key(frame: &Frame<'_>, key: Option<&Code>) -> Result<CompactString, Refusal> {
    let key = match key {
        Some(code) => CompactString::new(text_of(frame, code, "KEY")?),
        None => CompactString::new(frame.message.own_key()),
    };
    let characters = key.chars().count();
    if (1..=PARTITION_KEY_CHARS_MAX).contains(&characters) {
        return Ok(key);
    }
    let problem = format!(
        "a partition key has 1 to {PARTITION_KEY_CHARS_MAX} characters, this one {characters}"
    );
    Err((FaultCode::PartitionKeyInvalid, problem))
}

fn table_key(frame: &Frame<'_>, key: Option<&Code>) -> Result<CompactString, Refusal> {
    let key = match key {
        Some(code) => CompactString::new(text_of(frame, code, "KEY")?),
        None => CompactString::new(frame.message.own_key()),
    };
    if (1..=TABLE_KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(key);
    }
    let problem =
        format!("a table's key has 1 to {TABLE_KEY_BYTES_MAX} bytes, this one {}", key.len());
    Err((FaultCode::TableKeyInvalid, problem))
}

fn explicit_hash_key(frame: &Frame<'_>, code: &Code) -> Result<u128, Refusal> {
    let text = text_of(frame, code, "HASH KEY")?;
    // `parse` alone would take a leading plus.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        (FaultCode::HashKeyInvalid, format!("'{shown}' is no decimal number below 2^128"))
    })
}

fn republish_topic(frame: &Frame<'_>, topic: &Text) -> Result<TopicName, Refusal> {
    if frame.message.publish.hops >= HOPS_MAX {
        let problem = format!("the message has passed {HOPS_MAX} REPUBLISH actions");
        return Err((FaultCode::HopsExceeded, problem));
    }
    let rendered = render(frame, topic)?;
    // `$$aws/…` writes a topic that starts with `$`.
    let name = rendered.strip_prefix('$').filter(|rest| rest.starts_with('$')).unwrap_or(&rendered);
    TopicName::parse(name).map_err(|error| (FaultCode::TopicInvalid, error.to_string()))
}

/// A template as text, over the original message.
pub(super) fn render(frame: &Frame<'_>, text: &Text) -> Result<String, Refusal> {
    let mut out = String::new();
    for part in &text.0 {
        match part {
            Part::Literal(literal) => out.push_str(literal),
            Part::Code(code) => out.push_str(&text_of(frame, code, "${…}")?),
        }
        if out.len() > OUTPUT_BYTES_MAX {
            let problem = format!("the text is longer than {OUTPUT_BYTES_MAX} bytes");
            return Err((FaultCode::OutputTooLarge, problem));
        }
    }
    Ok(out)
}

fn text_of(frame: &Frame<'_>, code: &Code, place: &str) -> Result<String, Refusal> {
    frame.value(code, None).text(frame.program.whole).map(|text| text.into_owned()).ok_or_else(
        || (FaultCode::TemplateUndefined, format!("the expression in {place} is Undefined")),
    )
}
