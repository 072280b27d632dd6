//! What came of a run, as text and as JSON.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a connection went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A host answered with its name.
    Answer(String),
    /// It was not made.
    NoConnect,
    /// It was made, and no answer came or it was lost.
    NoRead,
}

/// Answers and failures of a run. The JSON form is mconnect's, times in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Answers by host.
    pub hosts: BTreeMap<String, u64>,
    /// Connections that were to be made.
    pub connects: u32,
    /// Those that were not made.
    pub failed_connects: u64,
    /// Those over which no answer came, or that were lost while they were to be kept.
    pub failed_reads: u64,
    /// When the run began, RFC 3339 in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub start_time: SystemTime,
    /// How long it may take.
    #[serde(serialize_with = "nanoseconds")]
    pub timeout: Duration,
    /// How long it took.
    #[serde(serialize_with = "nanoseconds")]
    pub duration: Duration,
}

impl Report {
    /// A run that begins.
    pub fn new(connects: u32, timeout: Duration) -> Self {
        Report {
            hosts: BTreeMap::new(),
            connects,
            failed_connects: 0,
            failed_reads: 0,
            start_time: SystemTime::now(),
            timeout,
            duration: Duration::ZERO,
        }
    }

    /// Counts a connection.
    pub fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Answer(host) => *self.hosts.entry(host).or_default() += 1,
            Outcome::NoConnect => self.failed_connects += 1,
            Outcome::NoRead => self.failed_reads += 1,
        }
    }

    /// Connections that failed in one way or another.
    pub fn failed(&self) -> u64 {
        self.failed_connects + self.failed_reads
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        // Nothing in it can fail to be written: keys are strings and no value is a float.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Failed connects; {}", self.failed_connects)?;
        writeln!(f, "Failed reads; {}", self.failed_reads)?;
        self.hosts.iter().try_for_each(|(host, count)| writeln!(f, "{host} {count}"))
    }
}

fn nanoseconds<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
}

fn rfc3339<S: serde::Serializer>(value: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&utc(value.duration_since(UNIX_EPOCH).unwrap_or_default()))
}

/// A time since the epoch as RFC 3339. The calendar repeats every 400 years of 146,097 days; years begin in March here,
/// so that a leap day is the last of its year.
fn utc(since_epoch: Duration) -> String {
    let (days, second) = (since_epoch.as_secs() / 86_400, since_epoch.as_secs() % 86_400);
    let days = days + DAYS_TO_EPOCH;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) =
        (400 * era + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = since_epoch.subsec_nanos();
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Days from the first of March of the year 0 to the epoch.
const DAYS_TO_EPOCH: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new(5, Duration::from_secs(8));
        report.start_time = UNIX_EPOCH + Duration::new(1_540_472_014, 652_534_263);
        report.duration = Duration::from_nanos(642_530_530);
        for host in ["target-b", "target-a", "target-b"] {
            report.count(Outcome::Answer(host.to_owned()));
        }
        report.count(Outcome::NoConnect);
        report.count(Outcome::NoRead);
        report
    }

    #[test]
    fn text_has_failures_first_and_then_hosts() {
        assert_eq!(report().to_string(), "Failed connects; 1\nFailed reads; 1\ntarget-a 1\ntarget-b 2\n");
    }

    #[test]
    fn json_has_the_names_and_units_of_mconnect() {
        assert_eq!(
            report().json(),
            r#"{"hosts":{"target-a":1,"target-b":2},"connects":5,"failed_connects":1,"failed_reads":1,"#
                .to_owned()
                + r#""start_time":"2018-10-25T12:53:34.652534263Z","timeout":8000000000,"duration":642530530}"#
        );
    }

    #[test]
    fn the_calendar_knows_leap_days_and_turns_of_the_year() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_603_200, "2024-12-31"),
            (1_767_225_600, "2026-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), format!("{day}T00:00:00.000000000Z"));
        }
    }
}
