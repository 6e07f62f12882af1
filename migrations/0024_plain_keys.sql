-- Plain names for two moments.

update daemon_state set key = 'relays_reachable_at' where key = 'heard_at';
update daemon_state set key = 'lnd_unhealthy_at' where key = 'lnd_unwell_at';
