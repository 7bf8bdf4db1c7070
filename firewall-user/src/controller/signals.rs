//! SIGTERM and SIGINT end the daemon, SIGHUP makes it read its policy again.

use std::{future::Future, sync::Arc};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Controller, blocking};
use crate::api::{Failure, How};

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
}

/// Resolves when the daemon is told to end.
pub(super) fn ended() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => log::info!("told to end (SIGTERM)"),
            _ = interrupt.recv() => log::info!("told to end (SIGINT)"),
        }
    })
}

/// Reloads the policy on SIGHUP, from now on.
pub(super) fn watch_reload(controller: Arc<Controller>) -> Result<(), Failure> {
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(failure) = blocking(&controller, |controller| controller.reload(How::Reload)).await {
                log::error!("the policy stays as it was:\n{}", failure.sentence());
            }
        }
    });
    Ok(())
}
