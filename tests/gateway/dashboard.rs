//! The dashboard in a real Chromium over a live gateway: `tests/dashboard/dashboard.mjs`.

use std::process::Command;

use crate::live::Site;

#[test]
fn the_dashboard_shows_a_live_gateway() {
    let site = Site::with_rules(
        "CREATE RULE hot AS SELECT moteid, temperature, topic() AS topic FROM 'lab/+/telemetry'
           WHERE temperature > 30 DO STREAM alerts KEY moteid;
         CREATE RULE overheat AS SELECT moteid FROM 'lab/+/telemetry'
           WHEN temperature > 30 FOR 5 MINUTES PARTITION BY moteid DO STREAM alerts KEY moteid;",
    );
    let gateway = site.start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dashboard/dashboard.mjs");
    let output = Command::new("node")
        .args(["--test", script])
        .env("TIDEGATE_URL", &gateway.http)
        .env("TIDEGATE_RULES", site.path("rules"))
        .output()
        .expect("node is installed by tests/clients/install");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains("pass 0\n"), "the script ran tests: {told}");
    assert!(told.contains("skipped 0\n"), "all of them: {told}");
}
