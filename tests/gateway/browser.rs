//! The dashboard in Chromium: live, without errors, without other hosts, at every width.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use tidegate::dashboard::site;
use tidegate::journal::HitRecord;
use tokio::net::TcpListener;

use crate::fake_source::FakeSource;

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_appears_live_and_the_page_holds_at_every_width() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let source = FakeSource::listening_at(address);
    let router = site(source.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    // The script bounds every wait of its own, so this thread may block on it: the server has others.
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/dashboard.mjs");
    let mut browser = Command::new("node")
        .args([script, &format!("http://{address}/")])
        .args(std::env::var("DASHBOARD_PICTURES").ok())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node and chromium are installed by tests/clients/install");
    let mut told = BufReader::new(browser.stdout.take().expect("a pipe"));
    let mut line = String::new();
    told.read_line(&mut line).expect("a line");
    if line == "open\n" {
        let at = source.state.lock().now;
        source.hit(HitRecord {
            at,
            rule: Arc::from("overheat"),
            event: "match",
            topic: Arc::from("lab/7/telemetry"),
            client_id: Some(Arc::from("mote-7")),
            key: None,
            output: br#"{"proof":"<b>live</b>","temperature":31}"#.to_vec().into(),
        });
        line.clear();
    }
    told.read_to_string(&mut line).expect("text");
    let status = browser.wait().expect("it ends");
    assert!(status.success() && line.is_empty(), "{line}");
}
