//! ON ERROR, and the event, for hook calls that were given up.
//!
//! A dead letter is noticed long after its message was acknowledged and forgotten. So the error
//! document speaks of the call: `base64OriginalPayload` is the body that could not be delivered, the
//! topic is `$events/hook/<name>/failed`, and there is no client. It has passed one hop more than the
//! message that caused the call, so rules whose calls and events cause one another come to an end. A
//! call that ON ERROR made itself has no ON ERROR.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;

use crate::action;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::engine::ActionFailure;
use crate::journal::AckSlot;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::lambda::Caller;
use crate::lambda::DeadLetter;
use crate::lambda::DeadLetterSink;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::topic::TopicName;

use super::events::Events;
use super::pass::Pass;
use super::rules::HeldRules;
use super::rules::RunningRules;
use super::stage::Work;

/// Runs the rules' ON ERROR actions over dead letters.
pub(super) struct LetterSink {
    running: Arc<RunningRules>,
    journal: Submitter<Work>,
    events: Events,
    clock: Clock,
    caller: Arc<Caller>,
}

impl LetterSink {
    pub(super) fn new(
        running: Arc<RunningRules>,
        journal: Submitter<Work>,
        events: Events,
        clock: Clock,
        caller: Arc<Caller>,
    ) -> Self {
        LetterSink { running, journal, events, clock, caller }
    }

    /// Answers whether everything the letters cause is on disk.
    async fn report(&self, hook: &str, letters: &[DeadLetter]) -> bool {
        let now = self.clock.now();
        let rules = HeldRules::into_inner(self.running.hold());
        let mut pass = Pass::settling();
        for letter in letters {
            // A rule that is gone has no ON ERROR; the letter itself stays.
            let Some(rule) = rules.place(&letter.rule) else { continue };
            let Some(publish) = message(hook, letter, now) else { continue };
            let failure = ActionFailure {
                failed_action: "invoke".to_owned(),
                failed_resource: hook.to_owned(),
                error_message: letter.error.clone(),
            };
            if letter.for_error {
                action::report(
                    &rules.engine,
                    &rules.meter,
                    rule,
                    &publish,
                    now,
                    &[failure],
                    &mut pass.outcome,
                );
            }
            self.events.announce_letter(&rules, &mut pass, hook, rule, letter, now);
        }
        pass.finish(&rules, now);
        pass.settle(&rules, &self.caller).await;
        if pass.is_settled() {
            return true;
        }
        let work = Work::Messages {
            rules,
            outcome: pass.take_outcome(),
            observations: mem::take(&mut pass.observations),
        };
        let slot = Arc::new(AckSlot::default());
        let ack = Some((Arc::clone(&slot), 1));
        let submission = Submission { at: now, bytes: work.bytes(), work, ack };
        if self.journal.submit(submission).await.is_err() {
            return false;
        }
        while slot.committed() < 1 {
            slot.changed().await;
        }
        true
    }
}

/// The message that stands for the call. Hook names are topic levels, so there always is one.
fn message(hook: &str, letter: &DeadLetter, now: Timestamp) -> Option<Publish> {
    Some(Publish {
        topic: TopicName::parse(&format!("$events/hook/{hook}/failed")).ok()?,
        payload: letter.payload.clone(),
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: now,
        origin: Origin::internal(),
        properties: None,
        hops: letter.hops.saturating_add(1),
    })
}

impl DeadLetterSink for LetterSink {
    fn bury<'a>(
        &'a self,
        hook: &'a str,
        letters: &'a [DeadLetter],
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(self.report(hook, letters))
    }
}
