//! What the daemon knows of itself and of its surroundings across restarts.

use std::time::Duration;

use sqlx::SqliteConnection;
use trade::{BlockHeight, Day, LightningIdentity, Note, OrderId, Timestamp};

use super::text::{At, Text as _};
use super::{Reader, StoreError, WriteTx};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DaemonState {
    /// When a relay was last heard: waiting deadlines rest after it (D5).
    pub heard_at: Option<Timestamp>,
    /// Every message that was sent before, to a relay that was heard then, is decided or judged:
    /// relays are asked from here on (D42).
    pub cursor: Option<Timestamp>,
    /// Since when some relay was not heard, while others were: what it has kept is still to be asked
    /// for.
    pub missed_since: Option<Timestamp>,
    /// How high our node's chain is at least.
    pub height: Option<BlockHeight>,
    /// When that was last the tip.
    pub tip_seen_at: Option<Timestamp>,
    /// When LND was last seen unreachable or out of sync, or seen again after we were away.
    pub lnd_unwell_at: Option<Timestamp>,
    /// When LND was last seen starting.
    pub lnd_restarted_at: Option<Timestamp>,
    /// The orders whose payouts LND refused since it last took any.
    pub refused_orders: Vec<OrderId>,
    /// The days on which the operator was last told that the budget for routes is half spent, and that
    /// it does not suffice.
    pub routing_half_told: Option<Day>,
    pub routing_short_told: Option<Day>,
    /// Who our Lightning node is.
    pub node: Option<LightningIdentity>,
}

/// How long after the last word of a relay no relay counts as reachable. It is written every ten seconds.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(30);

/// How long the tip of the chain counts as known: longer than from one question to the next, shorter
/// than it takes to find blocks that matter.
const TIP_LASTS: Duration = Duration::from_mins(1);

impl DaemonState {
    /// Whether `height` was the tip a moment ago.
    #[must_use]
    pub fn is_at_tip(&self, now: Timestamp) -> bool {
        self.tip_seen_at.is_some_and(|at| at <= now && now.since(at) <= TIP_LASTS)
    }

    /// When LND was last unwell. If the clock ran ahead then, that may have been a moment ago.
    #[must_use]
    pub fn lnd_unwell_by(&self, now: Timestamp) -> Option<Timestamp> {
        self.lnd_unwell_at.map(|at| at.min(now))
    }

    /// How long no relay was heard, if that is long enough to matter. Never heard is unreachable, too.
    #[must_use]
    pub fn offline_for(&self, now: Timestamp) -> Option<Duration> {
        // When it was heard is not known if the clock ran ahead then.
        let heard_at = self.heard_at.filter(|at| *at <= now.after(UNREACHABLE_AFTER));
        let Some(heard_at) = heard_at else { return Some(Duration::ZERO) };
        Some(now.since(heard_at)).filter(|gap| *gap > UNREACHABLE_AFTER)
    }
}

