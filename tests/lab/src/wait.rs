//! Waiting for the world to reach a state.

use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks. Short against what labs measure, long against a look at bird.
const POLL: Duration = Duration::from_millis(1);

/// Looks again and again until `look` returns a value, at most `limit` long. `look` says what it saw instead; the
/// panic at the end of the time prints what was waited for and what was seen last.
#[track_caller]
pub fn wait_until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if start.elapsed() >= limit => {
                panic!("not within {limit:?}: {what}; last seen: {seen}")
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// [`wait_until`] that also tells how long it took.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, look: impl FnMut() -> Result<T, String>) -> (T, Duration) {
    let start = Instant::now();
    let value = wait_until(limit, what, look);
    (value, start.elapsed())
}
