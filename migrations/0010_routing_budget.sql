-- What routes may cost beyond the fees of their trades (D43).

-- When the debt began.
alter table payouts add column owed_since integer not null default 0;
update payouts set owed_since = coalesce(
    (select min(at) from journal
     where journal.order_id = payouts.order_id and to_status = 'settled-hold-invoice'),
    0
);

-- Of the budget of this day of UTC, counted from 1970-01-01,
alter table payout_attempts add column subsidy_day integer;
-- for a payment to this node,
alter table payout_attempts add column subsidy_payee text check (length(subsidy_payee) = 66);
-- so much is set aside, or was spent.
alter table payout_attempts add column subsidy_msat integer check (
    (subsidy_msat is null and subsidy_day is null and subsidy_payee is null)
    or (subsidy_msat > 0 and subsidy_day is not null and subsidy_payee is not null)
);

create index payout_attempts_by_subsidy
on payout_attempts (subsidy_day, subsidy_payee, state, subsidy_msat)
where subsidy_day is not null;
