-- What a wrong clock dated can be sealed anew.

-- A message keeps what it says: its payload, and of a gift wrap the whole inner event, which is dated
-- `written_at`. Its bytes change only where `seals` counts it: after every relay that answered had
-- refused its time, or once the clock that dated it ahead was set right (D31).
alter table outbox add column seals integer not null default 0;
alter table outbox add column written_at integer;

drop trigger outbox_seals_once;
create trigger outbox_seals_once before update on outbox
when old.event is not null and new.event is not old.event
    and (new.event is null or new.seals is not old.seals + 1)
begin
    select raise(abort, 'a message is sealed once');
end;

-- The time of the newest event that a relay took: later ones must be later than that. What no relay
-- took may be replaced by an earlier one (D30).
alter table book add column taken_at integer not null default 0;
update book set taken_at = last_created_at where published > 0;

drop trigger book_revisions_grow;
create trigger book_revisions_grow before update on book
when new.revision < old.revision or new.published < old.published or new.taken_at < old.taken_at
    or (new.last_created_at < old.last_created_at and new.last_created_at <= old.taken_at)
begin
    select raise(abort, 'the public book does not go back');
end;

alter table addressable add column taken_at integer not null default 0;

drop trigger addressable_events_grow_later;
create trigger addressable_events_grow_later before update on addressable
when new.taken_at < old.taken_at or (
    new.event is not old.event
    and (new.created_at <= old.taken_at or new.created_at = old.created_at)
)
begin
    select raise(abort, 'an addressable event is replaced by a later one');
end;
