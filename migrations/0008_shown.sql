-- A relay that comes is shown the orders that it may still show: those that have not expired are
-- found by this.
create index orders_by_expires_at on orders (expires_at);
