//! What our macaroon must allow, what is known of it, and what a person can do if it does not.

use std::sync::{Arc, Mutex, PoisonError};

/// What `docs/OPERATIONS.md` asks operators to bake.
pub const RIGHTS: [&str; 9] = [
    "/lnrpc.Lightning/GetInfo",
    "/lnrpc.Lightning/ListChannels",
    "/lnrpc.Lightning/LookupInvoice",
    "/invoicesrpc.Invoices/AddHoldInvoice",
    "/invoicesrpc.Invoices/SubscribeSingleInvoice",
    "/invoicesrpc.Invoices/SettleInvoice",
    "/invoicesrpc.Invoices/CancelInvoice",
    "/routerrpc.Router/SendPaymentV2",
    "/routerrpc.Router/TrackPaymentV2",
];

/// The result of the last check of a macaroon. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownRights(Arc<Mutex<Option<Checked>>>);

#[derive(Debug)]
struct Checked {
    macaroon: [u8; 32],
    lacks: Vec<&'static str>,
}

impl KnownRights {
    /// The calls that the macaroon of this digest does not allow, if it was the last one checked.
    pub(super) fn lacking(&self, macaroon: [u8; 32]) -> Option<Vec<&'static str>> {
        let checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = checked.as_ref().filter(|checked| checked.macaroon == macaroon);
        known.map(|checked| checked.lacks.clone())
    }

    pub(super) fn learn(&self, macaroon: [u8; 32], lacks: Vec<&'static str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Checked { macaroon, lacks });
    }
}

/// What a person can do about a call that is not allowed.
pub(super) fn remedy() -> String {
    let uris = RIGHTS.map(|right| format!(" uri:{right}")).concat();
    format!(
        "Bake a macaroon of this node with the rights this daemon needs, and name it in \
         `lnd_macaroon_file`: lncli bakemacaroon --root_key_id 77 --save_to mostro.macaroon{uris}"
    )
}

/// Whether LND refused because of the macaroon. It has no code for that; the text decides only what a
/// person is told, never what happened to money.
pub(super) fn is_denial(reason: &str) -> bool {
    reason == "permission denied"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_asks_for_what_the_log_asks_for() {
        let manual = include_str!("../../docs/OPERATIONS.md");
        let asked = manual.split_whitespace().filter(|word| word.starts_with("uri:"));
        let asked: Vec<&str> = asked.map(|word| word.trim_start_matches("uri:")).collect();

        assert_eq!(asked, RIGHTS);
    }
}
