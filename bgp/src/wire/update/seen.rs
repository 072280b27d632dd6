//! A set of attribute type codes.

/// The attribute type codes met so far.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen([u64; 4]);

impl Seen {
    /// Adds a code; false if it was there.
    pub(super) fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
        new
    }

    pub(super) fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Seen::default()
    }

    /// Whether there is none but this one.
    pub(super) fn is_subset_of(&self, code: u8) -> bool {
        let mut only = Seen::default();
        only.insert(code);
        self.is_empty() || *self == only
    }
}
