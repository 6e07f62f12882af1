//! Facts of the store, each on a real migrated file.

mod opening;
