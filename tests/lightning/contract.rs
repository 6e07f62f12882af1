//! The laws, and the list of them.

pub(crate) mod access;
pub(crate) mod holds;
pub(crate) mod links;
pub(crate) mod payments;
pub(crate) mod restarts;

use std::collections::BTreeSet;

/// Makes a test of every law, on a fixture from `$start`.
macro_rules! every_law {
    ($start:path) => {
        crate::contract::laws! { $start;
            holds::adding_a_hold_again_returns_the_existing_hold,
            holds::a_hold_that_has_ended_is_adopted_in_its_state,
            holds::a_hold_of_another_amount_is_never_adopted,
            holds::a_hold_invoice_has_the_requested_terms,
            holds::terms_that_lnd_refuses_create_no_invoice,
            holds::a_watch_reports_every_change_up_to_settled,
            holds::a_watch_reports_every_change_up_to_canceled,
            holds::a_watch_of_an_unknown_hash_reports_nothing_and_ends,
            holds::a_watch_started_before_the_hold_is_added_reports_it,
            holds::an_unknown_hash_is_unknown_to_every_call,
            holds::settling_twice_has_the_effect_of_once,
            holds::an_open_hold_is_not_settled,
            holds::a_canceled_hold_is_never_settled,
            holds::canceling_twice_has_the_effect_of_once,
            holds::a_settled_hold_is_never_canceled,
            holds::of_concurrent_settle_and_cancel_one_wins_and_both_report_it,
            holds::an_accepted_hold_has_its_amount_and_expiry_height,
            holds::an_overpayment_is_accepted_and_reported,
            holds::an_escrow_is_exact_to_the_millisat_although_its_channel_shows_whole_sats,
            holds::an_unpaid_hold_is_canceled_when_it_expires,
            holds::an_accepted_hold_does_not_expire_by_time,
            holds::an_accepted_hold_is_refunded_at_its_horizon_and_not_a_block_earlier,
            payments::a_payment_reports_in_flight_at_once_and_its_preimage_at_the_end,
            payments::a_payment_that_has_ended_is_reported_by_one_update,
            payments::an_unknown_payment_is_unknown_and_its_stream_is_empty,
            payments::a_payment_in_flight_is_not_sent_twice,
            payments::a_paid_invoice_is_not_paid_twice,
            payments::a_failed_payment_can_be_sent_again_under_a_higher_index,
            payments::a_payment_can_succeed_after_it_failed,
            payments::a_payment_to_a_node_that_is_down_fails_without_a_route,
            payments::a_payment_above_our_balance_fails_locally,
            payments::an_expired_invoice_that_was_never_sent_stays_unknown,
            payments::an_expired_invoice_hides_the_payment_that_is_in_flight,
            payments::a_payment_refused_before_registration_stays_unknown,
            payments::every_invoice_of_the_corpus_is_read_or_refused_as_expected,
            payments::an_invoice_without_an_amount_is_paid_with_our_amount,
            payments::a_time_lock_just_long_enough_is_enough,
            payments::another_nodes_invoice_with_the_hash_of_our_escrow_is_paid,
            payments::only_a_payment_in_flight_is_matched_with_an_htlc,
            restarts::an_open_hold_survives_a_kill_and_can_be_paid,
            restarts::an_accepted_hold_survives_a_kill_and_can_be_settled_or_canceled,
            restarts::a_settled_hold_stays_settled_when_lnd_is_killed_right_after,
            restarts::a_settle_interrupted_by_a_kill_can_be_repeated,
            restarts::a_settle_works_while_the_payer_is_down,
            restarts::a_horizon_that_passes_while_lnd_is_down_cancels_the_hold_when_it_is_back,
            restarts::a_payment_in_flight_survives_a_kill_and_ends_as_the_payee_decides,
            restarts::a_payment_that_ends_while_lnd_is_down_is_reported_when_it_is_back,
            restarts::the_first_update_is_durable,
            restarts::a_final_state_survives_a_kill,
            restarts::streams_end_without_a_final_state_when_lnd_stops,
            restarts::streams_end_without_a_final_state_when_lnd_is_killed,
            links::a_broken_connection_ends_streams_without_a_final_state_and_is_replaced,
            links::every_call_over_a_dead_connection_has_a_deadline,
            access::a_node_that_is_ready_reports_its_identity_and_readiness,
            access::a_node_without_an_active_channel_is_not_ready_to_pay_and_fails_locally,
            access::a_locked_wallet_is_reported_and_every_state_is_unknown_meanwhile,
            access::the_documented_permissions_are_enough_for_a_whole_trade,
            access::a_macaroon_that_lnd_refuses_is_reported_as_the_cause,
            access::a_missing_permission_is_reported_and_nothing_is_started_without_it,
            access::a_call_that_is_not_allowed_says_nothing_about_money,
            access::a_renewed_macaroon_is_used_at_the_next_call,
            access::a_renewed_certificate_is_used_at_the_next_dial,
            access::a_node_with_another_certificate_is_reported_with_the_file,
        }
    };
}

macro_rules! laws {
    ($start:path; $($family:ident::$law:ident,)*) => {$(
        #[tokio::test]
        async fn $law() {
            let fixture = $start().await;
            crate::contract::$family::$law(&fixture).await;
            fixture.end();
        }
    )*};
}

pub(crate) use {every_law, laws};

/// Measured cases that the port never uses.
const NOT_ASKED_FOR: [&str; 18] = [
    "add_defaults",           // expiry, delta and amount are always given
    "sub_all",                // SubscribeInvoices is of no use for escrow
    "settle_short_preimage",  // a preimage has 32 bytes by its type
    "lookup_v2_empty",        // a lookup always has a hash
    "lookup_v2_unknown",      // the older lookup is clearer where there was never an invoice
    "pay_unknown_hash",       // for the payer the same as a canceled one
    "pay_fee_0_direct",       // a fee limit is always given, and never zero
    "pay_fee_0_routed",       // as above
    "pay_fee_routed",         // routing is left to LND
    "pay_fee_both",           // one fee limit is given
    "pay_cltv_short_routed",  // routing is left to LND
    "pay_min_final_over_max", // the same as one above our limit, which is lower
    "second_payer",           // the escrow does not change
    "partial_released",       // two minutes of waiting for parts that are not announced
    "partial_expiry",         // as above
    "no_inflight",            // updates are always asked for
    "cancelable",             // never
    "estimate_fee",           // users' invoices are not probed
];

/// Cases about speed, or about sequences that only a real node has.
const NOT_TO_BE_SHOWN_HERE: [&str; 6] = [
    "latencies",
    "keepalive",
    "synced_after_block",
    "kill_after_first_update_batch_1",
    "silent_peer",
    "stuck_payee", // a minute of waiting
];

#[test]
fn every_measured_case_has_its_law_or_a_reason_why_not() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("lnd-0.21.2.json")).expect("the cases are JSON");
    let measured: BTreeSet<&str> =
        cases.iter().map(|case| case["name"].as_str().expect("a name")).collect();

    let sources = [
        include_str!("contract/holds.rs"),
        include_str!("contract/payments.rs"),
        include_str!("contract/restarts.rs"),
        include_str!("contract/access.rs"),
        include_str!("access.rs"),
        include_str!("faults.rs"),
    ];
    let cited = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| line.strip_prefix("// measured: "))
        .flat_map(|names| names.split(", "));
    let known: BTreeSet<&str> = cited.chain(NOT_ASKED_FOR).chain(NOT_TO_BE_SHOWN_HERE).collect();

    assert_eq!(known, measured);
}
