//! The users file: names, hashes of passwords, groups.
//!
//! A line a user: `NAME:HASH` or `NAME:HASH:GROUP,GROUP`, the hash in PHC form (`$argon2id$…`); empty
//! lines and comments (`#` in front) are kept. [`with_user`] and [`without_user`] change a text,
//! [`Users::parse`] reads one. [`save`] puts it in place of the file at once, so that a gateway that
//! reads it finds the one or the other.
//!
//! A name that is not there costs as much to refuse as a wrong password: [`Users::candidate`] gives the
//! hash of no password in its place.

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::PasswordHash;
use argon2::PasswordHasher;
use argon2::PasswordVerifier;
use argon2::password_hash::Output;
use argon2::password_hash::ParamsString;
use argon2::password_hash::SaltString;
use rand::RngCore;

use crate::limits::HASH_MEMORY_KIB_MAX;
use crate::limits::HASH_PASSES_MAX;
use crate::limits::PASSWORD_BYTES_MAX;
use crate::limits::USER_NAME_BYTES_MAX;
use crate::limits::USERS_MAX;

/// What is wrong with a users file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct UsersError {
    /// From 1.
    pub line: usize,
    /// Why; never repeats a hash.
    pub reason: String,
}

/// Why there is no user or password as given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a name.
    #[error(
        "a user name has 1 to {USER_NAME_BYTES_MAX} bytes, without ':', without control characters, and does \
         not begin with '#' or a space"
    )]
    Name,
    /// Not a group.
    #[error("a group has 1 to {USER_NAME_BYTES_MAX} bytes, without ':', ',' and spaces")]
    Group,
    /// Not a password.
    #[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes")]
    Password,
}

#[derive(Debug)]
struct User {
    hash: Arc<str>,
    groups: Box<[Box<str>]>,
}

/// The users of a file.
#[derive(Debug)]
pub struct Users {
    by_name: HashMap<Box<str>, User, foldhash::fast::RandomState>,
    /// The hash of a password that nobody knows.
    decoy: Arc<str>,
}

/// What a password is compared with.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// In PHC form.
    pub hash: Arc<str>,
    /// Whether there is such a user.
    pub is_known: bool,
}

impl Users {
    /// Reads the text of a users file.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Users, UsersError> {
        let mut by_name = HashMap::default();
        let mut costliest = Params::default();
        for (at, line) in text.lines().enumerate() {
            let Some(entry) = Entry::of(line) else { continue };
            let wrong = |reason: &str| UsersError { line: at + 1, reason: reason.to_owned() };
            check_name(entry.name).map_err(|error| wrong(&error.to_string()))?;
            let params = check_hash(entry.hash).map_err(wrong)?;
            if cost(&params) > cost(&costliest) {
                costliest = params;
            }
            let groups = entry.groups.split(',').map(str::trim).filter(|group| !group.is_empty());
            let user =
                User { hash: Arc::from(entry.hash), groups: groups.map(Box::from).collect() };
            if by_name.insert(Box::from(entry.name), user).is_some() {
                return Err(wrong("the user is there a second time"));
            }
            if by_name.len() > USERS_MAX {
                return Err(wrong(&format!("there are more than {USERS_MAX} users")));
            }
        }
        Ok(Users { by_name, decoy: Arc::from(decoy(&costliest)) })
    }

    /// What to compare a password of `name` with, whether there is such a user or not.
    pub fn candidate(&self, name: &str) -> Candidate {
        match self.by_name.get(name) {
            Some(user) => Candidate { hash: Arc::clone(&user.hash), is_known: true },
            None => Candidate { hash: Arc::clone(&self.decoy), is_known: false },
        }
    }

    /// The groups of a user; `None` when there is none.
    pub fn groups(&self, name: &str) -> Option<&[Box<str>]> {
        self.by_name.get(name).map(|user| &*user.groups)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// A line's parts.
struct Entry<'t> {
    name: &'t str,
    hash: &'t str,
    groups: &'t str,
}

impl<'t> Entry<'t> {
    fn of(line: &'t str) -> Option<Entry<'t>> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
        let (hash, groups) = rest.split_once(':').unwrap_or((rest, ""));
        Some(Entry { name, hash, groups })
    }
}

