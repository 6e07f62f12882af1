//! The program `lnd-sim`: its subcommands, and its control port used from another process.

use std::path::Path;
use std::process::Stdio;

use fedimint_tonic_lnd::invoicesrpc::AddHoldInvoiceRequest;
use fedimint_tonic_lnd::lnrpc::GetInfoRequest;
use lnd_sim::control::{Command, call};
use lnd_sim::{Armed, Fault, HUB, LndState, Rpc};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command as Process};

use crate::fixture::{PREIMAGE, SELLER, client_in};

/// Starts the program and waits until it prints that it is ready.
async fn start(dir: &Path) -> Child {
    let mut program = Process::new(env!("CARGO_BIN_EXE_lnd-sim"))
        .args(["--dir", dir.to_str().unwrap(), "--state"])
        .arg(dir.join("state"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    while lines.next_line().await.unwrap().unwrap() != "ready" {}
    program
}

/// Runs a subcommand; returns its output.
async fn run(dir: &Path, verb: &str, rest: &[&str]) -> Result<String, String> {
    let done = Process::new(env!("CARGO_BIN_EXE_lnd-sim"))
        .args([verb, "--dir", dir.to_str().unwrap()])
        .args(rest)
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
}

// case: kill_accepted, for the whole process
#[tokio::test]
async fn a_sigkill_of_the_program_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = start(dir.path()).await;
    let mut lnd = client_in(dir.path(), HUB).await;
    let request = AddHoldInvoiceRequest {
        hash: PREIMAGE.hash().0.to_vec(),
        value: 10_000,
        ..Default::default()
    };
    let added = lnd.invoices().add_hold_invoice(request).await.unwrap().into_inner();
    let paid = run(dir.path(), "pay", &["--wallet", SELLER, &added.payment_request]).await;
    assert_eq!(paid.unwrap(), format!("IN_FLIGHT {}", PREIMAGE.hash()));
    program.kill().await.unwrap();

    let _program = start(dir.path()).await;

    let find = Command::FindInvoice { node: HUB.to_owned(), hash: PREIMAGE.hash() };
    let found = call(dir.path(), &find).await.unwrap();
    assert_eq!(found["state"], "ACCEPTED");
    assert_eq!(call(dir.path(), &Command::Check).await.unwrap(), serde_json::json!([]));
    // The old client can reconnect: address, certificate and macaroon are the same.
    assert!(lnd.lightning().get_info(GetInfoRequest {}).await.is_ok());
}

// case: none; the subcommands
#[tokio::test]
async fn the_subcommands_make_and_pay_an_invoice_mine_and_print_balances() {
    let dir = tempfile::tempdir().unwrap();
    let _program = start(dir.path()).await;

    let bolt11 = run(dir.path(), "invoice", &["--wallet", "buyer", "5000"]).await.unwrap();
    let paid = run(dir.path(), "pay", &["--wallet", SELLER, &bolt11]).await.unwrap();
    let mined = run(dir.path(), "mine", &["6"]).await.unwrap();
    let balances = run(dir.path(), "balances", &[]).await.unwrap();
    let again = run(dir.path(), "pay", &["--wallet", SELLER, &bolt11]).await.unwrap_err();

    assert!(paid.starts_with("SUCCEEDED "));
    assert_eq!(mined, "height 456");
    assert!(balances.contains("buyer          1000005000000"), "{balances}");
    assert!(again.contains("invoice is already paid"), "{again}");
}

// case: none; the control port
#[tokio::test]
async fn faults_can_be_armed_from_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let _program = start(dir.path()).await;
    let mut lnd = client_in(dir.path(), HUB).await;
    let fault = Fault::Refuse { code: 14, text: "not now".to_owned() };
    let armed =
        Armed { node: HUB.to_owned(), rpc: Rpc::GetInfo, hash: None, fault, times: Some(1) };
    call(dir.path(), &Command::Arm(armed)).await.unwrap();

    let refused = lnd.lightning().get_info(GetInfoRequest {}).await.unwrap_err();
    assert_eq!(refused.message(), "not now");
    let counted = Command::Calls { rpc: Rpc::GetInfo, hash: None };
    assert_eq!(call(dir.path(), &counted).await.unwrap(), 1);

    run(dir.path(), "tell", &[r#"{"do":"set_state","state":"locked"}"#]).await.unwrap();
    let locked = lnd.lightning().get_info(GetInfoRequest {}).await.unwrap_err();
    assert_eq!(locked.message(), "wallet locked, unlock it to enable full RPC access");
    let restart = [
        Command::Kill { node: HUB.to_owned() },
        Command::Start { node: HUB.to_owned(), state: LndState::ServerActive },
    ];
    for command in &restart {
        call(dir.path(), command).await.unwrap();
    }
    assert!(lnd.lightning().get_info(GetInfoRequest {}).await.is_ok());
}

// case: none; the control port
#[tokio::test]
async fn a_refused_command_and_a_missing_simulation_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = run(dir.path(), "balances", &[]).await.unwrap_err();
    assert!(nobody.contains("no simulation runs in"), "{nobody}");

    let _program = start(dir.path()).await;

    let refused = run(dir.path(), "invoice", &["--wallet", "nobody", "5"]).await.unwrap_err();
    assert!(refused.contains("no node is named \"nobody\""), "{refused}");
}
