//! What the daemon knows of itself and of its surroundings across restarts.

use sqlx::SqliteConnection;
use trade::{BlockHeight, Day, LightningIdentity, Note, OrderId, Timestamp};

use super::text::{At, Text as _};
use super::{Reader, StoreError, WriteTx};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DaemonState {
    /// When a relay was last reachable: waiting deadlines do not run after it.
    pub relays_reachable_at: Option<Timestamp>,
    /// Every message that was sent before, to a relay that was reachable then, is decided or dropped:
    /// relays are asked for what came since.
    pub cursor: Option<Timestamp>,
    /// Since when one relay was unreachable, while others were not: it is still to be asked for what
    /// it has kept.
    pub missed_since: Option<Timestamp>,
    /// How high our node's chain is at least.
    pub height: Option<BlockHeight>,
    /// When that was last the tip.
    pub tip_seen_at: Option<Timestamp>,
    /// When LND was last unreachable or out of sync, or answered for the first time since the daemon
    /// was down.
    pub lnd_unhealthy_at: Option<Timestamp>,
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

impl WriteTx<'_> {
    /// # Errors
    /// `Corrupt` if a value is unreadable.
    pub async fn daemon_state(&mut self) -> Result<DaemonState, StoreError> {
        read(&mut self.tx).await
    }

    pub async fn set_relays_reachable_at(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("relays_reachable_at", &at.0.to_string()).await
    }

    pub async fn set_height(&mut self, height: BlockHeight) -> Result<(), StoreError> {
        self.set("height", &height.0.to_string()).await
    }

    pub async fn set_tip_seen_at(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("tip_seen_at", &at.0.to_string()).await
    }

    /// Everything sent before `at` is decided or dropped, except what a relay has kept since
    /// `missed_since` that was not always reachable.
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

    pub async fn set_lnd_unhealthy_at(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("lnd_unhealthy_at", &at.0.to_string()).await
    }

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

    pub async fn set_node(&mut self, node: LightningIdentity) -> Result<(), StoreError> {
        self.set("node_key", &node.key.to_text()).await?;
        self.set("node_network", &node.network.to_text()).await
    }

    /// Messages written until then are refused from now on: their ids are no longer remembered.
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

async fn read(connection: &mut SqliteConnection) -> Result<DaemonState, StoreError> {
    let rows = sqlx::query!("select key, value from daemon_state").fetch_all(connection).await?;
    let value = |key| rows.iter().find(|row| row.key == key).map(|row| row.value.as_str());
    let time = |key| value(key).map(|text| number(key, text).map(Timestamp)).transpose();
    let day = |key| value(key).map(|text| number(key, text).map(Day)).transpose();
    let at = |key: &'static str| At::new("daemon_state", key);
    let key = at("node_key").read_some("value", value("node_key"))?;
    let network = at("node_network").read_some("value", value("node_network"))?;
    Ok(DaemonState {
        relays_reachable_at: time("relays_reachable_at")?,
        cursor: time("cursor")?,
        missed_since: time("missed_since")?,
        height: value("height").map(|text| number("height", text).map(BlockHeight)).transpose()?,
        tip_seen_at: time("tip_seen_at")?,
        lnd_unhealthy_at: time("lnd_unhealthy_at")?,
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
