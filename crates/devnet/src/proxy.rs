//! A TCP link that can fail, between the daemon and its LND, simulated or real.
//!
//! It knows nothing of what it carries, so it can stand before anything that is dialed.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A proxy on a port of the loopback interface. Dropped, it closes with every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    dials: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    /// What is sent is taken and goes nowhere, and nothing is closed.
    swallows: bool,
    /// So many answers pass until one is lost, with its connection.
    passing_answers: Option<u32>,
    /// How often every connection was cut.
    cuts: u64,
}

const BUFFER_BYTES: usize = 16 * 1024;

impl Proxy {
    /// Starts one that passes everything on.
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

    /// How often it was dialed.
    #[must_use]
    pub fn dials(&self) -> u64 {
        *self.dials.borrow()
    }

    /// Makes the link half-open, as when a router between forgets it: both ends believe that they
    /// are connected, and nothing arrives. So it is with who dials now.
    pub fn swallow(&self) {
        self.link.send_modify(|link| link.swallows = true);
    }

    /// Lets everything pass that is dialed from now on, and loses no answer. Connections that were
    /// half-open have lost bytes and stay dead, until an end closes them.
    pub fn heal(&self) {
        self.link.send_modify(|link| {
            link.swallows = false;
            link.passing_answers = None;
        });
    }

    /// Breaks every connection; who dials again is let through.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.cuts += 1);
    }

    /// Passes on what is asked, and so many words that come back; then breaks the connection on which
    /// the next one does.
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
                    // An end that breaks its connection breaks the other's.
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
            biased; // what was said before a change of the link may be lost by it
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

/// Whether this answer is the one that is lost.
fn lost(link: &watch::Sender<Link>) -> bool {
    link.send_if_modified(|link| {
        let is_lost = link.passing_answers == Some(0);
        link.passing_answers = link.passing_answers.and_then(|passing| passing.checked_sub(1));
        is_lost
    })
}
