//! Ports for one network, distinct from those of others on this machine.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result, ensure};

use crate::folders::fast_folder;

/// Ports that are reserved for one network until this is dropped.
#[derive(Debug)]
pub(crate) struct Ports {
    next: u16,
    end: u16,
    /// Keeps other networks from using them; none if the ports were given.
    _lock: Option<File>,
}

/// Two for each of six nodes.
const SIZE: u16 = 12;
/// Below the range that systems use for outgoing connections, so that the port of a killed node stays
/// free.
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 1_000;

impl Ports {
    /// The ports from `first` on, or any that are free.
    pub(crate) fn take(first: Option<u16>) -> Result<Self> {
        match first {
            Some(first) => Self::named(first),
            None => Self::any(),
        }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Result<u16> {
        let port = self.next;
        ensure!(port < self.end, "no port is left");
        self.next += 1;
        Ok(port)
    }

    fn named(first: u16) -> Result<Self> {
        let end =
            first.checked_add(SIZE).context("ports end at 65535: choose a lower first one")?;
        for port in first..end {
            ensure!(
                is_free(port),
                "port {port} is taken: stop what listens there, or choose another range"
            );
        }
        Ok(Self { next: first, end, _lock: None })
    }

    fn any() -> Result<Self> {
        let dir = fast_folder().join("regtest-ports");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let ours = (0..BLOCKS).find_map(|block| {
            let lock = File::create(dir.join(block.to_string())).ok()?;
            lock.try_lock().ok()?;
            let first = FIRST + block * SIZE;
            let free = Self { next: first, end: first + SIZE, _lock: Some(lock) };
            (first..free.end).all(is_free).then_some(free)
        });
        ours.with_context(|| {
            format!("no {SIZE} consecutive ports are free: see the locks in {}", dir.display())
        })
    }
}

/// Whether nobody listens there. A test by binding is not safe: a program that another thread starts
/// at that moment inherits the socket.
fn is_free(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn two_networks_share_no_port() {
        let (mut one, mut other) = (Ports::take(None).unwrap(), Ports::take(None).unwrap());
        let all = |ports: &mut Ports| (0..SIZE).map(|_| ports.next().unwrap()).collect::<Vec<_>>();

        let (one, other) = (all(&mut one), all(&mut other));

        assert!(one.iter().all(|port| !other.contains(port)), "{one:?} and {other:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_reported() {
        let mut free = Ports::take(None).unwrap();
        let first = free.next().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 3)).unwrap();

        let error = Ports::take(Some(first)).unwrap_err().to_string();

        assert!(error.starts_with(&format!("port {} is taken: ", first + 3)), "{error}");
    }
}
