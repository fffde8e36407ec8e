//! The way in: methods asked in their order, over files that may change.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::Digest;
use sha2::Sha256;

use super::Credentials;
use super::Denied;
use super::Identity;
use super::acl::Acl;
use super::acl::Permissions;
use super::acl::RuleProblem;
use super::failures::Failures;
use super::hook::AsksHook;
use super::hook::Hook;
use super::jwt;
use super::jwt::Keys;
use super::jwt::KeysError;
use super::metrics::AccessMetrics;
use super::queue::LoginQueue;
use super::subject::Subject;
use super::users;
use super::users::Users;
use super::users::UsersError;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::AccessConfig;
use crate::config::Method;
use crate::limits::ACCESS_FILE_BYTES_MAX;
use crate::limits::CLAIM_BYTES_MAX;
use crate::limits::PASSWORD_BYTES_MAX;

/// Why users, rules or keys cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file is no text of a sensible length.
    #[error("{} is not UTF-8 text of at most {ACCESS_FILE_BYTES_MAX} bytes", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The users file is wrong.
    #[error("the users file {} is wrong", path.display())]
    Users {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: UsersError,
    },
    /// An access rule is wrong.
    #[error("the access rules {}, line {line}: {problem} ({})", path.display(), problem.help)]
    Rule {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: RuleProblem,
    },
    /// The keys of tokens are wrong.
    #[error("the keys in {} cannot be used", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeysError,
    },
}

/// What the files say.
#[derive(Debug)]
struct Book {
    users: Option<Users>,
    keys: Option<Keys>,
    acl: Arc<Acl>,
    version: u64,
}

/// Who may come in, and what they may do. Shared by all connections.
#[derive(Debug)]
pub struct Access {
    config: AccessConfig,
    clock: Clock,
    book: ArcSwap<Book>,
    /// The book's, so that a connection sees with one look whether its permissions are still good.
    version: AtomicU64,
    queue: LoginQueue,
    hook: Option<Hook>,
    failures: Failures,
    /// Passwords that were found right: a digest under a key of this process, by user name.
    proved: Mutex<HashMap<Box<str>, [u8; 32], foldhash::fast::RandomState>>,
    key: [u8; 32],
    /// What the files looked like when they were read last. Taken by one reading at a time.
    seen: Mutex<Looks>,
    metrics: AccessMetrics,
}

/// What the files look like from outside: their number, time of change and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looks(Vec<Option<(u64, i64, i64, u64)>>);

/// What a method says.
enum Verdict {
    Accept(Identity),
    /// Nothing to it: the next one is asked.
    Pass,
    Refuse(Denied),
}

impl Access {
    /// Reads what the configuration names. `asks` carries questions to the hook of `[auth.hook]`.
    ///
    /// # Errors
    /// A file that cannot be read, or is wrong.
    pub fn load(
        config: &AccessConfig,
        clock: Clock,
        asks: Option<Arc<dyn AsksHook>>,
    ) -> Result<Access, AccessError> {
        let seen = looks(config);
        let book = read(config, 1)?;
        let metrics = AccessMetrics::default();
        tell_size(&metrics, &book);
        Ok(Access {
            config: config.clone(),
            clock,
            version: AtomicU64::new(book.version),
            book: ArcSwap::from_pointee(book),
            queue: LoginQueue::new(config.auth.verifications, metrics.waiting.clone()),
            hook: asks.map(|asks| Hook::new(asks, config.auth.hook.cache)),
            failures: Failures::new(config.auth.failures_max),
            proved: Mutex::default(),
            key: rand::random(),
            seen: Mutex::new(seen),
            metrics,
        })
    }

    /// Whether anything is read from files.
    pub fn has_files(&self) -> bool {
        files(&self.config).next().is_some()
    }

    /// Lets everybody in and do everything.
    pub fn open(clock: Clock) -> Access {
        Access::load(&AccessConfig::default(), clock, None).expect("nothing is read")
    }

    /// The metrics, to be registered once.
    pub fn metrics(&self) -> &AccessMetrics {
        &self.metrics
    }

    /// Grows when users or rules change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How the files look now; `None` when they look as they did when they were read. Blocks.
    pub fn changed_look(&self) -> Option<Looks> {
        let looks = looks(&self.config);
        (looks != *self.seen.lock()).then_some(looks)
    }

    /// Reads all files again, and takes over what they say if all of it is right. Blocks.
    ///
    /// # Errors
    /// What is wrong; nothing has changed then.
    pub fn reload(&self) -> Result<(), AccessError> {
        let mut seen = self.seen.lock();
        *seen = looks(&self.config);
        let book = match read(&self.config, self.version() + 1) {
            Ok(book) => book,
            Err(error) => {
                self.metrics.count_reload("failed");
                self.metrics.stale.set(1);
                return Err(error);
            }
        };
        tell_size(&self.metrics, &book);
        self.metrics.count_reload("applied");
        self.metrics.stale.set(0);
        self.proved.lock().clear();
        if let Some(hook) = &self.hook {
            hook.forget();
        }
        let version = book.version;
        self.book.store(Arc::new(book));
        self.version.store(version, Ordering::Release);
        Ok(())
    }

