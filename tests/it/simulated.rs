//! Scenarios that real nodes cannot be made to show.

mod dangling;
mod modifier;
mod refused;
mod replay;
mod unfit;