impl WriteTx<'_> {
    /// # Errors
    /// `Corrupt` if a value is unreadable.
    pub async fn daemon_state(&mut self) -> Result<DaemonState, StoreError> {
        read(&mut self.tx).await
    }

    /// # Errors
    /// If the database does not answer.
    pub async fn set_heard_at(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("heard_at", &at.0.to_string()).await
    }

    /// # Errors
    /// If the database does not answer.
    pub async fn set_tip(&mut self, height: BlockHeight, at: Timestamp) -> Result<(), StoreError> {
        // Written by a clock that ran ahead, it would not pass for as long.
        if self.daemon_state().await?.lnd_unwell_at.is_some_and(|unwell| unwell > at) {
            self.set_lnd_unwell_at(at).await?;
        }
        self.set("height", &height.0.to_string()).await?;
        self.set("tip_seen_at", &at.0.to_string()).await
    }

    /// The chain is at least so high; what is known already may be higher.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn raise_height(&mut self, height: BlockHeight) -> Result<(), StoreError> {
        if self.daemon_state().await?.height < Some(height) {
            self.set("height", &height.0.to_string()).await?;
        }
        Ok(())
    }

    /// Everything sent before `at` is decided or judged, but for what a relay has kept since
    /// `missed_since` that was not heard in full.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn set_cursor(
        &mut self,
        at: Timestamp,
        missed_since: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.set("cursor", &at.0.to_string()).await?;
        if let Some(since) = missed_since {
            return self.set("missed_since", &since.0.to_string()).await;
        }
        sqlx::query!("delete from daemon_state where key = 'missed_since'")
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// # Errors
    /// If the database does not answer.
    pub async fn set_lnd_unwell_at(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("lnd_unwell_at", &at.0.to_string()).await
    }

    /// # Errors
    /// If the database does not answer.
    pub async fn set_lnd_restarted_at(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("lnd_restarted_at", &at.0.to_string()).await
    }

    /// Writes down what later decisions are to know.
    pub(super) async fn take_note(&mut self, note: &Note) -> Result<(), StoreError> {
        match note {
            Note::RefusedOrders(orders) => {
                let ids: Vec<_> = orders.iter().map(OrderId::to_text).collect();
                self.set("refused_orders", &ids.join(" ")).await
            }
            Note::RoutingHalfTold(day) => self.set("routing_half_told", &day.0.to_string()).await,
            Note::RoutingShortTold(day) => self.set("routing_short_told", &day.0.to_string()).await,
        }
    }

    /// # Errors
    /// If the database does not answer.
    pub async fn set_node(&mut self, node: LightningIdentity) -> Result<(), StoreError> {
        self.set("node_key", &node.key.to_text()).await?;
        self.set("node_network", &node.network.to_text()).await
    }

    /// Messages written until then are refused from now on, whoever remembers them.
    pub(super) async fn set_forgotten_until(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("forgotten_until", &at.0.to_string()).await
    }

    /// LND's chain agrees that it is now `now`: nothing has been written later, and `forgotten_until`
    /// need not lie beyond it.
    pub(super) async fn confirm_clock(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.set("clock_confirmed_at", &now.0.to_string()).await
    }

    pub(super) async fn forgotten_until(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let text =
            sqlx::query_scalar!("select value from daemon_state where key = 'forgotten_until'")
                .fetch_optional(&mut *self.tx)
                .await?;
        text.map(|text| number("forgotten_until", &text).map(Timestamp)).transpose()
    }

    async fn set(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into daemon_state (key, value) values (?, ?)
            on conflict (key) do update set value = excluded.value",
            key,
            value
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

impl Reader {
    /// # Errors
    /// `Corrupt` if a value is unreadable.
    pub async fn daemon_state(&self) -> Result<DaemonState, StoreError> {
        read(&mut *self.connection().await?).await
    }
}

pub(super) async fn read(connection: &mut SqliteConnection) -> Result<DaemonState, StoreError> {
    let rows = sqlx::query!("select key, value from daemon_state").fetch_all(connection).await?;
    let value = |key| rows.iter().find(|row| row.key == key).map(|row| row.value.as_str());
    let time = |key| value(key).map(|text| number(key, text).map(Timestamp)).transpose();
    let day = |key| value(key).map(|text| number(key, text).map(Day)).transpose();
    let at = |key: &'static str| At::new("daemon_state", key);
    let key = at("node_key").read_some("value", value("node_key"))?;
    let network = at("node_network").read_some("value", value("node_network"))?;
    Ok(DaemonState {
        heard_at: time("heard_at")?,
        cursor: time("cursor")?,
        missed_since: time("missed_since")?,
        height: value("height").map(|text| number("height", text).map(BlockHeight)).transpose()?,
        tip_seen_at: time("tip_seen_at")?,
        lnd_unwell_at: time("lnd_unwell_at")?,
        lnd_restarted_at: time("lnd_restarted_at")?,
        routing_half_told: day("routing_half_told")?,
        routing_short_told: day("routing_short_told")?,
        refused_orders: at("refused_orders").read_list("value", value("refused_orders"))?,
        node: key.zip(network).map(|(key, network)| LightningIdentity { key, network }),
    })
}

fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| At::new("daemon_state", key).corrupt("value is not a number"))
}
