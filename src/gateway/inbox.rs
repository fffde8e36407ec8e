//! Messages that come over HTTP: the same way as a connection's batch of one.

use std::sync::Arc;

use crate::access::Credentials;
use crate::access::Denied;
use crate::access::Identity;
use crate::access::Permissions;
use crate::api::SourceError;
use crate::api::source::NewMessage;
use crate::api::source::RetainedMessage;
use crate::api::source::Visitor;
use crate::broker::Refused;
use crate::broker::Submitted;
use crate::journal::AckSlot;
use crate::limits::API_COMMIT_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::topic::TopicName;

use super::view::GatewayView;
use super::view::stalled;

impl GatewayView {
    /// Hands a message to subscribers and rules; answers when what they made of it is committed.
    pub(super) async fn take_in(
        &self,
        visitor: Visitor,
        message: NewMessage,
    ) -> Result<(), SourceError> {
        if let Some(stall) = self.health.stall() {
            return Err(stalled(&stall));
        }
        let (identity, permissions) = self.admit(&visitor).await?;
        if !permissions.may_publish(message.topic.as_str()) {
            return Err(forbidden("publish to", message.topic.as_str()));
        }
        let Visitor { peer, .. } = visitor;
        let origin = Arc::new(Origin {
            client_id: None,
            principal: identity.user.or_else(|| peer.principal()),
            source_ip: Some(peer.address.ip()),
            record: None,
        });
        let publish = Publish {
            topic: message.topic,
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
            received_at: self.clock.now(),
            origin: Arc::clone(&origin),
            properties: message.properties,
            hops: 0,
        };
        let slot: Arc<AckSlot> = Arc::default();
        let mut lane = self.intake.lane(origin, Arc::clone(&slot));
        self.broker.take_in(publish, &mut *lane).map_err(|refused| {
            SourceError::Refused(match refused {
                Refused::PayloadFormat => "the payload is not UTF-8, as it promises".to_owned(),
                Refused::ReservedTopic => "only the gateway publishes there".to_owned(),
                Refused::UnknownRule => "no running rule has the name in the topic".to_owned(),
            })
        })?;
        // On its own: what subscribers have got goes to the rules even when the client has gone.
        let committing = tokio::spawn(async move {
            match lane.submit(Some(1)).await {
                Ok(Submitted::Settled) => Ok(()),
                Ok(Submitted::Pending) => {
                    while slot.committed() < 1 {
                        slot.changed().await;
                    }
                    Ok(())
                }
                Err(closed) => Err(SourceError::Busy(closed.to_string())),
            }
        });
        match tokio::time::timeout(API_COMMIT_MAX, committing).await {
            Ok(Ok(committed)) => committed,
            Ok(Err(error)) => Err(SourceError::Failed(error.to_string())),
            Err(_) => Err(SourceError::Unsettled(format!(
                "the message was not committed within {API_COMMIT_MAX:?}; it may be later, so the \
                 outcome is unknown"
            ))),
        }
    }

    /// Finds out who asks, and what it may do.
    async fn admit(&self, visitor: &Visitor) -> Result<(Identity, Permissions), SourceError> {
        let login = visitor.login.as_ref();
        let shown = Credentials {
            client_id: "",
            user_name: login.map(|login| &*login.user),
            password: login.map(|login| &*login.password),
            address: visitor.peer.address.ip(),
            certificate: visitor.peer.certificate.as_deref(),
        };
        let identity = self.broker.access().login(shown).await.map_err(|denied| match denied {
            Denied::Busy | Denied::TooManyFailures => SourceError::Busy(denied.to_string()),
            Denied::NoCredentials | Denied::WrongCredentials | Denied::NotAllowed => {
                SourceError::Forbidden(denied.to_string())
            }
        })?;
        let permissions = self.broker.access().permissions(&identity, "");
        let gone = || SourceError::Forbidden(Denied::WrongCredentials.to_string());
        Ok((identity, permissions.ok_or_else(gone)?))
    }

    pub(super) async fn retained_message(
        &self,
        visitor: Visitor,
        topic: &TopicName,
    ) -> Result<Option<RetainedMessage>, SourceError> {
        let (_, permissions) = self.admit(&visitor).await?;
        if !permissions.may_subscribe(topic.as_str()) {
            return Err(forbidden("subscribe to", topic.as_str()));
        }
        Ok(self.broker.retained(topic).as_ref().map(retained_view))
    }

    pub(super) async fn retained_page(
        &self,
        visitor: Visitor,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<RetainedMessage>, SourceError> {
        let (_, permissions) = self.admit(&visitor).await?;
        if !permissions.may_subscribe("#") {
            return Err(forbidden("subscribe to", "#"));
        }
        Ok(self.broker.retained_after(after.as_deref(), limit).iter().map(retained_view).collect())
    }
}

fn forbidden(what: &str, topic: &str) -> SourceError {
    SourceError::Forbidden(format!("no access rule lets you {what} '{topic}'"))
}

fn retained_view(publish: &Publish) -> RetainedMessage {
    let properties = publish.properties.as_ref();
    RetainedMessage {
        topic: publish.topic.clone(),
        payload: publish.payload.clone(),
        qos: publish.qos,
        at: publish.received_at,
        user_properties: properties.map(|p| p.user_properties.clone()).unwrap_or_default(),
    }
}