    /// Finds out who shows these credentials.
    ///
    /// # Errors
    /// Why they may not come in.
    pub async fn login(&self, shown: Credentials<'_>) -> Result<Identity, Denied> {
        let auth = &self.config.auth;
        let has_shown = shown.user_name.is_some()
            || shown.password.is_some()
            || (shown.certificate.is_some() && auth.methods.contains(&Method::Certificate));
        if auth.methods.is_empty() {
            // Nobody asks, but what a listener's authorities say of a certificate is proved.
            return Ok(match by_certificate(shown) {
                Verdict::Accept(identity) => identity,
                Verdict::Pass | Verdict::Refuse(_) => Identity::anonymous(),
            });
        }
        if !has_shown && self.config.allow_anonymous {
            return Ok(Identity::anonymous());
        }
        if !has_shown {
            self.metrics.count_login("none", "refused");
            return Err(Denied::NoCredentials);
        }
        self.ask(&auth.methods, shown).await
    }

    /// Finds out which user of the users file shows these credentials, whatever the methods are.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn login_user(&self, shown: Credentials<'_>) -> Result<Identity, Denied> {
        self.ask(&[Method::Users], shown).await
    }

    async fn ask(&self, methods: &[Method], shown: Credentials<'_>) -> Result<Identity, Denied> {
        if self.failures.is_blocked(shown.address, shown.user_name, self.clock.now()) {
            self.metrics.count_login("none", "refused");
            return Err(Denied::TooManyFailures);
        }
        let book = self.book.load_full();
        for method in methods {
            let verdict = match method {
                Method::Users => self.by_password(&book, shown).await,
                Method::Certificate => by_certificate(shown),
                Method::Jwt => self.by_token(&book, shown),
                Method::Hook => self.by_hook(shown).await,
            };
            match verdict {
                Verdict::Pass => {}
                Verdict::Accept(identity) => {
                    self.metrics.count_login(method.label(), "accepted");
                    return Ok(identity);
                }
                Verdict::Refuse(denied) => {
                    self.metrics.count_login(method.label(), "refused");
                    self.note_failure(shown, denied);
                    return Err(denied);
                }
            }
        }
        self.metrics.count_login("none", "refused");
        self.note_failure(shown, Denied::WrongCredentials);
        Err(Denied::WrongCredentials)
    }

    fn note_failure(&self, shown: Credentials<'_>, denied: Denied) {
        if matches!(denied, Denied::WrongCredentials | Denied::NotAllowed) {
            self.failures.note(shown.address, shown.user_name, self.clock.now());
        }
    }

    /// What an identity may do. `None`: it is no longer good, because its user is gone.
    pub fn permissions(&self, identity: &Identity, client_id: &str) -> Option<Permissions> {
        let book = self.book.load();
        let groups = match (&identity.user, identity.method) {
            (Some(user), "users") => book.users.as_ref()?.groups(user)?,
            _ => &identity.groups,
        };
        let subject = Subject::new(client_id, identity.user.clone(), groups);
        let subject = subject.with_values(&identity.values);
        let acl = match &identity.own_rules {
            Some(own) => Arc::new(Acl::clone(own).then(&book.acl)),
            None => Arc::clone(&book.acl),
        };
        Some(Permissions::new(acl, subject, book.version))
    }

    async fn by_password(&self, book: &Book, shown: Credentials<'_>) -> Verdict {
        let (Some(users), Some(name), Some(password)) =
            (&book.users, shown.user_name, shown.password)
        else {
            return Verdict::Pass;
        };
        let is_token = book.keys.is_some() && jwt::looks_like_token(password);
        if is_token || password.len() > PASSWORD_BYTES_MAX {
            return Verdict::Pass;
        }
        let candidate = users.candidate(name);
        let digest = self.digest(&[candidate.hash.as_bytes(), password]);
        let is_proved = self.proved.lock().get(name) == Some(&digest);
        if !(is_proved && candidate.is_known) {
            let Ok(turn) = self.queue.turn(shown.address).await else {
                return Verdict::Refuse(Denied::Busy);
            };
            let (hash, password) = (Arc::clone(&candidate.hash), password.to_vec());
            let compared = tokio::task::spawn_blocking(move || {
                // The turn ends with the work, even when nobody waits for it any more.
                let _turn = turn;
                users::verify(&hash, &password)
            });
            match compared.await {
                Ok(true) if candidate.is_known => {}
                Ok(_) => return Verdict::Pass,
                Err(_) => return Verdict::Refuse(Denied::Busy),
            }
            self.proved.lock().insert(Box::from(name), digest);
        }
        Verdict::Accept(Identity {
            user: Some(Arc::from(name)),
            groups: users.groups(name).unwrap_or_default().to_vec(),
            method: Method::Users.label(),
            ..Identity::default()
        })
    }

    /// The token may stand in the password, or where a client has but one field, in the user name.
    fn by_token(&self, book: &Book, shown: Credentials<'_>) -> Verdict {
        let fields = [shown.password, shown.user_name.map(str::as_bytes)];
        let token = fields.into_iter().flatten().find(|field| jwt::looks_like_token(field));
        let (Some(keys), Some(token)) = (&book.keys, token) else { return Verdict::Pass };
        let config = &self.config.auth.jwt;
        match keys.check(token, config) {
            Ok(holder) => {
                let end = Timestamp::EPOCH + Duration::from_secs(holder.expires) + config.leeway;
                Verdict::Accept(Identity {
                    user: Some(Arc::from(holder.user)),
                    groups: holder.groups,
                    method: Method::Jwt.label(),
                    values: holder.values,
                    expires_at: config.disconnect_expired.then_some(end),
                    own_rules: None,
                })
            }
            Err(error) => {
                tracing::info!(address = %shown.address, %error, "a token is refused");
                Verdict::Refuse(Denied::WrongCredentials)
            }
        }
    }

    async fn by_hook(&self, shown: Credentials<'_>) -> Verdict {
        let Some(hook) = &self.hook else { return Verdict::Pass };
        let address = shown.address.to_string();
        let fingerprint = shown.certificate.map(|certificate| certificate.fingerprint.to_string());
        let digest = self.digest(&[
            shown.client_id.as_bytes(),
            shown.user_name.unwrap_or("\0").as_bytes(),
            shown.password.unwrap_or(b"\0"),
            address.as_bytes(),
            fingerprint.unwrap_or_default().as_bytes(),
        ]);
        match hook.login(shown, digest, self.clock.now()).await {
            Ok(identity) => Verdict::Accept(identity),
            Err(denied) => Verdict::Refuse(denied),
        }
    }

    /// Tells again what was shown before. Under a key that nobody knows, so that it may be compared as it
    /// comes.
    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

