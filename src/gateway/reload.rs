//! Reload: the rule files are read again, and what they hold takes over while messages keep coming.
//!
//! One task does one reload at a time, whoever asks: the API, a signal, or its own look at the files.
//! A reload reads and checks the whole set as a start does. With errors nothing changes, and
//! [`Reloads::rule_set`] says so until a later one succeeds. Without, the set is compiled on a thread
//! that nobody waits for, the streams it names are made, and then it goes to the journal's stage
//! through the same queue as the messages; the reload has ended when that is committed.
//!
//! Rules are enabled and disabled by hand in the same way ([`Reloads::switch`]): the running set takes over
//! from itself, with that rule switched, whatever is on disk.
//!
//! Crash story: the rule files are the only record of the rules. A crash before the commit leaves the
//! conditions of the old set, and the next start goes over to the new one as a reload would have; a
//! crash after it finds both in step.
//!
//! Watching means looking at the [`Inputs`] of the last reading, good or bad, every
//! [`RULES_LOOK_PERIOD`]. A change counts once two looks in a row agree, so that a file is not read
//! half-written and a deployment of many files is one reload.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::api::rule_set::Finding;
use crate::api::rule_set::ReloadCause;
use crate::api::rule_set::ReloadReport;
use crate::api::rule_set::ReloadResult;
use crate::api::rule_set::RuleChanges;
use crate::api::rule_set::RuleSet;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::diagnostic::Severity;
use crate::diagnostic::render;
use crate::diagnostic::render::Color;
use crate::diagnostic::render::Count;
use crate::diagnostic::render::counted;
use crate::journal::AckSlot;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::latest::Mirror;
use crate::limits::RELOAD_FINDINGS_MAX;
use crate::limits::RELOAD_REPORT_BYTES_MAX;
use crate::limits::RELOADS_WAITING_MAX;
use crate::limits::RULES_LOOK_PERIOD;
use crate::limits::RULES_LOOK_SHARE;
use crate::limits::RULES_SETTLE_MAX;
use crate::limits::RULES_SETTLE_PERIOD;
use crate::retry::describe;
use crate::rule::Rule;
use crate::rule::set::Parses;
use crate::rule::switch::Setting;
use crate::rule::switch::Switch;
use crate::rule_files;
use crate::rule_files::Inputs;
use crate::rule_files::Loaded;
use crate::storage::Executor;
use crate::storage::ReadConnection;

use super::EngineError;
use super::access_files::AccessFiles;
use super::engine;
use super::rules::Rules;
use super::rules::RunningRules;
use super::stage::Work;
use super::streams::declare_streams;
use super::streams::named_streams;
use super::switches;

/// Errors that go to the log one by one.
const LOGGED_ERRORS_MAX: usize = 20;

/// Why there is no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReloadError {
    /// [`RELOADS_WAITING_MAX`] wait already.
    #[error("too many reloads wait already")]
    Full,
    /// Nobody reloads any more.
    #[error("the gateway is stopping")]
    Stopping,
}

#[derive(Debug)]
struct Request {
    cause: ReloadCause,
    /// Nobody may be waiting.
    answer: oneshot::Sender<Arc<ReloadReport>>,
}

/// Why a rule was not enabled or disabled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SwitchError {
    /// No rule of that name runs.
    #[error("there is no such rule")]
    Unknown,
    /// [`RELOADS_WAITING_MAX`] wait already.
    #[error("too many rules wait to be enabled or disabled already")]
    Full,
    /// Nobody does it any more.
    #[error("the gateway is stopping")]
    Stopping,
    /// The set could not take over.
    #[error("the rules cannot take over: {0}")]
    Failed(String),
}

#[derive(Debug)]
struct SwitchRequest {
    rule: String,
    setting: Setting,
    /// Nobody may be waiting.
    answer: oneshot::Sender<Result<(), SwitchError>>,
}

/// What is remembered of reloads.
#[derive(Debug)]
struct Memory {
    /// Since when the running set runs.
    loaded_at: Timestamp,
    /// The last reload, when it did not succeed.
    stale: Option<Arc<ReloadReport>>,
}

/// Where reloads are asked for, and what became of them.
#[derive(Debug)]
pub(super) struct Reloads {
    requests: mpsc::Sender<Request>,
    switches: mpsc::Sender<SwitchRequest>,
    watched: bool,
    /// Written by the reloader after each reload, read by the API.
    memory: Mutex<Memory>,
    metrics: ReloadMetrics,
}

