//! Small writes: those that decide nothing about an order.

use std::time::Duration;

use trade::{BlockHeight, LightningIdentity, Timestamp};

use super::surroundings;
use crate::store::{Delivery, OutboxId, PublicationId, Published, Sealed, StoreError, WriteTx};

/// One small write, for [`Engine::write`](super::Engine::write).
///
/// It is an enum and not a closure over the transaction: callers know nothing of transactions, and this
/// list shows all that they can have written without a decision. What changes an order, or may change
/// one, is a method of the engine.
#[derive(Debug)]
pub enum Write {
    /// A message that is not to be acted on, also if it comes again. Nothing is remembered of its
    /// author.
    Disregard(Delivery),

    /// An act failed: it, and its lane with it, is due again at that time.
    RetryAct { id: OutboxId, at: Timestamp },
    /// Some of the answers to strangers that have expired are dropped.
    ExpireAnswers,
    /// The signed event of a message. It must not be sent before this is written.
    SealMessage { id: OutboxId, sealed: Sealed },
    /// Another signed event of a message, whose saved one has a time that no relay takes. It must not
    /// be sent before this is written.
    SealMessageAnew { id: OutboxId, sealed: Sealed },

    /// A public event is to be published again.
    RenewPublication(PublicationId),
    /// The signed public event of a revision. It must not be sent before this is written.
    SealPublication { id: PublicationId, revision: i64, published: Published },
    /// Another public event of a revision, whose saved one has a time that no relay takes. It must not
    /// be sent before this is written.
    SealPublicationAnew { id: PublicationId, revision: i64, published: Published },
    /// A relay has this revision of a public event, in an event of this time.
    RecordPublished { id: PublicationId, revision: i64, created_at: Timestamp },
    /// A publication failed: it is due again at that time.
    RetryPublication { id: PublicationId, at: Timestamp },

    /// Retries that a clock which ran ahead has put off are due now. For the start, and for when the
    /// clock was set.
    RetryWhatLiesAhead,
    /// A little of what is of no more use is forgotten; ids of messages not before `inbox_memory`
    /// after they were written. For every few seconds while LND's chain confirms the clock: what a
    /// wrong one forgets is refused for as long as it was wrong.
    Forget { inbox_memory: Duration },

    /// The tip of our node's chain at this moment; decisions see it from now on. For every few
    /// seconds while it is known.
    SetTip(BlockHeight),
    /// Our node's chain is at least so high.
    RaiseHeight(BlockHeight),
    /// Who our Lightning node is; decisions see it from now on.
    SetNode(LightningIdentity),
    /// LND is unreachable or out of sync at this moment.
    LndIsUnhealthy,
    /// LND was seen starting at that moment, or later: no call of ours from before is on its way.
    LndHasRestarted(Timestamp),

    /// Everything that relays had before `at` is decided or dropped, except what one of them has kept
    /// since `missed_since`: it was not always reachable.
    SetCursor { at: Timestamp, missed_since: Option<Timestamp> },
}

impl Write {
    pub(super) async fn carry_out(
        self,
        tx: &mut WriteTx<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self {
            Self::Disregard(delivery) => tx.remember_id(&delivery, now).await.map(drop),
            Self::RetryAct { id, at } => tx.retry_act(id, at).await,
            Self::ExpireAnswers => tx.expire_answers(now).await,
            Self::SealMessage { id, sealed } => tx.seal_message(id, &sealed).await,
            Self::SealMessageAnew { id, sealed } => tx.seal_message_anew(id, &sealed).await,
            Self::RenewPublication(id) => tx.renew_publication(id).await,
            Self::SealPublication { id, revision, published } => {
                tx.seal_publication(id, revision, &published).await
            }
            Self::SealPublicationAnew { id, revision, published } => {
                tx.seal_publication_anew(id, revision, &published).await
            }
            Self::RecordPublished { id, revision, created_at } => {
                tx.record_published(id, revision, created_at).await
            }
            Self::RetryPublication { id, at } => tx.retry_publication(id, at).await,
            Self::RetryWhatLiesAhead => {
                tx.retry_acts_that_lie_ahead(now).await?;
                tx.retry_publications_that_lie_ahead(now).await?;
                tx.shorten_answers(now).await
            }
            Self::Forget { inbox_memory } => tx.forget(now, inbox_memory).await,
            Self::SetTip(height) => surroundings::set_tip(tx, height, now).await,
            Self::RaiseHeight(height) => surroundings::raise_height(tx, height).await,
            Self::SetNode(node) => tx.set_node(node).await,
            Self::LndIsUnhealthy => tx.set_lnd_unhealthy_at(now).await,
            Self::LndHasRestarted(at) => tx.set_lnd_restarted_at(at).await,
            Self::SetCursor { at, missed_since } => tx.set_cursor(at, missed_since).await,
        }
    }
}
