//! TLS, certificates, users and passwords at another broker.

use std::path::Path;
use std::process::Command;

use super::brokers::Broker;
use super::brokers::Kind;
use super::brokers::free_port;
use super::metric;
use super::start;
use super::subscribed;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

fn run(folder: &Path, program: &str, line: &str) {
    let output = Command::new(program).current_dir(folder).args(line.split_whitespace()).output();
    let output = output
        .unwrap_or_else(|error| panic!("{program} is installed by tests/clients/install: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority `NAME.pem`, with a certificate each for the broker and for a client.
fn authority(folder: &Path, name: &str) {
    run(
        folder,
        "openssl",
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
             -keyout {name}.key -out {name}.pem"
        ),
    );
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").expect("it");
    for role in ["broker", "client"] {
        run(
            folder,
            "openssl",
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={role} \
                 -keyout {name}-{role}.key -out {name}-{role}.csr"
            ),
        );
        run(
            folder,
            "openssl",
            &format!(
                "x509 -req -in {name}-{role}.csr -CA {name}.pem -CAkey {name}.key -CAcreateserial \
                 -days 2 -extfile names -out {name}-{role}.pem"
            ),
        );
    }
}

/// Why the connection is not there.
fn last_error(gateway: &Gateway) -> String {
    eventually("it fails", || {
        let upstreams = gateway.get_json("/api/upstreams");
        let error = upstreams["upstreams"][0]["last_error"]["message"].as_str();
        error.map(str::to_owned)
    })
}

#[test]
fn tls_certificates_and_passwords_are_asked_for_and_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    authority(at, "ours");
    authority(at, "theirs");
    run(at, "mosquitto_passwd", "-b -c users edge s3cret");
    let place = at.display();
    let settings = format!(
        "allow_anonymous false\npassword_file {place}/users\ncafile {place}/ours.pem\n\
         certfile {place}/ours-broker.pem\nkeyfile {place}/ours-broker.key\nrequire_certificate true"
    );
    let port = free_port();
    let _broker = Broker::start_on(Kind::Mosquitto, port, &settings);
    let site =
        Site::with_rules("CREATE RULE all AS SELECT id FROM 'load/+' DO STREAM kept KEY id;");
    let configure = |ca: &str, client: &str, secret: &str| {
        let text = format!(
            "[broker]\nexternal = \"mqtts://edge@localhost:{port}\"\npassword = \"p\"\n\
             ca_file = \"{place}/{ca}.pem\"\ncertificate_file = \"{place}/{client}-client.pem\"\n\
             key_file = \"{place}/{client}-client.key\"\n[secret.p]\nfile = \"{place}/{secret}\"\n"
        );
        site.write("tidegate.toml", &text);
        start(&site)
    };
    std::fs::write(at.join("right"), "s3cret\n").expect("a secret");
    std::fs::write(at.join("wrong"), "guess\n").expect("a secret");

    let gateway = configure("theirs", "ours", "right");
    let error = last_error(&gateway);
    assert!(error.contains("UnknownIssuer"), "{error}");
    drop(gateway);
    let gateway = configure("ours", "theirs", "right");
    last_error(&gateway);
    assert_eq!(metric(&gateway, "connects_total"), 0, "a certificate of another authority");
    drop(gateway);
    let gateway = configure("ours", "ours", "wrong");
    let error = last_error(&gateway);
    assert!(error.contains("CONNECT is refused") && !error.contains("guess"), "{error}");
    drop(gateway);

    let gateway = configure("ours", "ours", "right");
    subscribed(&gateway, 1);
    let publish = format!(
        "-h localhost -p {port} --cafile {place}/ours.pem --cert {place}/ours-client.pem \
         --key {place}/ours-client.key -u edge -P s3cret -q 1 -t load/a -m {{\"id\":1}}"
    );
    run(at, "mosquitto_pub", &publish);
    eventually("it comes", || (site.records("kept").len() == 1).then_some(()));
    let shown = gateway.get("/api/upstreams").1 + &gateway.terminate().1;
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_certificate_that_cannot_be_read_keeps_the_gateway_from_starting() {
    let site = Site::with_rules("CREATE RULE all AS SELECT id FROM 'a' DO LOG 'x';");
    site.write("tidegate.toml", "[broker]\nexternal = \"mqtts://b\"\nca_file = \"missing.pem\"\n");
    let mut command = crate::live::tidegate();
    let output = command
        .current_dir(site.path(""))
        .args(["run", "--http", "127.0.0.1:0"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("missing.pem"), "{told}");
}
