//! `aws_lambda()`: calls that a message's evaluation waits for.
//!
//! Evaluating is synchronous, so a rule that calls is evaluated more than once: up to the first call whose
//! answer is not there ([`Engine::next_calls`](super::Engine::next_calls)), again with that answer, and
//! so on until none is missing; then for good. A [`Conversation`] keeps what has been answered to one
//! message, by rule and in the order of the calls. It also keeps what `newuuid()` and `rand()` gave, so
//! that each evaluation is the same up to where it is new: a rule makes the calls that it would make
//! if it waited for each.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::RuleIndex;
use super::hit::FaultCode;
use super::output::Refusal;
use crate::limits::CALLS_MAX;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;
use crate::value::json_reader;

/// A call whose answer a rule waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which rule.
    pub rule: RuleIndex,
    /// What is called.
    pub hook: Arc<str>,
    /// The argument, as JSON.
    pub payload: Bytes,
}

/// What has been answered to one message so far.
#[derive(Debug, Default)]
pub struct Conversation {
    replays: Vec<(RuleIndex, Replay)>,
}

/// What has been answered to one rule, and how far its evaluation has come.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The answers, in the order of the calls, or why there is none.
    answers: Vec<Result<Value, String>>,
    /// Calls of the evaluation under way.
    asked: Cell<usize>,
    /// The first call without an answer: hook and argument.
    missing: RefCell<Option<(Arc<str>, Bytes)>>,
    /// What chance gave, in its order.
    chance: RefCell<Vec<Value>>,
    /// How much of that the evaluation under way has used.
    drawn: Cell<usize>,
    /// What went wrong in it.
    faults: RefCell<Vec<Refusal>>,
    /// Nobody makes calls here.
    is_mute: bool,
}

impl Conversation {
    /// Takes the answer to a call: JSON, or why there is none.
    pub fn answer(&mut self, call: &Call, answer: Result<Bytes, String>) {
        let answer = answer.and_then(|text| {
            json_reader::parse(&text, Whole::AsInt)
                .map_err(|_| format!("hook '{}' answered what is no JSON", call.hook))
        });
        if let Some((_, replay)) = self.replays.iter_mut().find(|(rule, _)| *rule == call.rule) {
            replay.answers.push(answer);
        }
    }

    /// What is known of the calls of `rule`.
    pub(super) fn of(&self, rule: RuleIndex) -> Option<&Replay> {
        self.replays.iter().find(|(known, _)| *known == rule).map(|(_, replay)| replay)
    }

    /// The same, of a rule that begins to call if need be.
    pub(super) fn begin(&mut self, rule: RuleIndex) -> &Replay {
        let known = self.replays.iter().position(|(known, _)| *known == rule);
        let place = known.unwrap_or_else(|| {
            self.replays.push((rule, Replay::default()));
            self.replays.len() - 1
        });
        &self.replays[place].1
    }
}

impl Replay {
    /// Where nobody makes calls: each is a fault.
    pub(super) fn mute() -> Replay {
        Replay { is_mute: true, ..Replay::default() }
    }

    /// Another evaluation begins.
    pub(super) fn rewind(&self) {
        self.asked.set(0);
        self.drawn.set(0);
        self.missing.take();
        self.faults.take();
    }

    /// The value of a call. Undefined where its answer is missing or has failed; of a missing one the
    /// evaluation will be repeated, and calls behind it wait for that.
    pub(super) fn call(&self, hook: &Arc<str>, argument: &Value, whole: Whole) -> Value {
        if argument.is_undefined() || self.missing.borrow().is_some() {
            return Value::Undefined;
        }
        let number = self.asked.get();
        let refuse = |code, problem| {
            self.faults.borrow_mut().push((code, problem));
            Value::Undefined
        };
        if self.is_mute {
            let problem = format!("aws_lambda() calls no hook here, so not '{hook}'");
            return refuse(FaultCode::CallUnavailable, problem);
        }
        self.asked.set(number + 1);
        match self.answers.get(number) {
            Some(Ok(value)) => return value.clone(),
            Some(Err(problem)) => return refuse(FaultCode::CallFailed, problem.clone()),
            None if number >= CALLS_MAX => {
                let problem = format!("a rule makes at most {CALLS_MAX} calls for a message");
                return refuse(FaultCode::CallFailed, problem);
            }
            None => {}
        }
        let mut payload = Vec::new();
        if let Err(error) = json::write(&mut payload, argument, whole, OUTPUT_BYTES_MAX) {
            return refuse(FaultCode::OutputTooLarge, error.to_string());
        }
        self.missing.replace(Some((Arc::clone(hook), payload.into())));
        Value::Undefined
    }

