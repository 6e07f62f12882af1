//! The nodes' TLS certificates, of a kind that every TLS library accepts: those that btcd and LND make
//! use the curve P-521, or are authorities that may not be servers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Certificate {
    /// Creates one for this machine in a folder.
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
        let (file, key_file) = (dir.join("tls.cert"), dir.join("tls.key"));
        fs::write(&file, made.cert.pem())?;
        fs::write(&key_file, made.signing_key.serialize_pem())?;
        Ok(Self { file, key_file })
    }
}
