//! `[auth]` and `[acl]`: who may connect, publish and subscribe.

use std::path::PathBuf;

use toml::de::DeValue;

use super::code;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::integer;
use super::section::path;
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
}

/// A way to find out who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// User name and password, by the users file.
    Users,
}

impl Method {
    /// Its name in the configuration and in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Method::Users => "users",
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
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            methods: Vec::new(),
            users_file: PathBuf::from("users"),
            failures_max: 10,
            verifications: 2,
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

pub(super) fn read_auth(mut section: Section<'_>, findings: &mut Findings) -> AuthConfig {
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
    section.read_list("methods", take, findings);
    section.read("users_file", &mut auth.users_file, path, findings);
    section.read("failures_max", &mut auth.failures_max, integer(1..=10_000), findings);
    section.read("verifications", &mut auth.verifications, integer(1..=64), findings);
    section.finish(findings);
    auth
}

fn method(value: &DeValue<'_>) -> Result<Method, Problem> {
    match text(value)?.as_str() {
        "users" => Ok(Method::Users),
        other => {
            let message = format!("{other:?} is not a way to find out who a client is");
            Err(Problem::new(code::VALUE, message, "known: \"users\""))
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
