//! One process of a function, and the Runtime API that it is served.

use std::path::Path;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use rustix::process::prlimit;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::config::FunctionConfig;
use crate::lambda::client::Request;
use crate::lambda::metrics::FunctionMetrics;

use super::Named;
use super::log::Log;
use super::runtime_api::Desk;
use super::runtime_api::Invocation;

/// Where programs are found unless the configuration says something else.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The version of every function here.
const VERSION: &str = "$LATEST";

/// What became of an invocation that has no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The function says so, and is there for the next.
    Function(String),
    /// Its process is gone, or is to go.
    Process(String),
    /// Its process is gone, and never had the event.
    Untaken(String),
}

/// A process and its way to us.
#[derive(Debug)]
pub(super) struct Instance {
    child: Child,
    group: Option<Pid>,
    desk: Arc<Desk>,
    server: JoinHandle<()>,
    log: Log,
    arn: String,
    clock: Clock,
    metrics: FunctionMetrics,
}

impl Instance {
    /// Starts a process and waits until it asks for its first event.
    ///
    /// # Errors
    /// Why it does not, in words.
    pub(super) async fn start(
        named: &Named,
        config: &FunctionConfig,
        metrics: &FunctionMetrics,
    ) -> Result<Instance, String> {
        let listening = async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let address = listener.local_addr()?;
            std::io::Result::Ok((listener, address))
        };
        let (listener, address) =
            listening.await.map_err(|error| format!("cannot serve the Runtime API: {error}"))?;
        let Named { name, account_id, region, .. } = named;
        let arn = format!("arn:aws:lambda:{region}:{account_id}:function:{name}");
        let mut command = command(named, config, &address.to_string());
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", config.command.join(" ")))?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        metrics.instances.inc();
        metrics.started.inc();
        let log = Log::of(&named.name, child.stdout.take(), child.stderr.take());
        let desk = Arc::new(Desk::default());
        let server = tokio::spawn(Arc::clone(&desk).serve(listener));
        let clock = named.clock;
        let mut instance =
            Instance { child, group, desk, server, log, arn, clock, metrics: metrics.clone() };
        instance.limit(config)?;
        instance.greet(config.init_timeout).await?;
        Ok(instance)
    }

    fn limit(&self, config: &FunctionConfig) -> Result<(), String> {
        let memory = u64::try_from(config.memory_max).unwrap_or(u64::MAX);
        for (resource, most) in [(Resource::Data, memory), (Resource::Core, 0)] {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            // Gone already: what it said is told by whoever waits for it.
            let Err(error) = prlimit(self.group, resource, limit) else { continue };
            if error != rustix::io::Errno::SRCH {
                return Err(format!("cannot bound its memory: {error}"));
            }
        }
        Ok(())
    }

    /// Waits for its first question.
    async fn greet(&mut self, init_timeout: Duration) -> Result<(), String> {
        let desk = Arc::clone(&self.desk);
        tokio::select! {
            biased;
            first = desk.first_question() => first,
            status = self.child.wait() => Err(self.ended(status).await),
            () = sleep(init_timeout) => Err(format!(
                "it did not ask for an event within {} ms{}",
                init_timeout.as_millis(),
                self.log.last_words()
            )),
        }
    }

    /// What it answers to `event`.
    pub(super) async fn invoke(
        &mut self,
        event: Request,
        timeout: Duration,
    ) -> Result<Bytes, Failed> {
        let (answer, answered) = oneshot::channel();
        let invocation = Invocation::new(event, &self.arn, self.clock.now() + timeout, answer);
        self.log.begin(invocation.id());
        if self.desk.put(invocation).is_err() {
            return Err(Failed::Process("it still has another event".to_owned()));
        }
        tokio::select! {
            biased;
            answered = answered => match answered {
                Ok(answer) => answer.map_err(Failed::Function),
                Err(_) => Err(Failed::Process("the Runtime API broke off".to_owned())),
            },
            status = self.child.wait() => {
                let is_untaken = self.desk.take_back();
                let why = self.ended(status).await;
                Err(if is_untaken { Failed::Untaken(why) } else { Failed::Process(why) })
            }
            () = sleep(timeout) => {
                let words = self.log.last_words();
                let waited = timeout.as_millis();
                Err(Failed::Process(format!("no answer within {waited} ms; it was ended{words}")))
            }
        }
    }

    /// Whether its process runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    async fn ended(&self, status: std::io::Result<ExitStatus>) -> String {
        self.log.finished().await;
        let words = self.log.last_words();
        match status {
            Ok(status) => format!("its process ended ({status}){words}"),
            Err(error) => format!("its process is lost: {error}{words}"),
        }
    }
}

impl Drop for Instance {
    /// Ends the process and what it started; tokio reaps it.
    fn drop(&mut self) {
        self.metrics.instances.dec();
        self.server.abort();
        // The process is not reaped yet, or its number would be nobody's: the group is ours.
        if let Some(group) = self.group {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

fn command(named: &Named, config: &FunctionConfig, address: &str) -> Command {
    let mut words = config.command.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    let root = config.directory.as_deref().unwrap_or(Path::new("."));
    let name = &*named.name;
    command
        .args(words)
        .current_dir(root)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .env("TZ", ":UTC")
        .env("AWS_REGION", &named.region)
        .env("AWS_DEFAULT_REGION", &named.region)
        .env("LAMBDA_TASK_ROOT", root)
        .envs(config.handler.as_ref().map(|handler| ("_HANDLER", handler)))
        .envs(&config.environment)
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", VERSION)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", (config.memory_max >> 20).to_string())
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", format!("{VERSION}/{address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(user) = config.user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}
