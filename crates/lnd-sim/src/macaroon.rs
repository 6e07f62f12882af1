//! Macaroons in the binary format of LND's files: which calls a caller may make.
//!
//! Only the identifier (`<root key id>:<calls>`) differs from LND's.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::lnd_error::LndError;

/// The root key of `admin.macaroon`.
pub(crate) const ADMIN_ROOT_KEY: u64 = 0;

const VERSION: u8 = 2;
const FIELD_END: u8 = 0;
const FIELD_LOCATION: u8 = 1;
const FIELD_IDENTIFIER: u8 = 2;
const FIELD_SIGNATURE: u8 = 6;
const EVERYTHING: &str = "*";

/// Which macaroons a node accepts.
#[derive(Debug, Clone)]
pub(crate) struct Bakery {
    secret: [u8; 32],
    /// How often the admin macaroon was replaced.
    edition: u64,
    deleted: BTreeSet<u64>,
}

impl Bakery {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret, edition: 0, deleted: BTreeSet::new() }
    }

    /// Makes a macaroon for these calls (`/lnrpc.Lightning/GetInfo`); for all calls if the list is empty.
    pub(crate) fn bake(&mut self, root_key: u64, calls: &[String]) -> Vec<u8> {
        self.deleted.remove(&root_key);
        let calls = if calls.is_empty() { EVERYTHING.to_owned() } else { calls.join(",") };
        let identifier = format!("{root_key}:{calls}");
        let mut macaroon = vec![VERSION];
        put(&mut macaroon, FIELD_LOCATION, b"lnd");
        put(&mut macaroon, FIELD_IDENTIFIER, identifier.as_bytes());
        macaroon.extend([FIELD_END, FIELD_END]);
        put(&mut macaroon, FIELD_SIGNATURE, &self.sign(root_key, &identifier));
        macaroon.push(FIELD_END);
        macaroon
    }

    /// Replaces the admin root key: macaroons baked with the old one are refused.
    pub(crate) fn renew(&mut self) -> Vec<u8> {
        self.edition += 1;
        self.bake(ADMIN_ROOT_KEY, &[])
    }

    pub(crate) fn delete(&mut self, root_key: u64) {
        self.deleted.insert(root_key);
    }

    /// Checks whether the macaroons of a request (hex) allow the call. Errors have LND's texts.
    pub(crate) fn check(&self, presented: &[&[u8]], call: &str) -> Result<(), LndError> {
        let [macaroon] = presented else {
            return Err(LndError::unknown(format!("expected 1 macaroon, got {}", presented.len())));
        };
        let garbage =
            || LndError::unknown("cannot determine data format of binary-encoded macaroon");
        let macaroon = hex::decode(macaroon).map_err(|_| garbage())?;
        let (identifier, signature) = open(&macaroon).ok_or_else(garbage)?;
        let (root_key, calls) = identifier.split_once(':').ok_or_else(garbage)?;
        let root_key: u64 = root_key.parse().map_err(|_| garbage())?;
        if self.deleted.contains(&root_key) {
            return Err(LndError::unknown(format!(
                "cannot retrieve macaroon: cannot get macaroon: root key with id {root_key} doesn't exist"
            )));
        }
        if signature != self.sign(root_key, identifier) {
            return Err(LndError::unknown(
                "verification failed: signature mismatch after caveat verification",
            ));
        }
        if calls != EVERYTHING && !calls.split(',').any(|allowed| allowed == call) {
            return Err(LndError::unknown("permission denied"));
        }
        Ok(())
    }

    fn sign(&self, root_key: u64, identifier: &str) -> [u8; 32] {
        let edition = if root_key == ADMIN_ROOT_KEY { self.edition } else { 0 };
        let mut digest = Sha256::new();
        digest.update(b"macaroon root key");
        digest.update(self.secret);
        digest.update(edition.to_be_bytes());
        digest.update(identifier);
        digest.finalize().into()
    }
}

fn put(macaroon: &mut Vec<u8>, field: u8, content: &[u8]) {
    macaroon.push(field);
    // A varint: seven bits per byte, the lowest first.
    let mut length = content.len();
    while length >= 0x80 {
        macaroon.push(0x80 | low_seven(length));
        length >>= 7;
    }
    macaroon.push(low_seven(length));
    macaroon.extend_from_slice(content);
}

fn low_seven(number: usize) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

fn take<'a>(bytes: &mut &'a [u8], field: u8) -> Option<&'a [u8]> {
    let rest = bytes.strip_prefix(&[field])?;
    let (mut length, mut used) = (0_usize, 0_usize);
    for byte in rest.iter().take(3) {
        length |= usize::from(byte & 0x7f) << (7 * used);
        used += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let content = rest.get(used..used.checked_add(length)?)?;
    *bytes = rest.get(used + length..)?;
    Some(content)
}

fn open(macaroon: &[u8]) -> Option<(&str, &[u8])> {
    let mut rest = macaroon.strip_prefix(&[VERSION])?;
    take(&mut rest, FIELD_LOCATION)?;
    let identifier = take(&mut rest, FIELD_IDENTIFIER)?;
    rest = rest.strip_prefix(&[FIELD_END, FIELD_END])?;
    let signature = take(&mut rest, FIELD_SIGNATURE)?;
    Some((std::str::from_utf8(identifier).ok()?, signature))
}
