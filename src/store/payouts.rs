//! Debts paid over Lightning, and their attempts.

use sqlx::SqliteConnection;
use trade::{
    Attempt, Day, FailedSends, Msats, NodeKey, Order, OrderId, PaymentHash, Payout, PayoutState,
    Sats, Subsidy, Timestamp,
};

use super::text::{At, Text as _};
use super::{Reader, StoreError, WriteTx};

impl Reader {
    /// One attempt and the order whose debt it pays.
    ///
    /// # Errors
    /// `Corrupt` if the row contradicts itself.
    pub async fn find_attempt(
        &self,
        hash: PaymentHash,
    ) -> Result<Option<(OrderId, Attempt)>, StoreError> {
        let hash = hash.to_text();
        let row = sqlx::query_as!(
            AttemptRow,
            "select order_id, hash, bolt11, attempt.amount, max_fee, cltv_limit, expires_at,
                attempt.state, tries, begun_at, acked, base_index, payment_index, unanswered_since,
                refused_since, refusal, in_doubt_since, missing_since, htlc_missing_since, preimage, subsidy_day,
                subsidy_payee, subsidy_msat
            from payout_attempts attempt join payouts payout on payout.id = attempt.payout_id
            where hash = ?",
            hash
        )
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let order = At::new("payout_attempts", &row.hash).read("order_id", &row.order_id)?;
        Ok(Some((order, row.into_attempt()?)))
    }

    /// What LND last said when it refused to pay for an order.
    pub async fn find_refusal(&self, order: OrderId) -> Result<Option<String>, StoreError> {
        let order = order.to_text();
        let refusal = sqlx::query_scalar!(
            "select refusal
            from payouts payout join payout_attempts attempt on attempt.payout_id = payout.id
            where order_id = ? and refusal is not null order by attempt.id desc limit 1",
            order
        )
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        Ok(refusal.flatten())
    }

    /// What LND must be asked about: the attempts whose send was begun and that have not ended. One that
    /// cannot be read is left out; it was reported at the start.
    pub async fn list_payments_to_follow(&self) -> Result<Vec<(OrderId, PaymentHash)>, StoreError> {
        // `+`, or SQLite reads all attempts there ever were in the order of their ids.
        let rows = sqlx::query!(
            "select order_id, hash
            from payout_attempts attempt join payouts payout on payout.id = attempt.payout_id
            where attempt.state in ('dispatching', 'frozen') and not exists (
                select 1 from outbox
                where lane = 'ln:' || attempt.hash and kind = 'payout.send/1' and done_at is null
            )
            order by +attempt.id"
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let readable = rows.iter().filter_map(|row| {
            let at = At::new("payout_attempts", &row.hash);
            Some((at.read("order_id", &row.order_id).ok()?, at.read("hash", &row.hash).ok()?))
        });
        Ok(readable.collect())
    }
}

impl WriteTx<'_> {
    /// Of the routing budget of a day: what is set aside or spent, what of that is spent, and what of it
    /// is for one node.
    ///
    /// # Errors
    /// `Corrupt` if a sum makes no sense.
    pub async fn subsidies(
        &mut self,
        day: Day,
        payee: NodeKey,
    ) -> Result<(Msats, Msats, Msats), StoreError> {
        let payee = payee.to_text();
        let row = sqlx::query!(
            r#"select coalesce(sum(subsidy_msat), 0) as "used!: i64",
                coalesce(sum(iif(state = 'succeeded', subsidy_msat, 0)), 0) as "spent!: i64",
                coalesce(sum(iif(subsidy_payee = ?2, subsidy_msat, 0)), 0) as "for_payee!: i64"
            from payout_attempts where subsidy_day = ?1"#,
            day.0,
            payee
        )
        .fetch_one(&mut *self.tx)
        .await?;
        let at = At::new("payout_attempts", day.0);
        let msats = |sum| at.number("subsidy_msat", sum).map(Msats);
        Ok((msats(row.used)?, msats(row.spent)?, msats(row.for_payee)?))
    }
}

