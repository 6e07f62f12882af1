//! A node's folder: key, certificate, macaroon, address. They are reused after a restart, so that
//! clients can reconnect.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::SimError;
use crate::macaroon::{ADMIN_ROOT_KEY, Bakery};

/// Paths of one node's files.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

/// The contents of these files, which are created where they are missing.
pub(crate) struct Identity {
    pub(crate) folder: Folder,
    pub(crate) key: SecretKey,
    pub(crate) pubkey: String,
    pub(crate) bakery: Bakery,
    pub(crate) tls: Arc<ServerConfig>,
    /// The address it listened on last time.
    pub(crate) address: Option<SocketAddr>,
}

impl Folder {
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path.join("tls.cert")
    }

    pub(crate) fn macaroon(&self) -> PathBuf {
        self.path.join("admin.macaroon")
    }

    fn certificate_key(&self) -> PathBuf {
        self.path.join("tls.key")
    }

    fn node_key(&self) -> PathBuf {
        self.path.join("node.key")
    }

    fn address(&self) -> PathBuf {
        self.path.join("address")
    }

    pub(crate) fn write_address(&self, address: SocketAddr) -> Result<(), SimError> {
        write(&self.address(), address.to_string().as_bytes())
    }

    /// Makes a new certificate; connections opened from now on see it.
    pub(crate) fn renew_certificate(&self) -> Result<Arc<ServerConfig>, SimError> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names)?;
        write(&self.certificate_key(), made.signing_key.serialize_pem().as_bytes())?;
        write(&self.certificate(), made.cert.pem().as_bytes())?;
        self.read_certificate()
    }

    fn read_certificate(&self) -> Result<Arc<ServerConfig>, SimError> {
        let damaged = |path: PathBuf| {
            move |error: rustls::pki_types::pem::Error| SimError::Damaged {
                path,
                problem: error.to_string(),
            }
        };
        let (cert, key) = (self.certificate(), self.certificate_key());
        let chain = vec![
            CertificateDer::from_pem_slice(&read(&cert)?).map_err(damaged(cert))?.into_owned(),
        ];
        let key = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(damaged(key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(tls))
    }
}

impl Identity {
    /// Opens a node's folder, and creates what is missing in it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, SimError> {
        fs::create_dir_all(&path).map_err(|source| SimError::File {
            action: "make",
            path: path.clone(),
            source,
        })?;
        let folder = Folder { path };
        let key = node_key(&folder)?;
        let pubkey = PublicKey::from_secret_key(&Secp256k1::signing_only(), &key).to_string();
        let mut bakery = Bakery::new(key.secret_bytes());
        write(&folder.macaroon(), &bakery.bake(ADMIN_ROOT_KEY, &[]))?;
        let tls = if folder.certificate().exists() && folder.certificate_key().exists() {
            folder.read_certificate()?
        } else {
            folder.renew_certificate()?
        };
        let address = fs::read_to_string(folder.address())
            .ok()
            .and_then(|text| text.trim().parse::<SocketAddr>().ok());
        Ok(Self { folder, key, pubkey, bakery, tls, address })
    }
}

pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), SimError> {
    fs::write(path, content).map_err(|source| SimError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, SimError> {
    fs::read(path).map_err(|source| SimError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn node_key(folder: &Folder) -> Result<SecretKey, SimError> {
    let path = folder.node_key();
    if path.exists() {
        let text = String::from_utf8_lossy(&read(&path)?).into_owned();
        return text.trim().parse().map_err(|error: bitcoin::secp256k1::Error| SimError::Damaged {
            path,
            problem: error.to_string(),
        });
    }
    let key = loop {
        // Only one in 2^128 draws is not a valid key.
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        if let Ok(key) = SecretKey::from_slice(&bytes) {
            break key;
        }
    };
    write(&path, hex::encode(key.secret_bytes()).as_bytes())?;
    Ok(key)
}
