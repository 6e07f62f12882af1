-- Made by `cargo xtask schema` from migrations/; do not edit.

CREATE TABLE daemon_state (
    key   text primary key,
    value text not null
) strict;

CREATE TRIGGER forgotten_until_goes_back_to_a_confirmed_time_only before update on daemon_state
when old.key = 'forgotten_until' and (
    new.key is not old.key
    or (
        cast(new.value as integer) < cast(old.value as integer)
        and cast(new.value as integer) < coalesce(
            (select cast(value as integer) from daemon_state where key = 'clock_confirmed_at'),
            cast(old.value as integer)
        )
    )
)
begin
    select raise(abort, 'what was forgotten stays forgotten');
end;

CREATE TRIGGER forgotten_until_stays before delete on daemon_state
when old.key = 'forgotten_until'
begin
    select raise(abort, 'what was forgotten stays forgotten');
end;

CREATE TABLE holds (
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
    decision       text    check (decision in ('settle', 'cancel')), purpose text not null default 'escrow'
    check (purpose in ('escrow', 'maker-bond', 'taker-bond')), -- written once (E2)
    check (seen <> 'accepted' or (paid_msat is not null and expires_height is not null))
) strict;

CREATE INDEX holds_by_order on holds (order_id);

CREATE INDEX holds_unclosed on holds (id) where seen not in ('canceled', 'settled');

CREATE TRIGGER holds_are_decided_once before update on holds
when old.decision is not null and new.decision is not old.decision
begin
    select raise(abort, 'the decision on a hold is written once');
end;

CREATE TRIGGER holds_are_seen_to_move_on before update on holds
when instr('wanted   open     accepted canceled settled', new.seen)
    < instr('wanted   open     accepted canceled settled', old.seen)
begin
    select raise(abort, 'a hold does not go back');
end;

CREATE TRIGGER holds_stay before delete on holds
begin
    select raise(abort, 'holds are kept');
end;

CREATE TRIGGER holds_stay_what_they_are before update on holds
when new.hash is not old.hash or new.order_id is not old.order_id
    or new.preimage is not old.preimage or new.amount is not old.amount
    or new.purpose is not old.purpose
    or (old.bolt11 is not null and new.bolt11 is not old.bolt11)
begin
    select raise(abort, 'the hash, preimage, purpose, amount and invoice of a hold do not change');
end;

CREATE TRIGGER holds_take_new_hashes before insert on holds
when exists (select 1 from payout_attempts where hash = new.hash)
begin
    select raise(abort, 'the payment hash belongs to a payout');
end;

CREATE TABLE inbox (
    event_id   text    primary key check (length(event_id) = 64),
    rumor_id   text    unique check (length(rumor_id) = 64), -- of a gift wrap's inner event
    created_at integer not null, -- as its author says
    at         integer not null
) strict;

CREATE INDEX inbox_by_created_at on inbox (created_at);

CREATE TRIGGER inbox_forgets_what_is_refused before delete on inbox
when old.created_at > coalesce(
    (select cast(value as integer) from daemon_state where key = 'forgotten_until'), -1
)
begin
    select raise(abort, 'a message is forgotten once those as old as it are refused');
end;

CREATE TRIGGER inbox_takes_nothing_forgotten before insert on inbox
when new.created_at <= (
    select cast(value as integer) from daemon_state where key = 'forgotten_until'
)
begin
    select raise(abort, 'a message as old as this may have been forgotten');
end;

CREATE TABLE journal (
    id          integer primary key autoincrement,
    order_id    text    not null references orders (id),
    version     integer not null,
    at          integer not null,
    input       text    not null, -- what was applied
    event_id    text    check (length(event_id) = 64), -- the message it came in, if it was one
    from_status text,
    to_status   text    not null,
    cause       text    not null, -- the rule that was applied
    unique (order_id, version)
) strict;

CREATE TRIGGER journal_lines_stay before delete on journal
begin
    select raise(abort, 'the journal is append-only');
end;

CREATE TRIGGER journal_lines_stay_as_written before update on journal
begin
    select raise(abort, 'the journal is append-only');
