//! Orders: the one way to load them and the one way to save them.

use sqlx::SqliteConnection;
use trade::{
    BlockHeight, Decision, IdentityKey, Invoice, Kind, Order, OrderId, OrderState, Party,
    PaymentHash, PublicStatus, Side, Terms, Timestamp,
};

use super::journal::{self, JournalLine};
use super::rows::{DestinationDocument, StateDocument, TermsDocument};
use super::text::{At, Text as _};
use super::{
    PublicationId, Reader, StoreError, WriteTx, holds, outbox, payouts, publications, users,
};

impl WriteTx<'_> {
    /// The order as it is now, with its unclosed holds and its payouts.
    ///
    /// # Errors
    /// `Corrupt` if its rows contradict one another: it must not be changed then.
    pub async fn find_order(&mut self, id: OrderId) -> Result<Option<Order>, StoreError> {
        find(&mut self.tx, id).await
    }

    /// Saves an order that did not exist, and all that its creation asks for. The escrow margin in
    /// force decides when it is due.
    ///
    /// # Errors
    /// `Forbidden` if the id is taken.
    pub async fn create(
        &mut self,
        decision: &Decision,
        line: &JournalLine,
        margin: u32,
    ) -> Result<(), StoreError> {
        insert(&mut self.tx, &decision.order, margin).await?;
        self.carry_out(None, decision, 1, line).await
    }

    /// Saves the new state, the journal line, the ledger, the effects and the child, or nothing.
    ///
    /// # Errors
    /// `Moved` or `Forbidden` if something was saved that cannot have been: a bug.
    pub async fn save(
        &mut self,
        before: &Order,
        decision: &Decision,
        line: &JournalLine,
        margin: u32,
    ) -> Result<(), StoreError> {
        let version = before.version.saturating_add(1);
        update(&mut self.tx, before, &decision.order, version, margin).await?;
        self.carry_out(Some(before), decision, version, line).await?;
        match &decision.child {
            Some(child) => self.create(child, line, margin).await,
            None => Ok(()),
        }
    }

    async fn carry_out(
        &mut self,
        before: Option<&Order>,
        decision: &Decision,
        version: u64,
        line: &JournalLine,
    ) -> Result<(), StoreError> {
        let (tx, render) = (&mut *self.tx, self.render);
        let order = &decision.order;
        holds::save(tx, before.map_or(&[][..], |before| &before.holds), order).await?;
        payouts::save(tx, before.map_or(&[][..], |before| &before.payouts), order).await?;
        journal::write(tx, before, decision, version, line).await?;
        if let Some(change) = &decision.account {
            users::change(tx, change, line.at).await?;
        }
        for effect in &decision.effects {
            outbox::enqueue(tx, render, order.id, effect, line.at).await?;
        }
        for note in &decision.notes {
            self.take_note(note).await?;
        }
        let tx = &mut *self.tx;
        if before.is_none_or(|before| public_face(before) != public_face(order)) {
            publications::renew(tx, PublicationId::Order(order.id)).await?;
        }
        Ok(())
    }

    /// Writes the deadlines of every order that has not ended again, under the margin in force.
    ///
    /// Returns what went wrong with single orders; those are left as they are.
    pub async fn refresh_deadlines(&mut self, margin: u32) -> Result<Vec<StoreError>, StoreError> {
        let mut failures = Vec::new();
        for id in open(&mut self.tx).await? {
            let found = match id {
                Ok(id) => find(&mut self.tx, id).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(Some(order)) => write_deadline(&mut self.tx, &order, margin).await?,
                Ok(None) => {}
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => failures.push(error),
            }
        }
        Ok(failures)
    }

    /// The orders whose waiting deadline does not run while no relay is reachable.
    pub async fn list_waiting(&mut self) -> Result<Vec<OrderId>, StoreError> {
        let rows = sqlx::query_scalar!("select id from orders where waits_for is not null")
            .fetch_all(&mut *self.tx)
            .await?;
        Ok(readable(&rows))
    }

    /// The orders with a time that lies further ahead than these.
    pub async fn list_times_ahead(
        &mut self,
        than: &TimesAhead,
    ) -> Result<Vec<OrderId>, StoreError> {
        let rows = sqlx::query_scalar!(
            r#"select id as "id!" from orders where due_at > ?1 and in_book = 1
            union
            select id from orders where due_at > ?2 and waits_for is not null
            union
            select id from orders where due_at > ?3 and in_book = 0 and waits_for is null
            union
            select payout.order_id from payout_attempts attempt
            join payouts payout on payout.id = attempt.payout_id
            where attempt.state in ('dispatching', 'frozen') and (
                attempt.begun_at > ?4 or attempt.unanswered_since > ?4
                or attempt.refused_since > ?4 or attempt.in_doubt_since > ?4
                or attempt.missing_since > ?4 or attempt.htlc_missing_since > ?4
            )
            union
            select payout.order_id from orders
            join payouts payout on payout.order_id = orders.id
            where orders.ended = 0 and payout.failed_sends_since > ?4"#,
            than.book.0,
            than.waiting.0,
            than.payout.0,
            than.now.0
        )
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(readable(&rows))
    }

    /// Whether an unfinished order waits for this identity on that side: a buyer's invoice, a
    /// seller's payment.
    pub async fn has_duty(&mut self, of: IdentityKey, side: Side) -> Result<bool, StoreError> {
        let makes = match side {
            Side::Buyer => Kind::Buy,
            Side::Seller => Kind::Sell,
        };
        let (identity, side, makes) = (of.to_text(), side.to_text(), makes.to_text());
        let found = sqlx::query_scalar!(
            r#"select exists (
                select 1 from orders
                where waits_for = ?1 and kind = ?2 and maker_identity = ?3
                union all
                select 1 from orders
                where waits_for = ?1 and kind <> ?2 and taker_identity = ?3
            ) as "found!: bool""#,
            side,
            makes,
            identity
        )
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(found)
    }

    /// Whether a payment hash is already that of a hold, of a payout, or of the destination of another
    /// running order (C26). The present destination and attempt of `order` itself do not count.
    pub async fn is_payment_hash_known(
        &mut self,
        hash: PaymentHash,
        order: Option<OrderId>,
    ) -> Result<bool, StoreError> {
        let (hash, order) = (hash.to_text(), order.map(|id| id.to_text()));
        let found = sqlx::query_scalar!(
            r#"select exists (
                select 1 from holds where hash = ?1
                union all
                select 1 from payout_attempts attempt
                join payouts payout on payout.id = attempt.payout_id
                where attempt.hash = ?1 and (
                    payout.order_id is not ?2
                    or attempt.id < (select max(id) from payout_attempts
                                     where payout_id = attempt.payout_id)
                )
                union all
                select 1 from orders where destination_hash = ?1 and id is not ?2 and ended = 0
            ) as "found!: bool""#,
            hash,
            order
        )
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(found)
    }
}