impl Reloads {
    /// Asks for a reload and waits for its end. Those who ask during one share the next.
    pub(super) async fn reload(
        &self,
        cause: ReloadCause,
    ) -> Result<Arc<ReloadReport>, ReloadError> {
        let (answer, report) = oneshot::channel();
        self.requests.try_send(Request { cause, answer }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => ReloadError::Full,
            mpsc::error::TrySendError::Closed(_) => ReloadError::Stopping,
        })?;
        report.await.map_err(|_| ReloadError::Stopping)
    }

    /// Enables or disables a rule of the running set, and answers when that is committed. Nothing is done
    /// when it is so already.
    pub(super) async fn switch(&self, rule: &str, setting: Setting) -> Result<(), SwitchError> {
        let (answer, done) = oneshot::channel();
        let request = SwitchRequest { rule: rule.to_owned(), setting, answer };
        self.switches.try_send(request).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => SwitchError::Full,
            mpsc::error::TrySendError::Closed(_) => SwitchError::Stopping,
        })?;
        done.await.map_err(|_| SwitchError::Stopping)?
    }

    /// The `running` set, and how the last reload went.
    pub(super) fn rule_set(&self, running: &Rules) -> RuleSet {
        let memory = self.memory.lock();
        RuleSet {
            generation: running.generation,
            loaded_at: memory.loaded_at.into(),
            rules: running.list().len(),
            watched: self.watched,
            stale: memory.stale.clone(),
        }
    }

    fn remember(&self, report: &Arc<ReloadReport>, at: Timestamp) {
        let mut memory = self.memory.lock();
        let applied = report.result == ReloadResult::Applied;
        if applied {
            memory.loaded_at = at;
        }
        memory.stale = (!applied).then(|| Arc::clone(report));
        self.metrics.reloads.get_or_create(&ResultLabel { result: report.result.as_str() }).inc();
        self.metrics.stale.set(i64::from(!applied));
        if applied {
            self.metrics.show_loaded(at);
        }
    }

    /// The same rules run on, with another switch.
    fn remember_switch(&self, at: Timestamp) {
        self.memory.lock().loaded_at = at;
        self.metrics.show_loaded(at);
    }
}

/// What a reloader works with.
pub(super) struct ReloadSetup {
    pub(super) config: Config,
    pub(super) running: Arc<RunningRules>,
    pub(super) journal: Submitter<Work>,
    pub(super) executor: Executor,
    pub(super) clock: Clock,
    /// The tables that rules read,
    pub(super) mirror: Arc<Mirror>,
    /// and where those are that no rule has read before.
    pub(super) disk: ReadConnection,
    /// What the running set was made of.
    pub(super) read: Reading,
    /// Taken over with the rules when a reload is asked for; by itself when its files change.
    pub(super) access_files: AccessFiles,
}

/// The files of a set as they were read.
pub(super) struct Reading {
    /// What was looked at,
    pub(super) inputs: Inputs,
    /// and what it was parsed to.
    pub(super) parses: Parses,
}

/// The task behind [`Reloads`].
pub(super) struct Reloader {
    reloads: Arc<Reloads>,
    requests: mpsc::Receiver<Request>,
    switches: mpsc::Receiver<SwitchRequest>,
    config: Arc<Config>,
    running: Arc<RunningRules>,
    journal: Submitter<Work>,
    executor: Executor,
    clock: Clock,
    mirror: Arc<Mirror>,
    /// Locked by one reload at a time, on a blocking thread.
    disk: Arc<Mutex<ReadConnection>>,
    /// Of the last reading.
    inputs: Arc<Inputs>,
    access_files: AccessFiles,
    parses: Parses,
}

impl Reloader {
    /// A reloader that has to be [run](Reloader::run), and where to ask it.
    pub(super) fn new(setup: ReloadSetup, registry: &mut Registry) -> (Reloader, Arc<Reloads>) {
        let ReloadSetup {
            config,
            running,
            journal,
            executor,
            clock,
            mirror,
            disk,
            read,
            access_files,
        } = setup;
        let (sender, requests) = mpsc::channel(RELOADS_WAITING_MAX);
        let (switch_sender, switches) = mpsc::channel(RELOADS_WAITING_MAX);
        let now = clock.now();
        let metrics = ReloadMetrics::new(registry);
        metrics.show_loaded(now);
        metrics.show_switched(&running.hold());
        let reloads = Arc::new(Reloads {
            requests: sender,
            switches: switch_sender,
            watched: config.rules.watch,
            memory: Mutex::new(Memory { loaded_at: now, stale: None }),
            metrics,
        });
        let reloader = Reloader {
            reloads: Arc::clone(&reloads),
            requests,
            switches,
            config: Arc::new(config),
            running,
            journal,
            executor,
            clock,
            mirror,
            disk: Arc::new(Mutex::new(disk)),
            inputs: Arc::new(read.inputs),
            parses: read.parses,
            access_files,
        };
        (reloader, reloads)
    }

