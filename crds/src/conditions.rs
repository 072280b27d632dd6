//! Status conditions, and when their transition time moves.

use crate::core::{Condition, Time};

/// A condition as a plan wants it: everything but the time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConditionDraft {
    /// The condition's type, such as `Accepted`.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// A sentence for people. Cut to what the API takes when it is written.
    pub message: String,
}

/// Longest message that the API accepts, in characters.
pub const MAX_MESSAGE: usize = 32_768;

/// Writes `draft` into `conditions`, found by type. The transition time moves to `now` only when the
/// status changes. Returns whether anything changed.
pub fn set(
    conditions: &mut Vec<Condition>,
    draft: &ConditionDraft,
    generation: Option<i64>,
    now: &Time,
) -> bool {
    let status = if draft.status { "True" } else { "False" };
    let mut wanted = Condition {
        type_: draft.type_.to_owned(),
        status: status.to_owned(),
        reason: draft.reason.to_owned(),
        message: draft.message.chars().take(MAX_MESSAGE).collect(),
        observed_generation: generation,
        last_transition_time: now.clone(),
    };
    match conditions.iter_mut().find(|c| c.type_ == draft.type_) {
        Some(present) => {
            if present.status == wanted.status {
                wanted.last_transition_time = present.last_transition_time.clone();
            }
            let changed = *present != wanted;
            *present = wanted;
            changed
        }
        None => {
            conditions.push(wanted);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_only() -> Result<(), Box<dyn std::error::Error>> {
        let at = |second| -> Result<Time, serde_json::Error> {
            serde_json::from_value(format!("2026-01-01T00:00:{second:02}Z").into())
        };
        let mut draft =
            ConditionDraft { type_: "Accepted", status: true, reason: "Accepted", message: String::new() };
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, &draft, Some(1), &at(1)?));
        assert!(!set(&mut conditions, &draft, Some(1), &at(2)?));

        draft.message = "another sentence".to_owned();
        assert!(set(&mut conditions, &draft, Some(1), &at(3)?));
        assert_eq!(conditions[0].last_transition_time, at(1)?);

        draft.status = false;
        assert!(set(&mut conditions, &draft, Some(1), &at(4)?));
        assert_eq!(conditions[0].last_transition_time, at(4)?);
        Ok(())
    }
}
