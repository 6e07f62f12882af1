-- What a hold and a debt are there for. An order may have holds and debts of several purposes.

alter table holds add column purpose text not null default 'escrow'
    check (purpose in ('escrow', 'maker-bond', 'taker-bond'));

drop trigger holds_stay_what_they_are;
create trigger holds_stay_what_they_are before update on holds
when new.hash is not old.hash or new.order_id is not old.order_id
    or new.preimage is not old.preimage or new.amount is not old.amount
    or new.purpose is not old.purpose
    or (old.bolt11 is not null and new.bolt11 is not old.bolt11)
begin
    select raise(abort, 'the hash, preimage, purpose, amount and invoice of a hold do not change');
end;

-- The two tables of debts are made anew, for SQLite changes no constraint: a debt may be owed to the
-- seller and to whoever gets a part of a bond, too.
create table debts (
    id                 integer primary key autoincrement,
    order_id           text    not null references orders (id),
    purpose            text    not null check (purpose in (
        'buyer', 'dev-fee', 'seller-refund', 'maker-bond-share', 'taker-bond-share'
    )),
    amount             integer not null check (amount > 0),
    owed_since         integer not null, -- when it became a debt
    state              text    not null
        check (state in ('due', 'sending', 'needs-invoice', 'paid', 'frozen')),
    failures           integer not null default 0 check (failures >= 0), -- of the present destination
    due_at             integer, -- when to send
    fee_msat           integer check (fee_msat >= 0), -- what the route cost
    failed_sends       integer not null default 0 check (failed_sends >= 0), -- in a row
    failed_sends_since integer,
    unique (order_id, purpose), -- one debt a purpose (D20)
    check ((state = 'due') = (due_at is not null)),
    check ((state = 'paid') = (fee_msat is not null)),
    check ((failed_sends = 0) = (failed_sends_since is null))
) strict;

create table debt_attempts (
    id                 integer primary key autoincrement,
    payout_id          integer not null references debts (id),
    hash               text    not null unique check (length(hash) = 64),
    bolt11             text    not null,
    amount             integer check (amount > 0), -- only for an invoice without its own
    max_fee            integer not null check (max_fee >= 0),
    cltv_limit         integer not null check (cltv_limit > 0),
    expires_at         integer not null,
    state              text    not null
        check (state in ('planned', 'dispatching', 'succeeded', 'failed', 'frozen')),
    tries              integer not null check (tries >= 0),
    begun_at           integer not null, -- when this try began
    acked              integer not null check (acked in (0, 1)), -- LND was seen to know this try
    base_index         integer not null, -- LND's payment index before this try: older news
    payment_index      integer not null, -- LND's payment index of this try
    unanswered_since   integer, -- the call was made and its answer lost
    refused_since      integer, -- LND itself answered the last call with an error
    refusal            text, -- what it said
    in_doubt_since     integer, -- a call went unanswered, and LND has not known the payment since
    missing_since      integer, -- LND said, after the quiet time, that it knows nothing
    htlc_missing_since integer, -- LND calls it in flight, and no channel carries its HTLC
    -- Of the budget for routes of this day of UTC, counted from 1970-01-01, so much is set aside for a
    -- payment to this node, or was spent.
    subsidy_day        integer,
    subsidy_payee      text    check (length(subsidy_payee) = 66),
    subsidy_msat       integer,
    preimage           text    check (length(preimage) = 64), -- the receipt
    check (state <> 'succeeded' or preimage is not null),
    check (
        (subsidy_msat is null and subsidy_day is null and subsidy_payee is null)
        or (subsidy_msat > 0 and subsidy_day is not null and subsidy_payee is not null)
    )
) strict;

insert into debts (id, order_id, purpose, amount, owed_since, state, failures, due_at, fee_msat,
    failed_sends, failed_sends_since)
select id, order_id, purpose, amount, owed_since, state, failures, due_at, fee_msat, failed_sends,
    failed_sends_since
from payouts;

insert into debt_attempts (id, payout_id, hash, bolt11, amount, max_fee, cltv_limit, expires_at,
    state, tries, begun_at, acked, base_index, payment_index, unanswered_since, refused_since,
    refusal, in_doubt_since, missing_since, htlc_missing_since, subsidy_day, subsidy_payee,
    subsidy_msat, preimage)
select id, payout_id, hash, bolt11, amount, max_fee, cltv_limit, expires_at, state, tries, begun_at,
    acked, base_index, payment_index, unanswered_since, refused_since, refusal, in_doubt_since,
    missing_since, htlc_missing_since, subsidy_day, subsidy_payee, subsidy_msat, preimage
from payout_attempts;

drop trigger holds_take_new_hashes;
drop table payout_attempts;
drop table payouts;
alter table debts rename to payouts;
alter table debt_attempts rename to payout_attempts;

create trigger payouts_are_paid_once before update on payouts
when old.state = 'paid' and new.state is not old.state
begin
    select raise(abort, 'a debt that was paid stays paid');
end;

create trigger payouts_stay_what_they_are before update on payouts
when new.order_id is not old.order_id or new.purpose is not old.purpose
    or new.amount is not old.amount
begin
    select raise(abort, 'the order, purpose and amount of a payout do not change');
end;

create trigger payouts_stay before delete on payouts
begin
    select raise(abort, 'payouts are kept');
end;

create index payout_attempts_by_payout on payout_attempts (payout_id);

create index payout_attempts_by_subsidy
on payout_attempts (subsidy_day, subsidy_payee, state, subsidy_msat)
where subsidy_day is not null;

-- Whatever else happens, a debt has one try in the open and is paid once (INV-2, I4).
create unique index payout_attempts_open on payout_attempts (payout_id)
where state in ('dispatching', 'frozen');
create unique index payout_attempts_succeeded on payout_attempts (payout_id)
where state = 'succeeded';

create trigger payout_attempts_succeed_once before update on payout_attempts
when old.state = 'succeeded' and new.state is not old.state
begin
    select raise(abort, 'an attempt that succeeded stays so');
end;

create trigger payout_attempts_stay_what_they_are before update on payout_attempts
when new.payout_id is not old.payout_id or new.hash is not old.hash
    or new.bolt11 is not old.bolt11
begin
    select raise(abort, 'the payout, hash and invoice of an attempt do not change');
end;

create trigger payout_attempts_stay before delete on payout_attempts
begin
    select raise(abort, 'attempts are kept');
end;

-- A payment hash names one hold or one payout, for ever.
create trigger holds_take_new_hashes before insert on holds
when exists (select 1 from payout_attempts where hash = new.hash)
begin
    select raise(abort, 'the payment hash belongs to a payout');
end;

create trigger payout_attempts_take_new_hashes before insert on payout_attempts
when exists (select 1 from holds where hash = new.hash)
begin
    select raise(abort, 'the payment hash belongs to a hold');
end;
