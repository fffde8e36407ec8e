//! Very many timers that are due in one millisecond: in order, each once, and nobody else is starved.

use std::fmt::Write;
use std::time::Duration;

use serde_json::json;
use tidegate::clock::Clock;

use crate::broker::v4;
use crate::hardship::Device;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

const KEYS: usize = 100_000;
/// The longest that another client's publish may wait for its acknowledgement, of a debug build beside
/// other tests; a release build takes a twentieth.
const PATIENCE_OF_OTHERS: Duration = Duration::from_secs(2);

const RULES: &str = "
CREATE TABLE motes FROM 'motes.csv' KEY id;
CREATE RULE silent AS SELECT id FROM 'lab/+' WHEN NO DATA FOR 5 SECONDS PARTITION BY id FOR EACH ROW OF motes
DO STREAM silent KEY 'all';
CREATE RULE load AS SELECT n FROM 'load/+' DO STREAM load KEY 'all';
";

/// A gateway whose table has so many rows, none of which was ever heard of.
fn site() -> Site {
    let site = Site::with_rules(RULES);
    let mut rows = "id\n".to_owned();
    for row in 0..KEYS {
        writeln!(rows, "m{row:06}").expect("a string takes all");
    }
    site.write("rules/motes.csv", &rows);
    site
}

fn fired(gateway: &Gateway) -> usize {
    // A count, far below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let fired = metric(gateway, "tidegate_rule_hits_total{rule=\"silent\"}") as usize;
    fired
}

/// Every row fired once, in the order of the rows.
fn assert_complete(site: &Site) {
    let told = site.stream_data("silent");
    assert_eq!(told.len(), KEYS);
    for (row, record) in told.iter().enumerate() {
        assert_eq!(*record, json!({ "id": format!("m{row:06}") }), "at {row}");
    }
}

#[test]
fn a_hundred_thousand_timers_of_one_millisecond_starve_nobody() {
    let site = site();
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("load"));
    let (mut longest, mut acknowledged, mut during) = (Duration::ZERO, 0, 0);
    while fired(&gateway) < KEYS {
        // Asking for the figures takes longer than many acknowledgements.
        for _ in 0..20 {
            let began = Clock::instant();
            let id = u16::try_from(acknowledged % 60_000 + 1).expect("a packet identifier");
            device.publish_acked("load/a", id, &format!(r#"{{"n":{acknowledged}}}"#));
            longest = longest.max(began.elapsed());
            acknowledged += 1;
        }
        let now = fired(&gateway);
        during += usize::from(now > 0 && now < KEYS);
    }
    assert!(longest < PATIENCE_OF_OTHERS, "{longest:?}");
    assert!(during > 0, "the burst was one piece: {acknowledged} acknowledged");
    drop(gateway);
    assert_complete(&site);
    assert_eq!(site.stream_data("load").len(), acknowledged);
}

#[test]
fn a_kill_in_the_middle_of_a_burst_neither_loses_nor_doubles() {
    let site = site();
    let (mut gateway, mut before) = (site.start(), 0);
    for share in [10, 2] {
        eventually("a part has fired", || (fired(&gateway) >= KEYS / share - before).then_some(()));
        gateway.kill();
        before = site.stream_data("silent").len();
        assert!(before > 0 && before < KEYS, "{before} are on disk");
        gateway = site.start();
    }
    eventually("the others fire", || (fired(&gateway) >= KEYS - before).then_some(()));
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    assert_complete(&site);
}
