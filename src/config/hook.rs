//! `[hook.NAME]`: what is called, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use toml::Spanned;
use toml::de::DeValue;

use super::access::word;
use super::code;
use super::quantity::duration_text;
use super::read::DAY;
use super::read::HOUR;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::duration;
use super::section::integer;
use super::section::path;
use super::section::size;
use super::section::text;
use crate::diagnostic::Diagnostic;

/// `[hook.NAME]`
#[derive(Clone, PartialEq, Eq)]
pub struct HookConfig {
    /// `url` or `[hook.NAME.function]`
    pub destination: Destination,
    /// `timeout` of one attempt.
    pub timeout: Duration,
    /// `answer_timeout`: how long a rule waits for the answer of `aws_lambda()`.
    pub answer_timeout: Duration,
    /// `concurrency`: calls under way at once.
    pub concurrency: usize,
    /// `attempts` before a call goes to the dead letters.
    pub attempts: u32,
    /// `backoff`: wait before the second attempt; doubles, with jitter.
    pub backoff: Duration,
    /// `backoff_max`
    pub backoff_max: Duration,
    /// `[hook.NAME.headers]`; the values are secrets.
    pub headers: BTreeMap<String, String>,
}

/// What a hook calls.
#[derive(Clone, PartialEq, Eq)]
pub enum Destination {
    /// `url`: http or https.
    Url(String),
    /// `[hook.NAME.function]`
    Function(FunctionConfig),
}

/// `[hook.NAME.function]`: a process that speaks AWS Lambda's Runtime API.
#[derive(Clone, PartialEq, Eq)]
pub struct FunctionConfig {
    /// `command`: a program and its arguments.
    pub command: Vec<String>,
    /// `directory` it runs in; default the gateway's.
    pub directory: Option<PathBuf>,
    /// `handler`: `_HANDLER` of its environment.
    pub handler: Option<String>,
    /// `memory_max` of one process, bytes.
    pub memory_max: usize,
    /// `instances_min`: processes that are always there.
    pub instances_min: usize,
    /// `idle_max`: how long another that has nothing to do stays.
    pub idle_max: Duration,
    /// `init_timeout`: how long a process may take to ask for its first event.
    pub init_timeout: Duration,
    /// `user` that it runs as; default the gateway's.
    pub user: Option<FunctionUser>,
    /// `[hook.NAME.function.environment]`; the values are secrets.
    pub environment: BTreeMap<String, String>,
}

/// Numbers of a user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionUser {
    /// The user's.
    pub uid: u32,
    /// The group's.
    pub gid: u32,
}

