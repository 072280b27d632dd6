//! How values read in an intent that is written out.

use std::time::Duration;

use serde::Serializer;

/// `24s`, or `300ms` when it is not whole seconds.
pub(crate) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    match value.subsec_millis() {
        0 => serializer.collect_str(&format_args!("{}s", value.as_secs())),
        _ => serializer.collect_str(&format_args!("{}ms", value.as_millis())),
    }
}

/// As [`duration`], for one that may be absent.
pub(crate) fn optional_duration<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => duration(value, serializer),
        None => serializer.serialize_none(),
    }
}
