//! Bech32 of any length, and its groups of five bits as bytes.

use crate::lnd_error::LndError;

const CHARSET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM_CHARS: usize = 6;

/// The part before the last `1`, in small letters, and the groups after it without the checksum.
pub(super) fn decode(text: &str) -> Result<(String, Vec<u8>), LndError> {
    if text.len() < 8 {
        return Err(LndError::unknown(format!("invalid bech32 string length {}", text.len())));
    }
    if let Some(byte) = text.bytes().find(|byte| !(33..=126).contains(byte)) {
        let letter = char::from(byte);
        return Err(LndError::unknown(format!("invalid character in string: '{letter}'")));
    }
    let lower = text.to_ascii_lowercase();
    if text != lower && text != text.to_ascii_uppercase() {
        return Err(LndError::unknown("string not all lowercase or all uppercase"));
    }
    let parts = lower
        .rsplit_once('1')
        .filter(|(hrp, data)| !hrp.is_empty() && data.len() >= CHECKSUM_CHARS);
    let Some((hrp, data)) = parts else {
        return Err(LndError::unknown("invalid index of 1"));
    };
    let groups = data.bytes().map(group).collect::<Result<Vec<u8>, LndError>>()?;
    let (payload, given) = groups.split_at(groups.len().saturating_sub(CHECKSUM_CHARS));
    let expected = checksum(hrp, payload);
    if given != expected {
        let (expected, given) = (chars(&expected), chars(given));
        let text = format!("checksum failed. Expected {expected}, got {given}.");
        return Err(LndError::unknown(text));
    }
    Ok((hrp.to_owned(), payload.to_vec()))
}

fn group(byte: u8) -> Result<u8, LndError> {
    let index = CHARSET.bytes().position(|known| known == byte);
    index.and_then(|index| u8::try_from(index).ok()).ok_or_else(|| {
        LndError::unknown(format!(
            "failed converting data to bytes: invalid character not part of charset: {byte}"
        ))
    })
}

fn chars(groups: &[u8]) -> String {
    groups.iter().filter_map(|group| CHARSET.chars().nth(usize::from(*group))).collect()
}

fn checksum(hrp: &str, payload: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let high = hrp.bytes().map(|byte| byte >> 5);
    let low = hrp.bytes().map(|byte| byte & 31);
    let all = high.chain([0]).chain(low).chain(payload.iter().copied()).chain([0; CHECKSUM_CHARS]);
    let residue = all.fold(1, next_residue) ^ 1;
    [25, 20, 15, 10, 5, 0].map(|shift| low_byte((residue >> shift) & 31))
}

fn next_residue(residue: u32, group: u8) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = residue >> 25;
    let shifted = ((residue & 0x01ff_ffff) << 5) ^ u32::from(group);
    (0..5)
        .zip(GENERATOR)
        .filter(|(bit, _)| (top >> bit) & 1 == 1)
        .fold(shifted, |residue, (_, generator)| residue ^ generator)
}

/// Whole bytes; the rest must be less than a group, and zero.
pub(super) fn to_bytes(groups: &[u8]) -> Result<Vec<u8>, LndError> {
    let (bytes, left, bits) = regroup(groups);
    if bits > 4 || left != 0 {
        return Err(LndError::unknown("invalid incomplete group"));
    }
    Ok(bytes)
}

/// All bits, with zeros up to the next byte.
pub(super) fn to_bytes_padded(groups: &[u8]) -> Vec<u8> {
    let (mut bytes, left, bits) = regroup(groups);
    if bits > 0 {
        bytes.push(left << (8 - bits));
    }
    bytes
}

/// The whole bytes, the bits left over, and how many these are.
fn regroup(groups: &[u8]) -> (Vec<u8>, u8, u32) {
    let mut bytes = Vec::new();
    let (mut left, mut bits) = (0_u32, 0);
    for group in groups {
        left = (left << 5) | u32::from(*group);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(low_byte(left >> bits));
            left &= (1 << bits) - 1;
        }
    }
    (bytes, low_byte(left), bits)
}

fn low_byte(number: u32) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low
}
