//! Access rules and a users file: neither makes its reader panic, and no rule gives a client more than is
//! written. A NUL divides the two.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::access::Acl;
use tidegate::access::users::Users;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (rules, users) = text.split_once('\0').unwrap_or((&text, ""));
    let mut acl = Acl::default();
    if acl.add_lines(rules).is_ok() {
        assert!(!acl.is_open(), "a file of rules denies the rest");
    }
    if let Ok(users) = Users::parse(users) {
        assert!(users.candidate("no such user: it has a colon").hash.starts_with("$argon2id$"));
    }
});
