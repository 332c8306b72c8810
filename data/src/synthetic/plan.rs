//! Draws which kinds a problem is made of, before it has numbers and words.

use super::kinds::{Cast, Kind, Role, Unit};
use super::random::Random;
use super::settings::{LINES_MAX, Settings};
use super::template::{Formula, Operand};

/// Lines at most that a chain may have beyond those that its question needs.
const SPARE_LINES: usize = 3;
/// Facts at most that a question may leave unused.
const SPARE_KINDS: usize = 2;

/// The kinds of a story, with the formulas of their lines.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kinds: Vec<&'static Kind>,
    pub(super) formulas: Vec<Vec<Formula>>,
    /// Which lines the answer needs, counted over all kinds.
    pub(super) needed: Vec<bool>,
}

impl Plan {
    pub(super) fn of(kinds: Vec<&'static Kind>) -> Plan {
        let formulas = |kind: &&Kind| kind.lines.iter().map(|line| Formula::of_line(line)).collect();
        let formulas: Vec<Vec<Formula>> = kinds.iter().map(formulas).collect();
        let needs = Needs::of(&kinds, &formulas);
        let needed = (0..formulas.iter().map(Vec::len).sum()).map(|line| needs.lines >> line & 1 == 1).collect();
        Plan { kinds, formulas, needed }
    }

    /// Lines of the solution.
    pub(super) fn lines(&self) -> usize {
        self.needed.iter().filter(|needed| **needed).count()
    }

    /// The same story with another question, where one can be asked of it that needs a solution.
    pub(super) fn with_question(&self, question: &'static Kind, settings: &Settings) -> Option<Plan> {
        let (last, story) = self.kinds.split_last().expect("a story has a kind");
        if !last.ends() {
            return None;
        }
        let mut state = State::default();
        story.iter().for_each(|kind| state.follow(kind));
        if !state.allows(question, story, question.lines.len(), settings) {
            return None;
        }
        let plan = Plan::of([story, &[question]].concat());
        let spare = plan.spare_kinds();
        (spare <= SPARE_KINDS && (1..=LINES_MAX).contains(&plan.lines())).then_some(plan)
    }

    fn spare_kinds(&self) -> usize {
        self.kinds.len() - Needs::of(&self.kinds, &self.formulas).kinds.count_ones() as usize
    }
}

/// One scenario with this many lines.
pub(super) fn scenario(random: &mut Random, settings: &Settings, lines: usize) -> Plan {
    let fitting: Vec<&Kind> = settings.all_scenarios().filter(|kind| kind.lines.len() == lines).collect();
    Plan::of(vec![random.pick(&fitting)])
}

/// Kinds from a start to a question that needs this many lines: all that the kinds have, or with `spare` some of them,
/// because the question does not need every fact.
pub(super) fn chain(random: &mut Random, settings: &Settings, lines: usize, spare: bool) -> Plan {
    let most = if spare { lines + SPARE_LINES } else { lines };
    let kinds: Vec<&'static Kind> = settings.all_kinds().collect();
    let mut weights = vec![0; kinds.len()];
    'anew: loop {
        let mut plan: Vec<&Kind> = Vec::new();
        let mut state = State::default();
        let mut written = 0;
        loop {
            for (weight, kind) in weights.iter_mut().zip(&kinds) {
                let question_fits = |kind: &Kind| spare || !kind.ends() || kind.lines.len() == most - written;
                let allowed = state.allows(kind, &plan, most - written, settings) && question_fits(kind);
                *weight = if allowed { kind.weight } else { 0 };
            }
            if weights.iter().all(|&weight| weight == 0) {
                continue 'anew;
            }
            let kind = kinds[random.weighted(&weights)];
            plan.push(kind);
            written += kind.lines.len();
            if kind.ends() {
                let plan = Plan::of(plan);
                let spare_kinds = plan.spare_kinds();
                let wanted = if spare { 1..=SPARE_KINDS } else { 0..=0 };
                if wanted.contains(&spare_kinds) && plan.lines() == lines {
                    return plan;
                }
                continue 'anew;
            }
            state.follow(kind);
        }
    }
}

