//! The examples of `docs/access.md`, as they stand.

use serde_json::json;

use super::SEEN;
use crate::live::Site;
use crate::manual::blocks;
use crate::manual::page;
use crate::manual::play;
use crate::transport;

/// The part of the page below a heading.
fn section(heading: &str) -> String {
    let page = page("docs/access.md");
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).expect("the heading");
    rest.split("\n##").next().unwrap_or_default().to_owned()
}

fn block<'p>(section: &'p str, kind: &str) -> &'p str {
    blocks(section, kind).next().unwrap_or_else(|| panic!("a block of {kind}"))
}

/// What the rule has seen: topics and who published there.
fn seen(site: &Site) -> Vec<serde_json::Value> {
    site.stream_data("seen")
}

#[test]
fn users_are_kept_as_the_page_says() {
    let site = Site::with_rules(SEEN);
    assert!(play(&site, block(&section("## Users"), "console"), None).is_none());
}

#[test]
fn a_plant_with_users() {
    let (site, section) = (Site::with_rules(SEEN), section("### A plant with users"));
    site.write("tidegate.toml", block(&section, "toml"));
    let gateway = play(&site, block(&section, "console"), None);
    assert_eq!(
        seen(&site),
        [
            json!({"topic": "plant/sensor-7/temp", "who": "sensor-7"}),
            json!({"topic": "plant/sensor-7/commands", "who": "alice"}),
        ]
    );
    drop(gateway);
}

#[test]
fn a_fleet_with_certificates() {
    let (site, section) = (transport::site(SEEN), section("### A fleet with certificates"));
    let toml = block(&section, "toml");
    assert!(toml.contains("127.0.0.1:8883"));
    site.write("tidegate.toml", &toml.replace(":8883", ":0"));
    let gateway = play(&site, block(&section, "console"), Some(("trucks", "8883")));
    assert_eq!(seen(&site), [json!({"topic": "fleet/device-7/gps", "who": "device-7"})]);
    drop(gateway);
}

#[test]
fn tenants_with_tokens() {
    let (site, section) = (Site::with_rules(SEEN), section("### Tenants with tokens"));
    site.write("tidegate.toml", block(&section, "toml"));
    site.write("issue.py", block(&section, "python"));
    transport::shell(&site, block(&section, "sh"));
    let gateway = play(&site, block(&section, "console"), None);
    assert_eq!(seen(&site), [json!({"topic": "acme/3/kwh", "who": "meter-3"})]);
    drop(gateway);
}