    /// Reloads when asked or when the files change, until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let mut waiting = Vec::new();
            let cause = tokio::select! {
                request = self.requests.recv() => {
                    let Some(Request { cause, answer }) = request else { return };
                    waiting.push(answer);
                    cause
                }
                request = self.switches.recv() => {
                    let Some(SwitchRequest { rule, setting, answer }) = request else { return };
                    let switched = self.switch(&rule, setting).await;
                    // Nobody may be waiting any more.
                    drop(answer.send(switched));
                    continue;
                }
                () = changed(&self.inputs), if self.config.rules.watch => ReloadCause::Watch,
            };
            while let Ok(Request { answer, .. }) = self.requests.try_recv() {
                waiting.push(answer);
            }
            let report = self.reload(cause).await;
            for answer in waiting {
                drop(answer.send(Arc::clone(&report)));
            }
        }
    }

    async fn reload(&mut self, cause: ReloadCause) -> Arc<ReloadReport> {
        let started = Clock::instant();
        let (found, ended) = match self.read().await {
            Ok((rules, found)) => {
                let ended = match self.refusal(cause, &rules, &found) {
                    Some(reason) => Err((ReloadResult::Refused, reason)),
                    None if cause != ReloadCause::Watch
                        && let Err(error) = self.access_files.refresh().await =>
                    {
                        Err((ReloadResult::Refused, error))
                    }
                    None => self
                        .take_over(self.with_switches(rules))
                        .await
                        .map_err(|e| (ReloadResult::Failed, e)),
                };
                (found, ended)
            }
            Err(reason) => (Found::default(), Err((ReloadResult::Failed, reason))),
        };
        let (result, message, changes) = match ended {
            Ok(changes) => (ReloadResult::Applied, summary(&changes), changes),
            Err((result, reason)) => (result, reason, RuleChanges::default()),
        };
        let at = self.clock.now();
        let report = Arc::new(ReloadReport {
            at: at.into(),
            cause,
            result,
            message,
            generation: self.running.hold().generation,
            changes,
            took: started.elapsed(),
            errors: found.count.errors,
            warnings: found.count.warnings,
            report: found.report,
            findings: found.findings,
        });
        self.reloads.remember(&report, at);
        log(&report);
        report
    }

    /// Has the running set take over from itself, with one rule enabled or disabled.
    async fn switch(&self, name: &str, setting: Setting) -> Result<(), SwitchError> {
        let running = self.running.get();
        let place = running.place(name).ok_or(SwitchError::Unknown)?.0 as usize;
        let mut rules = running.list().to_vec();
        let Some(rule) = rules.get_mut(place) else { return Err(SwitchError::Unknown) };
        if rule.setting() == setting {
            return Ok(());
        }
        let at = self.clock.now();
        *rule = rule.switched(Some(Switch { setting, at }));
        self.take_over(rules).await.map_err(SwitchError::Failed)?;
        self.reloads.remember_switch(at);
        tracing::info!(rule = name, "the rule is {} by an administrator", setting.as_str());
        Ok(())
    }

    /// Reads and checks the files, and draws what was found.
    async fn read(&mut self) -> Result<(Vec<Arc<Rule>>, Found), String> {
        let config = Arc::clone(&self.config);
        let parses = std::mem::take(&mut self.parses);
        let reading = tokio::task::spawn_blocking(move || {
            let paths = std::slice::from_ref(&config.rules.path);
            let loaded = rule_files::load_again(paths, &config, parses);
            let found = Found::of(&loaded);
            (loaded.inputs, loaded.parses, loaded.checked.rules, found)
        });
        let (inputs, parses, rules, found) = reading.await.map_err(|error| describe(&error))?;
        (self.inputs, self.parses) = (Arc::new(inputs), parses);
        Ok((rules, found))
    }

    /// Why a set must not take over.
    fn refusal(&self, cause: ReloadCause, rules: &[Arc<Rule>], found: &Found) -> Option<String> {
        if found.count.errors > 0 {
            return Some(format!("the rules on disk have {}", found.count));
        }
        let running = self.running.hold().list().len();
        // A mount that has gone away looks like this, and would end every condition.
        if cause == ReloadCause::Watch && rules.is_empty() && running > 0 {
            let running = counted(running, "rule");
            return Some(format!(
                "there are no rules on disk any more; {running} ran and still run, until a reload \
                 that is asked for (tidegate reload)"
            ));
        }
        None
    }

    /// `rules` with the switches of those that run.
    fn with_switches(&self, rules: Vec<Arc<Rule>>) -> Vec<Arc<Rule>> {
        switches::switched(rules, self.running.get().switches())
    }

    /// Makes `rules` the running set; answers when that is committed, or why it cannot be.
    async fn take_over(&self, rules: Vec<Arc<Rule>>) -> Result<RuleChanges, String> {
        let before = self.running.get();
        let (config, known) = (Arc::clone(&self.config), Arc::clone(&before));
        let (mirror, disk) = (Arc::clone(&self.mirror), Arc::clone(&self.disk));
        let compiling = tokio::task::spawn_blocking(move || {
            let engine = engine(rules, &config, &mirror, &disk.lock())?;
            Ok(Arc::new(Rules::new(engine, &config, Some(&known))))
        });
        let compiled = compiling.await.map_err(|error| describe(&error))?;
        let rules = compiled.map_err(|error: EngineError| describe(&error))?;
        let changes = changes(&before, &rules);
        let known = named_streams(&before);
        let new = named_streams(&rules).into_iter().filter(|name| !known.contains(name));
        let new = new.filter(|name| !self.config.streams.contains_key(*name));
        let streams = new.map(|name| (name.to_owned(), None)).collect();
        let declared = declare_streams(&self.executor, streams, self.clock).await;
        declared.map_err(|error| format!("{error:#}"))?;
        let slot = Arc::new(AckSlot::default());
        let submission = Submission {
            at: self.clock.now(),
            work: Work::Replace(rules),
            bytes: 0,
            ack: Some((Arc::clone(&slot), 1)),
        };
        self.journal.submit(submission).await.map_err(|error| describe(&error))?;
        while slot.committed() < 1 {
            slot.changed().await;
        }
        self.reloads.metrics.show_switched(&self.running.hold());
        // Thousands of compiled rules take a moment to free; the journal's writer must not do it.
        tokio::task::spawn_blocking(move || drop(before));
        Ok(changes)
    }
}

