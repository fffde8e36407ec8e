//! The expressions of templates: a subset of the Kinesis Data Generator's, which are faker.js's.

use std::fmt::Write;
use std::net::Ipv4Addr;

use jiff::Timestamp as JiffTimestamp;
use jiff::tz::TimeZone;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::template::Moment;
use super::words;

/// Characters that `random.alphaNumeric` makes at most.
const CHARACTERS_MAX: u64 = 1000;
/// What `random.number` goes up to when nothing is said.
const NUMBER_MAX: i64 = 99_999;

/// All of them.
pub(super) const NAMES: [&str; 26] = [
    "random.number",
    "random.float",
    "random.boolean",
    "random.arrayElement",
    "random.weightedArrayElement",
    "random.uuid",
    "random.alphaNumeric",
    "random.word",
    "date.now",
    "date.utc",
    "date.timestamp",
    "name.firstName",
    "name.lastName",
    "name.findName",
    "internet.ip",
    "internet.mac",
    "internet.userName",
    "internet.email",
    "address.city",
    "address.country",
    "address.latitude",
    "address.longitude",
    "commerce.productName",
    "company.companyName",
    "phone.phoneNumber",
    "sequence",
];

/// One of them, with what it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Number {
        least: i64,
        most: i64,
    },
    /// Between the two, in steps of `precision`.
    Float {
        least: f64,
        most: f64,
        precision: f64,
    },
    Boolean,
    Element(Vec<Value>),
    /// With the sums of the weights up to each.
    Weighted(Vec<(f64, Value)>),
    Uuid,
    AlphaNumeric(u64),
    /// A date, in a format of Moment.js; without one as RFC 3339.
    Date(Option<String>),
    Millis,
    Words(&'static [&'static [&'static str]], &'static str),
    Ip,
    Mac,
    Email,
    Phone(String),
    Sequence,
}

type Read = Result<Expression, String>;

impl Expression {
    /// The expression of this name; `None` when there is none.
    pub(super) fn of(name: &str, arguments: &[Value]) -> Option<Read> {
        let none = |expression| match arguments {
            [] => Ok(expression),
            _ => Err("takes no arguments".to_owned()),
        };
        let within =
            |limit: f64| Ok(Expression::Float { least: -limit, most: limit, precision: 0.0001 });
        let words = |lists, between| none(Expression::Words(lists, between));
        Some(match name {
            "random.number" => number(arguments),
            "random.float" => float(arguments),
            "random.boolean" => none(Expression::Boolean),
            "random.arrayElement" => element(arguments),
            "random.weightedArrayElement" => weighted(arguments),
            "random.uuid" => none(Expression::Uuid),
            "random.alphaNumeric" => alpha_numeric(arguments),
            "random.word" => words(&[words::WORDS], ""),
            "date.now" | "date.utc" => date(arguments),
            "date.timestamp" => none(Expression::Millis),
            "name.firstName" => words(&[words::FIRST_NAMES], ""),
            "name.lastName" => words(&[words::LAST_NAMES], ""),
            "name.findName" => words(&[words::FIRST_NAMES, words::LAST_NAMES], " "),
            "internet.ip" => none(Expression::Ip),
            "internet.mac" => none(Expression::Mac),
            "internet.userName" => words(&[words::FIRST_NAMES, words::LAST_NAMES], "."),
            "internet.email" => none(Expression::Email),
            "address.city" => words(&[words::CITIES], ""),
            "address.country" => words(&[words::COUNTRIES], ""),
            "address.latitude" => none(Expression::Boolean).and_then(|_| within(90.0)),
            "address.longitude" => none(Expression::Boolean).and_then(|_| within(180.0)),
            "commerce.productName" => words(&[words::QUALITIES, words::THINGS], " "),
            "company.companyName" => words(&[words::LAST_NAMES, words::COMPANIES], " "),
            "phone.phoneNumber" => phone(arguments),
            "sequence" => none(Expression::Sequence),
            _ => return None,
        })
    }

