//! LND is stopped, killed, restarted; calls and answers are lost; the program itself is killed.

use std::time::Duration;

use fedimint_tonic_lnd::invoicesrpc::SettleInvoiceMsg;
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState::{Accepted, Canceled, Open, Settled};
use lnd_sim::{Config, Fault, HUB, LndSim, Payee, Rpc};
use tonic::Code;

use crate::fixture::{
    BUYER, Fixture, PREIMAGE, SELLER, answer, client, error_text, hash_of, payment, rest,
    status_text,
};

// case: stream_ends
#[tokio::test]
async fn at_sigterm_invoice_streams_end_ok_and_payment_streams_fail() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    let invoice = fixture.subscribe().await.unwrap();
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let payment = fixture.send(payment(&bolt11)).await.unwrap();

    fixture.sim.stop(HUB).await;

    let (seen, end) = rest(invoice).await;
    assert_eq!((seen.len(), end.is_ok()), (1, true));
    let (_, end) = rest(payment).await;
    assert_eq!(error_text(&end.unwrap_err()), "UNKNOWN: routerrpc server shutting down");
}

// case: stream_ends; what the client library makes of a broken connection is its own affair
#[tokio::test]
async fn at_sigkill_streams_break() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    let mut invoice = fixture.subscribe().await.unwrap();
    invoice.message().await.unwrap();

    fixture.sim.kill(HUB).await;

    assert!(invoice.message().await.is_err());
    assert!(fixture.lookup().await.is_err());
}

// case: kill_accepted, kill_after_settle
#[tokio::test]
async fn a_held_invoice_survives_a_kill_and_settles_at_once() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    fixture.sim.kill(HUB).await;
    fixture.sim.start_node(HUB).await.unwrap();

    assert_eq!(fixture.state().await, Accepted);
    assert_eq!(answer(fixture.settle().await), "OK");
    fixture.sim.kill(HUB).await;
    fixture.sim.start_node(HUB).await.unwrap();

    assert_eq!(fixture.state().await, Settled);
    let paid = fixture.sim.find_payment(SELLER, PREIMAGE.hash()).unwrap();
    assert_eq!(status_text(&paid), "SUCCEEDED");
    fixture.check_laws();
}

// case: kill_accepted (expired while down)
#[tokio::test]
async fn an_invoice_that_expired_while_lnd_was_down_is_canceled_at_its_start() {
    let mut fixture = Fixture::start().await;
    fixture.add_hold(|request| request.expiry = 10).await.unwrap();
    fixture.sim.kill(HUB).await;
    fixture.advance(10);
    assert_eq!(fixture.sim.find_invoice(HUB, PREIMAGE.hash()).unwrap().state(), Open);

    fixture.sim.start_node(HUB).await.unwrap();

    assert_eq!(fixture.state().await, Canceled);
}

// case: auto_cancel_while_down
#[tokio::test]
async fn blocks_missed_while_down_cancel_a_hold_one_second_after_the_start_unless_it_is_settled_before()
 {
    for settles in [true, false] {
        let mut fixture = Fixture::start().await;
        fixture.add_held().await;
        fixture.sim.kill(HUB).await;
        fixture.sim.mine(140);
        fixture.sim.start_node(HUB).await.unwrap();
        assert_eq!(fixture.state().await, Accepted);
        if settles {
            assert_eq!(answer(fixture.settle().await), "OK");
        }

        fixture.advance(1);

        assert_eq!(fixture.state().await, if settles { Settled } else { Canceled });
        fixture.check_laws();
    }
}

// case: payer_restart
#[tokio::test]
async fn a_payer_that_was_down_sees_the_settle_after_its_restart() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    fixture.sim.kill(SELLER).await;
    assert_eq!(answer(fixture.settle().await), "OK");
    let paid = fixture.sim.find_payment(SELLER, PREIMAGE.hash()).unwrap();
    assert_eq!(status_text(&paid), "IN_FLIGHT");
    fixture.check_laws();

    fixture.sim.start_node(SELLER).await.unwrap();

    let paid = fixture.sim.find_payment(SELLER, PREIMAGE.hash()).unwrap();
    assert_eq!(status_text(&paid), "SUCCEEDED");
    fixture.check_laws();
}

