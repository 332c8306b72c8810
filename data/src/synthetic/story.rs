//! The numbers of a story: works through a plan with them, rightly or with a mistake in one line.

use super::kinds::{Kind, Role, Unit};
use super::numbers::{Domain, Magnitude, Number};
use super::plan::Plan;
use super::profile::Profile;
use super::random::Random;
use super::settings::Settings;
use super::template::{Calculation, Numbers};

/// The numbers of a plan: those of each kind, and the calculations of all lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    pub(super) numbers: Vec<Numbers>,
    pub(super) calculations: Vec<Calculation>,
    /// What people have at a point of the story, in the order in which they came into it.
    pub(super) amounts: Vec<Number>,
}

impl Story {
    /// What the last line comes to, or what there is where the last kind has none.
    pub(super) fn answer(&self, plan: &Plan) -> Number {
        match plan.kinds.last().expect("a story has a kind").role {
            Role::Ask(letter) => self.numbers.last().expect("a story has a kind").get(letter),
            _ => self.calculations.last().expect("a question has a line").result,
        }
    }

    /// The calculations that the answer needs.
    pub(super) fn needed(&self, plan: &Plan) -> Vec<Calculation> {
        self.calculations.iter().zip(&plan.needed).filter(|(_, needed)| **needed).map(|(made, _)| *made).collect()
    }

    /// Works through a plan with its numbers; whether all numbers fit it.
    pub(super) fn solve_rightly(&mut self, plan: &Plan, profile: &Profile, magnitude: Magnitude) -> bool {
        let settings = profile.settings;
        let domain = Domain::whole(settings.result_min, settings.result_max[magnitude as usize]);
        self.solve(plan, settings, &domain, None)
            && !self.takes_a_step_back()
            && (magnitude == Magnitude::Small
                || settings.answer_above.is_none_or(|limit| self.answer(plan) > Number::whole(limit)))
    }

    /// Whether a calculation undoes the one before it, so that the result already stands in the question: 4*9 = 36 and then
    /// 36/9 = 4.
    fn takes_a_step_back(&self) -> bool {
        self.calculations.windows(2).any(|pair| {
            let (before, after) = (pair[0], pair[1]);
            let inverse =
                matches!((before.operator, after.operator), ('+', '-') | ('-', '+') | ('*', '/') | ('/', '*'));
            inverse && after.left == before.result && (after.result == before.left || after.result == before.right)
        })
    }
}

pub(super) fn draw_numbers(random: &mut Random, kind: &Kind, magnitude: Magnitude, numbers: &mut Numbers) {
    *numbers = Numbers::default();
    for &(letter, range) in kind.numbers {
        numbers.set(letter, random.draw_from(range, magnitude));
    }
}

/// A mistake in one line of a solution, counted over all lines.
#[derive(Clone, Copy, Debug)]
enum Mistake {
    /// The opposite operation.
    Operation { line: usize },
    /// Another operation, or the numbers in the wrong order.
    AnyOperation { line: usize, operator: char, swapped: bool },
    /// A result that is too large, or too small where it can be.
    Slip { line: usize, by: u32, too_small: bool },
}

impl Mistake {
    fn line(&self) -> usize {
        match *self {
            Mistake::Operation { line } | Mistake::AnyOperation { line, .. } | Mistake::Slip { line, .. } => line,
        }
    }

    fn of(&self, left: Number, operator: char, right: Number, domain: &Domain) -> Option<Calculation> {
        match *self {
            Mistake::AnyOperation { operator, swapped: false, .. } => Calculation::of(left, operator, right, domain),
            Mistake::AnyOperation { operator, swapped: true, .. } => Calculation::of(right, operator, left, domain),
            Mistake::Operation { .. } => {
                let opposite = match operator {
                    '+' => '-',
                    '-' => '+',
                    '*' => '+',
                    _ => '*',
                };
                Calculation::of(left, opposite, right, domain)
            }
            Mistake::Slip { by, too_small, .. } => {
                let right_one = Calculation::of(left, operator, right, domain)?;
                let moved =
                    |operator| right_one.result.calculate(operator, Number::whole(by)).map(|(result, _)| result);
                let smaller = moved('-').filter(|&smaller| too_small && smaller > Number::default());
                let result = smaller.or_else(|| moved('+')).filter(|&result| domain.has(result, true))?;
                Some(Calculation { result, ..right_one })
            }
        }
    }
}

