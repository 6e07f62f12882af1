//! The connections to relays, without Nagle's algorithm: with it, a short message is not sent before the
//! relay has acknowledged the one before.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_wsocket::{ConnectionMode, Error, Message, Url, WebSocket};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use nostr_sdk::pool::transport::error::TransportError;
use nostr_sdk::pool::transport::websocket::{WebSocketSink, WebSocketStream, WebSocketTransport};
use nostr_sdk::util::BoxedFuture;
use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;

/// Makes the connections of the library's pool.
#[derive(Debug)]
pub(super) struct Sockets;

impl WebSocketTransport for Sockets {
    fn support_ping(&self) -> bool {
        true
    }

    fn connect<'a>(
        &'a self,
        url: &'a Url,
        mode: &'a ConnectionMode,
        timeout: Duration,
    ) -> BoxedFuture<'a, Result<(WebSocketSink, WebSocketStream), TransportError>> {
        Box::pin(async move {
            let (sink, stream) = open(url, mode, timeout).await?.split();
            Ok((Box::new(sink) as WebSocketSink, stream.boxed()))
        })
    }
}

async fn open(
    url: &Url,
    mode: &ConnectionMode,
    timeout: Duration,
) -> Result<Socket, TransportError> {
    let socket = WebSocket::connect(url, mode, timeout).await.map_err(backend)?;
    if let Some(tcp) = tcp(&socket) {
        tcp.set_nodelay(true).map_err(TransportError::backend)?;
    }
    Ok(Socket(socket))
}

fn tcp(socket: &WebSocket) -> Option<&TcpStream> {
    let WebSocket::Tokio(socket) = socket;
    match socket.get_ref() {
        MaybeTlsStream::Plain(tcp) => Some(tcp),
        MaybeTlsStream::Rustls(tls) => Some(tls.get_ref().0),
        _ => None,
    }
}

/// The socket with the pool's error type.
struct Socket(WebSocket);

impl Stream for Socket {
    type Item = Result<Message, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx).map_err(backend)
    }
}

impl Sink<Message> for Socket {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready_unpin(cx).map_err(backend)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        self.0.start_send_unpin(message).map_err(backend)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_flush_unpin(cx).map_err(backend)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_close_unpin(cx).map_err(backend)
    }
}

fn backend(error: Error) -> TransportError {
    TransportError::backend(error)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_short_message_to_a_relay_is_sent_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        let relay = async {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(tcp).await.unwrap()
        };

        let opening = open(&url, &ConnectionMode::Direct, Duration::from_secs(5));
        let (opened, _relay) = tokio::join!(opening, relay);

        assert!(tcp(&opened.unwrap().0).unwrap().nodelay().unwrap());
    }
}
