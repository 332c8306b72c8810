//! Draws which kinds a problem is made of, before it has numbers and words.

use super::kinds::{Cast, KINDS, Kind, Role, SENSELESS_PAIRS, Unit};
use super::random::Random;
use super::scenarios::SCENARIOS;
use super::template::{Formula, Operand};

/// One scenario with this many lines.
pub(super) fn scenario(random: &mut Random, lines: usize) -> Vec<&'static Kind> {
    let fitting: Vec<&Kind> = SCENARIOS.iter().filter(|kind| kind.lines.len() == lines).collect();
    vec![random.pick(&fitting)]
}

/// Kinds whose lines add up to `lines`, from a start to a question.
pub(super) fn chain(random: &mut Random, lines: usize) -> Vec<&'static Kind> {
    'anew: loop {
        let mut plan: Vec<&Kind> = Vec::new();
        let mut cast = State::default();
        let mut written = 0;
        loop {
            let mut weights = [0; KINDS.len()];
            for (weight, kind) in weights.iter_mut().zip(KINDS) {
                *weight = if cast.allows(kind, &plan, lines - written) { kind.weight } else { 0 };
            }
            if weights.iter().all(|&weight| weight == 0) {
                continue 'anew;
            }
            let kind = &KINDS[random.weighted(&weights)];
            plan.push(kind);
            written += kind.lines.len();
            if kind.role == Role::Question {
                if every_fact_matters(&plan) {
                    return plan;
                }
                continue 'anew;
            }
            cast.follow(kind);
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
    fn allows(&self, kind: &Kind, plan: &[&Kind], lines_left: usize) -> bool {
        let Some(last) = plan.last() else {
            return kind.role == Role::Start && kind.lines.len() <= lines_left;
        };
        let fits = match kind.role {
            Role::Start | Role::Scenario => false,
            Role::Question => kind.lines.len() == lines_left,
            Role::Event | Role::Relation | Role::Pool | Role::Sale => kind.lines.len() <= lines_left,
        };
        // Most kinds end here, and this runs a million times.
        if !fits {
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
        unit && cast && last.name != kind.name && !SENSELESS_PAIRS.contains(&(last.name, kind.name))
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
            Role::Event | Role::Question | Role::Scenario => {}
        }
    }
}

/// Whether the answer depends on every kind of a chain. Facts that are not needed are added on purpose only, and a
/// solution has no line that leads nowhere.
fn every_fact_matters(plan: &[&Kind]) -> bool {
    // For each amount, and at last for the answer, the set of kinds that it depends on, one bit each.
    let mut amounts: Vec<u32> = Vec::new();
    let mut answer = 0;
    for (index, kind) in plan.iter().enumerate() {
        let mut needs = 1 << index;
        for line in kind.lines {
            let formula = Formula::of_line(line);
            let count = amounts.len();
            for operand in [formula.left, formula.right] {
                needs |= match operand {
                    Operand::Letter('v' | 'q') => amounts[count - 1],
                    Operand::Letter('w') => amounts[count - 2],
                    Operand::Letter('u') => amounts[0],
                    _ => 0,
                };
            }
        }
        match kind.role {
            Role::Start | Role::Relation => amounts.push(needs),
            Role::Event | Role::Sale => *amounts.last_mut().expect("a start comes first") = needs,
            Role::Pool => amounts = vec![needs],
            Role::Question if kind.lines.is_empty() => answer = needs | amounts[amounts.len() - 1],
            Role::Question => answer = needs,
            Role::Scenario => {}
        }
    }
    answer == (1 << plan.len()) - 1
}
