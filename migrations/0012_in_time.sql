-- What was said in time counts, whatever the clocks and the outages (ADR 0019).

-- When the present taker took the order: what its parties wrote since then is honoured at any age.
alter table orders add column taken_at integer;

update orders set taken_at = coalesce(
    (
        select journal.at from journal
        where journal.order_id = orders.id and journal.input in ('take-sell', 'take-buy')
        order by journal.id desc limit 1
    ),
    created_at
) where taker_key is not null;

create index orders_by_taken_at on orders (taken_at)
where taken_at is not null and status not in (
    'success', 'canceled', 'cooperatively-canceled', 'canceled-by-admin', 'expired'
);

-- From when on relays are asked was, until now, when one was last heard.
insert into daemon_state (key, value)
select 'cursor', value from daemon_state where key = 'heard_at';

-- A clock that ran far ahead may have had everything forgotten. What was forgotten stays forgotten
-- up to a time that LND's chain has confirmed, which is all that any message can have been written
-- until then; `clock_confirmed_at` is that time.
drop trigger forgotten_until_does_not_go_back;

create trigger forgotten_until_goes_back_to_a_confirmed_time_only before update on daemon_state
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
