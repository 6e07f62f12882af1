-- What queries ask of a state is written by whoever saves it: no query lists statuses.

drop trigger orders_are_saved_in_turn;
drop trigger orders_end_once;
drop index orders_by_status;
drop index orders_by_maker;
drop index orders_by_taker;
drop index orders_by_destination;
drop index orders_by_taken_at;
drop index orders_open_by_maker_key;
drop index orders_open_by_taker_key;

alter table orders add column ended integer not null default 0 check (ended in (0, 1));
-- It can be taken.
alter table orders add column in_book integer not null default 0 check (in_book in (0, 1));
-- Whose duty it waits for: the buyer's invoice, or the seller's payment.
alter table orders add column waits_for text check (waits_for in ('buyer', 'seller'));

-- A frozen order keeps its status, and nothing is due in it.
update orders set
    ended = status in (
        'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
    ),
    in_book = status = 'pending' and due_at is not null,
    waits_for = case
        when due_at is null then null
        when status = 'waiting-buyer-invoice' then 'buyer'
        when status = 'waiting-payment' then 'seller'
    end;

create index orders_open on orders (created_at, id) where ended = 0;
create index orders_waiting on orders (id) where waits_for is not null;
create index orders_by_maker on orders (maker_identity, waits_for);
create index orders_by_taker on orders (taker_identity, waits_for);
create index orders_open_by_maker_key on orders (maker_key) where ended = 0;
create index orders_open_by_taker_key on orders (taker_key) where ended = 0;
create index orders_by_taken_at on orders (taken_at) where taken_at is not null and ended = 0;

-- One invoice cannot be promised to two running orders (K-24).
create unique index orders_by_destination on orders (destination_hash) where ended = 0;

create trigger orders_are_saved_in_turn
before update of version, status, ended, in_book, waits_for, state, destination, maker_key,
    taker_key, amount, fee on orders
when new.version is not old.version + 1
begin
    select raise(abort, 'an order is saved one version after another');
end;

create trigger orders_end_once before update on orders
when old.ended = 1 and (
    new.ended <> 1 or new.status is not old.status or new.state is not old.state
)
begin
    select raise(abort, 'an order that ended does not change');
end;
