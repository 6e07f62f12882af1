//! What the daemon knows of itself and of its surroundings across restarts.

use std::time::Duration;

use sqlx::SqliteConnection;
use trade::{BlockHeight, LightningIdentity, Timestamp};

use super::text::{At, Text as _};
use super::{Reader, StoreError, WriteTx};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DaemonState {
    /// When a relay was last heard; messages are asked for from then on (D5).
    pub heard_at: Option<Timestamp>,
    /// The tip of our node's chain.
    pub height: Option<BlockHeight>,
    /// When LND was last seen unreachable or out of sync.
    pub lnd_unwell_at: Option<Timestamp>,
    /// Who our Lightning node is.
    pub node: Option<LightningIdentity>,
}

/// How long after the last word of a relay we count as deaf. It is written every ten seconds.
const DEAF_AFTER: Duration = Duration::from_secs(30);

impl DaemonState {
    /// How long no relay was heard, if that is long enough to matter. Never heard is deaf, too.
    #[must_use]
    pub fn deaf_for(&self, now: Timestamp) -> Option<Duration> {
        let Some(heard_at) = self.heard_at else { return Some(Duration::ZERO) };
        Some(now.since(heard_at)).filter(|gap| *gap > DEAF_AFTER)
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
    pub async fn set_height(&mut self, height: BlockHeight) -> Result<(), StoreError> {
        self.set("height", &height.0.to_string()).await
    }

    /// # Errors
    /// If the database does not answer.
    pub async fn set_lnd_unwell_at(&mut self, at: Timestamp) -> Result<(), StoreError> {
        self.set("lnd_unwell_at", &at.0.to_string()).await
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
    let at = |key: &'static str| At::new("daemon_state", key);
    let key = at("node_key").read_some("value", value("node_key"))?;
    let network = at("node_network").read_some("value", value("node_network"))?;
    Ok(DaemonState {
        heard_at: time("heard_at")?,
        height: value("height").map(|text| number("height", text).map(BlockHeight)).transpose()?,
        lnd_unwell_at: time("lnd_unwell_at")?,
        node: key.zip(network).map(|(key, network)| LightningIdentity { key, network }),
    })
}

fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| At::new("daemon_state", key).corrupt("value is not a number"))
}