/// Waits until the files look different from `inputs` and have stopped changing.
async fn changed(inputs: &Arc<Inputs>) {
    let mut pause = RULES_LOOK_PERIOD;
    loop {
        sleep(pause).await;
        let started = Clock::instant();
        let Some(mut seen) = look(inputs).await else { return std::future::pending().await };
        // Thousands of files on a slow disk are looked at less often.
        pause = RULES_LOOK_PERIOD.max(started.elapsed() * RULES_LOOK_SHARE);
        let first_seen = Clock::instant();
        while seen != **inputs {
            sleep(RULES_SETTLE_PERIOD).await;
            let Some(again) = look(inputs).await else { return std::future::pending().await };
            if again == seen || first_seen.elapsed() > RULES_SETTLE_MAX {
                return;
            }
            seen = again;
        }
    }
}

/// `None` when the runtime is ending.
async fn look(inputs: &Arc<Inputs>) -> Option<Inputs> {
    let inputs = Arc::clone(inputs);
    tokio::task::spawn_blocking(move || inputs.look_again()).await.ok()
}

/// What the checker found, as a report carries it.
#[derive(Debug, Default)]
struct Found {
    count: Count,
    report: String,
    findings: Vec<Finding>,
}

impl Found {
    fn of(loaded: &Loaded) -> Found {
        let all = loaded.checked.diagnostics.iter().map(|(_, diagnostic)| diagnostic);
        let noticed = all.filter(|found| found.severity != Severity::Note);
        let count = Count::of(noticed, loaded.sources.len());
        let problems = loaded.findings().filter(|f| f.diagnostic.severity != Severity::Note);
        let mut report = String::new();
        for problem in problems {
            let render::Finding { file, text, diagnostic } = problem;
            let drawn = render::render(diagnostic, &file, text, Color::Off);
            if report.len() + drawn.len() > RELOAD_REPORT_BYTES_MAX {
                report += "there is more: `tidegate check` shows all of it\n\n";
                break;
            }
            report += &drawn;
            report += "\n\n";
        }
        if count.errors + count.warnings > 0 {
            report += &count.to_string();
        }
        let mut findings: Vec<_> = loaded.findings().collect();
        // The worst first, so that the bound leaves out notes.
        findings.sort_by_key(|finding| finding.diagnostic.severity);
        let findings = findings.iter().take(RELOAD_FINDINGS_MAX).map(Finding::of).collect();
        Found { count, report, findings }
    }
}

