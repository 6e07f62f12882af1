-- What came in, what must go out, and how each key is reached.

-- Every event that was acted on, or answered; remembered in the same transaction (D5).
create table inbox (
    event_id   text    primary key check (length(event_id) = 64),
    rumor_id   text    unique check (length(rumor_id) = 64), -- of a gift wrap's inner event
    created_at integer not null, -- as its author says
    at         integer not null
) strict;

-- What was decided and is still to be done, at least once, in order within a lane.
create table outbox (
    id         integer primary key autoincrement, -- the order of commitment
    order_id   text    references orders (id), -- null: an answer that belongs to no order (D19)
    lane       text    not null, -- one at a time: 'dm:<trade key>', 'ln:<hash>', 'alarm'
    kind       text    not null, -- versioned name, e.g. 'hold.settle/1'
    body       text    not null check (json_valid(body)),
    due_at     integer not null,
    attempts   integer not null default 0, -- that failed
    begun_at   integer, -- when it was first tried
    event      text, -- the signed event, saved before the first send and sent again as it is
    expires_at integer, -- when it is no longer worth doing
    done_at    integer -- null: still to do
) strict;

create index outbox_by_lane on outbox (lane, id) where done_at is null;
create index outbox_by_due_at on outbox (due_at) where done_at is null;

create trigger outbox_is_done_once before update on outbox
when old.done_at is not null
begin
    select raise(abort, 'what was done is not done again');
end;

create trigger outbox_seals_once before update on outbox
when old.event is not null and new.event is not old.event
begin
    select raise(abort, 'a message is sealed once');
end;

-- The transport each trade key last wrote on: its answers go there (D4).
create table trade_keys (
    key        text    primary key check (length(key) = 64),
    transport  text    not null check (transport in ('gift-wrap', 'nip44')),
    updated_at integer not null -- when that message was created
) strict;
