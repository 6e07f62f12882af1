//! Crash points: named places where a test makes the real process die.
//!
//! Builds with debug assertions read `MOSTROD_CRASH_AT=<point>[:<hit>]` and kill themselves with
//! SIGKILL at that hit of that point, without destructors or flushes. Other builds contain none of
//! this.

use std::future::Future;

/// Kills the process if a test named this point.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _: &str = name;
}

/// A call to LND or a relay with three points: before the request, while it is pending, and after
/// the answer.
pub async fn around<T>(name: &str, call: impl Future<Output = T>) -> T {
    point(&format!("{name}.before"));
    let mut call = std::pin::pin!(call);
    let mut is_pending = false;
    let answer = std::future::poll_fn(|context| {
        let polled = call.as_mut().poll(context);
        if polled.is_pending() && !std::mem::replace(&mut is_pending, true) {
            point(&format!("{name}.during"));
        }
        polled
    })
    .await;
    point(&format!("{name}.after"));
    answer
}

#[cfg(debug_assertions)]
mod armed {
    use std::process::Command;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        point: String,
        hits_left: AtomicU32,
    }

    /// The one global of the daemon, absent from release builds: a crash has no caller to pass it.
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn pass(name: &str) {
        let Some(armed) = ARMED.get_or_init(read) else { return };
        if armed.point == name && armed.hits_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "set by the test that starts this process")]
    fn read() -> Option<Armed> {
        let wanted = std::env::var("MOSTROD_CRASH_AT").ok()?;
        let (point, hit) = wanted.rsplit_once(':').unwrap_or((&wanted, "1"));
        let hits_left = AtomicU32::new(hit.parse().unwrap_or(1));
        Some(Armed { point: point.to_owned(), hits_left })
    }

    fn die() -> ! {
        let pid = std::process::id().to_string();
        loop {
            // Tried until it works: the process must not go on.
            drop(Command::new("kill").args(["-9", &pid]).status());
        }
    }
}
