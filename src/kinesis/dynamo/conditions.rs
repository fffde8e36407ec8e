//! Conditions and updates as requests say them: expressions, or the legacy parameters that KCL still sends.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value as Json;

use super::invalid;
use super::item;
use crate::kinesis::fault::Fault;
use crate::lease::expression::Action;
use crate::lease::expression::Assigned;
use crate::lease::expression::Comparison;
use crate::lease::expression::Condition;
use crate::lease::expression::Operand;
use crate::lease::expression::Path;
use crate::lease::parse;
use crate::lease::parse::Placeholders;
use crate::lease::value::Value;

/// The placeholders of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    expression_attribute_names: Option<BTreeMap<String, String>>,
    expression_attribute_values: Option<Map<String, Json>>,
}

impl Named {
    pub(super) fn placeholders(&self) -> Result<Placeholders, Fault> {
        let values = match &self.expression_attribute_values {
            Some(values) => item(Some(values), "expressionAttributeValues")?,
            None => BTreeMap::new(),
        };
        let names = self.expression_attribute_names.clone().unwrap_or_default();
        Ok(Placeholders::new(names, values))
    }
}

/// What a legacy parameter says of an attribute (`ExpectedAttributeValue`, `Condition`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Legacy {
    value: Option<Json>,
    exists: Option<bool>,
    comparison_operator: Option<String>,
    attribute_value_list: Option<Vec<Json>>,
}

/// What a legacy update does to an attribute (`AttributeValueUpdate`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LegacyUpdate {
    value: Option<Json>,
    action: Option<String>,
}

/// A condition from an expression, or from the legacy parameter beside it.
pub(super) fn condition(
    name: &str,
    text: Option<&str>,
    legacy: Option<&BTreeMap<String, Legacy>>,
    operator: Option<&str>,
    placeholders: &Placeholders,
) -> Result<Option<Condition>, Fault> {
    match (text, legacy.filter(|legacy| !legacy.is_empty())) {
        (Some(_), Some(_)) => Err(invalid(
            "Can not use both expression and non-expression parameters in the same request",
        )),
        (Some(text), None) => parse::condition(name, text, placeholders).map(Some).map_err(invalid),
        (None, Some(legacy)) => {
            let all = legacy.iter().map(|(name, legacy)| legacy.condition(name));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            Ok(Some(match operator {
                Some("OR") => Condition::Any(all),
                _ => Condition::All(all),
            }))
        }
        (None, None) => Ok(None),
    }
}

impl Legacy {
    fn condition(&self, name: &str) -> Result<Condition, Fault> {
        let path = Path::attribute(name);
        let Some(operator) = &self.comparison_operator else {
            return match (&self.value, self.exists) {
                (None, Some(false)) => Ok(Condition::IsMissing(path)),
                (Some(value), None | Some(true)) => {
                    let value = Operand::Value(Value::parse(value).map_err(invalid)?);
                    Ok(Condition::Compare(Operand::Path(path), Comparison::Equal, value))
                }
                _ => Err(invalid(format!(
                    "One or more parameter values were invalid: Value and Exists of the attribute \
                     {name} do not go together"
                ))),
            };
        };
        let listed = self.attribute_value_list.iter().flatten().chain(&self.value);
        let values = listed.map(|json| Value::parse(json).map(Operand::Value).map_err(invalid));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let compared = |comparison| {
            let [value] = &values[..] else { return Err(wrong_count(operator)) };
            Ok(Condition::Compare(Operand::Path(path.clone()), comparison, value.clone()))
        };
        let one = || match &values[..] {
            [value] => Ok(value.clone()),
            _ => Err(wrong_count(operator)),
        };
        let this = Operand::Path(path.clone());
        match operator.as_str() {
            "EQ" => compared(Comparison::Equal),
            "NE" => compared(Comparison::NotEqual),
            "LT" => compared(Comparison::Less),
            "LE" => compared(Comparison::LessOrEqual),
            "GT" => compared(Comparison::Greater),
            "GE" => compared(Comparison::GreaterOrEqual),
            "NULL" => Ok(Condition::IsMissing(path)),
            "NOT_NULL" => Ok(Condition::Exists(path)),
            "BEGINS_WITH" => Ok(Condition::BeginsWith(this, one()?)),
            "CONTAINS" => Ok(Condition::Contains(this, one()?)),
            "NOT_CONTAINS" => Ok(Condition::Not(Box::new(Condition::Contains(this, one()?)))),
            "IN" => Ok(Condition::In(this, values)),
            "BETWEEN" => match <[Operand; 2]>::try_from(values) {
                Ok([low, high]) => Ok(Condition::Between(this, low, high)),
                Err(_) => Err(wrong_count(operator)),
            },
            _ => Err(invalid(format!("Unsupported operator: {operator}"))),
        }
    }
}

fn wrong_count(operator: &str) -> Fault {
    invalid(format!(
        "One or more parameter values were invalid: Invalid number of argument(s) for the {operator} \
         ComparisonOperator"
    ))
}

/// The actions of an update, from an expression or from the legacy parameter.
pub(super) fn actions(
    text: Option<&str>,
    legacy: Option<&BTreeMap<String, LegacyUpdate>>,
    placeholders: &Placeholders,
) -> Result<Vec<Action>, Fault> {
    match (text, legacy) {
        (Some(_), Some(_)) => Err(invalid(
            "Can not use both expression and non-expression parameters in the same request",
        )),
        (Some(text), None) => parse::update(text, placeholders).map_err(invalid),
        (None, Some(legacy)) => legacy.iter().map(|(name, one)| one.action(name)).collect(),
        (None, None) => Ok(Vec::new()),
    }
}

impl LegacyUpdate {
    fn action(&self, name: &str) -> Result<Action, Fault> {
        let path = Path::attribute(name);
        let value =
            self.value.as_ref().map(|json| Value::parse(json).map_err(invalid)).transpose()?;
        match (self.action.as_deref().unwrap_or("PUT"), value) {
            ("PUT", Some(value)) => Ok(Action::Set(path, Assigned::Operand(Operand::Value(value)))),
            ("ADD", Some(value)) => Ok(Action::Add(path, value)),
            ("DELETE", Some(value)) => Ok(Action::Delete(path, value)),
            ("DELETE", None) => Ok(Action::Remove(path)),
            (action, _) => Err(invalid(format!(
                "One or more parameter values were invalid: Only DELETE action is allowed when no \
                 attribute value is specified, and {action} is none or has none"
            ))),
        }
    }
}
