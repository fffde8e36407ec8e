//! The stateless half: what a connection does with a batch of publishes before the journal sees it.
//!
//! A [`RuleLane`] evaluates on the connection's own task, so the cores share the work. A batch that no
//! rule wants never reaches the journal: its acknowledgements go out at once. The rules are looked up
//! once a batch, so a reload changes them between two batches of a connection.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::broker::ClientEvent;
use crate::broker::Intake;
use crate::broker::IntakeClosed;
use crate::broker::Kept;
use crate::broker::Lane;
use crate::broker::Submitted;
use crate::broker::UnknownRule;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::delivery::Accounts;
use crate::journal::AckSlot;
use crate::journal::Effect;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::lambda::Caller;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::topic::Reserved;
use crate::upstream::Exits;
use crate::upstream::UpstreamMetrics;

use super::events::Events;
use super::pass::Pass;
use super::rules::HeldRules;
use super::rules::RunningRules;
use super::stage::Work;
use super::upstreams;

/// Opens a lane for each connection.
pub(super) struct RuleIntake {
    running: Arc<RunningRules>,
    journal: Submitter<Work>,
    events: Events,
    caller: Arc<Caller>,
    ways: Ways,
}

/// Where messages go on to, beside the rules.
#[derive(Clone, Default)]
pub(super) struct Ways {
    /// What goes on to other brokers.
    pub(super) exits: Arc<Exits>,
    /// The partitions of deliveries, and whether there is room.
    pub(super) accounts: Arc<Accounts>,
}

impl Ways {
    /// Those of the configuration, and what is counted on the way to other brokers.
    pub(super) fn new(config: &Config, registry: &mut Registry) -> (Ways, UpstreamMetrics) {
        let (exits, metrics) = upstreams::exits(config, registry);
        (Ways { exits, accounts: Arc::new(Accounts::new(&config.deliveries)) }, metrics)
    }
}

impl RuleIntake {
    /// An intake that evaluates the `running` rules, submits to `journal` and hands what happens to
    /// clients to `events`. `caller` calls the hooks that rules wait for.
    pub(super) fn new(
        running: Arc<RunningRules>,
        journal: Submitter<Work>,
        events: Events,
        caller: Arc<Caller>,
        ways: Ways,
    ) -> Self {
        RuleIntake { running, journal, events, caller, ways }
    }

    fn open(&self, came_by: Option<Arc<str>>, slot: Arc<AckSlot>) -> Box<dyn Lane> {
        Box::new(RuleLane {
            pass: Pass::settling(),
            caller: Arc::clone(&self.caller),
            running: Arc::clone(&self.running),
            journal: self.journal.clone(),
            ways: self.ways.clone(),
            came_by,
            slot,
            batch: None,
        })
    }
}

impl Intake for RuleIntake {
    fn lane(&self, _origin: Arc<Origin>, slot: Arc<AckSlot>) -> Box<dyn Lane> {
        self.open(None, slot)
    }

    fn upstream_lane(&self, upstream: &Arc<str>, slot: Arc<AckSlot>) -> Box<dyn Lane> {
        self.open(Some(Arc::clone(upstream)), slot)
    }

    fn tell(&self, event: &dyn Fn() -> ClientEvent) {
        self.events.tell(event);
    }
}

struct RuleLane {
    pass: Pass,
    running: Arc<RunningRules>,
    journal: Submitter<Work>,
    slot: Arc<AckSlot>,
    caller: Arc<Caller>,
    ways: Ways,
    /// The connection to another broker that it is the way in of.
    came_by: Option<Arc<str>>,
    /// `None` between two batches: a connection that says nothing keeps no rules alive.
    batch: Option<BatchHead>,
}

/// What the messages of a batch have in common.
struct BatchHead {
    /// Receive time of the first; the epoch while there is none.
    first: Timestamp,
    /// The rules that judge them.
    rules: HeldRules,
}

impl Lane for RuleLane {
    fn take(&mut self, publish: Publish) -> Result<(), UnknownRule> {
        let head = self.batch.get_or_insert_with(|| BatchHead {
            first: publish.received_at,
            rules: self.running.hold(),
        });
        if head.first == Timestamp::EPOCH {
            head.first = publish.received_at;
        }
        let is_ingest =
            matches!(Reserved::of(publish.topic.as_str()), Some(Reserved::Ingest { .. }));
        if is_ingest && !self.pass.reaches_a_rule(&head.rules, &publish.topic) {
            return Err(UnknownRule);
        }
        self.pass.take(&head.rules, &publish);
        let effects = &mut self.pass.outcome.effects;
        self.ways.exits.take_published(&publish, self.came_by.as_deref(), effects);
        if publish.retain {
            self.pass.outcome.effects.push(Effect::Retain(publish));
        }
        Ok(())
    }

    fn keep(&mut self, kept: Kept) {
        // A batch may be nothing else.
        self.batch.get_or_insert_with(|| BatchHead {
            first: Timestamp::EPOCH,
            rules: self.running.hold(),
        });
        self.pass.outcome.effects.push(match kept {
            Kept::Message(parcel) => Effect::Keep(parcel),
            Kept::Change(change) => Effect::Session(change),
            Kept::Removal(publish) => Effect::Retain(publish),
        });
    }

    fn submit(
        &mut self,
        ticket: Option<u64>,
    ) -> Pin<Box<dyn Future<Output = Result<Submitted, IntakeClosed>> + Send + '_>> {
        Box::pin(async move {
            let head = self.batch.take();
            let Some(BatchHead { first, rules }) = head.filter(|_| !self.pass.is_settled()) else {
                return Ok(Submitted::Settled);
            };
            let rules = HeldRules::into_inner(rules);
            self.pass.settle(&rules, &self.caller).await;
            if self.pass.is_settled() {
                return Ok(Submitted::Settled);
            }
            let mut outcome = self.pass.take_outcome();
            // A delivery whose destination takes nothing slows who sends to it, here.
            self.ways.accounts.route(&mut outcome.effects);
            self.ways.accounts.room(&outcome.effects).await;
            let work = Work::Messages {
                rules,
                outcome,
                observations: mem::take(&mut self.pass.observations),
            };
            let ack = ticket.map(|ticket| (Arc::clone(&self.slot), ticket));
            let submission = Submission { at: first, bytes: work.bytes(), work, ack };
            self.journal.submit(submission).await.map_err(|_| IntakeClosed)?;
            Ok(Submitted::Pending)
        })
    }
}
