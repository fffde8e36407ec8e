//! Publishing over HTTP, as AWS IoT's data plane has it.

use std::process::Command;
use std::thread;

use serde_json::Value;
use serde_json::json;

use super::answer;
use super::shell;
use super::site;
use crate::broker::v4;
use crate::clients::python;
use crate::hardship::Device;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::http;
use crate::manual::blocks;
use crate::manual::page;
use crate::manual::play;

const RULES: &str = "
CREATE RULE all AS
  SELECT n, topic() AS topic, clientid() AS client, principal() AS principal, sourceip() AS ip
  FROM 'plant/#' DO STREAM kept;
CREATE RULE properties AS
  SELECT get_mqtt_property('content_type') AS type, get_mqtt_property('correlation_data') AS data,
    get_mqtt_property('response_topic') AS answer, get_user_properties('deviceName') AS device
  FROM 'plant/retained' DO STREAM properties;
CREATE RULE ingest AS SELECT n FROM 'never' DO STREAM ingest;
";

const LISTENERS: &str = "
[listener.data]
protocol = \"https\"
listen = \"127.0.0.1:0\"
certificate = \"certs/server.pem\"
key = \"certs/server.key\"
client_certificate = \"optional\"
client_ca = \"certs/ca.pem\"
principal = \"common_name\"
";

/// Runs boto3 and answers what it saw.
fn boto3(arguments: &[&str]) -> Value {
    let output = python("iot_data.py").args(arguments).output().expect("python runs");
    let (out, err) = (&output.stdout, &output.stderr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(err));
    serde_json::from_slice(out).expect("JSON")
}

#[test]
fn boto3_publishes_and_reads_retained_messages_unmodified() {
    let site = site(RULES);
    let gateway = site.start();
    let seen = boto3(&["--endpoint", &gateway.http]);
    let expected = json!({
        "retained": {
            "topic": "plant/retained",
            "payload": "{\"n\": -1}",
            "qos": 1,
            "userProperties": [{"deviceName": "alpha"}, {"deviceCnt": "45"}],
            "has_time": true,
        },
        "listed": [
            ["page/0", 1, 0],
            ["page/1", 1, 0],
            ["page/2", 1, 0],
            ["plant/retained", 9, 1],
        ],
        "refused": {
            "wildcard": ["InvalidRequestException", 400],
            "too_large": ["RequestEntityTooLargeException", 413],
            "reserved": ["InvalidRequestException", 400],
            "unknown": ["ResourceNotFoundException", 404],
        },
    });
    assert_eq!(seen, expected);
    // Acknowledged is committed: all of it is on disk when boto3 has its answers.
    gateway.kill();
    let kept = site.stream_data("kept");
    let of =
        |n: i64, topic: &str| json!({"n": n, "topic": topic, "client": "n/a", "ip": "127.0.0.1"});
    let a = "plant/boto3/a b";
    assert_eq!(kept, [of(0, a), of(1, a), of(2, a), of(-1, "plant/retained")]);
    let properties = site.stream_data("properties");
    let expected = json!({"type": "application/json", "data": "AAEC", "answer": "plant/answers", "device": "alpha"});
    assert_eq!(properties[0]["type"], expected["type"]);
    assert_eq!(properties[0]["answer"], expected["answer"]);
}

#[test]
fn the_certificate_is_the_principal_and_the_dashboard_stays_inside() {
    let site = site(RULES);
    site.write("tidegate.toml", LISTENERS);
    let gateway = site.start();
    let endpoint = format!("https://localhost:{}", gateway.port_of("data"));
    let file = |name: &str| site.path(name).to_str().expect("UTF-8").to_owned();
    let seen = boto3(&[
        "--endpoint",
        &endpoint,
        "--cafile",
        &file("certs/ca.pem"),
        "--cert",
        &file("certs/device-7.pem"),
        "--key",
        &file("certs/device-7.key"),
        "--count",
        "1",
    ]);
    assert_eq!(seen["listed"].as_array().map(Vec::len), Some(4));
    assert_eq!(site.stream_data("kept")[0]["principal"], "device-7");
    let curl_for = |what: &str, path: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--http2", "--cacert", &file("certs/ca.pem"), "-o", "/dev/null"])
            .args(["-w", &format!("%{{{what}}}"), &format!("{endpoint}{path}")])
            .output();
        String::from_utf8(output.expect("curl runs").stdout).expect("ASCII")
    };
    let curl = |path: &str| curl_for("http_code", path);
    assert_eq!(curl_for("http_version", "/retainedMessage/page%2F0"), "2", "by ALPN");
    assert_eq!(curl("/retainedMessage/page%2F0"), "200");
    // Streams answer there, to POST.
    assert_eq!(curl("/"), "405");
    for inside in ["/api/overview", "/metrics"] {
        assert_eq!(curl(inside), "404", "{inside}");
    }
}

