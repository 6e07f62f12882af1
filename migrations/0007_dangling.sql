-- LND may hold on to a payment that never left it (reliability P12).

-- LND calls it in flight, and no channel carries its HTLC.
alter table payout_attempts add column htlc_missing_since integer;