    /// Adds a value to `text`.
    pub(super) fn write(&self, moment: &mut Moment, text: &mut String) {
        let Moment { random, now, sequence } = moment;
        // Writing to a String does not fail.
        let _written = match self {
            Expression::Number { least, most } => {
                write!(text, "{}", random.random_range(*least..=*most))
            }
            Expression::Float { least, most, precision } => {
                write!(text, "{}", stepped(random, *least, *most, *precision))
            }
            Expression::Boolean => write!(text, "{}", random.random::<bool>()),
            Expression::Element(values) => write_value(text, pick(random, values)),
            Expression::Weighted(values) => {
                let total = values.last().map_or(0.0, |(sum, _)| *sum);
                let at = random.random::<f64>() * total;
                let found = values.iter().find(|(sum, _)| at < *sum).or(values.last());
                found.map_or(Ok(()), |(_, value)| write_value(text, value))
            }
            Expression::Uuid => {
                let bytes = random.random();
                write!(text, "{}", uuid::Builder::from_random_bytes(bytes).into_uuid())
            }
            Expression::AlphaNumeric(length) => {
                const ALPHABET: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
                text.extend((0..*length).map(|_| char::from(*pick(random, ALPHABET))));
                Ok(())
            }
            Expression::Date(format) => write_date(text, now.as_millis(), format.as_deref()),
            Expression::Millis => write!(text, "{}", now.as_millis()),
            Expression::Words(lists, between) => {
                let words: Vec<&str> = lists.iter().map(|list| *pick(random, list)).collect();
                text.push_str(&words.join(between));
                Ok(())
            }
            Expression::Ip => write!(text, "{}", Ipv4Addr::from(random.random::<u32>())),
            Expression::Mac => {
                let bytes: [u8; 6] = random.random();
                let bytes = bytes.map(|byte| format!("{byte:02x}"));
                text.push_str(&bytes.join(":"));
                Ok(())
            }
            Expression::Email => {
                let (first, last) =
                    (pick(random, words::FIRST_NAMES), pick(random, words::LAST_NAMES));
                // A domain that is nobody's (RFC 2606).
                write!(text, "{}.{}@example.com", first.to_lowercase(), last.to_lowercase())
            }
            Expression::Phone(form) => {
                text.extend(form.chars().map(|sign| match sign {
                    '#' => char::from(b'0' + random.random_range(0..10_u8)),
                    sign => sign,
                }));
                Ok(())
            }
            Expression::Sequence => write!(text, "{sequence}"),
        };
    }
}

/// One of several; there is one at least.
fn pick<'a, T>(random: &mut StdRng, values: &'a [T]) -> &'a T {
    &values[random.random_range(0..values.len())]
}

fn write_value(text: &mut String, value: &Value) -> std::fmt::Result {
    match value {
        Value::String(value) => text.write_str(value),
        value => write!(text, "{value}"),
    }
}

/// A number from `least` to `most`, a whole number of steps above `least`.
fn stepped(random: &mut StdRng, least: f64, most: f64, precision: f64) -> f64 {
    let steps = ((most - least) / precision).floor();
    let step = (random.random::<f64>() * (steps + 1.0)).floor().min(steps);
    let value = least + step * precision;
    // What the precision does not say is rounding of the sum.
    let digits = (-precision.log10()).ceil().clamp(0.0, 12.0);
    let scale = 10_f64.powf(digits);
    (value * scale).round() / scale
}

/// `{"min": …, "max": …}`.
fn bound(options: &serde_json::Map<String, Value>, name: &str) -> Result<Option<f64>, String> {
    match options.get(name) {
        None => Ok(None),
        Some(value) => {
            value.as_f64().map(Some).ok_or_else(|| format!("takes a number for \"{name}\""))
        }
    }
}

fn unknown_option(options: &serde_json::Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match options.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("takes {}, and not \"{name}\"", known.join(", "))),
        None => Ok(()),
    }
}

