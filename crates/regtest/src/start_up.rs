//! The calls that LND answers before its API is available: its state, and the creation and unlocking
//! of its wallet. The client crate calls a service that LND does not have for the first, and has no
//! calls for the others.

use anyhow::{Result, ensure};
use fedimint_tonic_lnd::staterpc::{GetStateRequest, GetStateResponse, WalletState};
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codec::ProstCodec;
use tonic::codegen::http::uri::PathAndQuery;

use crate::lnd::{Node, PASSWORD};
use crate::wallet::endpoint;

#[derive(Clone, PartialEq, Message)]
struct Seed {
    #[prost(string, repeated, tag = "1")]
    words: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct InitWallet {
    #[prost(bytes = "vec", tag = "1")]
    password: Vec<u8>,
    #[prost(string, repeated, tag = "2")]
    words: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct UnlockWallet {
    #[prost(bytes = "vec", tag = "1")]
    password: Vec<u8>,
}

impl Node {
    /// Whether LND is in this state.
    pub(crate) async fn is(&self, wanted: WalletState) -> Result<()> {
        let state: GetStateResponse = self.ask("/lnrpc.State/GetState", GetStateRequest {}).await?;
        let state = state.state();
        ensure!(state == wanted, "{} is {}", self.name, state.as_str_name());
        Ok(())
    }

    /// Creates the wallet of a node that has none.
    pub(crate) async fn make_wallet(&self) -> Result<()> {
        let Seed { words } = self.ask("/lnrpc.WalletUnlocker/GenSeed", ()).await?;
        let wallet = InitWallet { password: PASSWORD.into(), words };
        self.ask("/lnrpc.WalletUnlocker/InitWallet", wallet).await
    }

    pub(crate) async fn unlock(&self) -> Result<()> {
        let asked = UnlockWallet { password: PASSWORD.into() };
        self.ask("/lnrpc.WalletUnlocker/UnlockWallet", asked).await
    }

    async fn ask<Q, A>(&self, path: &'static str, asked: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let certificate = std::fs::read(&self.certificate.file)?;
        let url = format!("https://{}", self.address);
        let mut grpc = Grpc::new(endpoint(&url, certificate)?.connect().await?);
        grpc.ready().await?;
        let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, A>::default());
        Ok(grpc.unary(Request::new(asked), path, codec).await?.into_inner())
    }
}