end;

CREATE TABLE lanes (
    lane   text    primary key,
    -- Each has places of its own.
    class  text    not null check (class in ('lightning', 'alarm', 'trade', 'stranger')),
    head   integer not null unique, -- the first act of the lane that is not done
    due_at integer not null -- when to try it
) strict, without rowid;

CREATE INDEX lanes_by_due_at on lanes (class, due_at, head);

CREATE TABLE ledger (
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

CREATE INDEX ledger_by_order on ledger (order_id);

CREATE TRIGGER ledger_lines_stay before delete on ledger
begin
    select raise(abort, 'the ledger is append-only');
end;

CREATE TRIGGER ledger_lines_stay_as_written before update on ledger
begin
    select raise(abort, 'the ledger is append-only');
end;

CREATE TABLE orders (
    id               text    primary key check (length(id) = 36),
    version          integer not null check (version >= 1), -- counts the saves
    kind             text    not null check (kind in ('buy', 'sell')),
    -- The status in messages to the parties, of the whole protocol.
    status           text    not null check (status in (
        'pending', 'waiting-maker-bond', 'waiting-taker-bond', 'waiting-buyer-invoice',
        'waiting-payment', 'active', 'fiat-sent', 'dispute', 'settled-hold-invoice', 'success',
        'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
    )),
    state            text    not null check (json_valid(state)), -- what the state carries, versioned
    maker_key        text    not null check (length(maker_key) = 64),
    maker_identity   text    not null check (length(maker_identity) = 64),
    maker_index      integer,
    taker_key        text    check (length(taker_key) = 64),
    taker_identity   text    check (length(taker_identity) = 64),
    taker_index      integer,
    destination      text    check (json_valid(destination)), -- the buyer's invoice, versioned
    destination_hash text    check (length(destination_hash) = 64),
    created_at       integer not null,
    expires_at       integer not null,
    due_at           integer, -- when time alone must move it on
    due_height       integer, taken_at integer, ended integer not null default 0 check (ended in (0, 1)), in_book integer not null default 0 check (in_book in (0, 1)), waits_for text check (waits_for in ('buyer', 'seller')), terms text not null default '{}' check (json_valid(terms)), -- when blocks alone must move it on
    check ((taker_key is null) = (taker_identity is null)),
    check (taker_index is null or taker_key is not null),
    check ((destination is null) = (destination_hash is null))
) strict;

CREATE UNIQUE INDEX orders_by_destination on orders (destination_hash) where ended = 0;

CREATE INDEX orders_by_due_at on orders (due_at) where due_at is not null;

CREATE INDEX orders_by_due_height on orders (due_height) where due_height is not null;

CREATE INDEX orders_by_expires_at on orders (expires_at);

CREATE INDEX orders_by_maker on orders (maker_identity, waits_for);

CREATE INDEX orders_by_taken_at on orders (taken_at) where taken_at is not null and ended = 0;

CREATE INDEX orders_by_taker on orders (taker_identity, waits_for);

CREATE INDEX orders_open on orders (created_at, id) where ended = 0;

CREATE INDEX orders_open_by_maker_key on orders (maker_key) where ended = 0;

CREATE INDEX orders_open_by_taker_key on orders (taker_key) where ended = 0;

CREATE INDEX orders_waiting on orders (id) where waits_for is not null;

CREATE TRIGGER orders_are_saved_in_turn
before update of version, status, ended, in_book, waits_for, state, terms, destination, maker_key,
    taker_key on orders
when new.version is not old.version + 1
begin
    select raise(abort, 'an order is saved one version after another');
end;

CREATE TRIGGER orders_end_once before update on orders
when old.ended = 1 and (
    new.ended <> 1 or new.status is not old.status or new.state is not old.state
)
begin
    select raise(abort, 'an order that ended does not change');
end;

CREATE TRIGGER orders_settled_are_paid before update on orders
when old.status = 'settled-hold-invoice'
    and new.status not in ('settled-hold-invoice', 'success')
begin
    select raise(abort, 'an order whose hold was settled can only succeed');
end;

CREATE TRIGGER orders_stay before delete on orders
begin
    select raise(abort, 'orders are kept');
end;

CREATE TRIGGER orders_stay_what_they_are before update on orders
when new.id is not old.id or new.kind is not old.kind or new.created_at is not old.created_at
begin
    select raise(abort, 'the id, kind and birth of an order do not change');
end;

CREATE TABLE outbox (
    id         integer primary key autoincrement, -- the order of commitment
    order_id   text    references orders (id), -- null: an answer that belongs to no order (D19)
    lane       text    not null, -- one at a time: 'dm:<trade key>', 'ln:<hash>', 'alarm'
    kind       text    not null, -- versioned name, e.g. 'hold.settle/1'
    body       text    not null check (json_valid(body)),
    at     integer not null,
    attempts   integer not null default 0, -- that failed
    begun_at   integer, -- when it was first tried
    event      text, -- the signed event, saved before the first send and sent again as it is
    expires_at integer, -- when it is no longer worth doing
    done_at    integer -- null: still to do
, to_stranger integer not null default 0
    check (to_stranger in (0, 1)), seals integer not null default 0, written_at integer) strict;

CREATE INDEX outbox_by_done_at on outbox (done_at) where done_at is not null;

CREATE INDEX outbox_by_lane on outbox (lane, id) where done_at is null;

CREATE INDEX outbox_to_strangers on outbox (lane) where to_stranger = 1;

CREATE INDEX outbox_to_strangers_by_expiry on outbox (expires_at) where to_stranger = 1;

CREATE TRIGGER lanes_begin after insert on outbox when new.done_at is null
begin
    insert into lanes (lane, class, head, due_at) values (
        new.lane,
        case
            when new.lane glob 'ln:*' then 'lightning'
            when new.lane glob 'dm:*' then iif(new.to_stranger = 1, 'stranger', 'trade')
            else 'alarm'
        end,
        new.id,
        new.at
    )
    on conflict (lane) do update set class = excluded.class where class = 'stranger';
end;

CREATE TRIGGER lanes_go_on after update of done_at on outbox
when old.done_at is null and new.done_at is not null
begin
    update lanes set due_at = new.done_at, head = (
        select id from outbox where lane = new.lane and done_at is null order by id limit 1
    )
    where head = new.id and exists (
        select 1 from outbox where lane = new.lane and done_at is null
    );
    delete from lanes where head = new.id;
end;

CREATE TRIGGER lanes_go_on_without after delete on outbox when old.done_at is null
begin
    update lanes set (head, due_at) = (
        select id, at from outbox where lane = old.lane and done_at is null order by id limit 1
    )
    where head = old.id and exists (
        select 1 from outbox where lane = old.lane and done_at is null
    );
    delete from lanes where head = old.id;
end;

CREATE TRIGGER outbox_is_done_once before update on outbox
when old.done_at is not null
begin
    select raise(abort, 'what was done is not done again');
end;

CREATE TRIGGER outbox_keeps_what_is_to_be_done before delete on outbox
when old.done_at is null and old.to_stranger = 0
begin
    select raise(abort, 'what is to be done stays');
end;

CREATE TRIGGER outbox_seals_once before update on outbox
when old.event is not null and new.event is not old.event
    and (new.event is null or new.seals is not old.seals + 1)
begin
    select raise(abort, 'a message is sealed once');
end;

CREATE TABLE "payout_attempts" (
    id                 integer primary key autoincrement,
    payout_id          integer not null references "payouts" (id),
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

CREATE INDEX payout_attempts_by_payout on payout_attempts (payout_id);

CREATE INDEX payout_attempts_by_subsidy
on payout_attempts (subsidy_day, subsidy_payee, state, subsidy_msat)
where subsidy_day is not null;

CREATE UNIQUE INDEX payout_attempts_open on payout_attempts (payout_id)
where state in ('dispatching', 'frozen');

CREATE UNIQUE INDEX payout_attempts_succeeded on payout_attempts (payout_id)
where state = 'succeeded';

CREATE TRIGGER payout_attempts_stay before delete on payout_attempts
begin
    select raise(abort, 'attempts are kept');
end;

CREATE TRIGGER payout_attempts_stay_what_they_are before update on payout_attempts
when new.payout_id is not old.payout_id or new.hash is not old.hash
    or new.bolt11 is not old.bolt11
begin
    select raise(abort, 'the payout, hash and invoice of an attempt do not change');
end;

CREATE TRIGGER payout_attempts_succeed_once before update on payout_attempts
when old.state = 'succeeded' and new.state is not old.state
begin
    select raise(abort, 'an attempt that succeeded stays so');
end;

CREATE TRIGGER payout_attempts_take_new_hashes before insert on payout_attempts
when exists (select 1 from holds where hash = new.hash)
begin
    select raise(abort, 'the payment hash belongs to a hold');
end;

CREATE TABLE "payouts" (
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

CREATE TRIGGER payouts_are_paid_once before update on payouts
when old.state = 'paid' and new.state is not old.state
begin
    select raise(abort, 'a debt that was paid stays paid');
end;

CREATE TRIGGER payouts_stay before delete on payouts
begin
    select raise(abort, 'payouts are kept');
end;

CREATE TRIGGER payouts_stay_what_they_are before update on payouts
when new.order_id is not old.order_id or new.purpose is not old.purpose
    or new.amount is not old.amount
begin
    select raise(abort, 'the order, purpose and amount of a payout do not change');
end;

CREATE TABLE publications (
    what            text    not null, -- 'order', 'profile', 'relay-list', 'info'
    about           text    not null, -- the order's id; empty for what the node says of itself
    revision        integer not null check (revision >= 1), -- of what is to be shown
    published       integer not null default 0, -- the last revision that a relay took
    event           text, -- the signed event of `event_revision`, sent again as it is
    event_revision  integer,
    last_created_at integer not null default 0, -- of the newest event that was signed
    taken_at        integer not null default 0, -- of the newest event that a relay took
    attempts        integer not null default 0, -- failed sends of this revision
    retry_at        integer not null default 0,
    primary key (what, about),
    check (published <= revision),
    check ((event is null) = (event_revision is null))
) strict, without rowid;

CREATE INDEX publications_by_retry on publications (retry_at) where published < revision;

CREATE TRIGGER publications_grow_later before update on publications
when new.revision < old.revision or new.published < old.published or new.taken_at < old.taken_at
    or (new.last_created_at <> old.last_created_at and new.last_created_at <= old.taken_at)
    or (
        new.event is not old.event and old.event is not null
        and new.last_created_at = old.last_created_at
    )
begin
    select raise(abort, 'a public event is replaced by a later one');
end;

CREATE TABLE trade_keys (
    key        text    primary key check (length(key) = 64),
    transport  text    not null check (transport in ('gift-wrap', 'nip44')),
    updated_at integer not null -- when that message was created
) strict;

CREATE INDEX trade_keys_by_updated_at on trade_keys (updated_at);

CREATE TABLE users (
    identity         text    primary key check (length(identity) = 64),
    last_trade_index integer check (last_trade_index >= 1), -- null: given back (D17)
    banned           integer not null default 0 check (banned in (0, 1)),
    -- Ratings are whole stars, 1 to 5. The average counts the first one half:
    -- (2 × rating_sum − first_rating) / (2 × reviews).
    reviews          integer not null default 0 check (reviews >= 0),
    rating_sum       integer not null default 0,
    first_rating     integer check (first_rating between 1 and 5),
    last_rating      integer check (last_rating between 1 and 5),
    min_rating       integer check (min_rating between 1 and 5),
    max_rating       integer check (max_rating between 1 and 5),
    created_at       integer not null, -- the first order made or taken
    check (rating_sum between reviews and 5 * reviews),
    check ((reviews = 0) = (first_rating is null)),
    check (reviews = 0 or (min_rating <= last_rating and last_rating <= max_rating))
) strict;
