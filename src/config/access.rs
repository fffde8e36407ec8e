//! `[auth]` and `[acl]`: who may connect, publish and subscribe.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::HookConfig;
use super::code;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::boolean;
use super::section::duration;
use super::section::integer;
use super::section::path;
use super::section::size;
use super::section::text;
use crate::access::Acl;

/// What decides who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[acl]`
    pub acl: AclConfig,
    /// `mqtt.allow_anonymous`: whether clients may come in that show nothing.
    pub allow_anonymous: bool,
    /// `http.auth`: whether the HTTP side asks for a user of the users file too.
    pub http: HttpAuth,
}

impl AccessConfig {
    /// Whether the users file is read.
    pub fn uses_users(&self) -> bool {
        self.http == HttpAuth::Users || self.auth.methods.contains(&Method::Users)
    }
}

/// Who may use the HTTP side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpAuth {
    /// Everybody who reaches it.
    #[default]
    None,
    /// Users of the users file that are in `http.group`, and who has the gateway's token.
    Users,
}

/// A way to find out who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// User name and password, by the users file.
    Users,
    /// The certificate of its TLS connection.
    Certificate,
    /// A JSON Web Token.
    Jwt,
    /// Whatever the hook of `[auth.hook]` says.
    Hook,
}

impl Method {
    /// Its name in the configuration and in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Method::Users => "users",
            Method::Certificate => "certificate",
            Method::Jwt => "jwt",
            Method::Hook => "hook",
        }
    }
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// `methods`, in the order in which they are asked. None: nobody is asked who they are.
    pub methods: Vec<Method>,
    /// `users_file`: of the method `users`.
    pub users_file: PathBuf,
    /// `failures_max`: wrong passwords for one user name that an address may try in a minute.
    pub failures_max: u32,
    /// `verifications`: passwords compared at once.
    pub verifications: usize,
    /// `[auth.jwt]`
    pub jwt: JwtConfig,
    /// `[auth.hook]`
    pub hook: AuthHookConfig,
}

/// `[auth.jwt]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// `keys`: a file of public keys (PEM, JWK or JWK set) or a shared secret.
    pub keys: PathBuf,
    /// `audience`: what `aud` must name.
    pub audience: Option<String>,
    /// `issuer`: what `iss` must be.
    pub issuer: Option<String>,
    /// `leeway`: how far clocks may be apart. Whole seconds.
    pub leeway: Duration,
    /// `user_claim`: the claim with the name.
    pub user_claim: String,
    /// `groups_claim`: the claim with the groups.
    pub groups_claim: String,
    /// `disconnect_expired`: whether a connection ends with its token.
    pub disconnect_expired: bool,
}

impl Default for JwtConfig {
    fn default() -> Self {
        JwtConfig {
            keys: PathBuf::from("keys"),
            audience: None,
            issuer: None,
            leeway: Duration::from_secs(30),
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            disconnect_expired: true,
        }
    }
}

/// `[auth.hook]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthHookConfig {
    /// `name`: a declared hook.
    pub name: Option<String>,
    /// `cache`: how long its answer is good.
    pub cache: Duration,
}

/// `[rate]`; 0 is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateConfig {
    /// `connects_max`: connections a second, from everywhere.
    pub connects_max: u64,
    /// `connects_per_address_max`: connections a second from one address.
    pub connects_per_address_max: u64,
    /// `publishes_max`: PUBLISH packets a second of one client.
    pub publishes_max: u64,
    /// `bytes_max`: bytes of them a second of one client.
    pub bytes_max: usize,
    /// `over`
    pub over: Overrun,
}

/// What happens to a client that publishes too fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overrun {
    /// It is not read until it is within its rate again.
    #[default]
    Wait,
    /// It is disconnected.
    Disconnect,
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            methods: Vec::new(),
            users_file: PathBuf::from("users"),
            failures_max: 10,
            verifications: 2,
            jwt: JwtConfig::default(),
            hook: AuthHookConfig::default(),
        }
    }
}

/// `[acl]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclConfig {
    /// `rules`
    pub rules: Acl,
    /// `file`: more of them, behind those.
    pub file: Option<PathBuf>,
}

