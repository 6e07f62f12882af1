//! The node's secret key, which is never shown.

use std::fmt;

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use zeroize::Zeroizing;

/// The number of points on secp256k1: a secret key lies between zero and it.
const CURVE_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// The node's secret key. Wiped from memory when dropped; its `Debug` shows nothing.
#[derive(Clone)]
pub struct NodeSecret(Zeroizing<[u8; 32]>);

impl NodeSecret {
    /// Reads an `nsec` or 64 hex digits; `None` for anything that is not a secret key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = if text.starts_with("nsec1") {
            read_bech32("nsec", text)?
        } else {
            let mut bytes = Zeroizing::new([0; 32]);
            hex::decode_to_slice(text, bytes.as_mut()).ok()?;
            bytes
        };
        let is_key = *bytes != [0; 32] && *bytes < CURVE_ORDER;
        is_key.then_some(Self(bytes))
    }

    /// The key itself, for the signer.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The 32 bytes of an `nsec` or `npub`.
pub(super) fn read_bech32(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if checked.hrp().as_str() != prefix || checked.byte_iter().len() != 32 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    for (to, from) in bytes.iter_mut().zip(checked.byte_iter()) {
        *to = from;
    }
    Some(bytes)
}
