//! MQTT 3.1.1 and 5 to the letter: what a server MUST do, statement by statement, against the built binary.
//!
//! Each test names the normative statements it shows, as the appendices B of the two specifications number
//! them. `docs/conformance.md` lists all of them; `statements` compares it with the tests. The packets are
//! made and read here (`wire`), byte by byte, by nothing that the gateway uses.

mod connect;
mod delivery;
mod disconnect;
mod format;
mod hostile;
mod publish;
mod publish5;
mod session;
mod shared;
mod statements;
mod statistics;
mod subscribe;
mod topics;
mod websocket;
mod will;
mod wire;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use crate::live::Gateway;
use crate::live::Site;

/// MQTT 3.1.1, as CONNECT's level.
const V4: u8 = 4;
/// MQTT 5.
const V5: u8 = 5;
const BOTH: [u8; 2] = [V4, V5];

/// What the one gateway of the suite is set to.
const CONFIG: &str = r#"
[mqtt]
packet_bytes_max = "128 KiB"
receive_maximum = 10
keep_alive_max = "30s"
statistics_interval = "1s"

[listener.browsers]
protocol = "ws"
listen = "127.0.0.1:0"
"#;

/// A running gateway and its folder.
struct Running {
    gateway: Gateway,
    _site: Site,
}

impl std::ops::Deref for Running {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

/// The gateway that all tests share while one of them runs. It ends with the last one.
fn gateway() -> Arc<Running> {
    static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let site = Site::with_rules("CREATE RULE r AS SELECT * FROM 'ruled/#' DO STREAM s KEY 'k';");
    site.write("tidegate.toml", CONFIG);
    let running = Arc::new(Running { gateway: site.start(), _site: site });
    *shared = Arc::downgrade(&running);
    running
}

/// A word that no other test has: client identifiers and topics begin with it.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