/// The range that arguments give: nothing, the most, both, or an object.
fn range(arguments: &[Value], most: f64) -> Result<(f64, f64, Option<f64>), String> {
    let forms = "takes (most), (least, most) or ({\"min\": …, \"max\": …, \"precision\": …})";
    let (least, most, precision) = match arguments {
        [] => (0.0, most, None),
        [Value::Object(options)] => {
            unknown_option(options, &["min", "max", "precision"])?;
            let least = bound(options, "min")?.unwrap_or(0.0);
            let most = bound(options, "max")?.unwrap_or(most.max(least));
            (least, most, bound(options, "precision")?)
        }
        [most] => (0.0, most.as_f64().ok_or(forms)?, None),
        [least, most] => (least.as_f64().ok_or(forms)?, most.as_f64().ok_or(forms)?, None),
        _ => return Err(forms.to_owned()),
    };
    if least > most {
        return Err(format!("takes the least before the most: {least} is above {most}"));
    }
    Ok((least, most, precision))
}

fn number(arguments: &[Value]) -> Read {
    let (least, most, precision) = range(arguments, NUMBER_MAX as f64)?;
    if let Some(precision) = precision {
        return steps(least, most, precision);
    }
    let whole = |value: f64| {
        // Exact below 2^53.
        let is_whole = value.fract() == 0.0 && value.abs() < 9.007_199_254_740_992e15;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
        is_whole.then_some(value as i64)
    };
    match (whole(least), whole(most)) {
        (Some(least), Some(most)) => Ok(Expression::Number { least, most }),
        _ => Err("takes whole numbers below 2^53; random.float takes others".to_owned()),
    }
}

fn float(arguments: &[Value]) -> Read {
    let (least, most, precision) = range(arguments, 1.0)?;
    steps(least, most, precision.unwrap_or(0.01))
}

fn steps(least: f64, most: f64, precision: f64) -> Read {
    if precision.is_nan() || precision <= 0.0 || (most - least) / precision > 1e15 {
        return Err("takes a \"precision\" above 0 that gives less than 10^15 values".to_owned());
    }
    Ok(Expression::Float { least, most, precision })
}

fn element(arguments: &[Value]) -> Read {
    match arguments {
        [Value::Array(values)] if !values.is_empty() => Ok(Expression::Element(values.clone())),
        _ => Err("takes one list with something in it: ([\"a\", \"b\"])".to_owned()),
    }
}

fn weighted(arguments: &[Value]) -> Read {
    let form = "takes ({\"data\": [\"a\", \"b\"], \"weights\": [0.7, 0.3]}), as many weights as there is data";
    let [Value::Object(options)] = arguments else { return Err(form.to_owned()) };
    unknown_option(options, &["data", "weights"])?;
    let list = |name| options.get(name).and_then(Value::as_array);
    let (Some(values), Some(weights)) = (list("data"), list("weights")) else {
        return Err(form.to_owned());
    };
    if values.is_empty() || values.len() != weights.len() {
        return Err(form.to_owned());
    }
    let mut sum = 0.0;
    let mut summed = Vec::with_capacity(values.len());
    for (value, weight) in values.iter().zip(weights) {
        let weight = weight.as_f64().filter(|weight| *weight >= 0.0);
        sum += weight.ok_or("takes weights that are no less than 0")?;
        summed.push((sum, value.clone()));
    }
    if sum <= 0.0 || !sum.is_finite() {
        return Err("takes weights of which one is above 0".to_owned());
    }
    Ok(Expression::Weighted(summed))
}

fn alpha_numeric(arguments: &[Value]) -> Read {
    let length = match arguments {
        [] => Some(1),
        [length] => length.as_u64(),
        _ => None,
    };
    let length = length.filter(|length| (1..=CHARACTERS_MAX).contains(length));
    let wrong = || format!("takes a number of characters from 1 to {CHARACTERS_MAX}");
    length.map(Expression::AlphaNumeric).ok_or_else(wrong)
}

fn phone(arguments: &[Value]) -> Read {
    match arguments {
        // A number that is nobody's.
        [] => Ok(Expression::Phone("555-01##".to_owned())),
        [Value::String(form)] => Ok(Expression::Phone(form.clone())),
        _ => Err("takes a form in which # is a digit: (\"+49 ### #######\")".to_owned()),
    }
}

/// The parts of dates that Moment.js's formats have and ours, the longest first.
const DATE_PARTS: [&str; 10] = ["YYYY", "SSS", "YY", "MM", "DD", "HH", "mm", "ss", "X", "x"];