#[test]
fn the_examples_of_the_manual_work_as_they_stand() {
    let site = Site::with_rules(RULES);
    let page = page("docs/broker.md");
    let statistics = blocks(&page, "console").nth(1).expect("mosquitto_sub");
    let run = format!("$ tidegate run &\n{statistics}");
    let gateway = play(&site, &run, None).expect("it runs");
    assert_eq!(blocks(&page, "console").count(), 2, "each is run");
    let here = |block: &str| block.replace("http://127.0.0.1:8080", &gateway.http);
    let console = blocks(&page, "console").next().expect("curl");
    let (command, printed) = console.split_once('\n').expect("a command and its answer");
    let answer = answer(&site, &here(command.strip_prefix("$ ").expect("a command")));
    assert_eq!(answer.split(':').next(), printed.split(':').next(), "{answer}");
    site.write("publish.py", &here(blocks(&page, "python").next().expect("boto3")));
    let mut boto3 = Command::new(python("").get_program());
    boto3.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
    let done = boto3.current_dir(site.path("")).arg("publish.py").output().expect("python runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let topics: Vec<_> =
        site.stream_data("kept").iter().map(|kept| kept["topic"].clone()).collect();
    assert_eq!(topics, ["plant/7", "plant/7"]);
}

fn post(gateway: &Gateway, path: &str, arguments: &[&str]) -> (u16, String) {
    let url = format!("{}{path}", gateway.http);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-X", "POST", "-w", "\n%{http_code}"]).args(arguments);
    let output = curl.arg(url).output().expect("curl runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

#[test]
fn requests_are_answered_in_amazons_words() {
    let site = Site::with_rules(RULES);
    let gateway = site.start();
    let mut subscriber = Device::connect(&gateway, v4("subscriber"));
    let nothing = subscriber.subscribed_hears("plant/#");
    assert_eq!(nothing, [0xd0, 0], "PINGRESP");
    let (status, body) = post(&gateway, "/topics/plant/7?qos=1", &["-d", "{\"n\":7}"]);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["message"]), (200, &json!("OK")));
    assert!(body["traceId"].as_str().is_some_and(|id| id.len() == 36), "{body}");
    let message = subscriber.recv();
    assert!(message.ends_with(b"plant/7{\"n\":7}"), "subscribers get it too: {message:?}");
    assert_eq!(site.stream_data("kept").len(), 1);

    for (path, status, kind) in [
        ("/topics/a?qos=2", 400, "InvalidRequestException"),
        ("/topics/a?retian=true", 400, "InvalidRequestException"),
        ("/topics/%FF", 400, "InvalidRequestException"),
        ("/topics/a%00b", 400, "InvalidRequestException"),
        ("/topics/$aws/rules/nobody/a", 400, "InvalidRequestException"),
        ("/retainedMessage/a", 405, "MethodNotAllowedException"),
    ] {
        let (code, answer) = post(&gateway, path, &["-i", "-d", "x"]);
        assert_eq!(code, status, "{path}: {answer}");
        assert!(answer.contains(&format!("x-amzn-errortype: {kind}")), "{path}: {answer}");
        assert!(answer.contains("\"message\":"), "{path}: {answer}");
    }
    let (status, _) = post(&gateway, "/topics/$aws/rules/ingest/x?qos=1", &["-d", "{\"n\":1}"]);
    assert_eq!((status, site.stream_data("ingest").len()), (200, 1), "Basic Ingest");
    let foreign = ["-H", "Origin: https://evil.example", "-d", "x"];
    assert_eq!(post(&gateway, "/topics/plant/x", &foreign).0, 403);
    // An empty payload clears what is retained.
    assert_eq!(post(&gateway, "/topics/r?retain=true", &["-d", "x"]).0, 200);
    assert_eq!(http("GET", &format!("{}/retainedMessage/r", gateway.http), None).0, 200);
    assert_eq!(post(&gateway, "/topics/r?retain=true", &["-d", ""]).0, 200);
    assert_eq!(http("GET", &format!("{}/retainedMessage/r", gateway.http), None).0, 404);
}

#[test]
fn who_may_publish_over_mqtt_may_over_http_and_nobody_else() {
    let site = Site::with_rules(RULES);
    site.write(
        "tidegate.toml",
        "[auth]\nmethods = [\"users\"]\n[acl]\nrules = [\"allow publish user alice plant/#\"]\n",
    );
    site.write("users", "");
    shell(
        &site,
        &format!("printf x | {} passwd users alice --stdin", env!("CARGO_BIN_EXE_tidegate")),
    );
    let gateway = site.start();
    let as_user = |user, path: &str| post(&gateway, path, &["-i", "-u", user, "-d", "{\"n\":1}"]);
    let (status, answer) = post(&gateway, "/topics/plant/a?qos=1", &["-i", "-d", "x"]);
    assert_eq!(status, 401, "{answer}");
    assert!(answer.contains("x-amzn-errortype: UnauthorizedException"), "{answer}");
    assert!(answer.contains("www-authenticate: Basic"), "{answer}");
    assert_eq!(as_user("alice:y", "/topics/plant/a?qos=1").0, 401);
    assert_eq!(as_user("alice:x", "/topics/other/a?qos=1").0, 401, "no rule allows it");
    let (status, answer) = as_user("alice:x", "/topics/plant/a?qos=1&retain=true");
    assert_eq!(status, 200, "{answer}");
    let kept = site.stream_data("kept");
    assert_eq!((kept.len(), &kept[0]["principal"]), (1, &json!("alice")));
    for path in ["/retainedMessage/plant%2Fa", "/retainedMessage"] {
        let url = format!("{}{path}", gateway.http);
        assert_eq!(http("GET", &url, None).0, 401, "{path}");
    }
}

#[test]
fn many_at_once_are_committed_or_told_to_come_back() {
    let site = Site::with_rules(RULES);
    let gateway = site.start();
    let ok: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let gateway = &gateway;
                scope.spawn(move || {
                    // One curl, many requests over one connection.
                    let mut curl = Command::new("curl");
                    curl.args(["-sS", "-w", "%{http_code}\n"]);
                    for n in 0..50 {
                        let url = format!("{}/topics/plant/{worker}/{n}?qos=1", gateway.http);
                        curl.args(["-d", "{\"n\":1}", "-o", "/dev/null", &url]);
                    }
                    let output = curl.output().expect("curl runs");
                    let codes = String::from_utf8(output.stdout).expect("ASCII");
                    codes.lines().filter(|code| *code == "200").count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
    });
    assert_eq!(ok, 400);
    gateway.kill();
    assert_eq!(site.stream_data("kept").len(), ok);
}
