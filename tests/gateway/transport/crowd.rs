//! Many TLS connections at once.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::StreamOwned;
use rustls::pki_types::ServerName;

use super::site;
use super::trusting;
use crate::broker::PINGREQ;
use crate::broker::v4;
use crate::hardship::metric;
use crate::hardship::resident_bytes;
use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::eventually;

/// Connections that the listener takes.
const CROWD: usize = 1000;

const LISTENER: &str = "
[listener.devices]
protocol = \"mqtts\"
listen = \"127.0.0.1:0\"
connections_max = 1000
certificate = \"certs/server.pem\"
key = \"certs/server.key\"
";

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client past CONNACK, and the code of it.
fn connect(gateway: &Gateway, config: &Arc<ClientConfig>, id: &str) -> (Tls, u8) {
    let socket = TcpStream::connect(("127.0.0.1", gateway.port_of("devices"))).expect("accepted");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
    let mut tls = StreamOwned::new(session, socket);
    tls.write_all(&v4(id).encode()).expect("sent");
    let mut connack = [0; 4];
    tls.read_exact(&mut connack).expect("an answer");
    (tls, connack[3])
}

#[test]
fn a_thousand_idle_connections_over_tls_take_little_and_the_next_is_refused() {
    let site = site("CREATE RULE all AS SELECT * FROM 'never' DO LOG;");
    site.write("tidegate.toml", LISTENER);
    let gateway = site.start();
    let mut config = ClientConfig::clone(&trusting(&site, None));
    config.alpn_protocols = vec![b"x-amzn-mqtt-ca".to_vec()];
    let config = Arc::new(config);
    let (warm, _) = connect(&gateway, &config, "warm");
    drop(warm);
    let before = resident_bytes(&gateway);
    let mut crowd: Vec<Tls> = (0..CROWD)
        .map(|n| {
            let (tls, code) = connect(&gateway, &config, &format!("idle-{n}"));
            assert_eq!(code, 0, "{n}");
            tls
        })
        .collect();
    let each = resident_bytes(&gateway).saturating_sub(before) / CROWD;
    assert!(each < 24 * 1024, "{each} bytes a connection");
    println!("{each} bytes an idle TLS connection");
    assert_eq!(connect(&gateway, &config, "late").1, 3, "server unavailable");
    for tls in crowd.iter_mut().step_by(100) {
        tls.write_all(&PINGREQ).expect("sent");
        let mut pong = [0; 2];
        tls.read_exact(&mut pong).expect("an answer");
        assert_eq!(pong, [0xd0, 0]);
    }
    drop(crowd);
    let open = "tidegate_listener_connections{listener=\"devices\"}";
    eventually("their places are free", || (metric(&gateway, open) == 0.0).then_some(()));
    assert_eq!(connect(&gateway, &config, "next").1, 0);
}
