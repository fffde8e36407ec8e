use std::collections::BTreeSet;
use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::journal::Effect;
use crate::journal::effect_stage::EffectJournal;
use crate::limits;

use super::*;

/// A request as the receiver saw it.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn call_id(&self) -> &str {
        self.header("X-Tidegate-Call-Id").unwrap()
    }

    fn attempt(&self) -> &str {
        self.header("X-Tidegate-Attempt").unwrap()
    }
}

/// What to answer to the n-th request (from 0): status line, further headers with line ends.
type Script = dyn Fn(usize, &Seen) -> (&'static str, &'static str) + Send + Sync;

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
    open_most: AtomicUsize,
}

/// An HTTP server that answers by a script, each request only while its gate is open.
struct Receiver {
    address: SocketAddr,
    log: Arc<Log>,
    gate: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    async fn start(
        script: impl Fn(usize, &Seen) -> (&'static str, &'static str) + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    async fn start_at(
        address: SocketAddr,
        script: impl Fn(usize, &Seen) -> (&'static str, &'static str) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let (gate, is_open) = watch::channel(true);
        let script: Arc<Script> = Arc::new(script);
        let shared = Arc::clone(&log);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (Arc::clone(&shared), Arc::clone(&script));
                connections.spawn(serve(stream, log, script, is_open.clone()));
            }
        });
        Receiver { address, log, gate, server }
    }

    fn config(&self) -> HookConfig {
        quick(self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.log.seen.lock().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Log>,
    script: Arc<Script>,
    mut is_open: watch::Receiver<bool>,
) {
    while let Some(seen) = read_request(&mut stream).await {
        let number = {
            let mut all = log.seen.lock();
            all.push(seen.clone());
            all.len() - 1
        };
        let open = log.open.fetch_add(1, Ordering::SeqCst) + 1;
        log.open_most.fetch_max(open, Ordering::SeqCst);
        is_open.wait_for(|is_open| *is_open).await.ok();
        log.open.fetch_sub(1, Ordering::SeqCst);
        let (status, headers) = script(number, &seen);
        let answer = format!("HTTP/1.1 {status}\r\n{headers}content-length: 5\r\n\r\nhello");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let mut seen = Seen { head: String::from_utf8(head).unwrap(), body: String::new() };
    let length = seen.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

/// A hook with waits of milliseconds.
fn quick(address: SocketAddr) -> HookConfig {
    HookConfig {
        timeout: Duration::from_secs(5),
        concurrency: 4,
        attempts: 3,
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        ..HookConfig::with_url(format!("http://{address}/in"))
    }
}

/// Remembers what it is told.
#[derive(Default)]
struct Graveyard {
    letters: Mutex<Vec<(String, DeadLetter)>>,
    refusals: AtomicUsize,
}

impl DeadLetterSink for Graveyard {
    fn bury<'a>(
        &'a self,
        hook: &'a str,
        letters: &'a [DeadLetter],
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let is_refusing = self
                .refusals
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            if !is_refusing {
                let told = letters.iter().map(|letter| (hook.to_owned(), letter.clone()));
                self.letters.lock().extend(told);
            }
            !is_refusing
        })
    }
}

/// A gateway with nothing but hooks.
struct Ground {
    journal: EffectJournal,
    hooks: Hooks,
    graveyard: Arc<Graveyard>,
}

impl Ground {
    async fn start(folder: &Path, config: &[(&str, HookConfig)]) -> Self {
        let journal = EffectJournal::open(folder);
        let graveyard = Arc::new(Graveyard::default());
        let config = config.iter().map(|(name, one)| ((*name).to_owned(), one.clone())).collect();
        let metrics = HookMetrics::default();
        let owner = Owner { account_id: "000000000000", region: "us-east-1" };
        let caller = Caller::new(&config, owner, journal.clock, &metrics).unwrap();
        let hooks = Hooks::start(HookSetup {
            executor: journal.storage.executor(),
            reader: journal.storage.reader().unwrap(),
            backlogs: journal.journal.hook_backlogs(),
            caller: Arc::new(caller),
            sink: Arc::clone(&graveyard) as Arc<dyn DeadLetterSink>,
            clock: journal.clock,
            metrics,
        })
        .await
        .unwrap();
        Ground { journal, hooks, graveyard }
    }