fn cost(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

fn check_hash(text: &str) -> Result<Params, &'static str> {
    let hash = PasswordHash::new(text).map_err(|_| "the hash is not in PHC form ($argon2id$…)")?;
    if hash.algorithm != Algorithm::Argon2id.ident() {
        return Err("the hash is not of argon2id; `tidegate passwd` makes one");
    }
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err("the hash has no salt, or no hash");
    }
    let params =
        Params::try_from(&hash).map_err(|_| "the hash has parameters that argon2id has not")?;
    if params.m_cost() > HASH_MEMORY_KIB_MAX || params.t_cost() > HASH_PASSES_MAX {
        return Err("the hash would take too long to compare with");
    }
    Ok(params)
}

/// Whether `password` is the one that `hash` was made of. Takes some 20 ms and as many megabytes.
pub fn verify(hash: &str, password: &[u8]) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// Checks a user name.
///
/// # Errors
/// It cannot stand in a users file.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let is_fine = (1..=USER_NAME_BYTES_MAX).contains(&name.len())
        && !name.contains(|c: char| c == ':' || c.is_control())
        && !name.starts_with('#')
        && name.trim() == name;
    is_fine.then_some(()).ok_or(NameError::Name)
}

/// Makes the hash of a password, with a salt of its own.
///
/// # Errors
/// It is empty or too long.
pub fn hash(password: &[u8]) -> Result<String, NameError> {
    if !(1..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Err(NameError::Password);
    }
    Ok(hash_with(password, Params::default()))
}

/// The hash of no password, as costly to compare with as `params` say.
fn decoy(params: &Params) -> String {
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    rand::rng().fill_bytes(&mut output);
    let salt = salt();
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(argon2::Version::V0x13.into()),
        params: ParamsString::try_from(params).expect("parameters that were read can be written"),
        salt: Some(salt.as_salt()),
        hash: Some(Output::new(&output).expect("32 bytes are a hash")),
    };
    hash.to_string()
}

fn salt() -> SaltString {
    let mut salt = [0; 16];
    rand::rng().fill_bytes(&mut salt);
    SaltString::encode_b64(&salt).expect("16 bytes are a salt")
}

fn hash_with(password: &[u8], params: Params) -> String {
    let salt = salt();
    let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon2.hash_password(password, &salt);
    hash.expect("parameters, salt and password are within argon2's bounds").to_string()
}

/// The text with a user's hash (and groups, when given) in place of what it says of the user, or behind
/// all others.
///
/// # Errors
/// A name that cannot stand there.
pub fn with_user(
    text: &str,
    name: &str,
    hash: &str,
    groups: Option<&[String]>,
) -> Result<String, NameError> {
    check_name(name)?;
    let is_group = |group: &String| {
        (1..=USER_NAME_BYTES_MAX).contains(&group.len())
            && !group
                .contains(|c: char| c == ':' || c == ',' || c.is_whitespace() || c.is_control())
    };
    if !groups.unwrap_or_default().iter().all(is_group) {
        return Err(NameError::Group);
    }
    let written = |kept: &str| {
        let groups = groups.map_or_else(|| kept.to_owned(), |groups| groups.join(","));
        let colon = if groups.is_empty() { "" } else { ":" };
        format!("{name}:{hash}{colon}{groups}\n")
    };
    let mut changed = String::with_capacity(text.len() + 160);
    let mut is_written = false;
    for line in text.lines() {
        match Entry::of(line).filter(|entry| entry.name == name) {
            Some(_) if is_written => {}
            Some(entry) => {
                changed.push_str(&written(entry.groups));
                is_written = true;
            }
            None => {
                changed.push_str(line);
                changed.push('\n');
            }
        }
    }
    if !is_written {
        changed.push_str(&written(""));
    }
    Ok(changed)
}

/// The text without a user; `None` when it says nothing of one.
pub fn without_user(text: &str, name: &str) -> Option<String> {
    let is_of = |line: &&str| Entry::of(line).is_some_and(|entry| entry.name == name);
    text.lines().any(|line| is_of(&line)).then(|| {
        let kept = text.lines().filter(|line| !is_of(line));
        kept.flat_map(|line| [line, "\n"]).collect()
    })
}

/// The users of a text, in its order, with their groups as they are written.
pub fn listed(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(Entry::of).map(|entry| (entry.name, entry.groups))
}

