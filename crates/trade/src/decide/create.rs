//! How an order is created, and the trade index that creating and taking use up.

use super::invoice::payable;
use crate::{
    AccountChange, Cause, Decision, Env, Fiat, FiatAmount, Kind, NewOrder, Notice, Order, OrderId,
    OrderState, OrderView, Policy, Price, Quote, Refusal, Sats, Sender, Status, Terms, Timestamp,
    policy::{MAX_FIAT_CODE_CHARS, MAX_PAYMENT_METHOD_CHARS},
};

/// Decides whether an order may be created. `id` was drawn by the shell.
///
/// # Errors
/// The first refusal in the order of behaviour §3.3; the trade index is checked last (D22).
pub fn create(
    id: OrderId,
    sender: Sender,
    request_id: Option<u64>,
    new: NewOrder,
    env: &Env<'_>,
) -> Result<Decision, Refusal> {
    if env.account.is_banned {
        return Err(Refusal::NotAuthorized);
    }
    let kind = new.kind.ok_or(Refusal::InvalidOrderKind)?;
    let amount = new.amount(env.policy)?;
    let fee = amount.side_fee(env.policy.fee).ok_or(Refusal::OutOfRangeSatsAmount)?;
    let fiat_amount =
        u64::try_from(new.fiat_amount).map(Fiat).map_err(|_| Refusal::InvalidAmount)?;
    let quote = Quote::new(fiat_amount, amount, fee).ok_or(Refusal::OutOfRangeSatsAmount)?;
    let terms = Terms {
        kind,
        fiat_code: new.fiat_code,
        fiat: FiatAmount::Fixed(fiat_amount),
        price: Price::Fixed,
        payment_method: new.payment_method,
        quote: Some(quote),
        created_at: env.now,
        expires_at: book_end(new.expires_at, env),
    };
    let mut order = Order {
        id,
        version: 0,
        terms,
        maker: sender.party(),
        taker: None,
        taken_at: None,
        destination: None,
        state: OrderState::Pending,
        holds: Vec::new(),
        payouts: Vec::new(),
    };
    if let (Kind::Buy, Some(destination)) = (kind, new.destination) {
        order.destination = Some(payable(&order, destination, env)?);
    }
    let account = use_index(sender, env)?;

    let view =
        OrderView::bare(&order, Status::Pending, amount).with_invoice(order.destination.as_ref());
    let maker = order.maker;
    let notice = Notice::NewOrder(view);
    let mut decision =
        Decision::on(&order, Cause::Created).answer_indexed(&maker, request_id, notice);
    decision.account = account;
    Ok(decision)
}

impl NewOrder {
    /// The fixed amount, if nothing in the order's own content forbids it.
    ///
    /// # Errors
    /// The first of checks 2 to 12 of behaviour §3.3 that fails.
    pub fn amount(&self, policy: &Policy) -> Result<Sats, Refusal> {
        let code_chars = self.fiat_code.chars().count();
        if !policy.accepts_fiat(&self.fiat_code)
            || code_chars == 0
            || code_chars > MAX_FIAT_CODE_CHARS
        {
            return Err(Refusal::InvalidFiatCurrency);
        }
        let range = match (self.min_amount, self.max_amount) {
            (None, None) => None,
            (Some(min), Some(max)) => Some((min, max)),
            _ => return Err(Refusal::InvalidAmount),
        };
        if range.is_none() && self.fiat_amount < 1 {
            return Err(Refusal::InvalidAmount);
        }
        let amount = u64::try_from(self.amount).map(Sats).map_err(|_| Refusal::InvalidAmount)?;
        if let Some((min, max)) = range
            && (min < 0 || max < 0 || min >= max || amount != Sats::ZERO)
        {
            return Err(Refusal::InvalidAmount);
        }
        if self.premium != 0 && amount != Sats::ZERO {
            return Err(Refusal::InvalidParameters);
        }
        let method_chars = self.payment_method.chars().count();
        if self.payment_method.trim().is_empty() || method_chars > MAX_PAYMENT_METHOD_CHARS {
            return Err(Refusal::InvalidParameters);
        }
        if self.names_a_mint {
            return Err(Refusal::InvalidMintUrl);
        }
        // Orders priced by the market are not built yet.
        if range.is_some() || amount == Sats::ZERO {
            return Err(Refusal::InvalidParameters);
        }
        check_limits(amount, policy)?;
        Ok(amount)
    }
}

/// Whether the node trades this amount at all (behaviour §4.3).
pub(super) fn check_limits(amount: Sats, policy: &Policy) -> Result<(), Refusal> {
    let limits = policy.min_order_amount..=policy.max_order_amount;
    if limits.contains(&amount) { Ok(()) } else { Err(Refusal::OutOfRangeSatsAmount) }
}

/// The end of the order's time in the book (K-28).
fn book_end(asked: Option<i64>, env: &Env<'_>) -> Timestamp {
    match asked.map(Timestamp) {
        Some(at) if at > env.now => at.min(env.now.after(env.policy.max_book_window)),
        _ => env.now.after(env.policy.book_window),
    }
}

/// The rule of the trade index (D22, K-01). Full privacy has no account to write.
pub(super) fn use_index(sender: Sender, env: &Env<'_>) -> Result<Option<AccountChange>, Refusal> {
    if sender.party().is_private() {
        return match sender.trade_index {
            Some(index) if index < 0 => Err(Refusal::InvalidTradeIndex),
            _ => Ok(None),
        };
    }
    let index = sender.trade_index.ok_or(Refusal::InvalidTradeIndex)?;
    if index < 1 || env.account.last_index.is_some_and(|last| index <= last) {
        return Err(Refusal::InvalidTradeIndex);
    }
    Ok(Some(AccountChange::RaiseIndex { identity: sender.identity, to: index }))
}
