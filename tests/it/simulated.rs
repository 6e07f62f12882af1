//! What no real node can be told to have or to do: shown of the simulated one only.

mod dangling;
mod modifier;
mod refused;
mod replay;
mod unfit;
