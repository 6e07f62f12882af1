//! Hold invoices.

use sqlx::SqliteConnection;
use trade::{BlockHeight, Hold, Msats, Order, OrderId, PaymentHash, Sats, Seen};

use super::text::{At, Text as _};
use super::{Reader, StoreError};

impl Reader {
    /// One hold.
    ///
    /// # Errors
    /// `Corrupt` if the row contradicts itself.
    pub async fn find_hold(&self, hash: PaymentHash) -> Result<Option<Hold>, StoreError> {
        let hash = hash.to_text();
        let row = sqlx::query_as!(
            HoldRow,
            "select hash, preimage, purpose, amount, bolt11, seen, paid_msat, expires_height, decision
            from holds where hash = ?",
            hash
        )
        .fetch_optional(&mut *self.connection().await?)
        .await?;
        row.map(HoldRow::into_hold).transpose()
    }

    /// What LND must be asked about: the holds that it acknowledged and has not ended. One that cannot
    /// be read is left out; it was reported at the start.
    pub async fn list_holds_to_watch(&self) -> Result<Vec<(OrderId, PaymentHash)>, StoreError> {
        let rows = sqlx::query!(
            "select order_id, hash from holds
            where seen not in ('canceled', 'settled') and bolt11 is not null order by id"
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let readable = rows.iter().filter_map(|row| {
            let at = At::new("holds", &row.hash);
            Some((at.read("order_id", &row.order_id).ok()?, at.read("hash", &row.hash).ok()?))
        });
        Ok(readable.collect())
    }
}

/// The holds of an order that LND has not ended, and the one its state names.
pub(super) async fn list_of(
    connection: &mut SqliteConnection,
    order: OrderId,
    named: Option<PaymentHash>,
) -> Result<Vec<Hold>, StoreError> {
    let (order, named) = (order.to_text(), named.map(|hash| hash.to_text()));
    let rows = sqlx::query_as!(
        HoldRow,
        "select hash, preimage, purpose, amount, bolt11, seen, paid_msat, expires_height, decision
        from holds
        where order_id = ?1 and (seen not in ('canceled', 'settled') or hash = ?2) order by id",
        order,
        named
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(HoldRow::into_hold).collect()
}

/// Writes what changed of the holds of an order.
pub(super) async fn save(
    connection: &mut SqliteConnection,
    before: &[Hold],
    order: &Order,
) -> Result<(), StoreError> {
    for hold in &order.holds {
        match before.iter().find(|before| before.hash == hold.hash) {
            None => insert(connection, order.id, hold).await?,
            Some(before) if before != hold => update(connection, hold).await?,
            Some(_) => {}
        }
    }
    Ok(())
}

struct HoldRow {
    hash: String,
    preimage: String,
    purpose: String,
    amount: i64,
    bolt11: Option<String>,
    seen: String,
    paid_msat: Option<i64>,
    expires_height: Option<i64>,
    decision: Option<String>,
}

impl HoldRow {
    fn into_hold(self) -> Result<Hold, StoreError> {
        let at = At::new("holds", &self.hash);
        let seen = match (self.seen.as_str(), self.paid_msat, self.expires_height) {
            ("wanted", ..) => Seen::Wanted,
            ("open", ..) => Seen::Open,
            ("accepted", Some(paid), Some(height)) => Seen::Accepted {
                paid: Msats(at.number("paid_msat", paid)?),
                expires_at: BlockHeight(at.number("expires_height", height)?),
            },
            ("canceled", ..) => Seen::Canceled,
            ("settled", ..) => Seen::Settled,
            _ => return Err(at.corrupt("seen is unreadable")),
        };
        Ok(Hold {
            hash: at.read("hash", &self.hash)?,
            preimage: at.read("preimage", &self.preimage)?,
            purpose: at.read("purpose", &self.purpose)?,
            amount: Sats(at.number("amount", self.amount)?),
            bolt11: self.bolt11,
            seen,
            decision: at.read_some("decision", self.decision.as_deref())?,
        })
    }
}

/// `seen`, `paid_msat` and `expires_height`. The last two are kept when the hold is accepted no more.
fn seen_columns(
    at: &At,
    seen: Seen,
) -> Result<(&'static str, Option<i64>, Option<u32>), StoreError> {
    Ok(match seen {
        Seen::Wanted => ("wanted", None, None),
        Seen::Open => ("open", None, None),
        Seen::Accepted { paid, expires_at } => {
            ("accepted", Some(at.integer("paid_msat", paid.0)?), Some(expires_at.0))
        }
        Seen::Canceled => ("canceled", None, None),
        Seen::Settled => ("settled", None, None),
    })
}

async fn insert(
    connection: &mut SqliteConnection,
    order: OrderId,
    hold: &Hold,
) -> Result<(), StoreError> {
    let at = At::new("holds", hold.hash);
    let (hash, order, preimage) = (hold.hash.to_text(), order.to_text(), hold.preimage.to_text());
    let purpose = hold.purpose.to_text();
    let amount = at.integer("amount", hold.amount.0)?;
    let (seen, paid_msat, expires_height) = seen_columns(&at, hold.seen)?;
    let decision = hold.decision.map(|decision| decision.to_text());
    sqlx::query!(
        "insert into holds (hash, order_id, preimage, purpose, amount, bolt11, seen, paid_msat,
            expires_height, decision)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        hash,
        order,
        preimage,
        purpose,
        amount,
        hold.bolt11,
        seen,
        paid_msat,
        expires_height,
        decision
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut SqliteConnection, hold: &Hold) -> Result<(), StoreError> {
    let at = At::new("holds", hold.hash);
    let (hash, preimage) = (hold.hash.to_text(), hold.preimage.to_text());
    let purpose = hold.purpose.to_text();
    let amount = at.integer("amount", hold.amount.0)?;
    let (seen, paid_msat, expires_height) = seen_columns(&at, hold.seen)?;
    let decision = hold.decision.map(|decision| decision.to_text());
    sqlx::query!(
        "update holds set preimage = ?, purpose = ?, amount = ?, bolt11 = ?, seen = ?,
            paid_msat = coalesce(?, paid_msat), expires_height = coalesce(?, expires_height),
            decision = ?
        where hash = ?",
        preimage,
        purpose,
        amount,
        hold.bolt11,
        seen,
        paid_msat,
        expires_height,
        decision,
        hash
    )
    .execute(connection)
    .await?;
    Ok(())
}
