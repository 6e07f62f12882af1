-- What of the outbox may be done now, found without a look at all that waits: one row for each lane
-- with something to do. Triggers keep it beside `outbox`, as an index is kept.

drop index outbox_by_due_at;
-- When it was asked for; when to try next is a matter of its lane.
alter table outbox rename column due_at to at;

-- An answer to a key that is party to no open order: behind everything else, for minutes, and gone
-- once it was sent or has expired (D42).
alter table outbox add column to_stranger integer not null default 0
    check (to_stranger in (0, 1));

create index orders_open_by_maker_key on orders (maker_key)
where status not in (
    'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
);
create index orders_open_by_taker_key on orders (taker_key)
where status not in (
    'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
);

-- Refusals that wait already are treated as those that come.
update outbox set to_stranger = 1, expires_at = at + 300
where done_at is null and lane glob 'dm:*'
    and json_extract(body, '$.notice."cant-do"') is not null
    and not exists (
        select 1 from orders where maker_key = substr(outbox.lane, 4) and status not in (
            'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
        )
    )
    and not exists (
        select 1 from orders where taker_key = substr(outbox.lane, 4) and status not in (
            'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
        )
    );

create index outbox_to_strangers on outbox (lane) where to_stranger = 1;
create index outbox_to_strangers_by_expiry on outbox (expires_at) where to_stranger = 1;

create table lanes (
    lane   text    primary key,
    -- Each has places of its own.
    class  text    not null check (class in ('lightning', 'alarm', 'trade', 'stranger')),
    head   integer not null unique, -- the first act of the lane that is not done
    due_at integer not null -- when to try it
) strict, without rowid;

create index lanes_by_due_at on lanes (class, due_at, head);

-- `at` is that of the row with the lowest id.
insert into lanes (lane, class, head, due_at)
select
    lane,
    case
        when lane glob 'ln:*' then 'lightning'
        when lane glob 'dm:*' then iif(sum(to_stranger) = count(*), 'stranger', 'trade')
        else 'alarm'
    end,
    min(id),
    at
from outbox where done_at is null group by lane;

-- A lane that also has something to say to a trader is a trader's until it is empty.
create trigger lanes_begin after insert on outbox when new.done_at is null
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

-- The next act of a lane was never tried: it may be done at once, after those of other lanes.
create trigger lanes_go_on after update of done_at on outbox
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

create trigger lanes_go_on_without after delete on outbox when old.done_at is null
begin
    update lanes set (head, due_at) = (
        select id, at from outbox where lane = old.lane and done_at is null order by id limit 1
    )
    where head = old.id and exists (
        select 1 from outbox where lane = old.lane and done_at is null
    );
    delete from lanes where head = old.id;
end;

drop trigger outbox_keeps_what_is_to_be_done;
create trigger outbox_keeps_what_is_to_be_done before delete on outbox
when old.done_at is null and old.to_stranger = 0
begin
    select raise(abort, 'what is to be done stays');
end;
