//! Streams: the entries of a log are sent, then those added later, until a final state.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tonic::{Response, Status};

use super::calls::CLOSING;
use super::lnd::{Life, Lnd, stopping};
use crate::faults::Fault;
use crate::network::Network;

/// What a stream has to send next.
pub(crate) enum Next<T> {
    Message(Box<T>),
    /// Nothing yet.
    Wait,
    /// The stream has ended.
    End,
}

/// How a stream ends when LND is asked to stop.
#[derive(Clone, Copy)]
pub(crate) enum AtStop {
    EndsOk,
    /// The router's streams.
    Fails(&'static str),
}

type Look<T> = Box<dyn FnMut(&Network) -> Next<T> + Send>;

/// A stream of messages about one hash.
pub(crate) struct Follow<T> {
    lnd: Lnd,
    look: Look<T>,
    fault: Option<Fault>,
    at_stop: AtStop,
    changed: watch::Receiver<u64>,
    cut: watch::Receiver<BTreeMap<String, u64>>,
    cuts: u64,
    life: watch::Receiver<Life>,
    sent: usize,
    is_over: bool,
}

pub(crate) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl<T: Send + 'static> Follow<T> {
    pub(crate) fn new(lnd: &Lnd, fault: Option<Fault>, at_stop: AtStop, look: Look<T>) -> Self {
        let cut = lnd.shared.cut.subscribe();
        let cuts = cut.borrow().get(&lnd.name).copied().unwrap_or_default();
        Self {
            lnd: lnd.clone(),
            look,
            fault,
            at_stop,
            changed: lnd.shared.changed.subscribe(),
            cut,
            cuts,
            life: lnd.life.clone(),
            sent: 0,
            is_over: false,
        }
    }

    /// Answers when there is a first message. As with grpc-go, no headers are sent before that: with
    /// tonic, which sends headers with the response, the response itself must wait.
    pub(crate) async fn open(mut self) -> Result<Response<Messages<T>>, Status> {
        match self.next().await {
            None => Ok(Response::new(Box::pin(stream::empty()))),
            Some(Err(status)) => Err(status),
            Some(Ok(first)) => {
                let rest = stream::unfold(self, |mut follow| async move {
                    follow.next().await.map(|message| (message, follow))
                });
                let first = stream::once(async move { Ok(first) });
                Ok(Response::new(Box::pin(first.chain(rest))))
            }
        }
    }

    async fn next(&mut self) -> Option<Result<T, Status>> {
        loop {
            if self.is_over {
                return None;
            }
            match self.fault {
                Some(Fault::Cut { after }) if after == self.sent => return self.breaks(),
                Some(Fault::End { after }) if after == self.sent => return None,
                Some(Fault::Silence { after }) if after == self.sent => {
                    std::future::pending::<()>().await;
                }
                _ => {}
            }
            self.changed.mark_unchanged();
            match self.lnd.shared.read(&mut self.look) {
                Next::Message(message) => {
                    self.sent += 1;
                    return Some(Ok(*message));
                }
                Next::End => return None,
                Next::Wait => {}
            }
            let is_stopping = tokio::select! {
                () = stopping(&mut self.life) => true,
                _ = self.cut.changed() => false,
                _ = self.changed.changed() => false,
            };
            if is_stopping {
                self.is_over = true;
                return match self.at_stop {
                    AtStop::EndsOk => None,
                    AtStop::Fails(text) => Some(Err(Status::unknown(text))),
                };
            }
            if self.cut.borrow_and_update().get(&self.lnd.name).is_some_and(|now| *now > self.cuts)
            {
                return self.breaks();
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is the last item of a stream")]
    fn breaks(&mut self) -> Option<Result<T, Status>> {
        self.is_over = true;
        Some(Err(Status::unavailable(CLOSING)))
    }
}
