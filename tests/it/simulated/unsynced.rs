//! LND is behind its chain.

use anyhow::Result;
use lnd_sim::MOSTRO;

use crate::harness::World;
use crate::harness::binary::Process;

#[tokio::test]
async fn an_lnd_that_is_behind_its_chain_is_named() -> Result<()> {
    let w = World::stopped().await?;
    w.net.lnd.set_synced(MOSTRO, false)?;
    let mut process = Process::start(&w.net, &[])?;
    process.says("not synced to its chain").await?;
    w.net.lnd.set_synced(MOSTRO, true)?;
    w.trades_again(process).await
}
