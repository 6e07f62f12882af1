//! One test per rule of the protocol, told as stories.

mod amounts;
mod cancel;
mod clock;
mod create;
mod expiry;
mod flows;
mod frozen;
mod hold;
mod payout;
mod refused;
mod release;
mod routing;
mod take;
