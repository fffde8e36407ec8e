use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::config::AuthConfig;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A gate whose only user is alice, with the password `x`.
fn gate(folder: &Path, change: impl FnOnce(&mut AuthConfig)) -> Access {
    let users_file = folder.join("users");
    let hash = users::hash(b"x").unwrap();
    users::save(&users_file, &users::with_user("", "alice", &hash, None).unwrap()).unwrap();
    let mut auth = AuthConfig { methods: vec![Method::Users], users_file, ..AuthConfig::default() };
    change(&mut auth);
    Access::load(&AccessConfig { auth, ..AccessConfig::default() }, Clock::start(), None).unwrap()
}

fn shown<'a>(address: IpAddr, name: &'a str, password: &'a str) -> Credentials<'a> {
    let password = Some(password.as_bytes());
    Credentials { client_id: "c", user_name: Some(name), password, address, certificate: None }
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_does_not_starve_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let access = Arc::new(gate(folder.path(), |auth| auth.failures_max = 10_000));
    let mut flood = Vec::new();
    for n in 0..300 {
        let access = Arc::clone(&access);
        flood.push(tokio::spawn(async move {
            access.login(shown(HERE, &format!("u{n}"), "guess")).await.unwrap_err()
        }));
    }
    while access.metrics.waiting.get() < 250 {
        tokio::task::yield_now().await;
    }
    // Another address has its turn next; a thousandth of the flood's time would do.
    let elsewhere = IpAddr::from([10, 0, 0, 9]);
    let login = access.login(shown(elsewhere, "alice", "x"));
    tokio::time::timeout(Duration::from_secs(20), login).await.unwrap().unwrap();
    assert!(access.metrics.waiting.get() > 200, "the flood still waits");
    // Known again without a turn, even from where the flood comes.
    access.login(shown(HERE, "alice", "x")).await.unwrap();
    assert!(access.metrics.waiting.get() > 200, "the flood still waits");
    for task in flood {
        task.abort();
    }
}

#[tokio::test]
async fn a_changed_password_is_not_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let access = gate(folder.path(), |_| {});
    access.login(shown(HERE, "alice", "x")).await.unwrap();
    assert!(access.changed_look().is_none());
    let hash = users::hash(b"y").unwrap();
    let text = users::with_user("", "alice", &hash, None).unwrap();
    users::save(&folder.path().join("users"), &text).unwrap();
    assert!(access.changed_look().is_some());
    access.reload().unwrap();
    assert_eq!(
        access.login(shown(HERE, "alice", "x")).await.unwrap_err(),
        Denied::WrongCredentials
    );
    access.login(shown(HERE, "alice", "y")).await.unwrap();
}

#[tokio::test]
async fn who_is_gone_has_no_permissions_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let access = gate(folder.path(), |_| {});
    let alice = access.login(shown(HERE, "alice", "x")).await.unwrap();
    assert!(access.permissions(&alice, "c").is_some());
    users::save(&folder.path().join("users"), "# nobody\n").unwrap();
    access.reload().unwrap();
    assert!(access.permissions(&alice, "c").is_none());
    std::fs::write(folder.path().join("users"), "broken").unwrap();
    let error = access.reload().unwrap_err();
    assert!(matches!(error, AccessError::Users { .. }), "{error}");
    assert_eq!(access.version(), 2);
}