/// `hooks`: those that are declared.
pub(super) fn read_auth(
    mut section: Section<'_>,
    hooks: &BTreeMap<String, HookConfig>,
    findings: &mut Findings,
) -> AuthConfig {
    let mut auth = AuthConfig::default();
    let take = |value: &DeValue<'_>| {
        let method = method(value)?;
        if auth.methods.contains(&method) {
            let message = format!("{:?} is there a second time", method.label());
            return Err(Problem::new(code::CONTRADICTION, message, "each method is asked once"));
        }
        auth.methods.push(method);
        Ok(())
    };
    let methods_at = section.read_list("methods", take, findings);
    section.read("users_file", &mut auth.users_file, path, findings);
    section.read("failures_max", &mut auth.failures_max, integer(1..=10_000), findings);
    section.read("verifications", &mut auth.verifications, integer(1..=64), findings);
    auth.jwt = read_jwt(section.section("jwt", findings), findings);
    let (hook, name_at) = read_hook(section.section("hook", findings), findings);
    auth.hook = hook;
    section.finish(findings);
    let is_asked = auth.methods.contains(&Method::Hook);
    match (&auth.hook.name, name_at) {
        (None, _) if is_asked => {
            let message = "the method \"hook\" needs a hook";
            let help = "name a declared one: [auth.hook] name = \"…\"";
            let problem = Problem::new(code::MISSING, message, help);
            findings.diagnostics.push(problem.at(methods_at.unwrap_or_default(), ""));
        }
        (Some(name), Some(span)) if !hooks.contains_key(name) => {
            let message = format!("there is no hook {name:?}");
            let help = format!("declare it: [hook.{name}] url = \"http://…\"");
            findings.diagnostics.push(Problem::new(code::UNDECLARED, message, help).at(span, ""));
        }
        _ => {}
    }
    auth
}

fn read_jwt(mut section: Section<'_>, findings: &mut Findings) -> JwtConfig {
    let mut jwt = JwtConfig::default();
    section.read("keys", &mut jwt.keys, path, findings);
    section.read("audience", &mut jwt.audience, |value| word(value).map(Some), findings);
    section.read("issuer", &mut jwt.issuer, |value| word(value).map(Some), findings);
    let leeway = duration(Duration::ZERO..=Duration::from_secs(600));
    section.read("leeway", &mut jwt.leeway, leeway, findings);
    section.read("user_claim", &mut jwt.user_claim, word, findings);
    section.read("groups_claim", &mut jwt.groups_claim, word, findings);
    section.read("disconnect_expired", &mut jwt.disconnect_expired, boolean, findings);
    section.finish(findings);
    jwt
}

fn read_hook(
    mut section: Section<'_>,
    findings: &mut Findings,
) -> (AuthHookConfig, Option<Range<usize>>) {
    let mut hook = AuthHookConfig::default();
    let name_at = section.read("name", &mut hook.name, |value| word(value).map(Some), findings);
    let cache = duration(Duration::ZERO..=Duration::from_secs(3600));
    section.read("cache", &mut hook.cache, cache, findings);
    section.finish(findings);
    (hook, name_at)
}

pub(super) fn read_rate(mut section: Section<'_>, findings: &mut Findings) -> RateConfig {
    let mut rate = RateConfig::default();
    let many = || integer(0..=10_000_000);
    section.read("connects_max", &mut rate.connects_max, many(), findings);
    let of_address = &mut rate.connects_per_address_max;
    section.read("connects_per_address_max", of_address, many(), findings);
    section.read("publishes_max", &mut rate.publishes_max, many(), findings);
    section.read("bytes_max", &mut rate.bytes_max, size(0..=1 << 30), findings);
    section.read("over", &mut rate.over, overrun, findings);
    section.finish(findings);
    rate
}

fn overrun(value: &DeValue<'_>) -> Result<Overrun, Problem> {
    match text(value)?.as_str() {
        "wait" => Ok(Overrun::Wait),
        "disconnect" => Ok(Overrun::Disconnect),
        other => {
            let message = format!("{other:?} is not what can happen to a client that is too fast");
            Err(Problem::new(code::VALUE, message, "\"wait\" or \"disconnect\""))
        }
    }
}

pub(super) fn http_auth(value: &DeValue<'_>) -> Result<HttpAuth, Problem> {
    match text(value)?.as_str() {
        "none" => Ok(HttpAuth::None),
        "users" => Ok(HttpAuth::Users),
        other => {
            let message = format!("{other:?} is not a way to log in over HTTP");
            Err(Problem::new(code::VALUE, message, "\"none\" or \"users\""))
        }
    }
}

/// A text that says something.
pub(super) fn word(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    match text.trim().is_empty() {
        true => Err(Problem::new(code::VALUE, "this says nothing", "")),
        false => Ok(text),
    }
}

fn method(value: &DeValue<'_>) -> Result<Method, Problem> {
    match text(value)?.as_str() {
        "users" => Ok(Method::Users),
        "certificate" => Ok(Method::Certificate),
        "jwt" => Ok(Method::Jwt),
        "hook" => Ok(Method::Hook),
        other => {
            let message = format!("{other:?} is not a way to find out who a client is");
            Err(Problem::new(
                code::VALUE,
                message,
                "known: \"users\", \"certificate\", \"jwt\" and \"hook\"",
            ))
        }
    }
}

pub(super) fn read_acl(mut section: Section<'_>, findings: &mut Findings) -> AclConfig {
    let mut acl = AclConfig::default();
    let add = |value: &DeValue<'_>| {
        let added = acl.rules.add(&text(value)?);
        added.map_err(|problem| Problem::new(code::ACCESS_RULE, problem.message, problem.help))
    };
    section.read_list("rules", add, findings);
    section.read("file", &mut acl.file, |value| path(value).map(Some), findings);
    section.finish(findings);
    acl
}
