//! A TCP connection that can fail, between the daemon and its LND, simulated or real.
//!
//! It is independent of the protocol above TCP.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A proxy on a port of the loopback interface. When dropped, it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    dials: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    /// Bytes are accepted and dropped, and nothing is closed.
    swallows: bool,
    /// How many answers pass before one is lost with its connection.
    passing_answers: Option<u32>,
    /// How often all connections were cut.
    cuts: u64,
}

const BUFFER_BYTES: usize = 16 * 1024;

impl Proxy {
    /// Starts one that forwards everything.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("the proxy cannot open a port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let (link, dialed) = (watch::Sender::default(), watch::Sender::default());
        let dials = dialed.subscribe();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, to, link.clone(), dialed));
        Ok(Self { address, link, dials, _task: task })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were opened.
    #[must_use]
    pub fn dials(&self) -> u64 {
        *self.dials.borrow()
    }

    /// Makes all connections half-open, new ones too, as when a router loses its state: both ends seem
    /// to be connected, and nothing arrives.
    pub fn swallow(&self) {
        self.link.send_modify(|link| link.swallows = true);
    }

    /// Forwards everything on new connections. Those that were half-open have lost bytes and stay dead
    /// until an end closes them.
    pub fn heal(&self) {
        self.link.send_modify(|link| {
            link.swallows = false;
            link.passing_answers = None;
        });
    }

    /// Cuts every connection; new ones work.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.cuts += 1);
    }

    /// Forwards requests and this number of answers; then cuts the connection on which the next answer
    /// comes.
    pub fn lose_answer(&self, passing: u32) {
        self.link.send_modify(|link| link.passing_answers = Some(passing));
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    link: watch::Sender<Link>,
    dialed: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let link = link.clone();
                connections.spawn(async move {
                    // When one end is reset, the other one is reset too.
                    drop(carry(client, to, &link).await);
                });
                dialed.send_modify(|dials| *dials += 1);
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(
    mut client: TcpStream,
    to: SocketAddr,
    link: &watch::Sender<Link>,
) -> std::io::Result<()> {
    let mut news = link.subscribe();
    let Link { cuts, swallows: mut is_dead, .. } = *news.borrow_and_update();
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut asked, mut answered) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        tokio::select! {
            biased; // bytes sent just before a change of the mode may be lost
            Ok(()) = news.changed() => {
                let now = *news.borrow();
                if now.cuts != cuts {
                    return Ok(());
                }
                is_dead |= now.swallows;
            }
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                _ if is_dead => {}
                bytes => server.write_all(&asked[..bytes]).await?,
            },
            read = server.read(&mut answered) => match read? {
                0 if is_dead => std::future::pending().await,
                0 => return Ok(()),
                _ if is_dead => {}
                _ if lost(link) => return Ok(()),
                bytes => client.write_all(&answered[..bytes]).await?,
            },
        }
    }
}

/// Whether this answer is lost.
fn lost(link: &watch::Sender<Link>) -> bool {
    link.send_if_modified(|link| {
        let is_lost = link.passing_answers == Some(0);
        link.passing_answers = link.passing_answers.and_then(|passing| passing.checked_sub(1));
        is_lost
    })
}
