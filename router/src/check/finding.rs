//! One line of the answer.

use std::fmt;

/// Something that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// Without it the router does not do its work.
    pub(super) needed: bool,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Good,
    Bad,
    /// It could not be tried.
    Unknown,
}

impl Finding {
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self { mark: Mark::Good, needed: true, text: text.into() }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self { mark: Mark::Bad, ..Self::good(text) }
    }

    pub(super) fn unknown(text: impl Into<String>) -> Self {
        Self { mark: Mark::Unknown, ..Self::good(text) }
    }

    /// The router works without, if less well.
    pub(super) fn optional(self) -> Self {
        Self { needed: false, ..self }
    }

    /// `None`: `what` is there and all that it should be. `Some`: what is wrong with it, and what that means.
    pub(super) fn lacking(what: &str, lacking: Option<String>) -> Self {
        lacking.map_or_else(|| Self::good(what), |why| Self::bad(format!("{what}: {why}")))
    }

    /// `Ok`: `what` is there. `Err`: why not; `otherwise` is what that means.
    pub(super) fn of(what: &str, result: Result<(), String>, otherwise: &str) -> Self {
        match result {
            Ok(()) => Self::good(what),
            Err(why) => Self::bad(format!("{what}: {why}; {otherwise}")),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Good => '\u{2713}',
            Mark::Bad => '\u{2717}',
            Mark::Unknown => '?',
        };
        let optional = if self.needed || self.mark == Mark::Good { "" } else { " (not needed)" };
        write!(f, "{mark} {}{optional}", self.text)
    }
}