/// Puts `text` in place of the file. A new file can be read by its owner only; an existing one keeps its
/// owner, and who may read it, but for strangers.
///
/// # Errors
/// The folder or the file cannot be written; nothing has changed then.
pub fn save(path: &Path, text: &str) -> io::Result<()> {
    // The file itself is replaced, not a link to it.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut mark = [0; 8];
    rand::rng().fill_bytes(&mut mark);
    let draft = folder.join(format!(".users-{:016x}", u64::from_ne_bytes(mark)));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        if let Ok(old) = fs::metadata(&path) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid())).or_else(
                |error| {
                    // Who may not give files away keeps them.
                    if error.kind() == io::ErrorKind::PermissionDenied {
                        Ok(())
                    } else {
                        Err(error)
                    }
                },
            )?;
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o660 | 0o600))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cheap, so that tests are quick.
    fn cheap(password: &str) -> String {
        hash_with(password.as_bytes(), Params::new(8, 1, 1, None).unwrap())
    }

    #[test]
    fn a_password_is_known_again_and_no_other() {
        let text = format!("# staff\n\nalice:{}:ops,lab\nbob:{}\n", cheap("a"), cheap("b"));
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 2);
        let alice = users.candidate("alice");
        assert!(alice.is_known && verify(&alice.hash, b"a") && !verify(&alice.hash, b"b"));
        let nobody = users.candidate("carol");
        assert!(!nobody.is_known && !verify(&nobody.hash, b"") && !verify(&nobody.hash, b"a"));
        assert_eq!(users.groups("alice").unwrap(), [Box::from("ops"), Box::from("lab")]);
        assert!(users.groups("bob").unwrap().is_empty() && users.groups("carol").is_none());
        let params = Params::try_from(&PasswordHash::new(&nobody.hash).unwrap()).unwrap();
        assert_eq!(cost(&params), cost(&Params::default()), "as costly as the default at least");
    }

    #[test]
    fn a_made_hash_is_argon2id_and_has_a_salt_of_its_own() {
        let (one, two) = (hash(b"same").unwrap(), hash(b"same").unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two, "{one}");
        assert!(verify(&one, b"same") && !verify(&one, b"Same"));
        assert_eq!(hash(b""), Err(NameError::Password));
        assert_eq!(hash(&[0; PASSWORD_BYTES_MAX + 1]), Err(NameError::Password));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_hashes() {
        let good = cheap("x");
        let huge = good.replace("m=8", "m=4000000");
        for (text, line) in [
            (format!("a:{good}\na:{good}"), 2),
            ("a:plain".to_owned(), 1),
            ("a".to_owned(), 1),
            (format!("\n: {good}"), 2),
            (format!("a:{huge}"), 1),
            ("a:$argon2id$v=19$m=8,t=1,p=1".to_owned(), 1),
            (format!("a:{}", good.replace("argon2id", "argon2i")), 1),
        ] {
            let error = Users::parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(!error.to_string().contains(good.split('$').next_back().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_change_leaves_everything_else_as_it_was() {
        let text = "# first\nalice:h1:ops\n\nbob:h2\n";
        let changed = with_user(text, "alice", "h3", None).unwrap();
        assert_eq!(changed, "# first\nalice:h3:ops\n\nbob:h2\n");
        let groups = ["x".to_owned(), "y".to_owned()];
        let changed = with_user(&changed, "carol", "h4", Some(&groups)).unwrap();
        assert_eq!(changed, "# first\nalice:h3:ops\n\nbob:h2\ncarol:h4:x,y\n");
        assert_eq!(with_user("bob:h:g", "bob", "i", Some(&[])).unwrap(), "bob:i\n");
        assert_eq!(without_user(text, "alice").as_deref(), Some("# first\n\nbob:h2\n"));
        assert_eq!(without_user(text, "carol"), None);
        assert_eq!(with_user("", "a:b", "h", None), Err(NameError::Name));
        assert_eq!(with_user("", "a", "h", Some(&["a b".to_owned()])), Err(NameError::Group));
    }

    #[test]
    fn a_file_is_replaced_at_once_and_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        save(&path, "one").unwrap();
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        save(&path, "two").unwrap();
        assert_eq!((mode(), fs::read_to_string(&path).unwrap()), (0o640, "two".to_owned()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        assert!(save(&folder.path().join("no/users"), "x").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_users_reader_panic(text in "[a-z:$=,0-9#\n ]{0,120}") {
            drop(Users::parse(&text));
        }

        #[test]
        fn a_user_that_was_put_in_is_found_and_can_be_taken_out(
            before in "(# [a-z]{0,5}\n)?",
            name in "[a-zé]{1,8}",
        ) {
            let hash = cheap("p");
            let text = with_user(&before, &name, &hash, None).unwrap();
            let users = Users::parse(&text).unwrap();
            prop_assert!(verify(&users.candidate(&name).hash, b"p"));
            prop_assert_eq!(without_user(&text, &name).unwrap(), before);
        }
    }
}