struct PayoutRow {
    id: i64,
    purpose: String,
    amount: i64,
    owed_since: i64,
    state: String,
    failures: i64,
    due_at: Option<i64>,
    fee_msat: Option<i64>,
    failed_sends: i64,
    failed_sends_since: Option<i64>,
}

/// What is owed for an order, with the newest attempt to pay each debt.
pub(super) async fn list_of(
    connection: &mut SqliteConnection,
    order: OrderId,
) -> Result<Vec<Payout>, StoreError> {
    let (at, order) = (At::new("payouts", order), order.to_text());
    let rows = sqlx::query_as!(
        PayoutRow,
        "select id, purpose, amount, owed_since, state, failures, due_at, fee_msat, failed_sends,
            failed_sends_since
        from payouts where order_id = ? order by id",
        order
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut payouts = Vec::new();
    for row in rows {
        let attempt = newest_attempt(connection, row.id).await?;
        let given_up = given_up(connection, &at, row.id).await?;
        payouts.push(row.into_payout(&at, attempt, given_up)?);
    }
    Ok(payouts)
}

impl PayoutRow {
    fn into_payout(
        self,
        at: &At,
        attempt: Option<AttemptRow>,
        given_up: Vec<PaymentHash>,
    ) -> Result<Payout, StoreError> {
        let state = match (self.state.as_str(), self.due_at, self.fee_msat) {
            ("due", Some(due_at), None) => PayoutState::Due { at: Timestamp(due_at) },
            ("sending", None, None) => PayoutState::Sending,
            ("needs-invoice", None, None) => PayoutState::NeedsInvoice,
            ("paid", None, Some(fee)) => {
                PayoutState::Paid { fee: Msats(at.number("fee_msat", fee)?) }
            }
            ("frozen", None, None) => PayoutState::Frozen,
            _ => return Err(at.corrupt("its state and its columns do not fit")),
        };
        let fits = match &attempt {
            Some(attempt) => attempt.state == attempt_state(state),
            None => matches!(state, PayoutState::Due { .. } | PayoutState::NeedsInvoice),
        };
        if !fits {
            return Err(at.corrupt("its state and its newest attempt do not fit"));
        }
        Ok(Payout {
            purpose: at.read("purpose", &self.purpose)?,
            amount: Sats(at.number("amount", self.amount)?),
            owed_since: Timestamp(self.owed_since),
            failures: at.number("failures", self.failures)?,
            state,
            failed_sends: match self.failed_sends_since {
                Some(since) => Some(FailedSends {
                    since: Timestamp(since),
                    count: at.number("failed_sends", self.failed_sends)?,
                }),
                None => None,
            },
            attempt: attempt.map(AttemptRow::into_attempt).transpose()?,
            given_up,
        })
    }
}

/// Writes the payouts of an order that changed, each with its newest attempt.
pub(super) async fn save(
    connection: &mut SqliteConnection,
    before: &[Payout],
    order: &Order,
) -> Result<(), StoreError> {
    for payout in order.payouts.iter().filter(|payout| !before.contains(payout)) {
        save_payout(connection, order.id, payout).await?;
    }
    Ok(())
}

async fn save_payout(
    connection: &mut SqliteConnection,
    order: OrderId,
    payout: &Payout,
) -> Result<(), StoreError> {
    let (at, order) = (At::new("payouts", order), order.to_text());
    let purpose = payout.purpose.to_text();
    let (state, due_at, fee_msat) = match payout.state {
        PayoutState::Due { at } => ("due", Some(at.0), None),
        PayoutState::Sending => ("sending", None, None),
        PayoutState::NeedsInvoice => ("needs-invoice", None, None),
        PayoutState::Paid { fee } => ("paid", None, Some(at.integer("fee_msat", fee.0)?)),
        PayoutState::Frozen => ("frozen", None, None),
    };
    let amount = at.integer("amount", payout.amount.0)?;
    let failed_sends = payout.failed_sends.map_or(0, |sends| sends.count);
    let failed_sends_since = payout.failed_sends.map(|sends| sends.since.0);
    let id = sqlx::query_scalar!(
        r#"insert into payouts (order_id, purpose, amount, owed_since, state, failures, due_at, fee_msat,
            failed_sends, failed_sends_since)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        on conflict (order_id, purpose) do update set amount = excluded.amount,
            state = excluded.state, failures = excluded.failures, due_at = excluded.due_at,
            fee_msat = excluded.fee_msat, failed_sends = excluded.failed_sends,
            failed_sends_since = excluded.failed_sends_since
        returning id as "id!""#,
        order,
        purpose,
        amount,
        payout.owed_since.0,
        state,
        payout.failures,
        due_at,
        fee_msat,
        failed_sends,
        failed_sends_since
    )
    .fetch_one(&mut *connection)
    .await?;
    if let Some(attempt) = &payout.attempt {
        save_attempt(connection, id, payout.state, attempt).await?;
    }
    Ok(())
}