/// The latest moment that each kind of an order's times can lie at.
#[derive(Debug, Clone, Copy)]
pub struct TimesAhead {
    pub now: Timestamp,
    pub book: Timestamp,
    pub waiting: Timestamp,
    pub payout: Timestamp,
}

impl Reader {
    /// The order as it was last committed, with its unclosed holds and its payouts.
    ///
    /// # Errors
    /// `Corrupt` if its rows contradict one another.
    pub async fn find_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        find(&mut *self.snapshot().await?, id).await
    }

    /// When the oldest trade that has not ended began; messages since then can still matter.
    pub async fn oldest_take(&self) -> Result<Option<Timestamp>, StoreError> {
        oldest_take(&mut *self.connection().await?).await
    }

    /// The orders that time or blocks alone must move on, the longest due first.
    ///
    /// The time of a waiting order does not run while no relay is reachable: a trader may have done its
    /// part, and the message cannot arrive (D5).
    pub async fn list_due(
        &self,
        now: Timestamp,
        height: BlockHeight,
        is_reachable: bool,
        limit: u32,
    ) -> Result<Vec<OrderId>, StoreError> {
        let rows = sqlx::query_scalar!(
            r#"select id as "id!" from (
                select id, due_at from orders where due_at <= ?1
                and (?2 or waits_for is null)
                union
                select id, due_at from orders where due_height <= ?3
            ) order by due_at is null, due_at limit ?4"#,
            now.0,
            is_reachable,
            height.0,
            limit
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        Ok(readable(&rows))
    }
}

struct OrderRow {
    version: i64,
    kind: String,
    status: String,
    ended: i64,
    in_book: i64,
    waits_for: Option<String>,
    state: String,
    maker_key: String,
    maker_identity: String,
    maker_index: Option<i64>,
    taker_key: Option<String>,
    taker_identity: Option<String>,
    taker_index: Option<i64>,
    taken_at: Option<i64>,
    terms: String,
    destination: Option<String>,
    created_at: i64,
    expires_at: i64,
}