    /// What chance gives, or gave at this place of the evaluation before.
    pub(super) fn chance(&self, draw: impl FnOnce() -> Value) -> Value {
        let (place, mut chance) = (self.drawn.get(), self.chance.borrow_mut());
        self.drawn.set(place + 1);
        if let Some(known) = chance.get(place) {
            return known.clone();
        }
        let drawn = draw();
        // What is drawn behind a missing answer may not be drawn at all next time.
        if self.missing.borrow().is_none() {
            chance.push(drawn.clone());
        }
        drawn
    }

    /// The call that the evaluation stopped at.
    pub(super) fn missing(&self, rule: RuleIndex) -> Option<Call> {
        let missing = self.missing.borrow();
        missing.as_ref().map(|(hook, payload)| Call {
            rule,
            hook: Arc::clone(hook),
            payload: payload.clone(),
        })
    }

    /// What went wrong in the evaluation.
    pub(super) fn take_faults(&self) -> Vec<Refusal> {
        self.faults.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::Evaluation;
    use crate::engine::tests::publish;
    use crate::rule::set;
    use crate::rule::set::Source;
    use crate::rule::set::Targets;
    use crate::rule::table::NoFiles;

    fn engine(select: &str) -> Engine {
        let text = format!("CREATE RULE r AS {select} DO LOG;");
        let source = Source { path: "t.rule".into(), content: Ok(text.into_bytes()) };
        let targets = Targets { is_open: true, ..Targets::default() };
        let checked = set::check(&[source], &targets, &mut NoFiles);
        assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
        Engine::new(checked.rules, "1")
    }

    /// Evaluates with `answer` for a hook, and answers the calls, the output and the faults.
    fn play(
        select: &str,
        payload: &str,
        answer: impl Fn(&str) -> Result<String, String>,
    ) -> (Vec<String>, Option<String>, Vec<FaultCode>) {
        let (engine, message) = (engine(select), publish("x/7", payload));
        let plan = engine.plan(&message.topic);
        let (mut conversation, mut made) = (Conversation::default(), Vec::new());
        loop {
            let calls = engine.next_calls(&plan, &message, &mut conversation);
            if calls.is_empty() {
                break;
            }
            for call in calls {
                let text = String::from_utf8(call.payload.to_vec()).unwrap();
                conversation.answer(&call, answer(&text).map(Bytes::from));
                made.push(format!("{} {text}", call.hook));
            }
        }
        let mut out = Evaluation::default();
        engine.evaluate_with(&plan, &message, &conversation, &mut out);
        let output = out.hits.pop().map(|hit| String::from_utf8_lossy(hit.output.bytes()).into());
        (made, output, out.faults.into_iter().map(|fault| fault.code).collect())
    }

    fn echo(text: &str) -> Result<String, String> {
        Ok(format!(r#"{{"said":{text}}}"#))
    }

    #[track_caller]
    fn check(select: &str, payload: &str, calls: &[&str], output: Option<&str>) {
        let (made, found, faults) = play(select, payload, echo);
        assert_eq!(made, calls, "{select}");
        assert_eq!(found.as_deref(), output, "{select}");
        assert_eq!(faults, [], "{select}");
    }

    #[test]
    fn a_rule_makes_the_calls_that_it_would_make_if_it_waited() {
        let arn = "arn:aws:lambda:us-east-1:1:function:f:prod";
        let select = format!("SELECT aws_lambda('{arn}', {{'a': a}}).said.a AS r FROM 'x/+'");
        check(&select, r#"{"a":5}"#, &[r#"f {"a":5}"#], Some(r#"{"r":5}"#));
        check(
            "SELECT aws_lambda('g', aws_lambda('f', *).said.a).said AS r FROM 'x/+'",
            r#"{"a":5}"#,
            &[r#"f {"a":5}"#, "g 5"],
            Some(r#"{"r":5}"#),
        );
        let guarded =
            "SELECT aws_lambda('g', 1).said AS r FROM 'x/+' WHERE aws_lambda('f', a).said > 4";
        check(guarded, r#"{"a":4}"#, &["f 4"], None);
        check(guarded, r#"{"a":5}"#, &["f 5", "g 1"], Some(r#"{"r":1}"#));
        check("SELECT aws_lambda('f', a) AS r FROM 'x/+'", "{}", &[], Some("{}"));
        let each = "SELECT (SELECT VALUE aws_lambda('f', v).said FROM list) AS r FROM 'x/+'";
        let list = r#"{"list":[{"v":1},{"v":2}]}"#;
        check(each, list, &["f 1", "f 2"], Some(r#"{"r":[1,2]}"#));
    }

    #[test]
    fn chance_is_the_same_in_what_is_sent_and_what_is_put_out() {
        let select = "SET @id = newuuid() SELECT @id AS id, aws_lambda('f', @id).said AS sent,
                      aws_lambda('f', rand()).said AS r, newuuid() AS other FROM 'x/+'";
        let (made, output, _) = play(select, "{}", echo);
        let output: serde_json::Value = serde_json::from_str(&output.unwrap()).unwrap();
        assert_eq!(made.len(), 2, "each once: {made:?}");
        assert_eq!(output["id"], output["sent"]);
        assert_ne!(output["id"], output["other"]);
        assert!(made[0].contains(output["id"].as_str().unwrap()), "{made:?} {output}");
    }

    #[test]
    fn a_call_that_fails_is_undefined_and_a_fault() {
        let select = "SELECT aws_lambda('f', a) AS r, get_or_default(aws_lambda('f', a), 0) AS d, a
                      FROM 'x/+'";
        let failed = [FaultCode::CallFailed, FaultCode::CallFailed];
        for answer in ["", "no json"] {
            let (_, output, faults) = play(select, r#"{"a":1}"#, |_| Ok(answer.to_owned()));
            assert_eq!((output.as_deref(), &*faults), (Some(r#"{"d":0,"a":1}"#), &failed[..]));
        }
        let (_, output, faults) = play(select, r#"{"a":1}"#, |_| Err("500".to_owned()));
        assert_eq!((output.as_deref(), &*faults), (Some(r#"{"d":0,"a":1}"#), &failed[..]));
        let many = "SELECT (SELECT VALUE aws_lambda('f', v).said FROM list) AS r FROM 'x/+'";
        let called = |times: usize| {
            let list: Vec<String> = (0..times).map(|v| format!(r#"{{"v":{v}}}"#)).collect();
            let (made, _, faults) =
                play(many, &format!(r#"{{"list":[{}]}}"#, list.join(",")), echo);
            (made.len(), faults)
        };
        assert_eq!(called(CALLS_MAX), (CALLS_MAX, vec![]));
        assert_eq!(called(CALLS_MAX + 1), (CALLS_MAX, vec![FaultCode::CallFailed]));
    }

    #[test]
    fn where_nobody_calls_a_call_is_a_fault() {
        let (engine, message) =
            (engine("SELECT aws_lambda('f', 1) AS r FROM 'x/+'"), publish("x/7", "{}"));
        let mut out = Evaluation::default();
        engine.evaluate(&engine.plan(&message.topic), &message, &mut out);
        let codes: Vec<_> = out.faults.iter().map(|fault| fault.code).collect();
        assert_eq!((out.hits.len(), codes), (1, vec![FaultCode::CallUnavailable]));
    }
}
