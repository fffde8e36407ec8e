use std::path::Path;
use std::sync::Arc;

use super::tests::publish;
use super::*;
use crate::diagnostic::Diagnostic;
use crate::rule::set;
use crate::rule::set::Source;
use crate::rule::set::Targets;
use crate::rule::table::NamedFiles;

const MOTES: &str = "moteid,room,limit\n7,kitchen,30\n8,attic,\n";
const ROOMS: &str = r#"{"kitchen":{"floor":1},"cellar":{"floor":-1}}"#;
const CELLS: &str = "building,mote,bay\na,7,1\na,8,2\nb,7,3\n";

struct Given;

impl NamedFiles for Given {
    fn read(&mut self, _by: &Path, name: &str, _max: usize) -> Result<Source, Diagnostic> {
        let content = match name {
            "motes.csv" => MOTES,
            "rooms.json" => ROOMS,
            _ => CELLS,
        };
        Ok(Source { path: name.into(), content: Ok(content.into()) })
    }
}

fn engine(rule: &str) -> Engine {
    let text = format!(
        "CREATE TABLE motes FROM 'motes.csv' KEY moteid;
         CREATE TABLE rooms FROM 'rooms.json' KEY name;
         CREATE TABLE cells FROM 'cells.csv' KEY building, mote;
         CREATE RULE r AS {rule};"
    );
    let source = Source { path: "t.rule".into(), content: Ok(text.into_bytes()) };
    let secrets = ["db".to_owned()].into();
    let targets = Targets { shadows: "state".to_owned(), secrets, ..Targets::default() };
    let checked = set::check(&[source], &targets, &mut Given);
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
    Engine::new(checked.rules, "1")
}

fn evaluate(engine: &Engine, payload: &str) -> Evaluation {
    let publish = publish("x/7", payload);
    let mut out = Evaluation::default();
    engine.evaluate(&engine.plan(&publish.topic), &publish, &mut out);
    assert_eq!(out.faults, [], "a missing row is no fault");
    out
}

/// The output of `select` over `payload`; `None` where it does not match.
fn output(select: &str, payload: &str) -> Option<String> {
    let mut out = evaluate(&engine(&format!("{select} DO LOG")), payload);
    let hit = out.hits.pop()?;
    Some(String::from_utf8_lossy(hit.output.bytes()).into_owned())
}

#[track_caller]
fn check(select: &str, payload: &str, expected: &str) {
    assert_eq!(output(select, payload).as_deref(), Some(expected), "{select}");
}

