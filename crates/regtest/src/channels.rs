//! Peers and the channels between them: opened, listed, closed.

use anyhow::{Context as _, Result, ensure};
use fedimint_tonic_lnd::lnrpc::channel_point::FundingTxid;
use fedimint_tonic_lnd::lnrpc::{
    Channel, ChannelGraphRequest, ChannelPoint, CloseChannelRequest, ConnectPeerRequest,
    DisconnectPeerRequest, LightningAddress, ListChannelsRequest, OpenChannelRequest,
    PendingChannelsRequest,
};

use crate::lnd::Known;
use crate::wallet::Wallet;

/// A channel to be opened: its ends and its initial balances.
#[derive(Debug, Clone)]
pub struct Opening {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) sats: i64,
    /// How many of these the other side has from the start.
    pub(crate) pushed: i64,
}

const SATS_PER_VBYTE: u64 = 5;

impl Opening {
    pub(crate) fn new(from: &str, to: &str, pushed: i64) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), sats: 10_000_000, pushed }
    }
}

/// Makes two nodes peers, if they are not already.
pub(crate) async fn connect(from: &Known, to: &Known, p2p_port: u16) -> Result<()> {
    let host = format!("127.0.0.1:{p2p_port}");
    let addr = Some(LightningAddress { pubkey: to.access.pubkey.clone(), host });
    let asked = ConnectPeerRequest { addr, ..ConnectPeerRequest::default() };
    match from.wallet.lightning().connect_peer(asked).await {
        Err(error) if !error.message().contains("already connected") => Err(error.into()),
        _ => Ok(()),
    }
}

pub(crate) async fn disconnect(from: &Known, to: &Known) -> Result<()> {
    let asked = DisconnectPeerRequest { pub_key: to.access.pubkey.clone() };
    from.wallet.lightning().disconnect_peer(asked).await?;
    Ok(())
}

/// Opens a channel; it is active some blocks later. Each has its own transaction: several in one
/// would need LND's `walletrpc`, which not every build has.
pub(crate) async fn open(opening: &Opening, from: &Known, to: &Known) -> Result<()> {
    let asked = OpenChannelRequest {
        node_pubkey: hex::decode(&to.access.pubkey)?,
        local_funding_amount: opening.sats,
        push_sat: opening.pushed,
        sat_per_vbyte: SATS_PER_VBYTE,
        ..OpenChannelRequest::default()
    };
    let opened = from.wallet.lightning().open_channel_sync(asked).await;
    opened.with_context(|| format!("{} cannot open a channel to {}", opening.from, opening.to))?;
    Ok(())
}

/// Starts to close a channel cooperatively; it is closed some blocks later.
pub(crate) async fn close(of: &Known, channel: &Channel) -> Result<()> {
    let (id, output) = channel.channel_point.split_once(':').context("a txid and an output")?;
    let asked = CloseChannelRequest {
        channel_point: Some(ChannelPoint {
            funding_txid: Some(FundingTxid::FundingTxidStr(id.to_owned())),
            output_index: output.parse()?,
        }),
        sat_per_vbyte: SATS_PER_VBYTE,
        ..CloseChannelRequest::default()
    };
    let mut updates = of.wallet.lightning().close_channel(asked).await?.into_inner();
    updates.message().await?.context("LND sent no update about the closing")?;
    Ok(())
}

/// The channel with this number.
pub(crate) async fn find(of: &Known, chan_id: u64) -> Result<Channel> {
    let listed = list(of).await?.into_iter().find(|channel| channel.chan_id == chan_id);
    listed.with_context(|| format!("{} has no channel {chan_id}", of.access.name))
}

/// Whether a channel is neither open nor closing.
pub(crate) async fn is_closed(of: &Known, channel: &Channel) -> Result<()> {
    let pending = of.wallet.lightning().pending_channels(PendingChannelsRequest::default()).await?;
    let pending = pending.into_inner();
    ensure!(pending.waiting_close_channels.is_empty(), "the closing transaction is not confirmed");
    let is_listed = list(of).await?.iter().any(|one| one.chan_id == channel.chan_id);
    ensure!(!is_listed, "it is still open");
    Ok(())
}

/// Whether one node has an active channel with another.
pub(crate) async fn has_channel(one: &Known, other: &Known) -> Result<()> {
    let is_active = is_active(one, other).await?;
    ensure!(is_active, "{} has no active channel with {}", one.access.name, other.access.name);
    Ok(())
}

/// Whether one node has no active channel with another.
pub(crate) async fn has_no_channel(one: &Known, other: &Known) -> Result<()> {
    let is_active = is_active(one, other).await?;
    ensure!(!is_active, "{} has an active channel with {}", one.access.name, other.access.name);
    Ok(())
}

async fn is_active(one: &Known, other: &Known) -> Result<bool> {
    let listed = list(one).await?;
    let mut active = listed.iter().filter(|channel| channel.active);
    Ok(active.any(|channel| channel.remote_pubkey == other.access.pubkey))
}

/// Whether a node knows this number of channels, with the policies of both sides.
pub(crate) async fn knows_channels(wallet: &Wallet, wanted: usize) -> Result<()> {
    let graph = wallet.lightning().describe_graph(ChannelGraphRequest::default()).await?;
    let edges = graph.into_inner().edges;
    let known = edges.iter().filter(|e| e.node1_policy.is_some() && e.node2_policy.is_some());
    let known = known.count();
    ensure!(known == wanted, "it knows {known}");
    Ok(())
}

async fn list(of: &Known) -> Result<Vec<Channel>> {
    let asked = ListChannelsRequest::default();
    Ok(of.wallet.lightning().list_channels(asked).await?.into_inner().channels)
}
