//! Settings: read from three layers, checked as a whole, handed out as typed values.
//!
//! The layers are the defaults in code, `<dir>/settings.toml` and the environment
//! (`MOSTRO__SECTION__KEY`, also from `<dir>/.env`). Every key is read by itself, so that whatever
//! is wrong is reported at once. Nothing here is global: `daemon` passes the values on.

mod database;
mod expiration;
mod layers;
mod lightning;
mod mostro;
mod nostr;
mod policy;
mod secret;
mod unbuilt;
mod url;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub use database::Database;
pub use expiration::Expiration;
pub use lightning::Lightning;
pub use mostro::{Mostro, Transports};
pub use nostr::Nostr;
pub use secret::NodeSecret;

use layers::Layers;

/// The name of the settings file in the settings directory.
pub const FILE_NAME: &str = "settings.toml";

/// Every setting with its explanation: the file that a first run writes.
pub const TEMPLATE: &str = include_str!("../settings.tpl.toml");

/// All settings, checked.
#[derive(Debug)]
pub struct Settings {
    pub lightning: Lightning,
    pub nostr: Nostr,
    pub mostro: Mostro,
    pub expiration: Expiration,
    pub database: Database,
}

/// Valid settings, and warnings about them for the operator.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub warnings: Vec<Warning>,
}

/// Why the daemon cannot start with these settings, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `section.key`, or the file.
    pub key: String,
    /// The value as it was given; none where it is missing or secret.
    pub value: Option<String>,
    pub fault: String,
    pub remedy: String,
}

/// Something the operator may not have meant; the daemon starts all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub key: String,
    pub meaning: String,
}

impl Settings {
    /// Reads and checks the settings in `dir`; `env` is the process environment.
    ///
    /// # Errors
    /// All problems there are, not only the first.
    pub fn load(
        dir: &Path,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, Vec<Problem>> {
        let mut layers = Layers::read(dir, env)?;

        let lightning = lightning::read(&mut layers.section("lightning"));
        let nostr = nostr::read(&mut layers);
        let mostro = mostro::read(&mut layers.section("mostro"));
        let expiration = expiration::read(&mut layers, mostro.as_ref().ok());
        let database = database::read(&mut layers.section("database"), dir);
        unbuilt::accept(&mut layers);
        layers.warn_of_unknown_keys();

        let (problems, warnings) = layers.into_findings();
        match (lightning, nostr, mostro, expiration, database) {
            (Ok(lightning), Ok(nostr), Ok(mostro), Ok(expiration), Ok(database))
                if problems.is_empty() =>
            {
                let settings = Self { lightning, nostr, mostro, expiration, database };
                Ok(Loaded { settings, warnings })
            }
            _ => Err(problems),
        }
    }
}

/// Writes the template as `<dir>/settings.toml`, readable by its owner only, and returns its path.
/// `None` when there are settings already: they are never overwritten.
///
/// # Errors
/// If the directory or the file cannot be created.
pub fn write_template(dir: &Path) -> io::Result<Option<PathBuf>> {
    let path = dir.join(FILE_NAME);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            file.write_all(TEMPLATE.as_bytes())?;
            file.sync_all()?;
            Ok(Some(path))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, fault, remedy } = self;
        match value {
            Some(value) => write!(f, "{key} = {value}: {fault}; {remedy}"),
            None => write!(f, "{key}: {fault}; {remedy}"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.meaning)
    }
}
