//! One call from its arrival to its answer: counted, failed if a fault is armed, done, answered.

use std::future::pending;

use tonic::{Code, Response, Status};

use super::lnd::{Lnd, stopping};
use crate::faults::{Fault, Rpc};
use crate::hash::PaymentHash;
use crate::lnd_error::LndError;
use crate::network::Network;

/// What grpc-go reports when a connection ends during a call.
pub(crate) const CLOSING: &str = "transport is closing";

impl Lnd {
    /// Answers a call that has one answer.
    pub(crate) async fn answer<T: Send + 'static>(
        &self,
        rpc: Rpc,
        hash: Option<PaymentHash>,
        work: impl FnOnce(&mut Network, &str) -> Result<T, LndError> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let (done, _) = self.work(rpc, hash, work).await?;
        Ok(Response::new(done))
    }

    /// Does the work of a call. The fault, if any, is still to be applied to its stream of answers.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        rpc: Rpc,
        hash: Option<PaymentHash>,
        work: impl FnOnce(&mut Network, &str) -> Result<T, LndError> + Send + 'static,
    ) -> Result<(T, Option<Fault>), Status> {
        let fault = self.shared.with(|network| {
            network.calls.count(&self.name, rpc, hash);
            network.faults.take(&self.name, rpc, hash)
        });
        let done = match &fault {
            Some(Fault::Hang) => pending().await,
            Some(Fault::Refuse { code, text }) => {
                return Err(Status::new(Code::from_i32(*code), text));
            }
            Some(Fault::Freeze) => self.once_thawed(work).await,
            _ => self.step(work),
        };
        match &fault {
            Some(Fault::LoseAnswer) => Err(Status::unavailable(CLOSING)),
            Some(Fault::WithholdAnswer) => pending().await,
            _ => Ok((done?, fault)),
        }
    }

    fn step<T>(
        &self,
        work: impl FnOnce(&mut Network, &str) -> Result<T, LndError>,
    ) -> Result<T, LndError> {
        self.shared.with(|network| work(network, &self.name))
    }

    /// The work is done when LND is thawed, whether or not the caller still waits.
    async fn once_thawed<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Network, &str) -> Result<T, LndError> + Send + 'static,
    ) -> Result<T, LndError> {
        let lnd = self.clone();
        let mut thawed = self.shared.thawed.subscribe();
        #[expect(clippy::disallowed_methods, reason = "it must outlive the caller's connection")]
        let frozen = tokio::spawn(async move {
            let mut life = lnd.life.clone();
            tokio::select! {
                biased; // a call of a stopped LND is dropped even if it is thawed at the same time
                () = stopping(&mut life) => Err(LndError::new(Code::Unavailable, CLOSING)),
                _ = thawed.changed() => lnd.step(work),
            }
        });
        match frozen.await {
            Ok(done) => done,
            Err(_) => pending().await,
        }
    }
}