impl Story {
    /// Works through a plan with its numbers; whether all results are in the domain, or in that of their unit, and no 0 is
    /// multiplied, divided or taken away.
    fn solve(&mut self, plan: &Plan, settings: &Settings, domain: &Domain, mistake: Option<Mistake>) -> bool {
        let Story { numbers, calculations, amounts } = self;
        calculations.clear();
        amounts.clear();
        for ((kind, formulas), numbers) in plan.kinds.iter().zip(&plan.formulas).zip(numbers) {
            set_amounts(numbers, amounts);
            if mistake.is_some() && numbers.get('q') < Number::whole(1) && kind.names_times() {
                return false;
            }
            let counts_money = plan.kinds[0].unit == Unit::Money;
            for formula in formulas {
                let (left, operator, right) = formula.operands(numbers);
                let is_money = formula.unit == "dollar" || counts_money && matches!(formula.unit, "" | "obj");
                let mut domain = Domain { decimals: domain.decimals || settings.cents && is_money, ..*domain };
                if settings.negative_units.contains(&formula.unit) {
                    domain = domain.with_negatives();
                }
                let calculation = match mistake {
                    Some(mistake) if mistake.line() == calculations.len() => mistake.of(left, operator, right, &domain),
                    _ => Calculation::of(left, operator, right, &domain),
                };
                let is_empty = right.is_zero() || left.is_zero() && operator != '+';
                let left_out =
                    operator == '/' && settings.divisors_left_out.iter().any(|&of| right == Number::whole(of));
                let fits = calculation.filter(|_| mistake.is_some() || !is_empty && !left_out);
                // Behind a mistake, a line that the solution does not have may come to anything.
                let unwritten = mistake.is_some() && !plan.needed[calculations.len()];
                let unknown = unwritten.then_some(Calculation { left, operator, right, result: Number::whole(1) });
                let Some(calculation) = fits.or(unknown) else { return false };
                numbers.set(formula.target, calculation.result);
                calculations.push(calculation);
            }
            match kind.role {
                Role::Start | Role::Relation => amounts.push(numbers.get('r')),
                Role::Event | Role::Sale => *amounts.last_mut().expect("a start comes first") = numbers.get('r'),
                Role::Transfer => {
                    let given = amounts.len() - 2;
                    amounts[given..].copy_from_slice(&[numbers.get('s'), numbers.get('r')]);
                }
                Role::Pool => {
                    amounts.clear();
                    amounts.push(numbers.get('r'));
                }
                Role::Question | Role::Ask(_) | Role::Scenario => {}
            }
        }
        true
    }
}

/// Sets what N, P and O have, and how many times `k` goes into what N has.
fn set_amounts(numbers: &mut Numbers, amounts: &[Number]) {
    let Some(&last) = amounts.last() else { return };
    numbers.set('v', last);
    numbers.set('u', amounts[0]);
    if amounts.len() >= 2 {
        numbers.set('w', amounts[amounts.len() - 2]);
    }
    if let Some((times, _)) = last.calculate('/', numbers.get('k')) {
        numbers.set('q', times.floor());
    }
}

/// The same story, worked through with a mistake. Where a wrong number makes a later division impossible the mistake
/// moves to the last line, or there is none where slips are not wanted.
pub(super) fn mistaken(random: &mut Random, profile: &Profile, plan: &Plan, story: &Story) -> Story {
    let needed: Vec<usize> = (0..plan.needed.len()).filter(|&line| plan.needed[line]).collect();
    let line = random.pick(&needed);
    let by = random.pick(&[1, 1, 2, 10]);
    let too_small = random.percent(50);
    let corpus = &profile.settings.corpus;
    let slip_percent = corpus.slip_percent;
    let slips = !random.percent(100 - slip_percent);
    let whole = Domain::whole(1, profile.settings.result_max[2]);
    let (mistake, domain) = match (slips, corpus.any_wrong_operation) {
        (true, _) => (Mistake::Slip { line, by, too_small }, whole),
        (false, false) => (Mistake::Operation { line }, whole),
        (false, true) => (any_operation(random, story.calculations[line], line), Domain::any()),
    };
    let mut wrong = story.clone();
    if !wrong.solve(plan, profile.settings, &domain, Some(mistake)) {
        wrong = story.clone();
        let line = *needed.last().expect("a solution has a line");
        let at_the_end = (slip_percent > 0).then_some(Mistake::Slip { line, by, too_small });
        let domain = Domain::whole(0, u32::MAX);
        assert!(
            wrong.solve(plan, profile.settings, &domain, at_the_end),
            "the right lines before a slip can be solved"
        );
    }
    wrong
}

/// Another operation than the right one, or the numbers of a difference or quotient in the wrong order.
fn any_operation(random: &mut Random, right_one: Calculation, line: usize) -> Mistake {
    let has_order = matches!(right_one.operator, '-' | '/');
    if has_order && random.percent(30) {
        return Mistake::AnyOperation { line, operator: right_one.operator, swapped: true };
    }
    let mut others = ['+', '-', '*', '/'].into_iter().filter(|&other| other != right_one.operator);
    let operator = others.nth(random.below(3) as usize).expect("three are left");
    Mistake::AnyOperation { line, operator, swapped: random.percent(30) }
}