/// What a chain has come to: how many people, in which unit.
#[derive(Default)]
struct State {
    people: u32,
    pooled: bool,
    money: bool,
}

impl State {
    fn allows(&self, kind: &Kind, plan: &[&Kind], lines_left: usize, settings: &Settings) -> bool {
        let Some(last) = plan.last() else {
            return kind.role == Role::Start && kind.lines.len() <= lines_left;
        };
        // Most kinds end here, and this runs a million times.
        if matches!(kind.role, Role::Start | Role::Scenario) || kind.lines.len() > lines_left {
            return false;
        }
        let unit = match kind.unit {
            Unit::Either => true,
            Unit::Objects => !self.money,
            Unit::Money => self.money,
        };
        let cast = match kind.cast {
            Cast::One => self.people == 1 || self.pooled,
            Cast::Named => self.people <= 2 && !self.pooled,
            Cast::Two => self.people == 2 && !self.pooled,
            Cast::Several => self.people >= 2 && !self.pooled,
            Cast::Three => self.people == 3 && !self.pooled,
            Cast::Any => true,
        };
        unit && cast && last.name != kind.name && !settings.senseless_pairs.contains(&(last.name, kind.name))
    }

    fn follow(&mut self, kind: &Kind) {
        match kind.role {
            Role::Start => {
                self.people = 1;
                self.money = kind.unit == Unit::Money;
            }
            Role::Relation => self.people += 1,
            Role::Pool => self.pooled = true,
            Role::Sale => self.money = true,
            Role::Event | Role::Transfer | Role::Question | Role::Ask(_) | Role::Scenario => {}
        }
    }
}

/// What a number depends on: kinds and lines of a story, one bit each.
#[derive(Clone, Copy, Default)]
struct Needs {
    kinds: u32,
    lines: u32,
}

impl Needs {
    fn and(self, other: Needs) -> Needs {
        Needs { kinds: self.kinds | other.kinds, lines: self.lines | other.lines }
    }

    /// What the answer of a story depends on. Of the lines of a scenario, which stands alone, that is all.
    fn of(kinds: &[&Kind], formulas: &[Vec<Formula>]) -> Needs {
        let mut amounts: Vec<Needs> = Vec::new();
        let mut answer = Needs::default();
        let mut line = 0;
        for (index, (kind, formulas)) in kinds.iter().zip(formulas).enumerate() {
            let own = Needs { kinds: 1 << index, lines: 0 };
            let count = amounts.len();
            let mut known: Vec<(char, Needs)> = Vec::new();
            let find = |known: &[(char, Needs)], letter: char| {
                let earlier = match letter {
                    'v' | 'q' => amounts[count - 1],
                    'w' => amounts[count - 2],
                    'u' => amounts[0],
                    _ => Needs::default(),
                };
                known.iter().rev().find(|(known, _)| *known == letter).map_or(earlier, |(_, needs)| *needs)
            };
            for formula in formulas {
                let mut needs = own.and(Needs { kinds: 0, lines: 1 << line });
                line += 1;
                for operand in [formula.left, formula.right] {
                    if let Operand::Letter(letter) = operand {
                        needs = needs.and(find(&known, letter));
                    }
                }
                known.push((formula.target, needs));
            }
            let result = find(&known, 'r').and(own);
            let left = find(&known, 's').and(own);
            match kind.role {
                Role::Start | Role::Relation => amounts.push(result),
                Role::Event | Role::Sale => amounts[count - 1] = result,
                Role::Transfer => {
                    amounts[count - 2] = left;
                    amounts[count - 1] = result;
                }
                Role::Pool => amounts = vec![result],
                Role::Ask(letter) => answer = find(&known, letter).and(own),
                Role::Question | Role::Scenario => answer = result,
            }
        }
        answer
    }
}
