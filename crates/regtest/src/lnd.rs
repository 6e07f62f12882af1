//! One LND node: how it is started, and when it is ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use fedimint_tonic_lnd::lnrpc::{
    GetInfoRequest, GetInfoResponse, NewAddressRequest, WalletBalanceRequest,
};
use fedimint_tonic_lnd::staterpc::WalletState;

use crate::certificate::Certificate;
use crate::ports::Ports;
use crate::wallet::{NodeAccess, Wallet};

/// The password of every wallet. LND requires eight characters.
pub(crate) const PASSWORD: &str = "password";

/// A node, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    dir: PathBuf,
    pub(crate) certificate: Certificate,
    pub(crate) address: SocketAddr,
    pub(crate) p2p_port: u16,
    /// Its own arguments, besides those of all nodes.
    arguments: Vec<String>,
}

/// A node that has answered.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) access: NodeAccess,
    pub(crate) wallet: Wallet,
}

/// Short intervals, so that tests need not wait.
const SHORT_INTERVALS: [&str; 8] = [
    "--trickledelay=50",
    "--gossip.sub-batch-delay=5ms",
    "--db.batch-commit-interval=10ms",
    "--caches.rpc-graph-cache-duration=100ms",
    "--minbackoff=1s",
    "--maxbackoff=2s",
    "--bitcoin.defaultchanconfs=1",
    "--bitcoin.defaultremotedelay=4",
];

impl Node {
    /// Creates its folder and its certificate.
    pub(crate) fn make(
        name: &str,
        parent: &Path,
        ports: &mut Ports,
        arguments: Vec<String>,
    ) -> Result<Self> {
        let dir = parent.join(name);
        std::fs::create_dir(&dir)?;
        std::fs::write(password_file(&dir), PASSWORD)?;
        let certificate = Certificate::make(&dir)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.next()?));
        let p2p_port = ports.next()?;
        Ok(Self { name: name.to_owned(), dir, certificate, address, p2p_port, arguments })
    }

    /// The command for LND, which waits with a locked wallet for the password.
    pub(crate) fn command(&self, binary: &Path, chain: &[String]) -> Command {
        let mut command = Command::new(binary);
        command.env("HOME", &self.dir);
        command.arg(format!("--lnddir={}", self.dir.display()));
        command.arg(format!("--rpclisten={}", self.address));
        command.arg(format!("--listen=127.0.0.1:{}", self.p2p_port));
        command.arg(format!("--alias={}", self.name));
        command.args(["--norest", "--nobootstrap", "--bitcoin.regtest"]);
        command.args(["--debuglevel=info", "--maxpendingchannels=10"]);
        command.args(["--keep-failed-payment-attempts", "--healthcheck.chainbackend.attempts=0"]);
        command.args(SHORT_INTERVALS).args(chain).args(&self.arguments);
        command
    }

    /// With these arguments LND unlocks its wallet itself, once there is one.
    pub(crate) fn unlocking(&self) -> [String; 2] {
        let file = password_file(&self.dir);
        let file = format!("--wallet-unlock-password-file={}", file.display());
        [file, "--wallet-unlock-allow-create".to_owned()]
    }

    /// Replaces its key and certificate; LND uses the new ones from its next start on.
    pub(crate) fn renew_certificate(&self) -> Result<()> {
        Certificate::make(&self.dir)?;
        Ok(())
    }

    /// Connects if LND is fully started and at this height.
    pub(crate) async fn ready(&self, height: u32) -> Result<Known> {
        self.is(WalletState::ServerActive).await?;
        let mut access = NodeAccess {
            name: self.name.clone(),
            pubkey: String::new(),
            address: self.address,
            tls_cert: self.certificate.file.clone(),
            macaroon: self.dir.join("data/chain/bitcoin/regtest/admin.macaroon"),
        };
        let wallet = Wallet::open(&access).await?;
        access.pubkey = at_height(&wallet, height).await?.identity_pubkey;
        Ok(Known { access, wallet })
    }

    /// The lncli command line for this node, without a subcommand.
    pub(crate) fn lncli(&self, binary: &Path) -> String {
        let (binary, dir) = (binary.display(), self.dir.display());
        format!("{binary} --lnddir={dir} --network=regtest --rpcserver={}", self.address)
    }
}

fn password_file(dir: &Path) -> PathBuf {
    dir.join("password")
}

/// LND's description of itself, if it has synced to this height.
pub(crate) async fn at_height(wallet: &Wallet, height: u32) -> Result<GetInfoResponse> {
    let info = wallet.lightning().get_info(GetInfoRequest {}).await?.into_inner();
    ensure!(info.synced_to_chain, "{} is not synced to the chain", info.alias);
    ensure!(info.block_height >= height, "{} is at block {}", info.alias, info.block_height);
    Ok(info)
}

pub(crate) async fn new_address(wallet: &Wallet) -> Result<String> {
    let asked = NewAddressRequest::default(); // p2wkh
    Ok(wallet.lightning().new_address(asked).await?.into_inner().address)
}

pub(crate) async fn has_coins(wallet: &Wallet) -> Result<()> {
    let balance = wallet.lightning().wallet_balance(WalletBalanceRequest::default()).await?;
    ensure!(balance.into_inner().confirmed_balance > 0, "the wallet is empty");
    Ok(())
}