fn by_certificate(shown: Credentials<'_>) -> Verdict {
    let Some(certificate) = shown.certificate else { return Verdict::Pass };
    let names = &certificate.names;
    let values = [
        ("cert.subject", Some(certificate.subject.clone())),
        ("cert.cn", certificate.common_name.clone()),
        ("cert.fingerprint", Some(certificate.fingerprint.to_string())),
        ("cert.dns", names.dns.first().cloned()),
        ("cert.uri", names.uri.first().cloned()),
        ("cert.email", names.email.first().cloned()),
    ];
    let values = values.into_iter().filter_map(|(name, value)| {
        let value = value.filter(|value| value.len() <= CLAIM_BYTES_MAX)?;
        Some((Box::from(name), value.into_boxed_str()))
    });
    Verdict::Accept(Identity {
        user: Some(Arc::clone(&certificate.principal)),
        method: Method::Certificate.label(),
        values: values.collect(),
        ..Identity::default()
    })
}

fn tell_size(metrics: &AccessMetrics, book: &Book) {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    metrics.users.set(book.users.as_ref().map_or(0, |users| count(users.len())));
    metrics.rules.set(count(book.acl.len()));
}

/// The files that the configuration names.
fn files(config: &AccessConfig) -> impl Iterator<Item = &Path> {
    let users = config.uses_users().then_some(&config.auth.users_file);
    let keys = config.auth.methods.contains(&Method::Jwt).then_some(&config.auth.jwt.keys);
    users.into_iter().chain(keys).chain(&config.acl.file).map(PathBuf::as_path)
}

fn looks(config: &AccessConfig) -> Looks {
    let look = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    Looks(files(config).map(look).collect())
}

fn read(config: &AccessConfig, version: u64) -> Result<Book, AccessError> {
    let users = match config.uses_users() {
        true => Some(read_users(&config.auth.users_file)?),
        false => None,
    };
    let keys = match config.auth.methods.contains(&Method::Jwt) {
        true => {
            let path = &config.auth.jwt.keys;
            let keys = Keys::parse(&read_text(path)?);
            Some(keys.map_err(|source| AccessError::Keys { path: path.clone(), source })?)
        }
        false => None,
    };
    let mut acl = config.acl.rules.clone();
    if let Some(path) = &config.acl.file {
        let added = acl.add_lines(&read_text(path)?);
        added.map_err(|(line, problem)| AccessError::Rule { path: path.clone(), line, problem })?;
    }
    Ok(Book { users, keys, acl: Arc::new(acl), version })
}

fn read_users(path: &Path) -> Result<Users, AccessError> {
    let text = read_text(path)?;
    let is_open = std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0);
    if is_open {
        tracing::warn!(file = %path.display(), "everybody on this machine can read the users file");
    }
    Users::parse(&text).map_err(|source| AccessError::Users { path: path.to_owned(), source })
}

fn read_text(path: &Path) -> Result<String, AccessError> {
    let wrong = |source| AccessError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    let bound = ACCESS_FILE_BYTES_MAX as u64 + 1;
    File::open(path).map_err(wrong)?.take(bound).read_to_end(&mut text).map_err(wrong)?;
    let text = String::from_utf8(text).ok().filter(|text| text.len() <= ACCESS_FILE_BYTES_MAX);
    text.ok_or_else(|| AccessError::NotText { path: path.to_owned() })
}

#[cfg(test)]
mod tests;
