//! The proxy between an echo server and its client.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use devnet::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[tokio::test]
async fn requests_and_answers_pass_through_the_proxy() -> Result<()> {
    let fixture = Fixture::set().await?;
    let mut caller = fixture.dial().await?;

    assert_eq!(say(&mut caller, b"hello").await?, b"hello");
    assert_eq!(fixture.proxy.dials(), 1);
    Ok(())
}

#[tokio::test]
async fn a_half_open_connection_stays_silent_and_a_new_one_works_after_the_repair() -> Result<()> {
    let fixture = Fixture::set().await?;
    let mut old = fixture.dial().await?;
    say(&mut old, b"hello").await?;

    fixture.proxy.swallow();
    let mut dialed_meanwhile = fixture.dial().await?;
    assert!(is_silent(&mut old).await && is_silent(&mut dialed_meanwhile).await);
    fixture.proxy.heal();

    assert!(is_silent(&mut old).await && is_silent(&mut dialed_meanwhile).await);
    assert_eq!(say(&mut fixture.dial().await?, b"again").await?, b"again");
    Ok(())
}

#[tokio::test]
async fn a_cut_connection_is_closed_and_can_be_opened_again() -> Result<()> {
    let fixture = Fixture::set().await?;
    let mut caller = fixture.dial().await?;
    say(&mut caller, b"hello").await?;

    fixture.proxy.cut();

    assert_eq!(say(&mut caller, b"").await?, b"");
    assert_eq!(say(&mut fixture.dial().await?, b"again").await?, b"again");
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_belongs_to_a_delivered_request() -> Result<()> {
    let mut fixture = Fixture::set().await?;
    fixture.proxy.lose_answer(1);
    let mut caller = fixture.dial().await?;

    assert_eq!(say(&mut caller, b"hello").await?, b"hello");
    assert_eq!(say(&mut caller, b"bye").await?, b"");
    fixture.received.wait_for(|received| *received == b"bye").await?;
    assert_eq!(say(&mut fixture.dial().await?, b"again").await?, b"again");
    Ok(())
}

/// An echo server that keeps the last request, behind a proxy.
struct Fixture {
    proxy: Proxy,
    received: watch::Receiver<Vec<u8>>,
    _echo: JoinSet<()>,
}

impl Fixture {
    async fn set() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let proxy = Proxy::start(listener.local_addr()?).await?;
        let (report, received) = watch::channel(Vec::new());
        let mut echo = JoinSet::new();
        echo.spawn(async move {
            let mut callers = JoinSet::new();
            while let Ok((caller, _)) = listener.accept().await {
                callers.spawn(answer(caller, report.clone()));
            }
        });
        Ok(Self { proxy, received, _echo: echo })
    }

    async fn dial(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(self.proxy.address()).await?)
    }
}

async fn answer(mut caller: TcpStream, received: watch::Sender<Vec<u8>>) {
    let mut buffer = [0; 64];
    while let Ok(bytes) = caller.read(&mut buffer).await {
        received.send_replace(buffer[..bytes].to_vec());
        if bytes == 0 || caller.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}

/// The answer; none if the connection is closed.
async fn say(caller: &mut TcpStream, words: &[u8]) -> Result<Vec<u8>> {
    caller.write_all(words).await?;
    let mut buffer = [0; 64];
    let bytes = timeout(Duration::from_secs(15), caller.read(&mut buffer)).await??;
    Ok(buffer[..bytes].to_vec())
}

/// Whether there is no answer and the connection stays open.
async fn is_silent(caller: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(100), say(caller, b"hello")).await.is_err()
}
