-- Hold invoices, payouts and the ledger.

-- One row per hold invoice, on disk before LND hears of the hash (E1).
create table holds (
    id             integer primary key autoincrement,
    hash           text    not null unique check (length(hash) = 64),
    order_id       text    not null references orders (id),
    preimage       text    not null check (length(preimage) = 64), -- secret
    amount         integer not null check (amount > 0), -- what the seller is asked to pay
    bolt11         text, -- LND's invoice; null: LND has not acknowledged the hash
    seen           text    not null default 'wanted'
        check (seen in ('wanted', 'open', 'accepted', 'canceled', 'settled')),
    paid_msat      integer, -- what LND held when it was last seen accepted
    expires_height integer, -- the lowest expiry height of the parts it held
    decision       text    check (decision in ('settle', 'cancel')), -- written once (E2)
    check (seen <> 'accepted' or (paid_msat is not null and expires_height is not null))
) strict;

create index holds_by_order on holds (order_id);
create index holds_unclosed on holds (id) where seen not in ('canceled', 'settled');

create trigger holds_are_decided_once before update on holds
when old.decision is not null and new.decision is not old.decision
begin
    select raise(abort, 'the decision on a hold is written once');
end;

create trigger holds_are_seen_to_move_on before update on holds
when instr('wanted   open     accepted canceled settled', new.seen)
    < instr('wanted   open     accepted canceled settled', old.seen)
begin
    select raise(abort, 'a hold does not go back');
end;

create trigger holds_stay_what_they_are before update on holds
when new.hash is not old.hash or new.order_id is not old.order_id
    or new.preimage is not old.preimage or new.amount is not old.amount
    or (old.bolt11 is not null and new.bolt11 is not old.bolt11)
begin
    select raise(abort, 'the hash, preimage, amount and invoice of a hold do not change');
end;

create trigger holds_stay before delete on holds
begin
    select raise(abort, 'holds are kept');
end;

-- One debt to be paid over Lightning.
create table payouts (
    id       integer primary key autoincrement,
    order_id text    not null references orders (id),
    purpose  text    not null check (purpose in ('buyer', 'dev-fee', 'bond-winner')),
    amount   integer not null check (amount > 0),
    state    text    not null
        check (state in ('due', 'sending', 'needs-invoice', 'paid', 'frozen')),
    failures integer not null default 0 check (failures >= 0), -- of the present destination
    due_at   integer, -- when to send
    fee_msat integer check (fee_msat >= 0), -- what the route cost
    unique (order_id, purpose),
    check ((state = 'due') = (due_at is not null)),
    check ((state = 'paid') = (fee_msat is not null))
) strict;

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

-- One row per payment hash, however often it was sent (D20).
create table payout_attempts (
    id               integer primary key autoincrement,
    payout_id        integer not null references payouts (id),
    hash             text    not null unique check (length(hash) = 64),
    bolt11           text    not null,
    amount           integer check (amount > 0), -- only for an invoice without its own
    max_fee          integer not null check (max_fee >= 0),
    cltv_limit       integer not null check (cltv_limit > 0),
    expires_at       integer not null,
    state            text    not null
        check (state in ('planned', 'dispatching', 'succeeded', 'failed', 'frozen')),
    tries            integer not null check (tries >= 0),
    begun_at         integer not null, -- when this try began
    acked            integer not null check (acked in (0, 1)), -- LND was seen to know this try
    base_index       integer not null, -- LND's payment index before this try: older news
    payment_index    integer not null, -- LND's payment index of this try
    unanswered_since integer, -- the call was made and its answer lost
    missing_since    integer, -- LND said, after the quiet time, that it knows nothing
    preimage         text    check (length(preimage) = 64), -- the receipt
    check (state <> 'succeeded' or preimage is not null)
) strict;

create index payout_attempts_by_payout on payout_attempts (payout_id);

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

-- Double entry, append-only: each line debits one account and credits another (I1).
create table ledger (
    id          integer primary key autoincrement,
    order_id    text    not null references orders (id),
    version     integer not null, -- of the order, as in the journal
    at          integer not null,
    debit       text    not null,
    credit      text    not null,
    amount_msat integer not null check (amount_msat > 0),
    check (debit <> credit),
    foreign key (order_id, version) references journal (order_id, version)
) strict;

create index ledger_by_order on ledger (order_id);

create trigger ledger_lines_stay before delete on ledger
begin
    select raise(abort, 'the ledger is append-only');
end;

create trigger ledger_lines_stay_as_written before update on ledger
begin
    select raise(abort, 'the ledger is append-only');
end;
