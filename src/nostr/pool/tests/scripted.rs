//! A relay with scripted answers.

use std::borrow::Cow;

use futures::{SinkExt, StreamExt};
use nostr_sdk::filter::MatchEventOptions;
use nostr_sdk::{ClientMessage, Event, Filter, JsonUtil, RelayMessage, SubscriptionId};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

type Script = Box<dyn FnMut(ClientMessage<'static>) -> Vec<RelayMessage<'static>> + Send>;

/// Accepts one connection after the other until it is dropped.
pub(super) struct Scripted {
    pub(super) url: String,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub(super) async fn new(
        script: impl FnMut(ClientMessage<'static>) -> Vec<RelayMessage<'static>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let mut script: Script = Box::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &mut script).await;
            }
        });
        Self { url, _tasks: tasks }
    }
}

/// Until the client disconnects.
async fn serve(stream: TcpStream, script: &mut Script) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(frame)) = socket.next().await {
        let Message::Text(text) = frame else { continue };
        for answer in script(ClientMessage::from_json(text.as_bytes()).unwrap()) {
            if socket.send(Message::text(answer.as_json())).await.is_err() {
                return;
            }
        }
    }
}

/// The answer of an ordinary relay that has stored these events.
pub(super) fn answer(message: &ClientMessage<'_>, stored: &[&Event]) -> Vec<RelayMessage<'static>> {
    let ClientMessage::Req { subscription_id, .. } = message else { return Vec::new() };
    let id = SubscriptionId::new(subscription_id.as_str());
    let found = stored.iter().filter(|event| is_requested(message, event));
    let mut answers: Vec<_> =
        found.map(|event| RelayMessage::event(id.clone(), (*event).clone())).collect();
    answers.push(RelayMessage::eose(id));
    answers
}

pub(super) fn is_requested(message: &ClientMessage<'_>, event: &Event) -> bool {
    let ClientMessage::Req { filters, .. } = message else { return false };
    filters.iter().any(|filter| filter.match_event(event, MatchEventOptions::new()))
}

/// Whether a request is for a page of stored events, not for a subscription that stays open.
pub(super) fn is_for_a_page(filters: &[Cow<'_, Filter>]) -> bool {
    filters.iter().any(|filter| filter.until.is_some())
}
