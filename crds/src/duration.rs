//! Durations as manifests spell them: Go's `time.ParseDuration`, without a sign.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration as it stands in a manifest, such as `24s`, `1m30s`, `300ms`, `0.3s` or `0`.
///
/// The text is kept as written and read by [`value`](Self::value): an object whose duration cannot
/// be read still decodes, so that it costs one session and not the whole list it came in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(pub String);

impl GoDuration {
    /// The duration, exact to the nanosecond.
    ///
    /// # Errors
    /// When the text is not a duration, negative, or longer than 2^63 ns (Go's limit, 292 years).
    pub fn value(&self) -> Result<Duration, DurationError> {
        parse(&self.0).map_err(|reason| DurationError { text: self.0.clone(), reason })
    }
}

impl From<&str> for GoDuration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    // No `format: duration`: it would hand CEL a duration instead of a string, and accept "1 day".
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 32 })
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration such as 24s, 1m30s or 300ms: {}", self.text, self.reason)
    }
}

impl std::error::Error for DurationError {}

fn parse(text: &str) -> Result<Duration, &'static str> {
    match text {
        "" => return Err("it is empty"),
        "0" => return Ok(Duration::ZERO),
        _ if text.starts_with('-') => return Err("it is negative"),
        _ => {}
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (nanoseconds, after) = component(rest)?;
        total = total.checked_add(nanoseconds).filter(|&t| t <= MAX_NANOSECONDS).ok_or(TOO_LONG)?;
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

/// Reads one `<number><unit>` from the front: its nanoseconds, and what follows.
fn component(text: &str) -> Result<(u64, &str), &'static str> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, rest) = text.split_at(text.find(|c| !is_number(c)).ok_or("a unit is missing")?);
    let (unit, rest) = rest.split_at(rest.find(is_number).unwrap_or(rest.len()));
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or("its unit is unknown")?;

    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err("a number is missing");
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| TOO_LONG)? };
    let mut nanoseconds = whole.checked_mul(*scale).ok_or(TOO_LONG)?;
    let mut place = *scale;
    for digit in fraction.bytes() {
        // Digits below a nanosecond are dropped, as Go does.
        place /= 10;
        nanoseconds = nanoseconds.checked_add(place * u64::from(digit - b'0')).ok_or(TOO_LONG)?;
    }
    Ok((nanoseconds, rest))
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, micro sign
    ("μs", 1_000), // U+03BC, Greek letter mu
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

const MAX_NANOSECONDS: u64 = i64::MAX as u64;
const TOO_LONG: &str = "it is too long";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        let ms = |text: &str| GoDuration::from(text).value().map(|d| d.as_millis());
        assert_eq!(ms("24s"), Ok(24_000));
        assert_eq!(ms("1m30s"), Ok(90_000));
        assert_eq!(ms("300ms"), Ok(300));
        assert_eq!(ms("0.3s"), Ok(300));
        assert_eq!(ms("1h1m1s1ms"), Ok(3_661_001));
        assert_eq!(ms(".5s"), Ok(500));
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(GoDuration::from("1.5µs").value(), Ok(Duration::from_nanos(1500)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "24",
            "s",
            "-3s",
            "+3s",
            "3 s",
            "1d",
            "1..5s",
            ".s",
            "9999999999h",
            "18446744073709551616s",
            "µ",
        ] {
            assert!(GoDuration::from(text).value().is_err(), "{text:?} was read");
        }
    }
}
