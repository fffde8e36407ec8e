//! The HTTP side over a real socket: routes, live feed, headers, refusals, bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tidegate::api::HttpMetrics;
use tidegate::api::Server;
use tidegate::api::Source;
use tidegate::api::rule_set::ReloadCause;
use tidegate::api::rule_set::ReloadReport;
use tidegate::api::rule_set::ReloadResult;
use tidegate::api::rule_set::RuleChanges;
use tidegate::api::view::Failure;
use tidegate::api::view::Readiness;
use tidegate::clock::Timestamp;
use tidegate::config::HttpConfig;
use tidegate::dashboard::sites;
use tidegate::journal::HitRecord;
use tidegate::limits;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::fake_source::FakeSource;
use crate::fake_source::rule;
use crate::live::PATIENCE;

struct Web {
    source: Arc<FakeSource>,
    address: SocketAddr,
    /// The server ends when it is dropped.
    _stop: watch::Sender<bool>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    fn error(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        let text = |name: &str| error[name].as_str().expect("a text").to_owned();
        (self.status, text("code"), text("message"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Web {
    async fn start() -> Web {
        let metrics = HttpMetrics::default();
        let config = HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            body_timeout: Duration::from_millis(300),
            ..HttpConfig::default()
        };
        let server = Server::bind(&config, metrics.clone()).await.expect("a free port");
        let address = server.local_addr();
        let source = FakeSource::listening_at(address);
        let served = source.clone() as Arc<dyn Source>;
        let sites =
            sites(&served, config.body_timeout, 128 * 1024, &metrics, axum::Router::new(), None);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(sites, stopped));
        Web { source, address, _stop: stop }
    }

    async fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        stream
    }

    /// HTTP/1.0, so that the answer ends with the connection and comes unchunked.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = match body {
            "" => String::new(),
            body => format!("content-length: {}\r\n", body.len()),
        };
        let request = format!("{method} {path} HTTP/1.0\r\n{headers}{length}\r\n{body}");
        let mut stream = self.open(&request).await;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time").expect("an answer");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "host: localhost\r\n", "").await
    }

    async fn put(&self, stream: &str, body: &str) -> Answer {
        let path = format!("/api/streams/{stream}/records");
        let headers = "host: localhost\r\ncontent-type: application/json; charset=utf-8\r\n";
        self.ask("POST", &path, headers, body).await
    }

    fn hit(&self, rule: &str, event: &'static str, output: &str) -> u64 {
        let at = self.source.state.lock().now;
        self.source.hit(HitRecord {
            at,
            rule: Arc::from(rule),
            event,
            reason: (event == "cleared").then_some("gap"),
            topic: Arc::from("lab/7/telemetry"),
            client_id: Some(Arc::from("mote-7")),
            key: (event != "match").then(|| Arc::from("[7]")),
            output: output.to_owned().into_bytes().into(),
        })
    }
}

/// A live page: reads events off the socket.
struct Live {
    stream: TcpStream,
    read: String,
}

impl Live {
    async fn open(web: &Web) -> Live {
        let request = "GET /api/events HTTP/1.0\r\nhost: localhost\r\n\r\n";
        let mut live = Live { stream: web.open(request).await, read: String::new() };
        let head = live.until("\r\n\r\n").await.expect("a head");
        assert!(head.starts_with("HTTP/1.0 200") && head.contains("text/event-stream"), "{head}");
        live
    }

    /// What comes up to `end`; `None` when the connection ends first.
    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some((part, rest)) = self.read.split_once(end) {
                let part = part.to_owned();
                self.read = rest.to_owned();
                return Some(part);
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes));
            let count = read.await.expect("events in time").expect("a readable socket");
            if count == 0 {
                return None;
            }
            self.read.push_str(std::str::from_utf8(&bytes[..count]).expect("ASCII in this test"));
        }
    }

    /// The next event of this name.
    async fn event(&mut self, name: &str) -> Value {
        loop {
            let event = self.until("\n\n").await.expect("the feed goes on");
            let lines: Vec<&str> = event.lines().collect();
            let [kind, content] = lines[..] else { panic!("two lines: {event}") };
            if kind == format!("event: {name}") {
                let content = content.strip_prefix("data: ").expect("data");
                return serde_json::from_str(content).expect("JSON");
            }
        }
    }
}

