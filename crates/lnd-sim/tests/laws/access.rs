//! Who may call, and when LND is ready.

use fedimint_tonic_lnd::connect;
use fedimint_tonic_lnd::lnrpc::{self, GetInfoRequest};
use fedimint_tonic_lnd::staterpc::{GetStateRequest, GetStateResponse, WalletState};
use lnd_sim::{HUB, LndState};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::fixture::{Fixture, PREIMAGE, SELLER, answer, client};

/// A channel as any gRPC program makes it, trusting the node's certificate.
async fn channel(fixture: &Fixture) -> Channel {
    let node = fixture.sim.node(HUB).unwrap();
    let pem = std::fs::read(&node.tls_cert).unwrap();
    let tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)).domain_name("localhost");
    Endpoint::from_shared(node.url()).unwrap().tls_config(tls).unwrap().connect().await.unwrap()
}

async fn get_state(fixture: &Fixture, path: &'static str) -> Result<WalletState, Status> {
    let mut grpc = Grpc::new(channel(fixture).await);
    grpc.ready().await.unwrap();
    let codec = tonic::codec::ProstCodec::<GetStateRequest, GetStateResponse>::default();
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(GetStateRequest {}), path, codec).await?;
    Ok(answer.into_inner().state())
}

async fn info_with(fixture: &Fixture, macaroon: Option<&[u8]>) -> String {
    let mut grpc = Grpc::new(channel(fixture).await);
    grpc.ready().await.unwrap();
    let codec = tonic::codec::ProstCodec::<GetInfoRequest, lnrpc::GetInfoResponse>::default();
    let mut request = Request::new(GetInfoRequest {});
    if let Some(macaroon) = macaroon {
        request.metadata_mut().insert("macaroon", hex::encode(macaroon).parse().unwrap());
    }
    let path = PathAndQuery::from_static("/lnrpc.Lightning/GetInfo");
    answer(grpc.unary(request, path, codec).await)
}

// case: state_package
#[tokio::test]
async fn state_is_served_under_lnds_name_without_a_macaroon() {
    let fixture = Fixture::start().await;

    let lnrpc = get_state(&fixture, "/lnrpc.State/GetState").await;
    let staterpc = get_state(&fixture, "/staterpc.State/GetState").await;

    assert_eq!(lnrpc.unwrap(), WalletState::ServerActive);
    assert_eq!(answer(staterpc), "UNIMPLEMENTED: unknown service staterpc.State");
}

// case: uri_macaroon
#[tokio::test]
async fn a_call_needs_one_macaroon_of_this_node() {
    let fixture = Fixture::start().await;
    let other = std::fs::read(fixture.sim.node(SELLER).unwrap().macaroon).unwrap();
    let own = std::fs::read(fixture.sim.node(HUB).unwrap().macaroon).unwrap();

    assert_eq!(info_with(&fixture, None).await, "UNKNOWN: expected 1 macaroon, got 0");
    assert_eq!(
        info_with(&fixture, Some(b"garbage")).await,
        "UNKNOWN: cannot determine data format of binary-encoded macaroon"
    );
    assert_eq!(
        info_with(&fixture, Some(&other)).await,
        "UNKNOWN: verification failed: signature mismatch after caveat verification"
    );
    assert_eq!(info_with(&fixture, Some(&own)).await, "OK");
}

// case: uri_macaroon
#[tokio::test]
async fn a_macaroon_allows_only_its_calls_and_only_while_its_root_key_exists() {
    let fixture = Fixture::start().await;
    let calls = ["/lnrpc.Lightning/GetInfo".to_owned()];
    let baked = fixture.sim.bake_macaroon(HUB, 77, &calls).unwrap();
    let file = fixture.dir.path().join("baked.macaroon");
    std::fs::write(&file, baked).unwrap();
    let node = fixture.sim.node(HUB).unwrap();
    let mut caller = connect(node.url(), node.tls_cert, file).await.unwrap();
    let denied = "UNKNOWN: permission denied";

    assert_eq!(answer(caller.lightning().get_info(GetInfoRequest {}).await), "OK");
    let add = caller.lightning().add_invoice(lnrpc::Invoice::default()).await;
    assert_eq!(answer(add), denied);
    let send = caller.lightning().send_coins(lnrpc::SendCoinsRequest::default()).await;
    assert_eq!(answer(send), denied);

    fixture.sim.delete_macaroon(HUB, 77).unwrap();
    assert_eq!(
        answer(caller.lightning().get_info(GetInfoRequest {}).await),
        "UNKNOWN: cannot retrieve macaroon: cannot get macaroon: root key with id 77 doesn't exist"
    );
}

// case: startup, locked_wallet
#[tokio::test]
async fn before_rpc_active_every_call_fails_and_get_state_says_why() {
    let mut fixture = Fixture::start().await;
    fixture.sim.invoice(HUB, 1).unwrap();
    let cases = [
        (
            LndState::NonExisting,
            WalletState::NonExisting,
            "UNKNOWN: wallet not created, create one to enable full RPC access",
        ),
        (
            LndState::WaitingToStart,
            WalletState::WaitingToStart,
            "UNKNOWN: waiting to start, RPC services not available",
        ),
        (
            LndState::Locked,
            WalletState::Locked,
            "UNKNOWN: wallet locked, unlock it to enable full RPC access",
        ),
        (
            LndState::Unlocked,
            WalletState::Unlocked,
            "UNKNOWN: the RPC server is in the process of starting up, but not yet ready to accept calls",
        ),
        (LndState::RpcActive, WalletState::RpcActive, "NOT_FOUND: unable to locate invoice"),
    ];
    for (state, reported, expected) in cases {
        fixture.sim.set_state(HUB, state).unwrap();
        assert_eq!(get_state(&fixture, "/lnrpc.State/GetState").await.unwrap(), reported);
        assert_eq!(answer(fixture.lookup().await), expected);
    }
}

// case: synced_after_block
#[tokio::test]
async fn an_unsynced_node_reports_it_and_still_settles() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    fixture.sim.set_synced(HUB, false).unwrap();

    let info = fixture.client.lightning().get_info(GetInfoRequest {}).await.unwrap().into_inner();

    assert!(!info.synced_to_chain);
    assert_eq!(info.block_height, fixture.sim.height());
    assert_eq!(answer(fixture.settle().await), "OK");
}

// case: none; LND's `tlsautorefresh`
#[tokio::test]
async fn a_renewed_certificate_rejects_clients_that_pinned_the_old_one() {
    let mut fixture = Fixture::start().await;
    fixture.add_hold(|_| ()).await.unwrap();

    fixture.sim.renew_certificate(HUB).unwrap();

    assert!(fixture.lookup().await.is_err());
    let mut fresh = client(&fixture.sim, HUB).await;
    assert!(fresh.lightning().get_info(GetInfoRequest {}).await.is_ok());
    assert!(fixture.sim.find_invoice(HUB, PREIMAGE.hash()).is_some());
}

// case: none; the handle's faults
#[tokio::test]
async fn a_node_reports_the_version_and_the_chain_that_were_set() {
    let mut fixture = Fixture::start().await;
    fixture.sim.set_version(HUB, "0.19.3-beta").unwrap();
    fixture.sim.set_network(HUB, "mainnet").unwrap();

    let info = fixture.client.lightning().get_info(GetInfoRequest {}).await.unwrap().into_inner();

    assert_eq!(
        (info.version.as_str(), info.chains[0].network.as_str()),
        ("0.19.3-beta", "mainnet")
    );
}
