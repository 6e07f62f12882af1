-- Traders who gave an identity beside their trade key. Full privacy leaves no row.
create table users (
    identity         text    primary key check (length(identity) = 64),
    last_trade_index integer check (last_trade_index >= 1), -- null: given back (D17)
    banned           integer not null default 0 check (banned in (0, 1)),
    -- Ratings are whole stars, 1 to 5. The average counts the first one half:
    -- (2 × rating_sum − first_rating) / (2 × reviews).
    reviews          integer not null default 0 check (reviews >= 0),
    rating_sum       integer not null default 0,
    first_rating     integer check (first_rating between 1 and 5),
    last_rating      integer check (last_rating between 1 and 5),
    min_rating       integer check (min_rating between 1 and 5),
    max_rating       integer check (max_rating between 1 and 5),
    created_at       integer not null, -- the first order made or taken
    check (rating_sum between reviews and 5 * reviews),
    check ((reviews = 0) = (first_rating is null)),
    check (reviews = 0 or (min_rating <= last_rating and last_rating <= max_rating))
) strict;