fn date(arguments: &[Value]) -> Read {
    let format = match arguments {
        [] => None,
        [Value::String(format)] => Some(format.clone()),
        _ => return Err("takes a format in quotes, or nothing".to_owned()),
    };
    if let Some(format) = &format {
        let mut rest = format.as_str();
        while let Some(first) = rest.chars().next() {
            if let Some(part) = DATE_PARTS.iter().find(|part| rest.starts_with(**part)) {
                rest = rest.strip_prefix(part).unwrap_or_default();
            } else if first == '[' && rest.contains(']') {
                rest = rest.split_once(']').map_or("", |(_, after)| after);
            } else if first.is_ascii_alphabetic() && !matches!(first, 'T' | 'Z') {
                return Err(format!(
                    "knows {} in a format, and text in brackets; not '{first}'",
                    DATE_PARTS.join(", ")
                ));
            } else {
                rest = rest.strip_prefix(first).unwrap_or_default();
            }
        }
    }
    Ok(Expression::Date(format))
}

fn write_date(text: &mut String, millis: i64, format: Option<&str>) -> std::fmt::Result {
    let at = JiffTimestamp::from_millisecond(millis).unwrap_or_default();
    let at = at.to_zoned(TimeZone::UTC);
    let Some(format) = format else {
        return write!(text, "{}", at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"));
    };
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if first == '['
            && let Some((literal, after)) = rest.split_once(']')
        {
            text.push_str(literal.strip_prefix('[').unwrap_or_default());
            rest = after;
            continue;
        }
        let Some(part) = DATE_PARTS.iter().find(|part| rest.starts_with(**part)) else {
            text.push(first);
            rest = rest.strip_prefix(first).unwrap_or_default();
            continue;
        };
        match *part {
            "YYYY" => write!(text, "{}", at.strftime("%Y"))?,
            "YY" => write!(text, "{}", at.strftime("%y"))?,
            "MM" => write!(text, "{}", at.strftime("%m"))?,
            "DD" => write!(text, "{}", at.strftime("%d"))?,
            "HH" => write!(text, "{}", at.strftime("%H"))?,
            "mm" => write!(text, "{}", at.strftime("%M"))?,
            "ss" => write!(text, "{}", at.strftime("%S"))?,
            "SSS" => write!(text, "{:03}", millis.rem_euclid(1000))?,
            "X" => write!(text, "{}", millis.div_euclid(1000))?,
            _ => write!(text, "{millis}")?,
        }
        rest = rest.strip_prefix(part).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::template::Template;
    use super::*;
    use crate::clock::Timestamp;

    fn many(expression: &str) -> Vec<String> {
        let template = Template::parse(&format!("{{{{{expression}}}}}")).unwrap();
        let now = Timestamp::from_millis(1_777_615_200_123);
        let mut moment = Moment { random: StdRng::seed_from_u64(11), now, sequence: 1 };
        (0..200).map(|_| template.render(&mut moment)).collect()
    }

    fn wrong(expression: &str) -> String {
        Template::parse(&format!("{{{{{expression}}}}}")).unwrap_err().to_string()
    }

    #[test]
    fn numbers_keep_to_their_range_and_reach_its_ends() {
        for (expression, least, most) in [
            ("random.number(3)", 0.0, 3.0),
            ("random.number(20, 22)", 20.0, 22.0),
            (r#"random.number({"min": -2, "max": 0})"#, -2.0, 0.0),
            ("random.float(0, 0.05)", 0.0, 0.05),
            (r#"random.float({"min": 1, "max": 2, "precision": 0.5})"#, 1.0, 2.0),
            (r#"random.number({"min": 0, "max": 10, "precision": 5})"#, 0.0, 10.0),
        ] {
            let values: Vec<f64> = many(expression).iter().map(|v| v.parse().unwrap()).collect();
            assert!(values.iter().all(|v| (least..=most).contains(v)), "{expression}: {values:?}");
            assert!(values.contains(&least) && values.contains(&most), "{expression}: {values:?}");
        }
        assert!(many("random.float(0, 1)").iter().all(|value| value.len() <= 4));
        assert!(many("address.latitude").iter().all(|v| v.parse::<f64>().unwrap().abs() <= 90.0));
    }

    #[test]
    fn elements_come_as_they_are_and_by_their_weights() {
        let values = many(r#"random.arrayElement(["OK", 7, {"a": [1]}])"#);
        let distinct: std::collections::BTreeSet<&str> =
            values.iter().map(String::as_str).collect();
        assert_eq!(distinct.into_iter().collect::<Vec<_>>(), ["7", "OK", "{\"a\":[1]}"]);
        let values =
            many(r#"random.weightedArrayElement({"data": ["a", "b", "c"], "weights": [0, 3, 1]})"#);
        let of = |wanted: &str| values.iter().filter(|value| *value == wanted).count();
        assert_eq!(of("a"), 0);
        assert!(of("b") > 2 * of("c") && of("c") > 20, "{} {}", of("b"), of("c"));
    }

    #[test]
    fn dates_follow_their_formats() {
        let date = |expression: &str| many(expression).remove(0);
        assert_eq!(date("date.now"), "2026-05-01T06:00:00.123Z");
        assert_eq!(date("date.utc"), "2026-05-01T06:00:00.123Z");
        assert_eq!(date("date.timestamp"), "1777615200123");
        assert_eq!(date(r#"date.now("YYYY-MM-DDTHH:mm:ss.SSSZ")"#), "2026-05-01T06:00:00.123Z");
        assert_eq!(date(r#"date.now("DD.MM.YY [at] HH")"#), "01.05.26 at 06");
        assert_eq!(date(r#"date.now("X x")"#), "1777615200 1777615200123");
        assert!(wrong(r#"date.now("Do")"#).ends_with("not 'D'"), "{}", wrong(r#"date.now("Do")"#));
    }

    #[test]
    fn words_have_their_forms() {
        for (expression, pattern) in [
            (
                "random.uuid",
                r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
            ),
            ("random.alphaNumeric(12)", "^[0-9a-z]{12}$"),
            ("random.boolean", "^(true|false)$"),
            ("internet.ip", r"^(\d{1,3}\.){3}\d{1,3}$"),
            ("internet.mac", "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"),
            ("internet.email", r"^[a-z]+\.[a-z]+@example\.com$"),
            ("internet.userName", r"^[A-Z][a-z]+\.[A-Z][a-z]+$"),
            ("name.findName", "^[A-Z][a-z]+ [A-Z][a-z]+$"),
            ("phone.phoneNumber", r"^555-01\d\d$"),
            (r###"phone.phoneNumber("+49 ###")"###, r"^\+49 \d{3}$"),
            ("commerce.productName", "^[A-Z][a-z]+ [A-Z][a-z]+$"),
        ] {
            let pattern = regex::Regex::new(pattern).unwrap();
            for value in many(expression) {
                assert!(pattern.is_match(&value), "{expression}: {value}");
            }
        }
    }

    #[test]
    fn arguments_that_are_wrong_are_told() {
        for (expression, expected) in [
            ("random.uuid(1)", "random.uuid takes no arguments"),
            ("random.number(0.5)", "random.number takes whole numbers below 2^53"),
            ("random.number(1, 2, 3)", "random.number takes (most), (least, most)"),
            (r#"random.number({"mx": 1})"#, "takes min, max, precision, and not \"mx\""),
            (r#"random.number({"max": "1"})"#, "takes a number for \"max\""),
            (r#"random.float({"max": 1, "precision": 0})"#, "takes a \"precision\" above 0"),
            ("random.arrayElement([])", "takes one list with something in it"),
            ("random.alphaNumeric(1001)", "from 1 to 1000"),
            (r#"random.weightedArrayElement({"data": [1], "weights": []})"#, "as many weights"),
            (r#"random.weightedArrayElement({"data": [1], "weights": [0]})"#, "one is above 0"),
        ] {
            assert!(wrong(expression).contains(expected), "{}", wrong(expression));
        }
    }

    #[test]
    fn every_name_is_an_expression() {
        for name in NAMES {
            assert!(Expression::of(name, &[]).is_some(), "{name}");
            let page = include_str!("../../../docs/generate.md");
            assert!(page.contains(&format!("`{name}")), "docs/generate.md lacks {name}");
        }
    }
}