struct AttemptRow {
    order_id: String,
    hash: String,
    bolt11: String,
    amount: Option<i64>,
    max_fee: i64,
    cltv_limit: i64,
    expires_at: i64,
    state: String,
    tries: i64,
    begun_at: i64,
    acked: i64,
    base_index: i64,
    payment_index: i64,
    unanswered_since: Option<i64>,
    refused_since: Option<i64>,
    refusal: Option<String>,
    in_doubt_since: Option<i64>,
    missing_since: Option<i64>,
    htlc_missing_since: Option<i64>,
    preimage: Option<String>,
    subsidy_day: Option<i64>,
    subsidy_payee: Option<String>,
    subsidy_msat: Option<i64>,
}

impl AttemptRow {
    fn into_attempt(self) -> Result<Attempt, StoreError> {
        let at = At::new("payout_attempts", &self.hash);
        let amount = self.amount.map(|amount| at.number("amount", amount)).transpose()?;
        let subsidy = match (self.subsidy_day, self.subsidy_payee, self.subsidy_msat) {
            (Some(day), Some(payee), Some(msat)) => Some(Subsidy {
                day: Day(day),
                payee: at.read("subsidy_payee", &payee)?,
                amount: Msats(at.number("subsidy_msat", msat)?),
            }),
            _ => None,
        };
        Ok(Attempt {
            hash: at.read("hash", &self.hash)?,
            bolt11: self.bolt11,
            amount: amount.map(Sats),
            max_fee: Sats(at.number("max_fee", self.max_fee)?),
            subsidy,
            cltv_limit: at.number("cltv_limit", self.cltv_limit)?,
            expires_at: Timestamp(self.expires_at),
            tries: at.number("tries", self.tries)?,
            begun_at: Timestamp(self.begun_at),
            acked: self.acked != 0,
            base_index: at.number("base_index", self.base_index)?,
            payment_index: at.number("payment_index", self.payment_index)?,
            unanswered_since: self.unanswered_since.map(Timestamp),
            refused_since: self.refused_since.map(Timestamp),
            refusal: self.refusal,
            in_doubt_since: self.in_doubt_since.map(Timestamp),
            missing_since: self.missing_since.map(Timestamp),
            htlc_missing_since: self.htlc_missing_since.map(Timestamp),
            receipt: at.read_some("preimage", self.preimage.as_deref())?,
        })
    }
}

/// What the state of a debt says of its newest attempt.
fn attempt_state(payout: PayoutState) -> &'static str {
    match payout {
        PayoutState::Due { .. } | PayoutState::NeedsInvoice => "failed",
        PayoutState::Sending => "dispatching",
        PayoutState::Paid { .. } => "succeeded",
        PayoutState::Frozen => "frozen",
    }
}

