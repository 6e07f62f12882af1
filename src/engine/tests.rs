//! Facts of the engine, on real migrated files.