impl Default for FunctionConfig {
    fn default() -> Self {
        FunctionConfig {
            command: Vec::new(),
            directory: None,
            handler: None,
            memory_max: 512 << 20,
            instances_min: 0,
            idle_max: Duration::from_secs(600),
            init_timeout: Duration::from_secs(10),
            user: None,
            environment: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for FunctionConfig {
    /// All but the command and the values of the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionConfig")
            .field("program", &self.command.first())
            .field("directory", &self.directory)
            .field("memory_max", &self.memory_max)
            .field("instances_min", &self.instances_min)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl HookConfig {
    /// A hook at `url` with the stated defaults.
    pub fn with_url(url: impl Into<String>) -> Self {
        HookConfig {
            destination: Destination::Url(url.into()),
            timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(2),
            concurrency: 8,
            attempts: 8,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            headers: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for HookConfig {
    /// All but the URL and the values of the headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HookConfig {
            destination: _,
            timeout,
            answer_timeout,
            concurrency,
            attempts,
            backoff,
            backoff_max,
            headers,
        } = self;
        f.debug_struct("HookConfig")
            .field("timeout", timeout)
            .field("answer_timeout", answer_timeout)
            .field("concurrency", concurrency)
            .field("attempts", attempts)
            .field("backoff", backoff)
            .field("backoff_max", backoff_max)
            .field("headers", &headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

pub(super) fn read_hook(
    mut section: Section<'_>,
    name_at: Range<usize>,
    findings: &mut Findings,
) -> HookConfig {
    let mut hook = HookConfig::with_url("");
    hook.destination = read_destination(&mut section, name_at, findings);
    let timeout = duration(Duration::from_millis(100)..=Duration::from_secs(900));
    section.read("timeout", &mut hook.timeout, timeout, findings);
    let answer = duration(Duration::from_millis(10)..=Duration::from_secs(30));
    section.read("answer_timeout", &mut hook.answer_timeout, answer, findings);
    section.read("concurrency", &mut hook.concurrency, integer(1..=1000), findings);
    section.read("attempts", &mut hook.attempts, integer(1..=100), findings);
    let backoff = duration(Duration::from_millis(10)..=HOUR);
    let backoff_at = section.read("backoff", &mut hook.backoff, backoff, findings);
    let backoff_max = duration(Duration::from_millis(10)..=DAY);
    let max_at = section.read("backoff_max", &mut hook.backoff_max, backoff_max, findings);
    if hook.backoff > hook.backoff_max
        && let Some(span) = max_at.or(backoff_at)
    {
        let message = format!(
            "backoff_max ({}) is less than backoff ({})",
            duration_text(hook.backoff_max),
            duration_text(hook.backoff)
        );
        let help = "the wait doubles from backoff up to backoff_max";
        findings.diagnostics.push(Problem::new(code::CONTRADICTION, message, help).at(span, ""));
    }
    let headers = section.section("headers", findings).texts(findings);
    for (name, value) in headers {
        match header(&name, &value) {
            Ok(()) => drop(hook.headers.insert(name.into_inner(), value.into_inner())),
            Err(diagnostic) => findings.diagnostics.push(diagnostic),
        }
    }
    section.finish(findings);
    hook
}

/// `url`, or `[hook.NAME.function]`.
fn read_destination(
    section: &mut Section<'_>,
    name_at: Range<usize>,
    findings: &mut Findings,
) -> Destination {
    let mut address = String::new();
    let url_at = section.read("url", &mut address, url, findings);
    let has_function = section.has("function");
    match (url_at, has_function) {
        (None, false) => {
            let message = "a hook needs a url or a function";
            let help = "url = \"http://…\", or [hook.NAME.function] with a command";
            let problem = Problem::new(code::MISSING, message, help);
            findings.diagnostics.push(problem.at(name_at.clone(), "url is missing"));
        }
        (Some(span), true) => {
            let message = "a hook has a url or a function, not both";
            let problem = Problem::new(code::CONTRADICTION, message, "take one of them out");
            findings.diagnostics.push(problem.at(span, ""));
        }
        _ => {}
    }
    if !has_function {
        return Destination::Url(address);
    }
    let function = section.section("function", findings);
    Destination::Function(read_function(function, name_at, findings))
}

fn read_function(
    mut section: Section<'_>,
    name_at: Range<usize>,
    findings: &mut Findings,
) -> FunctionConfig {
    let mut function = FunctionConfig::default();
    if section.read("command", &mut function.command, command, findings).is_none() {
        let help = "command = [\"python3\", \"-m\", \"awslambdaric\", \"app.handler\"]";
        let problem = Problem::new(code::MISSING, "a function needs a command", help);
        findings.diagnostics.push(problem.at(name_at, "command is missing"));
    }
    section.read("directory", &mut function.directory, |value| path(value).map(Some), findings);
    section.read("handler", &mut function.handler, |value| word(value).map(Some), findings);
    section.read("memory_max", &mut function.memory_max, size(16 << 20..=64 << 30), findings);
    section.read("instances_min", &mut function.instances_min, integer(0..=1000), findings);
    let idle = duration(Duration::from_secs(1)..=DAY);
    section.read("idle_max", &mut function.idle_max, idle, findings);
    let init = duration(Duration::from_millis(100)..=Duration::from_secs(300));
    section.read("init_timeout", &mut function.init_timeout, init, findings);
    section.read("user", &mut function.user, |value| user(value).map(Some), findings);
    for (name, value) in section.section("environment", findings).texts(findings) {
        let text = name.get_ref();
        if text.is_empty() || text.contains(['=', '\0']) || value.get_ref().contains('\0') {
            let message = format!("{text:?} cannot be in an environment");
            findings.diagnostics.push(Problem::new(code::VALUE, message, "").at(name.span(), ""));
            continue;
        }
        function.environment.insert(name.into_inner(), value.into_inner());
    }
    section.finish(findings);
    function
}

/// A program and its arguments.
fn command(value: &DeValue<'_>) -> Result<Vec<String>, Problem> {
    let help = "a list of texts: a program and its arguments";
    let refused = || Problem::new(code::VALUE, "this is not a command", help);
    let DeValue::Array(words) = value else { return Err(refused()) };
    let words: Vec<String> =
        words.iter().map(|word| text(word.get_ref())).collect::<Result<_, _>>()?;
    let is_command = words.first().is_some_and(|program| !program.is_empty())
        && !words.iter().any(|word| word.contains('\0'));
    if is_command { Ok(words) } else { Err(refused()) }
}

/// `"UID:GID"`
fn user(value: &DeValue<'_>) -> Result<FunctionUser, Problem> {
    let text = text(value)?;
    let numbers = text.split_once(':').and_then(|(uid, gid)| {
        Some(FunctionUser { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    });
    let help = "numbers of a user and a group: user = \"65534:65534\"";
    numbers.ok_or_else(|| Problem::new(code::VALUE, format!("{text:?} is not a user"), help))
}

/// Says what is wrong with a header without repeating its value.
fn header(name: &Spanned<String>, value: &Spanned<String>) -> Result<(), Diagnostic> {
    let set_by_the_gateway =
        ["host", "content-length", "content-type", "transfer-encoding", "connection"];
    let name_text = name.get_ref().to_lowercase();
    if set_by_the_gateway.contains(&name_text.as_str()) {
        let message = format!("the header {name_text} is set by the gateway");
        return Err(Problem::new(code::HEADER, message, "take it out").at(name.span(), ""));
    }
    if HeaderName::try_from(name.get_ref()).is_err() {
        let message = format!("{:?} is not the name of an HTTP header", name.get_ref());
        return Err(Problem::new(code::HEADER, message, "").at(name.span(), ""));
    }
    if HeaderValue::try_from(value.get_ref()).is_err() {
        let message = format!("the value of {} is not allowed in an HTTP header", name.get_ref());
        let help = "a header has no line breaks and no control characters";
        return Err(Problem::new(code::HEADER, message, help).at(value.span(), ""));
    }
    Ok(())
}

fn url(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    let help = "http://host:port/path or https://host/path";
    let refused = |message: &str, help: &str| Err(Problem::new(code::URL, message, help));
    // The same parser as the caller's, so that what is accepted here can be called later.
    let Ok(url) = Url::parse(&text) else {
        return refused("this is not a URL", help);
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refused("a hook is called over http or https", help);
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "send an Authorization header: [hook.NAME.headers]";
        return refused("a URL must not carry a user name or password", help);
    }
    Ok(text)
}
