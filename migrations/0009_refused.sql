-- Payouts that LND refuses, or does not answer (D39).

-- The sends in a row that LND did not take.
alter table payouts add column failed_sends integer not null default 0 check (failed_sends >= 0);
-- When the first of them came to nothing.
alter table payouts add column failed_sends_since integer
    check ((failed_sends = 0) = (failed_sends_since is null));

-- LND itself answered the last call with an error.
alter table payout_attempts add column refused_since integer;
-- What it said.
alter table payout_attempts add column refusal text;
-- A call went unanswered, and LND has not known the payment since.
alter table payout_attempts add column in_doubt_since integer;

-- Which calls were answered was not written down before.
update payout_attempts set in_doubt_since = coalesce(unanswered_since, begun_at)
where state in ('dispatching', 'frozen') and acked = 0;
