//! What a test's code logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

/// What was logged on this thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The second subscriber discards everything. With only one, `tracing` would switch a log line off
    /// for good if a test without a subscriber reached it first.
    pub(crate) fn begin(&self) -> (tracing::subscriber::DefaultGuard, tracing::Dispatch) {
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(self.clone());
        let first = tracing::subscriber::set_default(lines.finish());
        let second = tracing_subscriber::fmt().with_writer(io::sink);
        (first, tracing::Dispatch::new(second.finish()))
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(word).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