// case: kill_in_flight, final_survives
#[tokio::test]
async fn a_payment_survives_a_kill_in_flight_and_after_its_end() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);
    fixture.send(payment(&bolt11)).await.unwrap();
    fixture.sim.kill(HUB).await;
    fixture.sim.start_node(HUB).await.unwrap();
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "ALREADY_EXISTS: payment is in transition");
    let stream = fixture.track(hash).await.unwrap();

    fixture.sim.payee_settles(BUYER, hash).unwrap();

    let (seen, end) = rest(stream).await;
    assert_eq!(seen.iter().map(status_text).collect::<Vec<_>>(), ["IN_FLIGHT", "SUCCEEDED"]);
    assert!(end.is_ok());
    fixture.sim.kill(HUB).await;
    fixture.sim.start_node(HUB).await.unwrap();
    let (seen, _) = rest(fixture.track(hash).await.unwrap()).await;
    assert_eq!(seen.iter().map(status_text).collect::<Vec<_>>(), ["SUCCEEDED"]);
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "ALREADY_EXISTS: invoice is already paid");
}

// case: kill_during_settle
#[tokio::test]
async fn a_settle_whose_answer_is_lost_took_effect_and_can_be_repeated() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    fixture.sim.lose_next_answer(Rpc::SettleInvoice);

    assert_eq!(fixture.settle().await.unwrap_err().code(), Code::Unavailable);

    assert_eq!(fixture.state().await, Settled);
    assert_eq!(answer(fixture.settle().await), "OK");
    assert_eq!(fixture.sim.calls_about(Rpc::SettleInvoice, PREIMAGE.hash()), 2);
}

// case: none; seen on real nodes, which must be killed within milliseconds to show it
#[tokio::test]
async fn an_htlc_taken_for_a_replay_is_failed_and_its_invoice_stays_accepted() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;

    fixture.sim.kill(HUB).await;
    fixture.sim.fail_as_replay(HUB, PREIMAGE.hash()).unwrap();
    fixture.sim.start_node(HUB).await.unwrap();

    assert_eq!(fixture.state().await, Accepted);
    let paid = fixture.sim.find_payment(SELLER, PREIMAGE.hash()).unwrap();
    assert_eq!(status_text(&paid), "FAILED/NO_ROUTE");
    assert_eq!(fixture.sim.balance(HUB).unwrap().incoming_held_msat, 0);
    assert_eq!(fixture.sim.check(), Vec::<String>::new());
    assert_eq!(answer(fixture.cancel().await), "OK");
    assert_eq!(fixture.sim.check(), Vec::<String>::new());
}

// case: none; as above
#[tokio::test]
async fn settling_an_htlc_taken_for_a_replay_brings_no_sats_and_breaks_a_law() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    let before = fixture.sim.balance(HUB).unwrap();
    fixture.sim.fail_as_replay(HUB, PREIMAGE.hash()).unwrap();

    assert_eq!(answer(fixture.settle().await), "OK");

    assert_eq!(fixture.state().await, Settled);
    let after = fixture.sim.balance(HUB).unwrap();
    assert_eq!(after.available_msat, before.available_msat);
    let broken = fixture.sim.check();
    assert!(broken[0].contains("different outcomes for payee and payer"), "{broken:?}");
}

// case: deadline_then_effect
#[tokio::test]
async fn a_call_to_a_frozen_lnd_takes_effect_after_its_caller_gave_up() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    fixture.sim.fault_next(Rpc::SettleInvoice, Fault::Freeze);
    let gave_up = tokio::time::timeout(Duration::from_millis(100), fixture.settle()).await;
    assert!(gave_up.is_err());
    assert_eq!(fixture.state().await, Accepted);
    let mut stream = fixture.subscribe().await.unwrap();
    stream.message().await.unwrap();

    fixture.sim.thaw();

    assert_eq!(stream.message().await.unwrap().unwrap().state(), Settled);
}

// case: kill_during_settle; a call that LND had not started is lost
#[tokio::test]
async fn a_frozen_call_is_dropped_when_its_lnd_is_killed() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    fixture.sim.fault_next(Rpc::SettleInvoice, Fault::Freeze);
    let gave_up = tokio::time::timeout(Duration::from_millis(100), fixture.settle()).await;
    assert!(gave_up.is_err());

    fixture.sim.kill(HUB).await;
    fixture.sim.thaw();
    fixture.sim.start_node(HUB).await.unwrap();

    assert_eq!(fixture.state().await, Accepted);
}

// case: none; the handle's faults
#[tokio::test]
async fn a_call_that_hangs_never_takes_effect() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    fixture.sim.hang(Rpc::SettleInvoice);

    assert!(tokio::time::timeout(Duration::from_millis(100), fixture.settle()).await.is_err());

    assert_eq!(fixture.state().await, Accepted);
    fixture.sim.clear_faults();
    assert_eq!(answer(fixture.settle().await), "OK");
}