async fn newest_attempt(
    connection: &mut SqliteConnection,
    payout: i64,
) -> Result<Option<AttemptRow>, StoreError> {
    let row = sqlx::query_as!(
        AttemptRow,
        "select order_id, hash, bolt11, attempt.amount, max_fee, cltv_limit, expires_at,
            attempt.state, tries, begun_at, acked, base_index, payment_index, unanswered_since,
            refused_since, refusal, in_doubt_since, missing_since, htlc_missing_since, preimage, subsidy_day,
            subsidy_payee, subsidy_msat
        from payout_attempts attempt join payouts payout on payout.id = attempt.payout_id
        where payout_id = ? order by attempt.id desc limit 1",
        payout
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// The hashes of the attempts before the newest one.
async fn given_up(
    connection: &mut SqliteConnection,
    at: &At,
    payout: i64,
) -> Result<Vec<PaymentHash>, StoreError> {
    let hashes = sqlx::query_scalar!(
        "select hash from payout_attempts where payout_id = ?1 and id < (
            select max(id) from payout_attempts where payout_id = ?1
        ) order by id",
        payout
    )
    .fetch_all(connection)
    .await?;
    hashes.iter().map(|hash| at.read("hash", hash)).collect()
}

/// One row per hash, however often it is sent (D20). Only the newest attempt of a payout may change.
async fn save_attempt(
    connection: &mut SqliteConnection,
    payout: i64,
    state: PayoutState,
    attempt: &Attempt,
) -> Result<(), StoreError> {
    let at = At::new("payout_attempts", attempt.hash);
    let hash = attempt.hash.to_text();
    let amount = attempt.amount.map(|amount| at.integer("amount", amount.0)).transpose()?;
    let max_fee = at.integer("max_fee", attempt.max_fee.0)?;
    let base_index = at.integer("base_index", attempt.base_index)?;
    let payment_index = at.integer("payment_index", attempt.payment_index)?;
    let state = attempt_state(state);
    let unanswered_since = attempt.unanswered_since.map(|at| at.0);
    let refused_since = attempt.refused_since.map(|at| at.0);
    let in_doubt_since = attempt.in_doubt_since.map(|at| at.0);
    let missing_since = attempt.missing_since.map(|at| at.0);
    let htlc_missing_since = attempt.htlc_missing_since.map(|at| at.0);
    let subsidy_day = attempt.subsidy.map(|subsidy| subsidy.day.0);
    let subsidy_payee = attempt.subsidy.map(|subsidy| subsidy.payee.to_text());
    let subsidy_msat =
        attempt.subsidy.map(|subsidy| at.integer("subsidy_msat", subsidy.amount.0)).transpose()?;
    let preimage = attempt.receipt.map(|preimage| preimage.to_text());
    let saved = sqlx::query!(
        "insert into payout_attempts (payout_id, hash, bolt11, amount, max_fee, cltv_limit,
            expires_at, state, tries, begun_at, acked, base_index, payment_index, unanswered_since,
            refused_since, refusal, in_doubt_since, missing_since, htlc_missing_since, preimage,
            subsidy_day, subsidy_payee, subsidy_msat)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        on conflict (hash) do update set bolt11 = excluded.bolt11, amount = excluded.amount,
            max_fee = excluded.max_fee, cltv_limit = excluded.cltv_limit,
            expires_at = excluded.expires_at, state = excluded.state, tries = excluded.tries,
            begun_at = excluded.begun_at, acked = excluded.acked, base_index = excluded.base_index,
            payment_index = excluded.payment_index, unanswered_since = excluded.unanswered_since,
            refused_since = excluded.refused_since, refusal = excluded.refusal,
            in_doubt_since = excluded.in_doubt_since, missing_since = excluded.missing_since,
            htlc_missing_since = excluded.htlc_missing_since, preimage = excluded.preimage,
            subsidy_day = excluded.subsidy_day, subsidy_payee = excluded.subsidy_payee,
            subsidy_msat = excluded.subsidy_msat
        where payout_id = excluded.payout_id and id = (
            select max(id) from payout_attempts newest where newest.payout_id = excluded.payout_id
        )",
        payout,
        hash,
        attempt.bolt11,
        amount,
        max_fee,
        attempt.cltv_limit,
        attempt.expires_at.0,
        state,
        attempt.tries,
        attempt.begun_at.0,
        attempt.acked,
        base_index,
        payment_index,
        unanswered_since,
        refused_since,
        attempt.refusal,
        in_doubt_since,
        missing_since,
        htlc_missing_since,
        preimage,
        subsidy_day,
        subsidy_payee,
        subsidy_msat
    )
    .execute(connection)
    .await?;
    if saved.rows_affected() != 1 {
        return Err(at.corrupt("it belongs to another payout, or to an older try of this one"));
    }
    Ok(())
}
