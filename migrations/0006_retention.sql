-- What is forgotten: found by its age, a little at a time, without a look at what stays.

create index inbox_by_created_at on inbox (created_at);
create index outbox_by_done_at on outbox (done_at) where done_at is not null;
create index trade_keys_by_updated_at on trade_keys (updated_at);

-- `forgotten_until` in `daemon_state` is when the newest forgotten message was written. What is as
-- old as that is never taken again, so that nothing is acted on twice (I7).
create trigger inbox_forgets_what_is_refused before delete on inbox
when old.created_at > coalesce(
    (select cast(value as integer) from daemon_state where key = 'forgotten_until'), -1
)
begin
    select raise(abort, 'a message is forgotten once those as old as it are refused');
end;

create trigger inbox_takes_nothing_forgotten before insert on inbox
when new.created_at <= (
    select cast(value as integer) from daemon_state where key = 'forgotten_until'
)
begin
    select raise(abort, 'a message as old as this may have been forgotten');
end;

create trigger forgotten_until_does_not_go_back before update on daemon_state
when old.key = 'forgotten_until'
    and (new.key is not old.key or cast(new.value as integer) < cast(old.value as integer))
begin
    select raise(abort, 'what was forgotten stays forgotten');
end;

create trigger forgotten_until_stays before delete on daemon_state
when old.key = 'forgotten_until'
begin
    select raise(abort, 'what was forgotten stays forgotten');
end;

create trigger outbox_keeps_what_is_to_be_done before delete on outbox
when old.done_at is null
begin
    select raise(abort, 'what is to be done stays');
end;
