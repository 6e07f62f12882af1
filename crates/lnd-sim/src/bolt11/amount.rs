//! The amount in an invoice's prefix. Like LND, it multiplies without a check for overflow.

use crate::lnd_error::LndError;

const MSAT_PER_BTC: u64 = 100_000_000_000;

pub(super) fn decode(text: &str) -> Result<u64, LndError> {
    let Some(last) = text.bytes().last() else {
        return Err(LndError::unknown("amount must be non-empty"));
    };
    if last.is_ascii_digit() {
        return Ok(number(text)?.wrapping_mul(MSAT_PER_BTC));
    }
    let letter = char::from(last);
    let digits = text.strip_suffix(letter).unwrap_or_default();
    let msat_per_unit = match letter {
        'm' => 100_000_000,
        'u' => 100_000,
        'n' => 100,
        'p' => return pico(digits),
        _ => return Err(LndError::unknown(format!("unknown multiplier {letter}"))),
    };
    Ok(number(digits)?.wrapping_mul(msat_per_unit))
}

fn pico(digits: &str) -> Result<u64, LndError> {
    let pico = number(digits)?;
    if pico < 10 {
        return Err(LndError::unknown("minimum amount is 10p"));
    }
    if pico % 10 != 0 {
        return Err(LndError::unknown(format!("amount {pico} pBTC not expressible in msat")));
    }
    Ok(pico / 10)
}

fn number(digits: &str) -> Result<u64, LndError> {
    if digits.is_empty() {
        return Err(LndError::unknown("number must be non-empty"));
    }
    let problem = if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        "invalid syntax"
    } else if let Ok(number) = digits.parse() {
        return Ok(number);
    } else {
        "value out of range"
    };
    Err(LndError::unknown(format!("strconv.ParseUint: parsing \"{digits}\": {problem}")))
}
