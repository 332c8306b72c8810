//! What the tables of kinds are made of. A kind is a step of a story: what it says, in some phrasings, and how its lines
//! calculate. Independent of what stands in the tables.

use super::numbers::Range;

/// What a kind does to a story.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// Introduces the first person.
    Start,
    /// Changes what N has.
    Event,
    /// Introduces M, who is N from then on.
    Relation,
    /// Makes "they" of two people.
    Pool,
    /// Changes objects into dollars.
    Sale,
    /// P gives something to N: the line of `s` says what P has left, that of `r` what N has then.
    Transfer,
    /// Asks, and ends the story.
    Question,
    /// Asks what O, P or N has, by its letter (`u`, `w` or `v`), and ends the story: it has no line of its own.
    Ask(char),
    /// A story of its own, not part of a chain.
    Scenario,
}

/// Whether a kind is about objects, dollars, or either.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    Objects,
    Money,
    Either,
}

/// How many people a kind needs. "They" counts as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cast {
    /// One person, or "they".
    One,
    /// One or two people, not "they": somebody else can still come.
    Named,
    /// Exactly two.
    Two,
    /// Two or three.
    Several,
    /// Exactly three.
    Three,
    /// Anybody.
    Any,
}

/// One row of the tables.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) unit: Unit,
    pub(super) cast: Cast,
    pub(super) weight: u32,
    pub(super) numbers: &'static [(char, Range)],
    pub(super) texts: &'static [&'static str],
    pub(super) lines: &'static [&'static str],
}

impl Kind {
    /// Whether a line states how many times `k` goes into what N has.
    pub(super) fn names_times(&self) -> bool {
        self.lines.iter().any(|line| line.contains("{q"))
    }

    /// Whether it ends a chain.
    pub(super) fn ends(&self) -> bool {
        matches!(self.role, Role::Question | Role::Ask(_))
    }
}

/// A story of its own, told at once.
pub(super) const fn scenario(
    name: &'static str,
    numbers: &'static [(char, Range)],
    texts: &'static [&'static str],
    lines: &'static [&'static str],
) -> Kind {
    Kind { name, role: Role::Scenario, unit: Unit::Objects, cast: Cast::Any, weight: 1, numbers, texts, lines }
}
