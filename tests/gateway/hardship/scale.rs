//! Many topics and many keys: memory and answers stay within bounds.

use crate::broker::v4;
use crate::hardship::Device;
use crate::hardship::puback;
use crate::hardship::resident_bytes;
use crate::live::Site;
use crate::live::eventually;

#[test]
fn ten_thousand_topics_and_five_thousand_keys_are_watched_in_bounds() {
    const WINDOW: u16 = 500;
    let site = Site::with_rules(
        "CREATE RULE hot AS SELECT id FROM 'fleet/+/state' WHEN temperature > 30 FOR 1 HOUR
           PARTITION BY id DO STREAM alerts KEY id;
         CREATE RULE now AS SELECT id FROM 'fleet/+/state' WHEN temperature > 50
           PARTITION BY id DO STREAM firing KEY id;",
    );
    let gateway = site.start();
    let before = resident_bytes(&gateway);
    let mut device = Device::connect(&gateway, v4("fleet"));
    for first in (1..=10_000).step_by(usize::from(WINDOW)) {
        for id in first..first + WINDOW {
            let payload = format!(r#"{{"id":{},"temperature":60}}"#, id % 5000);
            device.publish(&format!("fleet/{id}/state"), id, &payload);
        }
        for id in first..first + WINDOW {
            assert_eq!(device.recv(), puback(id));
        }
    }
    let rules = gateway.get_json("/api/rules");
    let count = |rule: &str, field: &str| {
        let rules = rules["rules"].as_array().expect("rules");
        rules.iter().find(|entry| entry["name"] == rule).expect("the rule")[field].as_u64()
    };
    assert_eq!(count("hot", "pending"), Some(5000), "{rules}");
    assert_eq!(count("now", "firing"), Some(5000), "{rules}");
    let detail = gateway.get_json("/api/rules/hot");
    assert_eq!(detail["holds"]["pending_total"], 5000);
    for path in ["/api/rules", "/api/rules/hot", "/api/hits", "/api/overview", "/metrics"] {
        let (status, body) = gateway.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(body.len() < 256 * 1024, "{path} answers {} bytes", body.len());
    }
    let grown = resident_bytes(&gateway).saturating_sub(before);
    assert!(grown < 96 << 20, "{grown} bytes more");
    gateway.kill();
    let gateway = site.start();
    eventually("all keys are there again", || {
        let detail = gateway.get_json("/api/rules/now");
        (detail["holds"]["firing_total"] == 5000).then_some(())
    });
    assert_eq!(site.stream_data("firing").len(), 5000, "each fired once");
}