#[test]
fn a_row_stands_beside_the_message() {
    let select = "SELECT t, motes.room, motes.limit FROM 'x/+' JOIN motes ON motes.moteid = id";
    check(select, r#"{"id":7,"t":31}"#, r#"{"t":31,"room":"kitchen","limit":30}"#);
    check(select, r#"{"id":7.0}"#, r#"{"room":"kitchen","limit":30}"#);
    check(select, r#"{"id":8}"#, r#"{"room":"attic"}"#);
    let select = "SELECT motes.room FROM 'x/+' JOIN motes ON cast(topic(2) AS Int) = motes.moteid";
    check(select, "not json", r#"{"room":"kitchen"}"#);
}

#[test]
fn without_a_row_an_inner_join_does_not_match_and_a_left_join_does() {
    for payload in [r#"{"id":9}"#, r#"{"id":"7"}"#, r#"{"id":null}"#, "{}"] {
        let on = "motes ON motes.moteid = id";
        assert_eq!(output(&format!("SELECT * FROM 'x/+' JOIN {on}"), payload), None);
        assert_eq!(output(&format!("SELECT * FROM 'x/+' INNER JOIN {on}"), payload), None);
        check(
            &format!("SELECT motes.room, isUndefined(motes) AS u FROM 'x/+' LEFT JOIN {on}"),
            payload,
            r#"{"u":true}"#,
        );
    }
    let out = evaluate(
        &engine("SELECT * FROM 'x/+' JOIN motes ON motes.moteid = id WHERE motes.limit > 1 DO LOG"),
        r#"{"id":9}"#,
    );
    assert_eq!((out.hits.len(), out.unknown.len()), (0, 0), "it is not matched, that is all");
}

#[test]
fn rows_lead_to_further_rows_and_a_table_can_be_joined_twice() {
    let select = "SELECT rooms.floor AS f FROM 'x/+' JOIN motes ON motes.moteid = id \
                  LEFT JOIN rooms ON rooms.name = motes.room";
    check(select, r#"{"id":7}"#, r#"{"f":1}"#);
    check(select, r#"{"id":8}"#, "{}");
    let select = "SELECT a.room AS a, b.room AS b FROM 'x/+' JOIN motes AS a ON a.moteid = id \
                  JOIN motes AS b ON b.moteid = other";
    check(select, r#"{"id":7,"other":8}"#, r#"{"a":"kitchen","b":"attic"}"#);
    let select = "SET @b = lower(where_) SELECT cells.bay FROM 'x/+' \
                  JOIN cells ON cells.mote = id AND @b = cells.building";
    check(select, r#"{"id":7,"where_":"B"}"#, r#"{"bay":3}"#);
}

#[test]
fn the_row_wins_over_a_field_of_its_name_and_a_query_alias_over_the_row() {
    let join = "FROM 'x/+' JOIN motes ON motes.moteid = id";
    let payload = r#"{"id":7,"motes":{"room":"mine"},"all":[{"room":"inner"}]}"#;
    check(&format!("SELECT motes.room {join}"), payload, r#"{"room":"kitchen"}"#);
    check(&format!("SELECT *.motes.room {join}"), payload, r#"{"room":"mine"}"#);
    check("SELECT motes.room FROM 'x/+'", payload, r#"{"room":"mine"}"#);
    check(
        &format!("SELECT (SELECT VALUE motes.room FROM all AS motes) AS a, motes.room {join}"),
        payload,
        r#"{"a":["inner"],"room":"kitchen"}"#,
    );
    check(
        &format!("SELECT (SELECT room, motes.room AS m FROM all) AS a {join}"),
        payload,
        r#"{"a":[{"room":"inner","m":"kitchen"}]}"#,
    );
    check(
        &format!("SELECT motes AS row, motes.* {join}"),
        r#"{"id":7}"#,
        r#"{"row":{"moteid":7,"room":"kitchen","limit":30},"moteid":7,"room":"kitchen","limit":30}"#,
    );
}

#[test]
fn every_later_clause_sees_the_row() {
    let text = "SELECT t FROM 'x/+' JOIN motes ON motes.moteid = id WHERE motes.limit > 0 \
                DO STREAM s KEY motes.room, REPUBLISH 'r/${motes.room}' \
                ON ERROR DO LOG 'failed in ${motes.room}'";
    let engine = engine(text);
    let mut out = evaluate(&engine, r#"{"id":7}"#);
    let hit = out.hits.remove(0);
    assert!(matches!(&hit.actions[0], Ok(PreparedAction::Stream { key, .. }) if key == "kitchen"));
    assert!(
        matches!(&hit.actions[1], Ok(PreparedAction::Republish { topic, .. }) if topic.as_str() == "r/kitchen")
    );
    let report = engine.error_actions(RuleIndex(0), &hit.publish, &[]).unwrap();
    let log = Ok(PreparedAction::Log { text: "failed in kitchen".to_owned() });
    assert_eq!(report.actions[0], log);
    assert!(evaluate(&engine, r#"{"id":8}"#).hits.is_empty(), "WHERE sees the row");
}

#[test]
fn a_watched_condition_and_its_key_see_the_row() {
    let engine = engine(
        "SELECT motes.room, hold.key AS k FROM 'x/+' LEFT JOIN motes ON motes.moteid = id \
         WHEN t > motes.limit FOR 1 MINUTE PARTITION BY motes.room DO LOG",
    );
    let mut out = evaluate(&engine, r#"{"id":7,"t":31}"#);
    let seen = out.observations.remove(0).condition().clone();
    assert_eq!((seen.key.as_str(), seen.condition), ("[\"kitchen\"]", Truth::True));
    let facts = HoldFacts {
        key: Arc::from(seen.key.as_str()),
        since: seen.at,
        fired_at: seen.at,
        samples: 1,
    };
    let (event, publish) = (EpisodeEvent::Firing, seen.publish.unwrap());
    let episode =
        Episode { rule: seen.rule, event, at: seen.at, decided_at: seen.at, facts, publish };
    let hit = engine.complete(&episode).unwrap();
    assert_eq!(&hit.output.bytes()[..], br#"{"room":"kitchen","k":"kitchen"}"#);
}

/// Tables that UPSERT writes, as `table/key` and text.
#[derive(Debug)]
struct Written(&'static [(&'static str, &'static str)]);

impl LatestValues for Written {
    fn get(&self, table: &str, key: &str) -> Option<bytes::Bytes> {
        let path = format!("{table}/{key}");
        let found = self.0.iter().find(|(known, _)| **known == path);
        found.map(|(_, text)| bytes::Bytes::from_static(text.as_bytes()))
    }
}

const STATE: &[(&str, &str)] = &[
    ("state/7", r#"{"t":20,"key":"of the value","at":{"x":1.0}}"#),
    ("state/true", "5"),
    ("state/raw", "no json"),
    ("state/7/named", r#"{"t":21}"#),
    (r#"state/["7",5]"#, r#"{"t":22}"#),
];

/// The output of `select` over `payload` with `state` being a table that another rule writes.
#[track_caller]
fn check_latest(select: &str, payload: &str, expected: Option<&str>) {
    let rules = format!("{select} DO LOG; CREATE RULE w AS SELECT * FROM 'w' DO UPSERT state");
    let engine = engine(&rules).with_latest(Arc::new(Written(STATE)));
    let mut out = evaluate(&engine, payload);
    let output = out.hits.pop().map(|hit| String::from_utf8_lossy(hit.output.bytes()).into_owned());
    assert_eq!(output.as_deref(), expected, "{select}");
}

#[test]
fn what_upsert_keeps_is_joined_on_the_text_of_its_key() {
    let join = "FROM 'x/+' JOIN state ON state.key = id";
    let select = format!("SELECT state.t, state.at.x, state.key {join}");
    let expected = Some(r#"{"t":20,"x":1,"key":"7"}"#);
    for payload in [r#"{"id":7}"#, r#"{"id":"7"}"#, r#"{"id":7.0}"#] {
        check_latest(&select, payload, expected);
    }
    for payload in [r#"{"id":8}"#, "{}", r#"{"id":null}"#] {
        check_latest(&select, payload, None);
        let left =
            "SELECT isUndefined(s) AS u, s.key FROM 'x/+' LEFT JOIN state AS s ON s.key = id";
        check_latest(left, payload, Some(r#"{"u":true}"#));
    }
    let whole = format!("SELECT VALUE state {join}");
    check_latest(&whole, r#"{"id":true}"#, Some("5"));
    check_latest(&format!("SELECT state, 1 AS a {join}"), r#"{"id":"raw"}"#, Some(r#"{"a":1}"#));
    check_latest(
        "SELECT s.t FROM 'x/+' JOIN motes AS m ON m.moteid = id JOIN state AS s ON m.moteid = s.key",
        r#"{"id":7}"#,
        Some(r#"{"t":20}"#),
    );
}

#[test]
fn without_values_every_table_that_upsert_writes_is_empty() {
    let rules = "SELECT 1 AS a FROM 'x/+' JOIN state ON state.key = id DO UPSERT state KEY id";
    assert!(evaluate(&engine(rules), r#"{"id":7}"#).hits.is_empty());
}

#[test]
fn a_shadow_is_the_row_of_its_thing() {
    let shadow =
        |thing: &str| format!("SELECT get_thing_shadow({thing}, 'arn:…').t AS t FROM 'x/+'");
    check_latest(&shadow("id"), r#"{"id":"7"}"#, Some(r#"{"t":20}"#));
    check_latest(&shadow("topic(2)"), "{}", Some(r#"{"t":20}"#));
    check_latest(&shadow("id, 'named'"), r#"{"id":"7"}"#, Some(r#"{"t":21}"#));
    for nobody in [r#"{"id":"8"}"#, "{}"] {
        check_latest(&shadow("id"), nobody, Some("{}"));
        check_latest(&shadow("id, 'named'"), nobody, Some("{}"));
    }
    let select = "SELECT 1 AS a FROM 'x/+' WHERE get_thing_shadow(id, 'r').t = 20";
    check_latest(select, r#"{"id":"8"}"#, None);
    check_latest(select, r#"{"id":"7"}"#, Some(r#"{"a":1}"#));
}

#[test]
fn get_dynamodb_finds_the_row_of_a_key() {
    let get = |call: &str| format!("SELECT VALUE get_dynamodb({call}, 'role') FROM 'x/+'");
    let check = |call: &str, expected: &str| {
        check_latest(&get(call), r#"{"id":7}"#, Some(expected));
    };
    check("'motes', 'moteid', id", r#"{"moteid":7,"room":"kitchen","limit":30}"#);
    check("'cells', 'building', 'b', 'mote', id", r#"{"building":"b","mote":7,"bay":3}"#);
    check("'cells', 'mote', id, 'building', 'b'", r#"{"building":"b","mote":7,"bay":3}"#);
    check("'state', 'any', topic(2), 'sort', 5", r#"{"t":22}"#);
    check("'state', 'any', true", "5");
    let missing = "SELECT get_dynamodb('motes', 'moteid', 9, 'role') AS row, 1 AS a FROM 'x/+'";
    check_latest(missing, "{}", Some(r#"{"a":1}"#));
}

#[test]
fn a_secret_is_its_text_or_a_key_of_its_json() {
    let secrets = Secrets::new([("db".to_owned(), r#"{"user":"hunter2","port":5432}"#.to_owned())]);
    for (call, expected) in [
        ("'db', 'SecretString', 'role'", r#"{"s":"{\"user\":\"hunter2\",\"port\":5432}"}"#),
        ("'db', 'SecretString', 'port', 'role'", r#"{"s":5432}"#),
        ("'db', 'SecretString', concat('us', 'er'), 'role'", r#"{"s":"hunter2"}"#),
        ("'db', 'SecretString', 'none', 'role'", "{}"),
        ("'db', 'SecretString', 1, 'role'", "{}"),
        (
            "'arn:aws:secretsmanager:x:1:secret:db-a1b2c3', 'SecretString', 'user', 'r'",
            r#"{"s":"hunter2"}"#,
        ),
    ] {
        let select = format!("SELECT get_secret({call}) AS s FROM 'x/+' DO LOG");
        let engine = engine(&select).with_secrets(secrets.clone());
        assert!(!format!("{engine:?}").contains("hunter2"), "an engine shows no secret");
        let hit = evaluate(&engine, "{}").hits.remove(0);
        assert_eq!(hit.output.bytes(), expected, "{call}");
    }
    let plain = engine("SELECT get_secret('db', 'SecretString', 'r') AS s FROM 'x/+' DO LOG");
    assert_eq!(evaluate(&plain, "{}").hits.remove(0).output.bytes(), "{}", "none are told");
}