pub(super) async fn find(
    connection: &mut SqliteConnection,
    id: OrderId,
) -> Result<Option<Order>, StoreError> {
    let key = id.to_text();
    let row = sqlx::query_as!(
        OrderRow,
        "select version, kind, status, ended, in_book, waits_for, state, maker_key, maker_identity, maker_index, taker_key,
            taker_identity, taker_index, taken_at, terms, destination, created_at, expires_at
        from orders where id = ?",
        key
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut order = row.into_order(id)?;
    order.holds = holds::list_of(connection, id, order.state.hold()).await?;
    order.payouts = payouts::list_of(connection, id).await?;
    trade::invariants::check(&order).map_err(|law| At::new("orders", id).corrupt(law))?;
    Ok(Some(order))
}

impl OrderRow {
    /// Without its holds and its payouts.
    fn into_order(self, id: OrderId) -> Result<Order, StoreError> {
        let at = At::new("orders", id);
        let state = OrderState::from(at.parse::<StateDocument>("state", &self.state)?);
        if state.status() != at.read("status", &self.status)? {
            return Err(at.corrupt(format!("status {} does not fit its state", self.status)));
        }
        let asked = Asked::of(&state);
        if (asked.ended, asked.in_book) != (self.ended != 0, self.in_book != 0)
            || asked.waits_for != self.waits_for
        {
            return Err(at.corrupt("what queries ask of it does not fit its state"));
        }
        let taker = match (self.taker_key, self.taker_identity) {
            (Some(trade), Some(identity)) => Some(Party {
                trade: at.read("taker_key", &trade)?,
                identity: at.read("taker_identity", &identity)?,
                index: self.taker_index,
            }),
            _ => None,
        };
        let kind = at.read("kind", &self.kind)?;
        let (created_at, expires_at) = (Timestamp(self.created_at), Timestamp(self.expires_at));
        let terms = at
            .parse::<TermsDocument>("terms", &self.terms)?
            .into_terms(kind, created_at, expires_at)
            .ok_or_else(|| at.corrupt("terms: there is no such quote"))?;
        let destination = self
            .destination
            .map(|json| at.parse::<DestinationDocument>("destination", &json))
            .transpose()?;
        Ok(Order {
            id,
            version: at.number("version", self.version)?,
            terms,
            maker: Party {
                trade: at.read("maker_key", &self.maker_key)?,
                identity: at.read("maker_identity", &self.maker_identity)?,
                index: self.maker_index,
            },
            taker,
            taken_at: self.taken_at.map(Timestamp),
            destination: destination.map(Invoice::from),
            state,
            holds: Vec::new(),
            payouts: Vec::new(),
        })
    }
}

/// What strangers can see of an order; when it changes, a new public event is due.
fn public_face(order: &Order) -> (PublicStatus, &Terms) {
    (order.public_status(), &order.terms)
}

/// What queries ask of a state; each has a column of its own.
struct Asked {
    ended: bool,
    in_book: bool,
    waits_for: Option<String>,
}

impl Asked {
    fn of(state: &OrderState) -> Self {
        Self {
            ended: state.is_final(),
            in_book: state.is_in_book(),
            waits_for: state.waits_for().map(|side| side.to_text()),
        }
    }
}

/// The columns that a save may change, as SQLite stores them.
struct Changing {
    status: String,
    asked: Asked,
    state: String,
    maker_key: String,
    maker_identity: String,
    taker_key: Option<String>,
    taker_identity: Option<String>,
    taker_index: Option<i64>,
    taken_at: Option<i64>,
    terms: String,
    destination: Option<String>,
    destination_hash: Option<String>,
    due_at: Option<i64>,
    due_height: Option<u32>,
}

impl Changing {
    fn of(order: &Order, margin: u32) -> Result<Self, StoreError> {
        let at = At::new("orders", order.id);
        let deadline = order.deadline(margin);
        let destination = order.destination.as_ref();
        Ok(Self {
            status: order.status().to_text(),
            asked: Asked::of(&order.state),
            state: at.write("state", &StateDocument::from(&order.state))?,
            maker_key: order.maker.trade.to_text(),
            maker_identity: order.maker.identity.to_text(),
            taker_key: order.taker.map(|taker| taker.trade.to_text()),
            taker_identity: order.taker.map(|taker| taker.identity.to_text()),
            taker_index: order.taker.and_then(|taker| taker.index),
            taken_at: order.taken_at.map(|at| at.0),
            terms: at.write("terms", &TermsDocument::from(&order.terms))?,
            destination: destination
                .map(|invoice| at.write("destination", &DestinationDocument::from(invoice)))
                .transpose()?,
            destination_hash: destination.map(|invoice| invoice.hash.to_text()),
            due_at: deadline.at.map(|at| at.0),
            due_height: deadline.height.map(|height| height.0),
        })
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    order: &Order,
    margin: u32,
) -> Result<(), StoreError> {
    let (id, kind, terms) = (order.id.to_text(), order.terms.kind.to_text(), &order.terms);
    let new = Changing::of(order, margin)?;
    sqlx::query!(
        "insert into orders (id, version, kind, status, ended, in_book, waits_for, state, maker_key,
            maker_identity, maker_index, taker_key, taker_identity, taker_index, taken_at, terms,
            destination, destination_hash, created_at, expires_at, due_at, due_height)
        values (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        kind,
        new.status,
        new.asked.ended,
        new.asked.in_book,
        new.asked.waits_for,
        new.state,
        new.maker_key,
        new.maker_identity,
        order.maker.index,
        new.taker_key,
        new.taker_identity,
        new.taker_index,
        new.taken_at,
        new.terms,
        new.destination,
        new.destination_hash,
        terms.created_at.0,
        terms.expires_at.0,
        new.due_at,
        new.due_height
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    connection: &mut SqliteConnection,
    before: &Order,
    order: &Order,
    version: u64,
    margin: u32,
) -> Result<(), StoreError> {
    let at = At::new("orders", order.id);
    let (id, new) = (before.id.to_text(), Changing::of(order, margin)?);
    let (was, version) = (at.integer("version", before.version)?, at.integer("version", version)?);
    let saved = sqlx::query!(
        "update orders set version = ?, status = ?, ended = ?, in_book = ?, waits_for = ?,
            state = ?, maker_key = ?, maker_identity = ?, maker_index = ?, taker_key = ?,
            taker_identity = ?, taker_index = ?, taken_at = ?, terms = ?, destination = ?,
            destination_hash = ?, expires_at = ?, due_at = ?, due_height = ?
        where id = ? and version = ?",
        version,
        new.status,
        new.asked.ended,
        new.asked.in_book,
        new.asked.waits_for,
        new.state,
        new.maker_key,
        new.maker_identity,
        order.maker.index,
        new.taker_key,
        new.taker_identity,
        new.taker_index,
        new.taken_at,
        new.terms,
        new.destination,
        new.destination_hash,
        order.terms.expires_at.0,
        new.due_at,
        new.due_height,
        id,
        was
    )
    .execute(connection)
    .await?;
    if saved.rows_affected() != 1 {
        return Err(StoreError::Moved { order: before.id, version: before.version });
    }
    Ok(())
}

/// When the oldest trade that has not ended began.
pub(super) async fn oldest_take(
    connection: &mut SqliteConnection,
) -> Result<Option<Timestamp>, StoreError> {
    let oldest = sqlx::query_scalar!(
        r#"select min(taken_at) as "oldest: i64" from orders
        where taken_at is not null and ended = 0"#
    )
    .fetch_one(connection)
    .await?;
    Ok(oldest.map(Timestamp))
}

/// The orders that have not ended.
pub(super) async fn open(
    connection: &mut SqliteConnection,
) -> Result<Vec<Result<OrderId, StoreError>>, StoreError> {
    let rows = sqlx::query_scalar!("select id from orders where ended = 0 order by created_at, id")
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().map(|id| At::new("orders", id).read("id", id)).collect())
}

/// Those that can be read: one that cannot be is left out, and was reported at the start.
fn readable(ids: &[String]) -> Vec<OrderId> {
    ids.iter().filter_map(|id| At::new("orders", id).read("id", id).ok()).collect()
}

async fn write_deadline(
    connection: &mut SqliteConnection,
    order: &Order,
    margin: u32,
) -> Result<(), StoreError> {
    let (id, deadline) = (order.id.to_text(), order.deadline(margin));
    let (due_at, due_height) = (deadline.at.map(|at| at.0), deadline.height.map(|height| height.0));
    sqlx::query!(
        "update orders set due_at = ?, due_height = ? where id = ?",
        due_at,
        due_height,
        id
    )
    .execute(connection)
    .await?;
    Ok(())
}
