-- Orders, what strangers see of them, and how each came to be as it is.
--
-- Ids are UUIDs, keys and hashes lower-case hex; times are Unix seconds, amounts whole sats unless
-- the name says otherwise. What the core forbids is forbidden here again, where SQL can say it.

create table orders (
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
    fiat_code        text    not null,
    fiat_amount      integer not null check (fiat_amount >= 0),
    payment_method   text    not null,
    premium          integer not null,
    amount           integer not null check (amount >= 0),
    fee              integer not null check (fee >= 0), -- of each side
    destination      text    check (json_valid(destination)), -- the buyer's invoice, versioned
    destination_hash text    check (length(destination_hash) = 64),
    created_at       integer not null,
    expires_at       integer not null,
    due_at           integer, -- when time alone must move it on
    due_height       integer, -- when blocks alone must move it on
    check ((taker_key is null) = (taker_identity is null)),
    check (taker_index is null or taker_key is not null),
    check ((destination is null) = (destination_hash is null))
) strict;

create index orders_by_status on orders (status);
create index orders_by_maker on orders (maker_identity, status);
create index orders_by_taker on orders (taker_identity, status);
create index orders_by_due_at on orders (due_at) where due_at is not null;
create index orders_by_due_height on orders (due_height) where due_height is not null;

-- One invoice cannot be promised to two running orders (K-24).
create unique index orders_by_destination on orders (destination_hash)
where status not in (
    'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
);

create trigger orders_are_saved_in_turn
before update of version, status, state, destination, maker_key, taker_key, amount, fee on orders
when new.version is not old.version + 1
begin
    select raise(abort, 'an order is saved one version after another');
end;

create trigger orders_end_once before update on orders
when old.status in (
    'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
) and (new.status is not old.status or new.state is not old.state)
begin
    select raise(abort, 'an order that ended does not change');
end;

-- The buyer's sats are in our hands: the only way on is to pay them out.
create trigger orders_settled_are_paid before update on orders
when old.status = 'settled-hold-invoice'
    and new.status not in ('settled-hold-invoice', 'success')
begin
    select raise(abort, 'an order whose hold was settled can only succeed');
end;

create trigger orders_stay_what_they_are before update on orders
when new.id is not old.id or new.kind is not old.kind or new.created_at is not old.created_at
begin
    select raise(abort, 'the id, kind and birth of an order do not change');
end;

create trigger orders_stay before delete on orders
begin
    select raise(abort, 'orders are kept');
end;

-- Why each version of an order is as it is. Append-only; no decision reads it.
create table journal (
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

create trigger journal_lines_stay before delete on journal
begin
    select raise(abort, 'the journal is append-only');
end;

create trigger journal_lines_stay_as_written before update on journal
begin
    select raise(abort, 'the journal is append-only');
end;

-- The public event of each order: a projection of the order as it is, not a queue.
create table book (
    order_id        text    primary key references orders (id),
    revision        integer not null check (revision >= 1), -- of the public face
    published       integer not null default 0, -- the last revision a relay accepted
    event           text, -- the signed event of `event_revision`, sent again as it is
    event_revision  integer,
    last_created_at integer not null default 0, -- of the newest event that was signed
    attempts        integer not null default 0, -- failed sends of this revision
    retry_at        integer not null default 0,
    check (published <= revision),
    check ((event is null) = (event_revision is null))
) strict;

create index book_by_retry on book (retry_at) where published < revision;

create trigger book_revisions_grow before update on book
when new.revision < old.revision or new.published < old.published
    or new.last_created_at < old.last_created_at
begin
    select raise(abort, 'the public book does not go back');
end;
