//! Simulated LND.
