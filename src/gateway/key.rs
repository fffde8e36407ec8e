//! What the access side needs of the gateway: a way to ask a hook, and the token of the HTTP side.

use std::fmt::Write;
use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use rand::RngCore;

use crate::access::Access;
use crate::access::AsksHook;
use crate::access::users;
use crate::api::lock::HttpLock;
use crate::config::Config;
use crate::config::HttpAuth;
use crate::lambda::Caller;

/// The file of the data folder with the HTTP side's token.
pub const TOKEN_FILE: &str = "http.token";
/// Bytes of randomness in it.
const TOKEN_BYTES: usize = 32;

/// Asks the hook of `[auth.hook]` as a rule asks one: once, within its `answer_timeout` and `concurrency`.
#[derive(Debug)]
pub(super) struct HookAsker {
    caller: Arc<Caller>,
    hook: String,
    /// What stands in the header that names a rule.
    name: Arc<str>,
}

impl HookAsker {
    /// `None` when no hook is configured.
    pub(super) fn of(config: &Config, caller: &Arc<Caller>) -> Option<Arc<dyn AsksHook>> {
        let hook = config.access.auth.hook.name.clone()?;
        let caller = Arc::clone(caller);
        Some(Arc::new(HookAsker { caller, hook, name: Arc::from("auth") }))
    }
}

impl AsksHook for HookAsker {
    fn ask(
        &self,
        question: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + '_>> {
        Box::pin(self.caller.call(&self.hook, &self.name, question))
    }
}

/// What locks the HTTP side, when it is to be. Its token is made at the first start, and stays.
pub(super) fn http_lock(config: &Config, access: &Arc<Access>) -> anyhow::Result<Option<HttpLock>> {
    if config.http.auth == HttpAuth::None {
        return Ok(None);
    }
    let path = config.data_dir.join(TOKEN_FILE);
    let token = token(&path).with_context(|| format!("cannot keep {}", path.display()))?;
    Ok(Some(HttpLock::new(Arc::clone(access), &config.http.group, &token)))
}

fn token(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [0; TOKEN_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    let mut token = String::with_capacity(2 * TOKEN_BYTES);
    for byte in bytes {
        write!(token, "{byte:02x}").expect("a string takes everything");
    }
    users::save(path, &format!("{token}\n"))?;
    Ok(token)
}
