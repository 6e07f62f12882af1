//! Ids, keys and hashes: values of one shape that must never be taken for one another.

use std::fmt;

/// An order's id: the 16 bytes of a UUID v4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub [u8; 16]);

/// The public key a party uses for one trade; author and address of its messages (x-only).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TradeKey(pub [u8; 32]);

/// The long-lived public key that owns reputation and trade index (x-only). Equal to the trade key
/// in full privacy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey(pub [u8; 32]);

/// The public key of a Lightning node (compressed).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; 33]);

/// The SHA-256 of a preimage: the name of a hold or a payment at LND.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentHash(pub [u8; 32]);

/// What settles a hold. It leaves the process in `SettleInvoice` only (INV-8).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Preimage(pub [u8; 32]);

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Text of 2 × N hex digits, any case, as bytes.
fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hex_text {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads lower or upper case hex of exactly the right length.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                read_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}
hex_text!(TradeKey, IdentityKey, NodeKey, PaymentHash);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderId({self})")
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_reads_as_a_hyphenated_uuid() {
        let id = OrderId([
            0x30, 0x8e, 0x12, 0x72, 0xd5, 0xf4, 0x47, 0xe6, 0xbd, 0x97, 0x35, 4, 0xba, 0xea, 0x9c,
            0x23,
        ]);
        assert_eq!(id.to_string(), "308e1272-d5f4-47e6-bd97-3504baea9c23");
    }

    #[test]
    fn hex_of_another_length_or_alphabet_is_no_hash() {
        let hash = PaymentHash([0xab; 32]);
        assert_eq!(PaymentHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(PaymentHash::from_hex("ab"), None);
        assert_eq!(PaymentHash::from_hex(&"+1".repeat(32)), None);
        assert_eq!(PaymentHash::from_hex(&"ü".repeat(32)), None);
    }

    // spec: INV-8 K-10 I10
    #[test]
    fn a_preimage_shows_itself_to_nobody() {
        assert_eq!(format!("{:?}", Preimage([7; 32])), "[secret]");
    }
}