    async fn call(&mut self, hook: &str, payloads: &[&str]) {
        let at = self.journal.clock.now();
        let effects = payloads.iter().map(|payload| Effect::Invoke {
            hook: hook.into(),
            rule: "hot".into(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            at,
            hops: 0,
            for_error: true,
        });
        self.journal.commit(effects.collect()).await;
    }

    fn status(&self, hook: &str) -> HookStatus {
        self.hooks.status().into_iter().find(|status| &*status.name == hook).unwrap()
    }

    /// Looks at the status of `hook` until `is_so`; fails after ten seconds.
    async fn eventually(&self, hook: &str, is_so: impl Fn(&HookStatus) -> bool) -> HookStatus {
        let look = async {
            loop {
                let status = self.status(hook);
                if is_so(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match timeout(Duration::from_secs(10), look).await {
            Ok(status) => status,
            Err(_) => panic!("not reached: {:?}", self.status(hook)),
        }
    }

    async fn stop(self) {
        self.hooks.shutdown().await;
        self.journal.close().await;
    }

    /// Ends calls under way without recording anything of them.
    async fn crash(self) {
        self.hooks.reporter.abort();
        drop(self.hooks);
        self.journal.close().await;
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_call_is_a_post_with_the_output_as_body() {
    let receiver = Receiver::start(|_, _| ("200 OK", "")).await;
    let mut config = HookConfig { concurrency: 1, ..receiver.config() };
    config.headers.insert("Authorization".to_owned(), "Bearer x".to_owned());
    let folder = folder();
    let mut ground = Ground::start(folder.path(), &[("page", config)]).await;
    ground.call("page", &["{\"t\":31}", "not JSON"]).await;
    let status = ground.eventually("page", |status| status.pending == 0).await;
    assert_eq!((status.succeeded, status.failed_attempts, status.dead_letters), (2, 0, 0));
    assert!(status.last_latency.is_some() && status.oldest.is_none());

    let seen = receiver.seen();
    assert!(seen[0].head.starts_with("POST /in HTTP/1.1\r\n"), "{}", seen[0].head);
    assert_eq!((&*seen[0].body, &*seen[1].body), ("{\"t\":31}", "not JSON"));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[1].header("content-type"), Some("application/octet-stream"));
    assert_eq!(seen[0].header("authorization"), Some("Bearer x"));
    assert_eq!(seen[0].header("x-tidegate-rule"), Some("hot"));
    assert_eq!(seen[0].attempt(), "1");
    assert!(seen[0].call_id().starts_with("page-"));
    assert_ne!(seen[0].call_id(), seen[1].call_id());
}

#[tokio::test]
async fn a_server_error_is_tried_again_under_the_same_call_id() {
    let receiver = Receiver::start(|number, _| match number {
        0 => ("500 Internal Server Error", ""),
        1 => ("408 Request Timeout", ""),
        _ => ("204 No Content", ""),
    })
    .await;
    let folder = folder();
    let mut ground = Ground::start(folder.path(), &[("page", receiver.config())]).await;
    ground.call("page", &["1"]).await;
    let status = ground.eventually("page", |status| status.pending == 0).await;
    assert_eq!((status.succeeded, status.failed_attempts, status.dead_letters), (1, 2, 0));
    assert_eq!(status.last_error.unwrap().message, "408 Request Timeout: hello");
    let seen = receiver.seen();
    assert_eq!(seen.iter().map(Seen::attempt).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(seen.iter().map(Seen::call_id).collect::<HashSet<_>>().len(), 1);
}

#[tokio::test]
async fn retry_after_is_obeyed_by_the_whole_hook() {
    let receiver = Receiver::start(|number, _| match number {
        0 => ("429 Too Many Requests", "Retry-After: 1\r\n"),
        _ => ("200 OK", ""),
    })
    .await;
    let folder = folder();
    let config = HookConfig { concurrency: 1, ..receiver.config() };
    let mut ground = Ground::start(folder.path(), &[("page", config)]).await;
    ground.call("page", &["1", "2"]).await;
    let status = ground.eventually("page", |status| status.paused_until.is_some()).await;
    let failed_at = status.last_error.unwrap().at;
    let until = status.paused_until.unwrap();
    assert!(until.since(failed_at) >= Duration::from_millis(990), "{failed_at} {until}");
    ground.eventually("page", |status| status.pending == 0).await;
    assert!(ground.journal.clock.now() >= until);
    let bodies: Vec<String> = receiver.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, ["1", "1", "2"]);
}

#[tokio::test]
async fn a_rejected_call_becomes_a_dead_letter_and_can_be_sent_again() {
    let receiver = Receiver::start(|number, _| match number {
        0 => ("400 Bad Request", ""),
        1 => ("302 Found", "location: /elsewhere\r\n"),
        _ => ("200 OK", ""),
    })
    .await;
    let folder = folder();
    let config = HookConfig { concurrency: 1, ..receiver.config() };
    let mut ground = Ground::start(folder.path(), &[("page", config)]).await;
    ground.graveyard.refusals.store(1, Ordering::SeqCst);
    ground.call("page", &["{\"a\":1}", "2"]).await;
    let status = ground.eventually("page", |status| status.dead_letters == 2).await;
    assert_eq!((status.pending, status.failed_attempts, status.succeeded), (0, 2, 0));

    let letters = ground.hooks.dead_letters("page", None, 10).await.unwrap();
    assert_eq!(letters[1].error, "400 Bad Request: hello");
    assert_eq!(letters[0].error, "302 Found: redirects are not followed");
    assert_eq!((&*letters[1].rule, &*letters[1].payload), ("hot", b"{\"a\":1}".as_slice()));
    assert_eq!(letters[1].attempts, 1);
    let older = ground.hooks.dead_letters("page", Some(letters[0].id), 10).await.unwrap();
    assert_eq!(older, letters[1..]);
    assert_eq!(ground.hooks.dead_letters("page", None, 1).await.unwrap(), letters[..1]);
    let unknown = ground.hooks.dead_letters("nobody", None, 1).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no hook 'nobody'");

    // The sink has refused the first report, and is told again, of each letter once.
    let told = async {
        while ground.graveyard.letters.lock().len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), told).await.unwrap();
    let told: Vec<DeadLetter> =
        ground.graveyard.letters.lock().iter().map(|(_, letter)| letter.clone()).collect();
    assert_eq!(told, letters.iter().rev().cloned().collect::<Vec<_>>());

    assert_eq!(ground.hooks.replay("page", u64::MAX).await.unwrap(), 2);
    let status = ground.eventually("page", |status| status.pending == 0).await;
    assert_eq!((status.succeeded, status.dead_letters), (2, 0));
    let seen = receiver.seen();
    assert_eq!(seen[2].body, seen[0].body);
    assert_eq!(seen[2].call_id(), seen[0].call_id());
    assert_eq!(seen[2].attempt(), "1");
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_is_given_up() {
    let receiver = Receiver::start(|_, _| ("200 OK", "")).await;
    receiver.gate.send_replace(false);
    let folder = folder();
    let config =
        HookConfig { timeout: Duration::from_millis(30), attempts: 2, ..receiver.config() };
    let mut ground = Ground::start(folder.path(), &[("page", config)]).await;
    ground.call("page", &["1"]).await;
    ground.eventually("page", |status| status.dead_letters == 1).await;
    let letter = ground.hooks.dead_letters("page", None, 1).await.unwrap().swap_remove(0);
    assert_eq!(letter.attempts, 2);
    assert!(letter.error.contains("timed out"), "{}", letter.error);
}

#[tokio::test]
async fn a_receiver_that_takes_no_calls_costs_most_of_them_no_attempt() {
    for status in ["504 Gateway Timeout", "502 Bad Gateway"] {
        let receiver = Receiver::start(move |number, _| match number {
            0..8 => (status, ""),
            _ => ("200 OK", ""),
        })
        .await;
        check_outage(receiver.config(), &receiver).await;
    }
    let receiver = Receiver::start(|_, _| ("200 OK", "")).await;
    receiver.gate.send_replace(false);
    let config = HookConfig { timeout: Duration::from_millis(30), ..receiver.config() };
    check_outage(config, &receiver).await;
}

/// 40 calls of which a few find out that the receiver is away; then it is back.
async fn check_outage(config: HookConfig, receiver: &Receiver) {
    let folder = folder();
    let config = HookConfig { attempts: 100, ..config };
    let mut ground = Ground::start(folder.path(), &[("page", config)]).await;
    let many: Vec<String> = (0..40).map(|call| call.to_string()).collect();
    ground.call("page", &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    ground.eventually("page", |status| status.failed_attempts >= 8).await;
    receiver.gate.send_replace(true);
    ground.eventually("page", |status| status.pending == 0).await;
    let retried: BTreeSet<String> = receiver
        .seen()
        .iter()
        .filter(|seen| seen.attempt() != "1")
        .map(|seen| seen.call_id().to_owned())
        .collect();
    assert!(retried.len() <= 10, "{} of 40 calls had a second attempt", retried.len());
}

#[tokio::test]
async fn calls_that_wait_for_their_next_attempt_hold_back_no_other() {
    let receiver = Receiver::start(|_, seen| match seen.body.as_str() {
        "good" => ("200 OK", ""),
        _ => ("500 Internal Server Error", ""),
    })
    .await;
    let folder = folder();
    let hour = Duration::from_secs(3600);
    let config =
        HookConfig { concurrency: 64, backoff: hour, backoff_max: hour, ..receiver.config() };
    let mut ground = Ground::start(folder.path(), &[("page", config.clone())]).await;
    let bad = 2 * u64::try_from(limits::HOOK_CALLS_HELD_MAX).unwrap();
    for _ in 0..4 {
        let many = vec!["bad"; usize::try_from(bad / 4).unwrap()];
        ground.call("page", &many).await;
    }
    ground.eventually("page", |status| status.failed_attempts >= bad).await;
    ground.call("page", &["good"; 10]).await;
    ground.eventually("page", |status| status.succeeded == 10).await;
    let status = ground.eventually("page", |status| status.pending == bad).await;
    assert!(status.oldest.is_some());
    ground.stop().await;

    // After a restart too; and when their time has come, all have their next attempt.
    let mut ground = Ground::start(folder.path(), &[("page", config.clone())]).await;
    ground.call("page", &["good"; 10]).await;
    ground.eventually("page", |status| status.succeeded == 10).await;
    ground.hooks.tools.executor.execute(|tx| table::make_due(tx)).await.unwrap();
    ground.stop().await;
    let ground = Ground::start(folder.path(), &[("page", config)]).await;
    let second = || receiver.seen().iter().filter(|seen| seen.attempt() == "2").count();
    // By chance a few have come earlier, and have their third now.
    ground.eventually("page", |_| u64::try_from(second()).unwrap() == bad).await;
}

#[tokio::test]
async fn calls_wait_out_an_outage_and_cost_another_hook_nothing() {
    let alive = Receiver::start(|_, _| ("200 OK", "")).await;
    let address = Receiver::start(|_, _| ("200 OK", "")).await.address;
    let folder = folder();
    let config = HookConfig { attempts: 100, ..quick(address) };
    let mut ground =
        Ground::start(folder.path(), &[("dead", config), ("alive", alive.config())]).await;
    let many: Vec<String> = (0..50).map(|call| call.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    ground.call("dead", &many).await;
    ground.call("alive", &["1"]).await;
    ground.eventually("alive", |status| status.succeeded == 1).await;
    let status = ground.eventually("dead", |status| status.failed_attempts >= 10).await;
    assert_eq!((status.pending, status.dead_letters), (50, 0));
    assert!(status.oldest.is_some());

    // One call at a time finds out that nobody is there; most have not been tried.
    let receiver = Receiver::start_at(address, |_, _| ("200 OK", "")).await;
    let status = ground.eventually("dead", |status| status.pending == 0).await;
    assert_eq!(status.succeeded, 50);
    let fresh = receiver.seen().iter().filter(|seen| seen.attempt() == "1").count();
    assert!(fresh >= 40, "{fresh} of 50 are at their first attempt");
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_allowed_and_they_start_in_order() {
    let receiver = Receiver::start(|_, _| ("200 OK", "")).await;
    receiver.gate.send_replace(false);
    let folder = folder();
    let config = HookConfig { concurrency: 3, ..receiver.config() };
    let mut ground = Ground::start(folder.path(), &[("page", config)]).await;
    let calls: Vec<String> = (100..140).map(|call| call.to_string()).collect();
    ground.call("page", &calls.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let full = async {
        while receiver.log.open.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), full).await.unwrap();
    assert_eq!(ground.status("page").in_flight, 3);
    receiver.gate.send_replace(true);
    ground.eventually("page", |status| status.pending == 0).await;
    assert_eq!(receiver.log.open_most.load(Ordering::SeqCst), 3);
    let bodies: Vec<String> = receiver.seen().into_iter().map(|seen| seen.body).collect();
    for (place, body) in bodies.iter().enumerate() {
        let number = calls.iter().position(|call| call == body).unwrap();
        assert!(number.abs_diff(place) < 3, "{bodies:?}");
    }
}

#[tokio::test]
async fn a_restart_goes_on_with_the_next_attempt_of_the_same_call() {
    let receiver = Receiver::start(|number, _| match number {
        0 => ("500 Internal Server Error", ""),
        _ => ("200 OK", ""),
    })
    .await;
    let folder = folder();
    let patient = HookConfig {
        backoff: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        ..receiver.config()
    };
    let mut ground = Ground::start(folder.path(), &[("page", patient)]).await;
    ground.call("page", &["1"]).await;
    ground.eventually("page", |status| status.failed_attempts == 1).await;
    ground.stop().await;

    // Not configured: it waits.
    let ground = Ground::start(folder.path(), &[]).await;
    let status = ground.status("page");
    assert_eq!((status.pending, status.url), (1, None));
    ground.stop().await;

    let ground = Ground::start(folder.path(), &[("page", receiver.config())]).await;
    assert_eq!(ground.status("page").pending, 1);
    ground.hooks.tools.executor.execute(|tx| table::make_due(tx)).await.unwrap();
    ground.stop().await;
    let ground = Ground::start(folder.path(), &[("page", receiver.config())]).await;
    ground.eventually("page", |status| status.pending == 0).await;
    let seen = receiver.seen();
    assert_eq!(seen.iter().map(Seen::attempt).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(seen[0].call_id(), seen[1].call_id());
}

#[tokio::test]
async fn a_full_backlog_makes_dead_letters() {
    let folder = folder();
    let ground = Ground::start(folder.path(), &[]).await;
    let backlogs = ground.journal.journal.hook_backlogs();
    let appended = ground.hooks.tools.executor.execute(move |tx| {
        let mut appender = Appender::with_backlog_max(Arc::clone(&backlogs), 2);
        for payload in ["1", "2", "3"] {
            appender.push(
                tx,
                &"page".into(),
                &NewCall {
                    rule: "hot",
                    payload: payload.as_bytes(),
                    at: Timestamp::EPOCH,
                    hops: 0,
                    for_error: true,
                },
            )?;
        }
        appender.flush(tx)?;
        appender.committed();
        Ok(())
    });
    appended.await.unwrap();
    let status = ground.status("page");
    assert_eq!((status.pending, status.dead_letters, status.refused), (2, 1, 1));
    let letter = ground.hooks.dead_letters("page", None, 9).await.unwrap().swap_remove(0);
    assert_eq!((&*letter.payload, letter.attempts), (b"3".as_slice(), 0));
    assert_eq!(letter.error, "too many calls of the hook wait already");
    ground.stop().await;
    let ground = Ground::start(folder.path(), &[]).await;
    let status = ground.status("page");
    assert_eq!((status.pending, status.dead_letters), (2, 1), "the tables say the same");
}

#[tokio::test]
async fn more_calls_than_are_held_in_memory_all_arrive() {
    let receiver = Receiver::start(|_, _| ("200 OK", "")).await;
    let folder = folder();
    let config = HookConfig { concurrency: 16, ..receiver.config() };
    let mut ground = Ground::start(folder.path(), &[]).await;
    let count = limits::HOOK_CALLS_HELD_MAX + 100;
    ground.call("page", &vec!["{}"; count]).await;
    ground.stop().await;
    let ground = Ground::start(folder.path(), &[("page", config)]).await;
    ground.eventually("page", |status| status.pending == 0).await;
    assert_eq!(receiver.seen().len(), count);
}

/// Calls whose payload says what the receiver answers to it, attempt by attempt, with restarts.
async fn every_call_succeeds_or_is_kept(rounds: Vec<Vec<String>>) {
    let receiver = Receiver::start(|_, seen| {
        let attempt: usize = seen.attempt().parse().unwrap();
        match seen.body.trim_matches('"').as_bytes().get(attempt - 1) {
            Some(b'5') => ("500 Internal Server Error", ""),
            Some(b'3') => ("503 Service Unavailable", ""),
            Some(b'4') => ("404 Not Found", ""),
            _ => ("200 OK", ""),
        }
    })
    .await;
    let folder = folder();
    let mut expected_dead = 0;
    for round in &rounds {
        let mut ground = Ground::start(folder.path(), &[("page", receiver.config())]).await;
        ground.call("page", &round.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for script in round {
            let script = script.trim_matches('"');
            let refused = script.find(['4', '2']);
            let is_dead = match refused {
                Some(place) if place < 3 => script.as_bytes()[place] == b'4',
                _ => script.len() >= 3,
            };
            expected_dead += u64::from(is_dead);
        }
        ground.crash().await;
    }
    let ground = Ground::start(folder.path(), &[("page", receiver.config())]).await;
    let status = ground.eventually("page", |status| status.pending == 0).await;
    assert_eq!(status.dead_letters, expected_dead);
    let calls: usize = rounds.iter().map(Vec::len).sum();
    let seen = receiver.seen();
    let ids: HashSet<&str> = seen.iter().map(Seen::call_id).collect();
    assert_eq!(ids.len(), calls, "each call was made, under an id of its own");
    ground.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn no_call_is_lost_whatever_the_receiver_answers(
        rounds in prop::collection::vec(prop::collection::vec("\"[2345]{0,4}\"", 0..12), 1..4),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(every_call_succeeds_or_is_kept(rounds));
    }
}
