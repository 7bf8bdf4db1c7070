//! The dataplane's rare messages, on their way into the controller's log.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Reads the ring buffer the dataplane logs to.
pub struct Messages(EbpfLogger<&'static dyn log::Log>);

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Messages")
    }
}

impl AsFd for Messages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Messages {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Messages {
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        match EbpfLogger::init(ebpf) {
            Ok(logger) => Some(Self(logger)),
            // An object without a single message has no such map.
            Err(aya_log::Error::MapNotFound) => None,
            Err(error) => {
                log::warn!("the dataplane's messages cannot be read: {error}");
                None
            }
        }
    }

    /// Writes what has come to the log, for as long as the daemon lives.
    pub async fn forward(self) -> io::Result<()> {
        // SAFETY: the descriptor is the logger's own, open for as long as the logger lives, and always the same.
        let mut ready = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }.map_err(|error| error.into_parts().1)?;
        loop {
            let mut guard = ready.readable_mut().await?;
            guard.get_inner_mut().0.flush();
            guard.clear_ready();
        }
    }
}
