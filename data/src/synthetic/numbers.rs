//! How large the numbers of a problem are, and what each is drawn from. Independent of kinds.

/// How large the numbers of a problem are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magnitude {
    /// A calculation is remembered.
    Small,
    /// A calculation takes a carry now and then.
    Middle,
    /// A calculation takes more than is remembered.
    Large,
}

pub(super) const MAGNITUDES: [Magnitude; 3] = [Magnitude::Small, Magnitude::Middle, Magnitude::Large];

/// What a number in a question is drawn from, both ends included, by the magnitude of the problem's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range(pub(super) [(u32, u32); 3]);

pub(super) const fn range(low: u32, high: u32) -> Range {
    Range([(low, high); 3])
}

impl Range {
    pub(super) const fn or_middle(self, low: u32, high: u32) -> Range {
        Range([self.0[0], (low, high), self.0[2]])
    }

    pub(super) const fn or_large(self, low: u32, high: u32) -> Range {
        Range([self.0[0], self.0[1], (low, high)])
    }
}