#[tokio::test]
async fn every_route_is_in_the_openapi_document_and_answers() {
    let web = Web::start().await;
    let id = web.hit("overheat", "match", "{}");
    let document = web.get("/api/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 31);
    for (path, methods) in paths {
        let name = match path.as_str() {
            path if path.starts_with("/api/rules") => "overheat",
            path if path.starts_with("/api/streams") => "alerts",
            path if path.starts_with("/api/tables") => "latest",
            _ => "pager",
        };
        let path = path.replace("{name}", name).replace("{id}", &id.to_string());
        let path = path.replace("{key}", "7");
        if ["/reload", "/enable", "/disable", "/reshard", "/flush"]
            .iter()
            .any(|end| path.ends_with(end))
        {
            assert!(methods.get("post").is_some(), "{path}");
            continue;
        }
        if path.starts_with("/api/clients/") {
            assert!(methods.get("delete").is_some(), "{path}");
            continue;
        }
        assert!(methods.get("get").is_some(), "{path}");
        if path == "/api/events" {
            Live::open(&web).await.event("stats").await;
            continue;
        }
        let answer = web.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    // The other way round: what the router knows is in the document.
    for known in include_str!("../../src/api/routes.rs").split(".route(").skip(1) {
        let path = known.split('"').nth(1).expect("a path").replace(":name", "{name}");
        let path = path.replace(":id", "{id}").replace(":key", "{key}");
        assert!(paths.contains_key(&path), "{path} is not in openapi.json");
    }
    let references = document.to_string();
    for reference in references.split("#/components/schemas/").skip(1) {
        let schema = reference.split('"').next().expect("a name");
        assert!(document["components"]["schemas"].get(schema).is_some(), "{schema}");
    }
}

#[tokio::test]
async fn a_rule_is_switched_by_its_own_pages_only() {
    let web = Web::start().await;
    let post = async |path: &str, headers: &str| web.ask("POST", path, headers, "").await;
    let local = "host: localhost\r\n";
    let off = post("/api/rules/overheat/disable", local).await;
    assert_eq!((off.status, &off.json()["state"]), (200, &"disabled".into()), "{}", off.body);
    assert!(off.json()["switched_at"].is_i64() && off.json()["text"].is_string());
    let on = post("/api/rules/overheat/enable", local).await;
    assert_eq!((on.status, &on.json()["state"]), (200, &"running".into()), "{}", on.body);
    let nobody = post("/api/rules/overheet/disable", local).await;
    assert_eq!(nobody.status, 404);
    assert!(nobody.body.contains("did you mean 'overheat'?"), "{}", nobody.body);
    let foreign = "host: localhost\r\norigin: http://evil.example\r\n";
    assert_eq!(post("/api/rules/overheat/disable", foreign).await.status, 403);
    assert_eq!(web.get("/api/rules/overheat/disable").await.status, 405);
}

#[tokio::test]
async fn a_client_is_kicked_by_its_own_pages_only() {
    let web = Web::start().await;
    let path = "/api/clients/mote-1";
    assert_eq!(web.ask("DELETE", path, "host: localhost\r\n", "").await.status, 204);
    let nobody = web.ask("DELETE", "/api/clients/x", "host: localhost\r\n", "").await;
    assert_eq!(nobody.status, 404);
    let foreign = "host: localhost\r\norigin: http://evil.example\r\n";
    assert_eq!(web.ask("DELETE", path, foreign, "").await.status, 403);
}

#[tokio::test]
async fn a_table_is_paged_and_a_key_is_read_and_deleted() {
    let web = Web::start().await;
    for key in ["a/b", "c"] {
        let value = bytes::Bytes::from_static(b"{\"n\": 12345678901234567890}");
        web.source.state.lock().entries.push((key.to_owned(), value));
    }
    let tables = web.get("/api/tables").await.json();
    assert_eq!(tables["tables"][0]["keys"], json!(3));
    let page = web.get("/api/tables/latest?limit=1&after=7").await;
    assert_eq!(page.json()["entries"][0]["key"], json!("a/b"));
    assert!(page.body.contains("12345678901234567890"), "digits survive: {}", page.body);
    let unknown = web.get("/api/tables/lates").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("did you mean 'latest'?"), "{}", unknown.body);

    let entry = "/api/tables/latest/a%2Fb";
    assert_eq!(web.get(entry).await.json()["key"], json!("a/b"));
    assert_eq!(web.ask("DELETE", entry, "host: localhost\r\n", "").await.status, 204);
    let gone = web.get(entry).await;
    assert_eq!((gone.status, gone.json()["error"]["code"].clone()), (404, json!("unknown_key")));
    assert_eq!(web.ask("DELETE", entry, "host: localhost\r\n", "").await.status, 404);
    let foreign = "host: localhost\r\norigin: https://evil.example\r\n";
    assert_eq!(web.ask("DELETE", entry, foreign, "").await.status, 403);
}

#[tokio::test]
async fn a_reload_answers_how_it_ended() {
    let web = Web::start().await;
    let ended = |result, errors| ReloadReport {
        at: Timestamp::from_millis(5).into(),
        cause: ReloadCause::Api,
        result,
        message: "said in words".to_owned(),
        generation: 3,
        changes: RuleChanges { added: 1, ..RuleChanges::default() },
        took: Duration::from_micros(1500),
        errors,
        warnings: 0,
        report: String::new(),
        findings: Vec::new(),
    };
    let post = async |report| {
        web.source.state.lock().reload = Some(Arc::new(report));
        web.ask("POST", "/api/rules/reload", "host: localhost\r\n", "").await
    };
    let applied = post(ended(ReloadResult::Applied, 0)).await;
    assert_eq!(applied.status, 200);
    let expected = json!({
        "at": 5, "cause": "api", "result": "applied", "message": "said in words", "generation": 3,
        "added": 1, "changed": 0, "removed": 0, "unchanged": 0, "took_ms": 1.5,
        "errors": 0, "warnings": 0, "report": "", "findings": []
    });
    assert_eq!(applied.json(), expected);
    let refused = post(ended(ReloadResult::Refused, 2)).await;
    assert_eq!(refused.error(), (422, "rules_refused".into(), "said in words".into()));
    assert_eq!(refused.json()["reload"]["errors"], 2);
    let failed = post(ended(ReloadResult::Failed, 0)).await;
    assert_eq!(failed.error(), (500, "failed".into(), "said in words".into()));
    let stopping = web.ask("POST", "/api/rules/reload", "host: localhost\r\n", "").await;
    assert_eq!(stopping.error().0, 503);
    let foreign = "host: localhost\r\nsec-fetch-site: cross-site\r\n";
    assert_eq!(web.ask("POST", "/api/rules/reload", foreign, "").await.status, 403);
    assert_eq!(web.get("/api/rules/reload").await.error().0, 404, "no rule has that name");
    web.source.state.lock().rules.push(rule("reload"));
    assert_eq!(web.get("/api/rules/reload").await.json()["name"], "reload");
}

#[tokio::test]
async fn the_live_feed_tells_of_another_rule_set() {
    let web = Web::start().await;
    let mut live = Live::open(&web).await;
    let first = live.event("stats").await;
    assert_eq!((&first["generation"], &first["rules_refused"]), (&json!(1), &Value::Null));
    web.source.state.lock().rule_set.generation = 2;
    while live.event("stats").await["generation"] != 2 {}
}

#[tokio::test]
async fn readiness_says_why_not() {
    let web = Web::start().await;
    assert_eq!(web.get("/readyz").await.status, 200);
    let reason = "no commit for 12 s".to_owned();
    web.source.state.lock().readiness = Readiness::Stalled { reason };
    let answer = web.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), json!({"state": "stalled", "reason": "no commit for 12 s"}));
    assert_eq!(web.get("/healthz").await.status, 200, "the process is alive all the same");
}