fn changes(before: &Rules, after: &Rules) -> RuleChanges {
    let mut changes = RuleChanges::default();
    for rule in after.list() {
        match before.place(rule.name()).map(|place| &before.list()[place.0 as usize]) {
            None => changes.added += 1,
            Some(known) if known.text == rule.text => changes.unchanged += 1,
            Some(_) => changes.changed += 1,
        }
    }
    changes.removed = before.list().len() - changes.changed - changes.unchanged;
    changes
}

fn summary(changes: &RuleChanges) -> String {
    let RuleChanges { added, changed, removed, unchanged } = changes;
    let all = counted(added + changed + unchanged, "rule");
    format!("{all}: {added} added, {changed} changed, {removed} removed, {unchanged} as before")
}

fn log(report: &ReloadReport) {
    let (cause, generation) = (report.cause.as_str(), report.generation);
    if report.result == ReloadResult::Applied {
        let took_ms = u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(cause, generation, took_ms, "the rules were reloaded; {}", report.message);
        return;
    }
    let errors = report.findings.iter().filter(|finding| finding.severity == "error");
    for finding in errors.take(LOGGED_ERRORS_MAX) {
        let Finding { code, message, file, line, .. } = finding;
        tracing::error!(code, file, line, "{message}");
    }
    tracing::error!(cause, generation, "the rules were not reloaded; {}", report.message);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What reloads count.
#[derive(Debug, Default)]
struct ReloadMetrics {
    reloads: Family<ResultLabel, Counter>,
    loaded: Gauge,
    stale: Gauge,
    switched: Gauge,
}

impl ReloadMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = ReloadMetrics::default();
        registry.register("rules_reloads", "Reloads by how they ended", metrics.reloads.clone());
        registry.register(
            "rules_loaded_timestamp_seconds",
            "When the running rules took over, since the epoch",
            metrics.loaded.clone(),
        );
        registry.register(
            "rules_stale",
            "1 while the rules on disk are not what runs, because the last reload was refused or failed",
            metrics.stale.clone(),
        );
        registry.register(
            "rules_switched",
            "Rules that are enabled or disabled by hand, against their texts",
            metrics.switched.clone(),
        );
        metrics
    }

    fn show_switched(&self, running: &Rules) {
        self.switched.set(i64::try_from(running.switches().len()).unwrap_or(i64::MAX));
    }

    fn show_loaded(&self, at: Timestamp) {
        self.loaded.set(at.as_millis().div_euclid(1000));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn found(folder: &Path) -> Found {
        Found::of(&rule_files::load(&[folder.to_owned()], &Config::default()))
    }

    #[test]
    fn a_report_is_bounded_and_counts_everything() {
        let root = tempfile::tempdir().unwrap();
        let wrong =
            format!("CREATE RULE a AS SELECT nope('{}') FROM 'a' DO LOG;\n", "x".repeat(400));
        for name in ["a.rule", "b.rule", "c.rule"] {
            fs::write(root.path().join(name), wrong.repeat(200)).unwrap();
        }
        let found = found(root.path());
        assert!(found.count.errors >= 300, "{:?}", found.count);
        assert_eq!(found.findings.len(), RELOAD_FINDINGS_MAX);
        assert!(found.report.len() <= RELOAD_REPORT_BYTES_MAX + 200, "{}", found.report.len());
        assert!(found.report.contains("there is more"));
        assert!(found.report.ends_with(&found.count.to_string()));
    }

    #[test]
    fn notes_are_for_programs_only() {
        let root = tempfile::tempdir().unwrap();
        let text = "CREATE RULE a AS SELECT * FROM 'a' DO STREAM s KEY 'k';";
        fs::write(root.path().join("a.rule"), text).unwrap();
        let found = found(root.path());
        assert_eq!((found.count.errors, found.report.as_str()), (0, ""));
        assert_eq!(found.findings[0].severity, "note");
    }
}
