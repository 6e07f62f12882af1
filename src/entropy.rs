//! Randomness, as a value: it is passed to what needs it. Preimages and order ids are drawn from it.

use sha2::{Digest as _, Sha256};
use trade::{HoldSecret, OrderId, PaymentHash, Preimage};

/// Where preimages and ids come from. Two implementations: the system's and a test's.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// 32 unpredictable bytes.
    fn draw(&self) -> [u8; 32];
}

/// The operating system's generator.
#[derive(Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system has no randomness to give: nothing safe can be done then.
    fn draw(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        bytes
    }
}

/// A fresh preimage and its hash.
#[must_use]
pub fn draw_hold_secret(entropy: &dyn Entropy) -> HoldSecret {
    let preimage = Preimage(entropy.draw());
    HoldSecret { hash: PaymentHash(Sha256::digest(preimage.0).into()), preimage }
}

/// A fresh id: a UUID v4.
#[must_use]
pub fn draw_order_id(entropy: &dyn Entropy) -> OrderId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&entropy.draw()[..16]);
    OrderId(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Zeros;

    impl Entropy for Zeros {
        fn draw(&self) -> [u8; 32] {
            [0; 32]
        }
    }

    // spec: E1
    #[test]
    fn a_drawn_preimage_has_its_hash_with_it() {
        let HoldSecret { hash, preimage } = draw_hold_secret(&Zeros);

        assert_eq!(preimage, Preimage([0; 32]));
        let sha256_of_zeros = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        assert_eq!(hash.to_string(), sha256_of_zeros);
    }
}
