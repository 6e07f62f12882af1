//! The laws, and the list of them.

pub(crate) mod access;
pub(crate) mod deaths;
pub(crate) mod holds;
pub(crate) mod links;
pub(crate) mod payments;

use std::collections::BTreeSet;

/// Makes a test of every law, on a fixture that `$start` sets for it.
macro_rules! every_law {
    ($start:path) => {
        crate::contract::laws! { $start;
            holds::a_hold_added_again_is_the_hold_that_is_there,
            holds::a_hold_that_is_over_is_adopted_as_what_it_is,
            holds::a_hold_of_another_amount_is_never_adopted,
            holds::a_hold_asks_for_what_it_was_told_to,
            holds::terms_that_lnd_does_not_take_leave_nothing_behind,
            holds::a_watch_tells_every_change_up_to_settled,
            holds::a_watch_tells_every_change_up_to_canceled,
            holds::a_watch_of_an_unknown_hash_says_nothing_and_ends,
            holds::a_watch_begun_before_the_hold_is_added_tells_of_it,
            holds::an_unknown_hash_is_unknown_whatever_is_asked_of_it,
            holds::settling_twice_is_settling_once,
            holds::an_open_hold_is_not_settled,
            holds::a_canceled_hold_is_never_settled,
            holds::canceling_twice_is_canceling_once,
            holds::a_settled_hold_is_never_canceled,
            holds::of_settle_and_cancel_exactly_one_wins_and_both_hear_which,
            holds::an_accepted_hold_tells_what_it_holds_and_until_when,
            holds::an_overpayment_is_accepted_and_told,
            holds::an_escrow_is_worth_every_millisat_although_its_channel_shows_whole_sats,
            holds::an_unpaid_hold_is_canceled_when_it_expires,
            holds::an_accepted_hold_outlives_its_expiry,
            holds::an_accepted_hold_is_given_back_at_its_horizon_and_not_a_block_earlier,
            payments::the_first_update_comes_at_once_and_the_receipt_at_the_end,
            payments::a_payment_that_is_over_is_told_in_one_word,
            payments::an_unknown_payment_is_unknown_and_its_stream_says_nothing,
            payments::a_payment_in_flight_is_not_sent_twice,
            payments::a_paid_invoice_is_not_paid_twice,
            payments::a_failed_payment_can_be_sent_again_under_a_higher_index,
            payments::a_payment_can_succeed_after_it_failed,
            payments::a_payment_to_a_node_that_is_off_fails_for_want_of_a_route,
            payments::a_payment_beyond_our_means_fails_for_our_own_reason,
            payments::an_expired_invoice_that_was_never_sent_stays_unknown,
            payments::an_expired_invoice_hides_the_payment_that_is_in_flight,
            payments::what_lnd_refuses_before_it_registers_stays_unknown,
            payments::invoices_are_read_and_refused_as_the_corpus_says,
            payments::an_invoice_without_an_amount_is_paid_what_we_say,
            payments::a_time_lock_just_long_enough_is_enough,
            payments::a_foreign_invoice_with_the_hash_of_our_escrow_is_paid,
            payments::the_htlc_of_a_payment_in_flight_is_found_and_of_no_other_looked_for,
            deaths::an_open_hold_survives_a_kill_and_can_be_paid,
            deaths::an_accepted_hold_survives_a_kill_and_can_be_settled_or_canceled,
            deaths::a_settled_hold_stays_settled_when_lnd_is_killed_right_after,
            deaths::a_settle_that_died_with_lnd_can_be_made_again,
            deaths::the_payer_may_die_while_we_settle,
            deaths::the_horizon_may_pass_while_lnd_is_down,
            deaths::a_payment_in_flight_survives_a_kill_and_ends_as_the_payee_decides,
            deaths::what_the_payee_decides_while_lnd_is_down_is_told_when_it_is_back,
            deaths::the_first_update_is_durable,
            deaths::a_final_word_survives_a_kill,
            deaths::streams_end_without_a_last_word_when_lnd_stops,
            deaths::streams_end_without_a_last_word_when_lnd_is_killed,
            links::a_broken_link_ends_streams_without_a_last_word_and_is_dialed_again,
            links::every_call_over_a_dead_link_has_a_deadline,
            access::a_node_that_is_up_says_who_it_is_and_that_all_may_begin,
            access::a_node_without_a_channel_up_may_not_pay_and_would_fail_for_its_own_reason,
            access::a_locked_wallet_is_named_and_nothing_is_known_meanwhile,
            access::the_rights_that_operators_are_asked_for_are_enough_for_a_whole_trade,
            access::a_macaroon_that_lnd_refuses_is_named_as_the_cause,
            access::a_right_that_is_missing_is_named_and_nothing_is_begun_without_it,
            access::a_call_that_is_not_allowed_says_nothing_about_money,
            access::a_renewed_macaroon_is_used_at_the_next_call,
            access::a_renewed_certificate_is_used_at_the_next_dial,
            access::a_node_with_another_certificate_is_named_with_the_file,
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

/// Cases that were measured and that nothing here can rest on, as the port never asks for them.
const NOT_ASKED_FOR: [&str; 18] = [
    "add_defaults",           // expiry, delta and amount are always given
    "sub_all",                // SubscribeInvoices is of no use for escrow
    "settle_short_preimage",  // a preimage has 32 bytes by its type
    "lookup_v2_empty",        // a look-up always names a hash
    "lookup_v2_unknown",      // the older look-up is clearer, where there was never an invoice
    "pay_unknown_hash",       // to the payer as a canceled one
    "pay_fee_0_direct",       // a fee limit is always given, and never zero
    "pay_fee_0_routed",       // as above
    "pay_fee_routed",         // routing is LND's business
    "pay_fee_both",           // one fee limit is given
    "pay_cltv_short_routed",  // routing is LND's business
    "pay_min_final_over_max", // as one over our own limit, which is lower
    "second_payer",           // the payer's matter; the escrow does not change
    "partial_released",       // two minutes of waiting for parts that are not announced
    "partial_expiry",         // as above
    "no_inflight",            // updates are always asked for
    "cancelable",             // never
    "estimate_fee",           // users' invoices are not probed
];

/// Cases about speed, or about chains of events that only a real node has.
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
        include_str!("contract/deaths.rs"),
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
