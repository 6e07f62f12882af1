//! The daemon's settings file, as an operator would write it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use nostr_sdk::{Keys, ToBech32 as _};
use toml::{Table, Value};

/// The daemon's own template, with changes.
#[derive(Clone)]
pub struct Settings {
    sections: Table,
}

const TEMPLATE: &str = include_str!("../../../settings.tpl.toml");

impl Settings {
    /// The settings of a new node.
    ///
    /// # Errors
    /// If the template is damaged.
    pub fn template() -> Result<Self> {
        let sections = TEMPLATE.parse().context("settings.tpl.toml is not TOML")?;
        Ok(Self { sections })
    }

    /// The settings in `dir`.
    ///
    /// # Errors
    /// If there are none.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("settings.toml");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { sections: text.parse()? })
    }

    /// Sets `[section] key`.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: impl Into<Value>) -> Self {
        let entry = self.sections.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = entry {
            section.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Sets the node's key and its relay.
    ///
    /// # Errors
    /// Never for keys that exist.
    pub fn on_relay(self, keys: &Keys, url: &str) -> Result<Self> {
        let nsec = keys.secret_key().to_bech32()?;
        let relays = Value::Array(vec![Value::from(url)]);
        Ok(self.set("nostr", "nsec_privkey", nsec).set("nostr", "relays", relays))
    }

    /// Sets the node's LND: `https://host:port`, certificate and macaroon.
    #[must_use]
    pub fn on_lnd(self, address: &str, certificate: &Path, macaroon: &Path) -> Self {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        self.set("lightning", "lnd_grpc_host", address)
            .set("lightning", "lnd_cert_file", path(certificate))
            .set("lightning", "lnd_macaroon_file", path(macaroon))
    }

    /// Writes `settings.toml` into `dir`, replacing an old one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join("settings.toml");
        let text = toml::to_string(&self.sections)?;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings([secret])")
    }
}
