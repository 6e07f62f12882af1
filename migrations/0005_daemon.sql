-- What the daemon knows of itself and of its surroundings across restarts.
create table daemon_state (
    key   text primary key,
    value text not null
) strict;

-- The newest public event under each address that belongs to no order: a later one must carry a
-- later time (INV-7).
create table addressable (
    kind       integer not null,
    d          text    not null,
    created_at integer not null,
    event      text    not null,
    primary key (kind, d)
) strict;

create trigger addressable_events_grow_later before update on addressable
when new.created_at <= old.created_at
begin
    select raise(abort, 'an addressable event is replaced by a later one');
end;