#[tokio::test]
async fn hits_are_paged_filtered_and_cut() {
    let web = Web::start().await;
    web.source.state.lock().rules.push(rule("door"));
    for n in 0..5 {
        web.hit("overheat", "match", &format!("{{\"n\":{n},\"big\":12345678901234567890}}"));
    }
    let long = format!("\"{}\"", "x".repeat(limits::LISTED_PAYLOAD_BYTES_MAX));
    let door = web.hit("door", "firing", &long);
    let page = web.get("/api/hits?limit=2").await.json();
    assert_eq!(page["hits"][0]["id"], json!(door));
    assert_eq!(page["hits"][0]["key"], json!([7]));
    assert!(page["hits"][0]["output"]["cut"].is_string(), "a list shows the beginning");
    let whole = web.get(&format!("/api/hits/{door}")).await.json();
    assert_eq!(whole["output"]["json"].as_str().map(str::len), Some(long.len() - 2));
    let last = page["hits"][1]["id"].to_string();
    let next = web.get(&format!("/api/hits?limit=2&before={last}&rule=overheat")).await;
    assert!(next.body.contains("12345678901234567890"), "digits survive: {}", next.body);
    let ids: Vec<u64> = next.json()["hits"]
        .as_array()
        .expect("hits")
        .iter()
        .filter_map(|hit| hit["id"].as_u64())
        .collect();
    assert_eq!(ids, [4, 3]);
    let firing = web.get("/api/hits?event=firing").await.json();
    assert_eq!(firing["hits"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_wrong_request_says_what_is_right() {
    let web = Web::start().await;
    let long = format!("/api/hits?rule={}", "r".repeat(limits::API_QUERY_BYTES_MAX));
    for (path, status, code, hint) in [
        ("/api/rules/overhaet", 404, "unknown_name", "did you mean 'overheat'?"),
        ("/api/hits?rule=overhea", 404, "unknown_name", "did you mean 'overheat'?"),
        ("/api/streams/alert/records", 404, "unknown_name", "did you mean 'alerts'?"),
        ("/api/hooks/pagr/dead-letters", 404, "unknown_name", "did you mean 'pager'?"),
        ("/api/hits/99", 404, "unknown_hit", "no hit"),
        ("/api/hits/x", 404, "unknown_hit", "no hit"),
        ("/api/nothing", 404, "unknown_route", "/api/openapi.json"),
        ("/nothing", 404, "unknown_route", "/nothing"),
        ("/api/hits?limit=0", 400, "bad_query", "1 to 500"),
        ("/api/hits?limit=501", 400, "bad_query", "1 to 500"),
        ("/api/hits?limit=x", 400, "bad_query", "whole number"),
        ("/api/hits?before=-1", 400, "bad_query", "whole number"),
        ("/api/hits?event=fire", 400, "bad_query", "match, firing, cleared"),
        ("/api/hits?limt=5", 400, "bad_query", "did you mean 'limit'?"),
        ("/api/hits?limit=1&limit=2", 400, "bad_query", "twice"),
        ("/api/overview?x=1", 400, "bad_query", "takes nothing"),
        ("/api/series?span=1y", 400, "bad_query", "5m, 24h"),
        ("/api/streams/alerts/records?from=yesterday", 400, "bad_query", "trim-horizon"),
        ("/api/rules/%FF", 400, "bad_path", "UTF-8"),
        (long.as_str(), 414, "query_too_long", "4096"),
    ] {
        let (got, got_code, message) = web.get(path).await.error();
        assert_eq!((got, got_code.as_str()), (status, code), "{path}");
        assert!(message.contains(hint), "{path}: {message}");
    }
    let wrong = web.ask("DELETE", "/api/streams/alerts/records", "host: localhost\r\n", "").await;
    assert_eq!(wrong.error().0, 405);
    assert_eq!(wrong.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test]
async fn a_record_is_put_as_json_or_as_base64() {
    let web = Web::start().await;
    let put = web.put("alerts", r#"{"partition_key":"k","data":{"b":1.0, "a":2}}"#).await;
    assert_eq!((put.status, put.json()["sequence_number"].clone()), (200, json!("0")));
    let body =
        format!(r#"{{"partition_key":"k","data_base64":"/wA=","hash_key":"{}"}}"#, u128::MAX);
    assert_eq!(web.put("alerts", &body).await.status, 200);
    {
        let state = web.source.state.lock();
        assert_eq!(&state.put[0].data[..], br#"{"b":1.0, "a":2}"#, "its text, as sent");
        assert_eq!(
            (&state.put[1].data[..], state.put[1].hash_key),
            (&[0xff, 0][..], Some(u128::MAX))
        );
    }
    let records = web.get("/api/streams/alerts/records?from=latest&limit=1").await.json();
    assert_eq!(records["records"][0]["data_base64"], json!("/wA="));
    let none = web.get("/api/streams/alerts/records?from=2200-01-01T00:00:00Z").await.json();
    assert_eq!(none, json!({"records": []}));
}

#[tokio::test]
async fn a_record_that_breaks_a_rule_is_refused() {
    let web = Web::start().await;
    let long_key = format!(r#"{{"partition_key":"{}","data":1}}"#, "k".repeat(257));
    for (body, code) in [
        ("{", "bad_json"),
        (r#"{"data":1}"#, "bad_json"),
        (r#"{"partition_key":"k","data":1,"extra":2}"#, "bad_json"),
        (r#"{"partition_key":"k"}"#, "bad_record"),
        (r#"{"partition_key":"k","data":1,"data_base64":"AA=="}"#, "bad_record"),
        (r#"{"partition_key":"k","data_base64":"*"}"#, "bad_record"),
        (r#"{"partition_key":"","data":1}"#, "bad_record"),
        (long_key.as_str(), "bad_record"),
        (r#"{"partition_key":"k","data":1,"hash_key":"-1"}"#, "bad_record"),
    ] {
        let (status, got, _) = web.put("alerts", body).await.error();
        assert_eq!((status, got.as_str()), (400, code), "{body}");
    }
    let (status, code, _) = web.put("alert", r#"{"partition_key":"k","data":1}"#).await.error();
    assert_eq!((status, code.as_str()), (404, "unknown_name"));
    let large =
        format!(r#"{{"partition_key":"k","data":"{}"}}"#, "x".repeat(limits::API_BODY_BYTES_MAX));
    assert_eq!(web.put("alerts", &large).await.error().0, 413);
    let form = "host: localhost\r\ncontent-type: text/plain\r\n";
    let sent = web.ask("POST", "/api/streams/alerts/records", form, "{}").await;
    assert_eq!(sent.error().0, 415, "a form of another page can send this");
    assert!(web.source.state.lock().put.is_empty());
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let web = Web::start().await;
    let headers = "host: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n";
    let answer = web.ask("POST", "/api/streams/alerts/records", headers, "").await;
    let (status, code, message) = answer.error();
    assert_eq!((status, code.as_str()), (408, "body_too_slow"), "{message}");
    assert!(message.contains("300ms"), "{message}");
    assert!(web.source.state.lock().put.is_empty());
}

#[tokio::test]
async fn another_site_can_neither_read_nor_write() {
    let web = Web::start().await;
    let own = format!("http://{}", web.address);
    for (origin, site, status) in [
        (own.as_str(), "same-origin", 200),
        ("http://evil.example", "cross-site", 403),
        ("null", "cross-site", 403),
    ] {
        let headers = format!(
            "host: {}\r\norigin: {origin}\r\nsec-fetch-site: {site}\r\ncontent-type: application/json\r\n",
            web.address
        );
        let body = r#"{"partition_key":"k","data":1}"#;
        let put = web.ask("POST", "/api/streams/alerts/records", &headers, body).await;
        assert_eq!(put.status, status, "{origin}");
        assert_eq!(web.ask("GET", "/api/rules", &headers, "").await.status, status, "{origin}");
    }
    let rebound = web.ask("GET", "/api/rules", "host: evil.example\r\n", "").await;
    assert_eq!(rebound.error().0, 421);
    assert_eq!(web.ask("GET", "/metrics", "", "").await.status, 200, "a scraper without Host");
}

#[tokio::test]
async fn every_answer_forbids_what_the_page_does_not_need() {
    let web = Web::start().await;
    for path in ["/", "/assets/app.js", "/api/rules", "/nothing"] {
        let answer = web.get(path).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        assert!(answer.header("cache-control").is_some(), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_whole_and_asks_nothing_of_others() {
    let web = Web::start().await;
    let page = web.get("/").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let mut paths: Vec<String> = page
        .body
        .split(['"', '\''])
        .filter(|text| text.starts_with("/assets/"))
        .map(str::to_owned)
        .collect();
    let mut checked = 0;
    while let Some(path) = paths.pop() {
        let file = web.get(&path).await;
        assert_eq!(file.status, 200, "{path}");
        let imports = file.body.lines().filter_map(|line| line.split_once(" from \"./"));
        paths.extend(imports.map(|(_, rest)| format!("/assets/{}", rest.trim_end_matches("\";"))));
        let foreign =
            file.body.replace("http://www.w3.org/", "").replace("http://127.0.0.1:9000/", "");
        assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{path}");
        assert!(!file.body.contains("innerHTML"), "{path}");
        checked += 1;
    }
    assert!(checked >= 15, "{checked}");
    let tag = page.header("etag").expect("a tag");
    let again =
        web.ask("GET", "/", &format!("host: localhost\r\nif-none-match: {tag}\r\n"), "").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
}

#[tokio::test]
async fn the_live_feed_tells_hits_and_changed_counters() {
    let web = Web::start().await;
    let mut live = Live::open(&web).await;
    let first = live.event("stats").await;
    assert_eq!(first["rules"][0]["name"], json!("overheat"), "all rules at first");
    let id = web.hit("overheat", "cleared", r#"{"html":"<script>alert(1)</script>"}"#);
    let hits = live.event("hits").await;
    assert_eq!(hits["missed"], json!(0));
    assert_eq!(hits["hits"][0]["id"], json!(id));
    assert_eq!(hits["hits"][0]["output"]["json"]["html"], json!("<script>alert(1)</script>"));
    let stats = live.event("stats").await;
    assert_eq!(stats["rules"][0]["hits"], json!(1));
    let quiet = live.event("stats").await;
    assert_eq!(quiet["rules"], json!([]), "only what changed");
    assert_eq!(quiet["series"]["hits"].as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn a_burst_is_cut_to_the_newest_hits_and_counted() {
    let web = Web::start().await;
    let mut live = Live::open(&web).await;
    live.event("stats").await;
    let burst = limits::FEED_HITS_MAX as u64 + 500;
    let mut last = 0;
    for _ in 0..burst {
        last = web.hit("overheat", "match", "{}");
    }
    let (mut shown, mut missed) = (0, 0);
    while shown + missed < burst {
        let hits = live.event("hits").await;
        let batch = hits["hits"].as_array().expect("hits");
        assert!(batch.len() <= limits::EVENT_HITS_MAX);
        shown += batch.len() as u64;
        missed += hits["missed"].as_u64().expect("a count");
        if shown + missed == burst {
            assert_eq!(batch.last().map(|hit| &hit["id"]), Some(&json!(last)));
        }
    }
    assert_eq!(shown + missed, burst, "every hit is shown or counted");
    assert!(missed > 0);
}

#[tokio::test]
async fn live_pages_are_bounded_and_a_closed_one_gives_its_place_back() {
    let web = Web::start().await;
    let mut pages = Vec::new();
    for _ in 0..limits::EVENT_CLIENTS_MAX {
        pages.push(Live::open(&web).await);
    }
    let (status, code, _) = web.get("/api/events").await.error();
    assert_eq!((status, code.as_str()), (503, "too_many_live_pages"));
    pages.pop();
    let freed = async {
        loop {
            let request = "GET /api/events HTTP/1.0\r\nhost: localhost\r\n\r\n";
            let mut page = Live { stream: web.open(request).await, read: String::new() };
            let head = page.until("\r\n\r\n").await.expect("a head");
            if head.starts_with("HTTP/1.0 200") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the place is free again");
}

#[tokio::test]
async fn the_live_feed_ends_when_the_gateway_stops() {
    let web = Web::start().await;
    let mut live = Live::open(&web).await;
    live.event("stats").await;
    web.source.state.lock().readiness = Readiness::Stopping;
    while live.until("\n\n").await.is_some() {}
}

#[tokio::test]
async fn a_rule_is_shown_with_its_text_and_its_newest_fault() {
    let web = Web::start().await;
    web.source.state.lock().rules[0].last_fault = Some(Failure {
        at: Timestamp::from_millis(5).into(),
        code: "payload_not_json",
        message: "expected value".to_owned(),
    });
    let rule = web.get("/api/rules/overheat").await.json();
    assert!(rule["text"].as_str().is_some_and(|text| text.starts_with("CREATE RULE overheat")));
    assert_eq!(
        rule["last_fault"],
        json!({"at": 5, "code": "payload_not_json", "message": "expected value"})
    );
    assert_eq!(rule["holds"]["pending_total"], json!(0));
}