// case: none; the handle's faults
#[tokio::test]
async fn a_call_can_be_refused_once_before_any_effect() {
    let mut fixture = Fixture::start().await;
    fixture.sim.fail_next(Rpc::AddHoldInvoice, Code::Unknown, "database is locked");

    assert_eq!(answer(fixture.add_hold(|_| ()).await), "UNKNOWN: database is locked");

    assert_eq!(answer(fixture.add_hold(|_| ()).await), "OK");
}

// case: none; the handle's faults
#[tokio::test]
async fn streams_can_be_cut_ended_silenced_and_dropped() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    let rpc = Rpc::SubscribeSingleInvoice;
    fixture.sim.fault_next(rpc, Fault::Cut { after: 1 });
    let (seen, end) = rest(fixture.subscribe().await.unwrap()).await;
    assert_eq!((seen.len(), end.unwrap_err().code()), (1, Code::Unavailable));
    fixture.sim.fault_next(rpc, Fault::End { after: 1 });
    let (seen, end) = rest(fixture.subscribe().await.unwrap()).await;
    assert_eq!((seen.len(), end.is_ok()), (1, true));
    let dropped = fixture.subscribe().await.unwrap();
    fixture.sim.fault_next(rpc, Fault::Silence { after: 1 });
    let mut silent = fixture.subscribe().await.unwrap();
    silent.message().await.unwrap();

    fixture.sim.drop_streams(HUB);
    fixture.settle().await.unwrap();

    assert_eq!(rest(dropped).await.1.unwrap_err().code(), Code::Unavailable);
    let silence = tokio::time::timeout(Duration::from_millis(100), silent.message()).await;
    assert!(silence.is_err());
}

// case: none; `--state`
#[tokio::test]
async fn everything_survives_the_end_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { state: Some(dir.path().join("state")), ..Config::new(dir.path()) };
    let preimage = PREIMAGE.0.to_vec();
    let (node, bolt11) = {
        let sim = LndSim::start(config.clone()).await.unwrap();
        let mut lnd = client(&sim, HUB).await;
        let request = fedimint_tonic_lnd::invoicesrpc::AddHoldInvoiceRequest {
            hash: PREIMAGE.hash().0.to_vec(),
            value: 10_000,
            ..Default::default()
        };
        lnd.invoices().add_hold_invoice(request).await.unwrap();
        let hold = sim.find_invoice(HUB, PREIMAGE.hash()).unwrap().payment_request;
        sim.pay(SELLER, &hold).unwrap();
        sim.add_wallet("third").await.unwrap();
        sim.mine(5);
        (sim.node(HUB).unwrap(), sim.invoice(BUYER, 5_000).unwrap())
    };

    let sim = LndSim::start(config).await.unwrap();

    assert_eq!(sim.node(HUB).unwrap(), node, "clients can reconnect");
    assert_eq!(sim.height(), 455);
    assert_eq!(sim.nodes(), ["buyer", "hub", "seller", "third"]);
    assert_eq!(sim.balance(SELLER).unwrap().outgoing_held_msat, 10_000_000);
    let mut lnd = client(&sim, HUB).await;
    lnd.invoices().settle_invoice(SettleInvoiceMsg { preimage }).await.unwrap();
    assert_eq!(status_text(&sim.find_payment(SELLER, PREIMAGE.hash()).unwrap()), "SUCCEEDED");
    assert_eq!(status_text(&sim.pay(SELLER, &bolt11).unwrap()), "SUCCEEDED");
    assert_eq!(sim.check(), Vec::<String>::new());
}

// case: none; two writers would spoil the state file
#[tokio::test]
async fn a_second_simulation_in_the_same_folder_is_refused() {
    let fixture = Fixture::start().await;

    let refused = LndSim::start(Config::new(fixture.dir.path())).await.unwrap_err().to_string();

    assert!(refused.contains("another simulation runs in"), "{refused}");
}

// case: none; `--state`
#[tokio::test]
async fn a_truncated_last_line_is_dropped_and_other_damage_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let config = Config { state: Some(path.clone()), ..Config::new(dir.path()) };
    LndSim::start(config.clone()).await.unwrap().mine(5);
    let mut saved = std::fs::read(&path).unwrap();
    saved.extend_from_slice(b"[{\"chain\":{\"hei");
    std::fs::write(&path, &saved).unwrap();
    assert_eq!(LndSim::start(config.clone()).await.unwrap().height(), 455);

    std::fs::write(&path, b"nonsense\n[]\n").unwrap();

    let refused = LndSim::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("delete it to start without it"), "{refused}");
}
