//! FOR EACH ROW OF: keys are `[1]`, `[2]`, …

use std::path::Path;

use super::*;
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::rule::set;
use crate::rule::set::Source;
use crate::rule::table::NamedFiles;
use crate::rule_files;

/// The one file there is.
struct Csv(String);

impl NamedFiles for Csv {
    fn read(&mut self, _by: &Path, name: &str, _max: usize) -> Result<Source, Diagnostic> {
        Ok(Source { path: name.into(), content: Ok(self.0.clone().into_bytes()) })
    }
}

fn table(rows: &[i64]) -> Arc<Table> {
    let lines = rows.iter().map(|row| format!("{row},room {row}\n"));
    let text = "CREATE TABLE motes FROM 'motes.csv' KEY id;
        CREATE RULE r AS SELECT a FROM 'x' WHEN NO DATA FOR 1 s PARTITION BY id
        FOR EACH ROW OF motes DO LOG;";
    let source = Source { path: "r.rule".into(), content: Ok(text.as_bytes().to_vec()) };
    let mut csv = Csv(format!("id,room\n{}", lines.collect::<String>()));
    let checked = set::check(&[source], &rule_files::targets(&Config::default()), &mut csv);
    Arc::clone(checked.rules[0].listed().unwrap())
}

fn bench(rows: &[i64], keys_max: usize) -> Bench {
    let absence = When { condition: Condition::NoData, ..when(&hold(10)) };
    let mut bench = Bench::new(vec![("r", absence)]);
    bench.keys_max = keys_max;
    bench.listed = Some(table(rows));
    bench.table = HoldTable::new(bench.watched());
    list(&mut bench, 0);
    bench
}

fn list(bench: &mut Bench, now: i64) {
    let mut table = std::mem::replace(&mut bench.table, HoldTable::new([]));
    let mut out = std::mem::take(&mut bench.out);
    table.list_rows(bench.watched(), at(now), &mut out);
    (bench.table, bench.out) = (table, out);
}

#[test]
fn rows_are_silent_from_the_start_until_they_are_heard_of() {
    let mut bench = bench(&[1, 2], 9);
    bench.play("[2]:T@4 .@10");
    assert_eq!(bench.told(), "[1]:fire@10/0x0");
    bench.play("[1]:T@12 .@14");
    assert_eq!(bench.told(), "[1]:data@12/0x0 [2]:fire@14/4x1");
}

#[test]
fn a_row_speaks_for_itself_until_its_key_does() {
    let mut bench = bench(&[1], 9);
    bench.play(".@10");
    let publish = &bench.out.episodes[0].publish;
    assert_eq!(publish.topic.as_str(), "$tables/motes");
    assert_eq!(&publish.payload[..], br#"{"id":1,"room":"room 1"}"#);
    bench.play("[1]:T@12 .@99");
    assert_eq!(&bench.out.episodes[2].publish.payload[..], b"[1] 12");
}

#[test]
fn listing_again_changes_nothing_but_what_has_changed() {
    let mut bench = bench(&[1, 2, 3], 9);
    bench.play("[2]:T@1 .@5");
    list(&mut bench, 5);
    bench.play(".@10");
    assert_eq!(bench.told(), "[1]:fire@10/0x0 [3]:fire@10/0x0");
    bench.listed = Some(table(&[2, 3, 4]));
    list(&mut bench, 10);
    assert_eq!(bench.told(), "[1]:row_removed@10/0x0");
    bench.play(".@20");
    assert_eq!(bench.told(), "[2]:fire@11/1x1 [4]:fire@20/10x0");
}

#[test]
fn a_key_that_was_heard_of_goes_with_its_row_too_and_others_stay() {
    let mut bench = bench(&[1], 9);
    bench.play("[1]:T@1 [7]:T@1");
    bench.listed = Some(table(&[]));
    list(&mut bench, 2);
    bench.play(".@99");
    assert_eq!(bench.told(), "[7]:fire@11/1x1");
}

#[test]
fn rows_over_the_bound_are_counted_and_told() {
    let bench = bench(&[1, 2, 3], 2);
    assert_eq!(bench.out.faults.len(), 1);
    assert_eq!(
        bench.out.faults[0].message,
        "the rule watches 2 keys already; rows of motes left out: 1"
    );
    let counts = bench.table.counts(RuleIndex(0)).unwrap();
    assert_eq!((counts.pending, counts.refused), (2, 1));
}

#[test]
fn clocks_of_rows_go_on_over_a_restart_and_rows_that_went_meanwhile_end() {
    let mut bench = bench(&[1, 2, 3], 9);
    bench.play("[2]:T@1 .@4");
    bench.commit();
    assert_eq!(bench.disk.len(), 3);
    bench.listed = Some(table(&[1, 2]));
    bench.restart(4, 100);
    list(&mut bench, 100);
    bench.play(".@107");
    assert_eq!(bench.told(), "[1]:fire@106/0x0 [2]:fire@107/1x1");
    bench.commit();
    assert_eq!(bench.disk.len(), 2);
}

#[test]
fn reset_starts_the_clocks_of_rows_over() {
    let mut bench = bench(&[1, 2], 9);
    bench.rules[0].1.on_restart = OnRestart::Reset;
    bench.play("[2]:T@1 .@4");
    bench.commit();
    bench.restart(4, 100);
    list(&mut bench, 100);
    bench.play(".@110");
    assert_eq!(bench.told(), "[1]:fire@110/100x0 [2]:fire@110/100x0");
}
