-- Every public event that replaces the one before it is a row of one table.

-- A projection of what is true, not a queue: `what` and `about` name what an event is made of, and
-- there is one row for each address that relays keep the newest event of.
create table publications (
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

insert into publications (what, about, revision, published, event, event_revision, last_created_at,
    taken_at, attempts, retry_at)
select 'order', order_id, revision, published, event, event_revision, last_created_at, taken_at,
    attempts, retry_at
from book;

-- Of a node that changed its key, the newest.
insert into publications (what, about, revision, published, event, event_revision, last_created_at,
    taken_at)
select
    case kind when 0 then 'profile' when 10002 then 'relay-list' else 'info' end,
    '', 1, taken_at > 0, event, 1, created_at, taken_at
from addressable
where kind in (0, 10002, 38385) and not exists (
    select 1 from addressable newer where newer.kind = addressable.kind
    and (newer.created_at, newer.d) > (addressable.created_at, addressable.d)
);

drop table book;
drop table addressable;

create index publications_by_retry on publications (retry_at) where published < revision;

-- Each event is later than any that a relay took; what no relay took may be replaced by an earlier
-- one (INV-7, D30).
create trigger publications_grow_later before update on publications
when new.revision < old.revision or new.published < old.published or new.taken_at < old.taken_at
    or (new.last_created_at <> old.last_created_at and new.last_created_at <= old.taken_at)
    or (
        new.event is not old.event and old.event is not null
        and new.last_created_at = old.last_created_at
    )
begin
    select raise(abort, 'a public event is replaced by a later one');
end;
