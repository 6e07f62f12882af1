//! The journal and the ledger: what happened, and what it did to the money. Append-only.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;
use trade::{Decision, Order, Posting, Timestamp};

use super::text::{At, Text as _};
use super::{EventId, Reader, StoreError};

/// How a new version of an order came about.
#[derive(Debug, Clone, Copy)]
pub struct JournalLine {
    pub at: Timestamp,
    /// The name of the input.
    pub input: &'static str,
    /// Of the message that brought it.
    pub event_id: Option<EventId>,
}

impl Reader {
    /// Debits less credits of every account of the ledger, in msat, over all orders.
    pub async fn balances(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let rows = sqlx::query!(
            r#"select account as "account!: String", sum(msat) as "msat!: i64" from (
                select debit as account, amount_msat as msat from ledger
                union all select credit, -amount_msat from ledger
            ) group by account"#
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        Ok(rows.into_iter().map(|row| (row.account, row.msat)).collect())
    }
}

/// Writes the journal line of a decision and its postings.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    before: Option<&Order>,
    decision: &Decision,
    version: u64,
    line: &JournalLine,
) -> Result<(), StoreError> {
    let at = At::new("journal", decision.order.id);
    let (order, version) = (decision.order.id.to_text(), at.integer("version", version)?);
    let event_id = line.event_id.map(|id| id.to_text());
    let from_status = before.map(|before| before.status().to_text());
    let to_status = decision.order.status().to_text();
    let cause = decision.cause.text();
    sqlx::query!(
        "insert into journal (order_id, version, at, input, event_id, from_status, to_status, cause)
        values (?, ?, ?, ?, ?, ?, ?, ?)",
        order,
        version,
        line.at.0,
        line.input,
        event_id,
        from_status,
        to_status,
        cause
    )
    .execute(&mut *connection)
    .await?;
    for Posting { debit, credit, amount } in &decision.postings {
        let (debit, credit) = (debit.to_text(), credit.to_text());
        let amount = at.integer("amount_msat", amount.0)?;
        sqlx::query!(
            "insert into ledger (order_id, version, at, debit, credit, amount_msat)
            values (?, ?, ?, ?, ?, ?)",
            order,
            version,
            line.at.0,
            debit,
            credit,
            amount
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
