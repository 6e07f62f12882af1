//! The traders' wallets on the simulated LND.

use anyhow::Result;
use devnet::{Lightning as _, Wallet};
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;
use lnd_sim::{Config, LndSim, Payee};

#[tokio::test]
async fn a_wallet_pays_the_invoice_of_another_wallet() -> Result<()> {
    let (lnd, seller, buyer, _dir) = wallets().await?;
    let before = lnd.balance("buyer")?.available_msat;

    let status = seller.pay(&buyer.invoice(1_000).await?).await?;

    assert_ne!(status, PaymentStatus::Failed);
    assert_eq!(lnd.balance("buyer")?.available_msat, before + 1_000_000);
    Ok(())
}

#[tokio::test]
async fn paying_does_not_wait_for_a_payee_who_holds() -> Result<()> {
    let (lnd, seller, buyer, _dir) = wallets().await?;
    lnd.set_payee("buyer", Payee::Holds)?;

    let status = seller.pay(&buyer.invoice(1_000).await?).await?;

    assert_eq!(status, PaymentStatus::InFlight);
    Ok(())
}

#[tokio::test]
async fn a_payment_that_fails_is_an_error_with_lnds_reason() -> Result<()> {
    let (lnd, seller, buyer, _dir) = wallets().await?;
    lnd.set_channels_active("buyer", false)?;

    let error = seller.pay(&buyer.invoice(1_000).await?).await.unwrap_err();

    assert!(format!("{error:#}").contains("NO_ROUTE"), "{error:#}");
    Ok(())
}

async fn wallets() -> Result<(LndSim, Wallet, Wallet, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let lnd = LndSim::start(Config::new(dir.path())).await?;
    let seller = Wallet::open(&lnd.access("seller")?).await?;
    let buyer = Wallet::open(&lnd.access("buyer")?).await?;
    Ok((lnd, seller, buyer, dir))
}
