//! What only real nodes can show.

mod random;
