//! Draws one problem: which kinds, with which numbers, in which words, and if wanted with a mistake in the solution.

use super::kinds::{Kind, Role, Unit};
use super::plan::{chain, scenario};
use super::profile::Profile;
use super::random::Random;
use super::settings::{DISTRACTOR, HELD_OUT_PAIRS, Magnitude, QUESTION_WORDS_MAX, RESULT_MAX};
use super::template::{Calculation, Formula, Numbers, Scene, fill};
use super::words::{CONTAINERS, OBJECTS, PEOPLE, Person, capitalised};

/// How often a plan of kinds is given new numbers before it is given up.
const NUMBER_ATTEMPTS: u32 = 40;
/// How often a draft is drawn anew before the benchmark's constants are found to contradict each other.
const DRAFT_ATTEMPTS: u32 = 100_000;
/// Percentage of the sentences that could have a pronoun and do.
const PRONOUN_PERCENT: u32 = 60;

/// A problem before it is given a place in a split or a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    /// The names of its kinds in order; a scenario has only one.
    pub(super) kinds: Vec<&'static str>,
    pub(super) question: String,
    /// The lines of the solution, without the answer line.
    pub(super) lines: Vec<String>,
    /// What the last line comes to, which is wrong in a draft with a mistake.
    pub(super) answer: u32,
    /// The calculations of the right solution.
    pub(super) right: Vec<Calculation>,
}

impl Draft {
    /// What makes a problem the same as another one, up to names, objects, phrasing and facts that are not needed: its
    /// kinds and its numbers.
    pub(super) fn key(&self) -> String {
        let equations: Vec<String> = self.right.iter().map(Calculation::equation).collect();
        format!("{}: {}", self.kinds.join(" "), equations.join(" "))
    }

    /// Whether two consecutive kinds belong to the unseen part of the test.
    pub(super) fn has_held_out_pair(&self) -> bool {
        self.kinds.windows(2).any(|pair| HELD_OUT_PAIRS.contains(&(pair[0], pair[1])))
    }

    /// The question without its last sentence, which asks, where that holds no number of its own.
    pub(super) fn facts(&self) -> Option<&str> {
        let (facts, last) = self.question.split_at(self.question.rfind(". ")? + 1);
        (!last.contains(|character: char| character.is_ascii_digit())).then_some(facts)
    }
}

/// A draft of the wanted profile that `wanted` accepts. The number of lines, whether it is a scenario, and how
/// large its numbers are is drawn first and kept, so that what is rejected does not change their distribution; some draft of
/// each that the profile allows must be acceptable.
pub(super) fn draw(random: &mut Random, profile: &Profile, mut wanted: impl FnMut(&Draft) -> bool) -> Draft {
    let lines = 1 + random.weighted(&profile.step_weights);
    let is_scenario = random.percent(profile.scenario_percents[lines - 1]);
    let magnitude = random.magnitude(profile.magnitude_weights);
    for _ in 0..DRAFT_ATTEMPTS {
        // Most attempts are too long: what is not needed to know that is written later.
        if let Some(story) = attempt(random, profile, lines, is_scenario, magnitude)
            && story.words() <= QUESTION_WORDS_MAX
        {
            let draft = story.draft();
            if wanted(&draft) {
                return draft;
            }
        }
    }
    panic!("no draft of {lines} lines is left (scenario: {is_scenario}, numbers: {magnitude:?})");
}

/// One attempt at a draft; none when no numbers fit the kinds.
fn attempt(
    random: &mut Random,
    profile: &Profile,
    lines: usize,
    is_scenario: bool,
    magnitude: Magnitude,
) -> Option<WrittenStory> {
    let plan = Plan::of(if is_scenario { scenario(random, lines) } else { chain(random, lines) });
    let limit = RESULT_MAX[magnitude as usize];
    // One for all attempts: there are millions of them.
    let mut story = Story { numbers: vec![Numbers::default(); plan.kinds.len()], ..Story::default() };
    (0..NUMBER_ATTEMPTS).find(|_| {
        for (numbers, kind) in story.numbers.iter_mut().zip(&plan.kinds) {
            draw_numbers(random, kind, magnitude, numbers);
        }
        story.solve(&plan, limit, None)
            && !story.takes_a_step_back()
            && (magnitude == Magnitude::Small || story.answer(&plan) > RESULT_MAX[0])
    })?;
    let wrong = random.percent(profile.wrong_percent).then(|| mistaken(random, &plan, &story, lines));
    Some(write_story(random, profile, &plan, &story, wrong.as_ref().unwrap_or(&story), magnitude))
}

/// The kinds of a story, with the formulas of their lines.
struct Plan {
    kinds: Vec<&'static Kind>,
    formulas: Vec<Vec<Formula>>,
}

impl Plan {
    fn of(kinds: Vec<&'static Kind>) -> Plan {
        let formulas = |kind: &&Kind| kind.lines.iter().map(|line| Formula::of_line(line)).collect();
        Plan { formulas: kinds.iter().map(formulas).collect(), kinds }
    }
}

/// The numbers of a plan: those of each kind, and the calculations of all lines.
#[derive(Clone, Debug, Default)]
struct Story {
    numbers: Vec<Numbers>,
    calculations: Vec<Calculation>,
    /// What people have at a point of the story, in the order in which they came into it.
    amounts: Vec<u32>,
}

impl Story {
    /// What the last line comes to, or what there is where the last kind has none.
    fn answer(&self, plan: &Plan) -> u32 {
        let asks_only = plan.formulas.last().expect("a story has a kind").is_empty();
        match self.calculations.last() {
            Some(calculation) if !asks_only => calculation.result,
            _ => self.numbers.last().expect("a story has a kind").get('v'),
        }
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

fn draw_numbers(random: &mut Random, kind: &Kind, magnitude: Magnitude, numbers: &mut Numbers) {
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
    /// A result that is too large, or too small where it can be.
    Slip { line: usize, by: u32, too_small: bool },
}

impl Mistake {
    fn line(&self) -> usize {
        match *self {
            Mistake::Operation { line } | Mistake::Slip { line, .. } => line,
        }
    }

    fn of(&self, left: u32, operator: char, right: u32) -> Option<Calculation> {
        match *self {
            Mistake::Operation { .. } => {
                let opposite = match operator {
                    '+' => '-',
                    '-' => '+',
                    '*' => '+',
                    _ => '*',
                };
                Calculation::of(left, opposite, right)
            }
            Mistake::Slip { by, too_small, .. } => {
                let right_one = Calculation::of(left, operator, right)?;
                let smaller = right_one.result.saturating_sub(by);
                let result = if too_small && smaller > 0 { smaller } else { right_one.result + by };
                Some(Calculation { result, ..right_one })
            }
        }
    }
}

impl Story {
    /// Works through a plan with its numbers; whether all numbers fit, that is none is below 1, above the limit or no whole
    /// number.
    fn solve(&mut self, plan: &Plan, limit: u32, mistake: Option<Mistake>) -> bool {
        let Story { numbers, calculations, amounts } = self;
        calculations.clear();
        amounts.clear();
        for ((kind, formulas), numbers) in plan.kinds.iter().zip(&plan.formulas).zip(numbers) {
            set_amounts(numbers, amounts);
            for formula in formulas {
                let (left, operator, right) = formula.operands(numbers);
                let calculation = match mistake {
                    Some(mistake) if mistake.line() == calculations.len() => mistake.of(left, operator, right),
                    _ => Calculation::of(left, operator, right),
                };
                let Some(calculation) = calculation.filter(|done| (1..=limit).contains(&done.result)) else {
                    return false;
                };
                numbers.set(formula.target, calculation.result);
                calculations.push(calculation);
            }
            match kind.role {
                Role::Start | Role::Relation => amounts.push(numbers.get('r')),
                Role::Event | Role::Sale => *amounts.last_mut().expect("a start comes first") = numbers.get('r'),
                Role::Pool => {
                    amounts.clear();
                    amounts.push(numbers.get('r'));
                }
                Role::Question | Role::Scenario => {}
            }
        }
        true
    }
}

/// Sets what N, P and O have, and how many times `k` goes into what N has.
fn set_amounts(numbers: &mut Numbers, amounts: &[u32]) {
    let Some(&last) = amounts.last() else { return };
    numbers.set('v', last);
    numbers.set('u', amounts[0]);
    if amounts.len() >= 2 {
        numbers.set('w', amounts[amounts.len() - 2]);
    }
    if numbers.get('k') > 0 {
        numbers.set('q', last / numbers.get('k'));
    }
}

/// The same story, worked through with a mistake. Where a wrong number makes a later division impossible the mistake
/// moves to the last line.
fn mistaken(random: &mut Random, plan: &Plan, story: &Story, lines: usize) -> Story {
    let line = random.below(lines as u32) as usize;
    let by = random.pick(&[1, 1, 2, 10]);
    let too_small = random.percent(50);
    let mistake = if random.percent(60) { Mistake::Operation { line } } else { Mistake::Slip { line, by, too_small } };
    let mut wrong = story.clone();
    if !wrong.solve(plan, RESULT_MAX[2], Some(mistake)) {
        wrong = story.clone();
        let at_the_end = Mistake::Slip { line: lines - 1, by, too_small };
        assert!(wrong.solve(plan, u32::MAX, Some(at_the_end)), "the right lines before a slip can be solved");
    }
    wrong
}

/// A line of a solution that is yet to be written.
struct Line {
    phrasing: &'static str,
    scene: Scene,
    numbers: Numbers,
    calculation: Calculation,
}

/// A story in words, but for the lines of its solution.
struct WrittenStory {
    kinds: Vec<&'static str>,
    sentences: Vec<String>,
    lines: Vec<Line>,
    answer: u32,
    right: Vec<Calculation>,
}

impl WrittenStory {
    /// Words of the question.
    fn words(&self) -> usize {
        self.sentences.iter().map(|sentence| sentence.split(' ').count()).sum()
    }

    fn draft(self) -> Draft {
        let line = |line: &Line| capitalised(&fill(line.phrasing, &line.scene, &line.numbers, Some(line.calculation)));
        Draft {
            kinds: self.kinds,
            question: capitalised(&self.sentences.join(" ")),
            lines: self.lines.iter().map(line).collect(),
            answer: self.answer,
            right: self.right,
        }
    }
}

/// Puts a story into words: the question from the right numbers, the lines from the numbers of the solution.
fn write_story(
    random: &mut Random,
    profile: &Profile,
    plan: &Plan,
    story: &Story,
    solution: &Story,
    magnitude: Magnitude,
) -> WrittenStory {
    let mut people = PEOPLE;
    random.shuffle(&mut people);
    let [first, newcomers @ ..] = people;
    let mut newcomers = newcomers.into_iter();
    let mut scene = draw_scene(random, first, plan.kinds[0].unit == Unit::Money);
    let distractor_at = random
        .percent(profile.distractor_percent)
        .then(|| random.between(1, plan.kinds.len().max(2) as u32 - 1) as usize);
    let mut sentences = Vec::new();
    let mut lines = Vec::new();
    // A pronoun is clear after a sentence about nobody else.
    let mut alone = false;
    let mut calculations = solution.calculations.iter();
    for (index, kind) in plan.kinds.iter().enumerate() {
        if distractor_at == Some(index) {
            scene.newcomer = newcomers.next().expect("people enough");
            sentences.push(needless_fact(random, &scene, magnitude));
            alone = false;
        }
        if matches!(kind.role, Role::Relation | Role::Scenario) {
            scene.newcomer = newcomers.next().expect("people enough");
        }
        scene.pronoun = alone && random.percent(PRONOUN_PERCENT);
        let text = random.pick(kind.texts);
        sentences.push(fill(text, &scene, &story.numbers[index], None));
        match kind.role {
            Role::Relation => {
                scene.previous = scene.focus.expect("they have no relations");
                scene.focus = Some(scene.newcomer);
                scene.changed = false;
            }
            Role::Pool => scene.focus = None,
            _ => {}
        }
        for (line, calculation) in kind.lines.iter().zip(calculations.by_ref()) {
            let phrasings: Vec<&str> = line.split('|').collect();
            let (phrasing, numbers) = (random.pick(&phrasings), solution.numbers[index]);
            lines.push(Line { phrasing, scene, numbers, calculation: *calculation });
        }
        scene.changed |= matches!(kind.role, Role::Event | Role::Pool | Role::Sale);
        if kind.role == Role::Sale {
            scene.object = "dollar";
        }
        alone = kind.role != Role::Relation;
    }
    if distractor_at.is_some() && plan.kinds.len() == 1 {
        insert_needless_fact(random, &scene, &mut sentences[0], magnitude);
    }
    WrittenStory {
        kinds: plan.kinds.iter().map(|kind| kind.name).collect(),
        sentences,
        lines,
        answer: solution.answer(plan),
        right: story.calculations.clone(),
    }
}

fn draw_scene(random: &mut Random, first: Person, money: bool) -> Scene {
    let mut objects = OBJECTS;
    random.shuffle(&mut objects);
    Scene {
        focus: Some(first),
        previous: first,
        first,
        newcomer: first,
        object: if money { "dollar" } else { objects[0] },
        item: objects[1],
        other: objects[2],
        container: random.pick(&CONTAINERS),
        changed: false,
        pronoun: false,
    }
}

/// A fact that is not needed: about N, about somebody who plays no other part, or about nobody.
fn needless_fact(random: &mut Random, scene: &Scene, magnitude: Magnitude) -> String {
    let about_others = ["{M} has {d other}.", "There are {d dog} in the park."];
    let about_anybody = ["{N} also has {d other}.", "{N} is {d year} old.", about_others[0], about_others[1]];
    let texts: &[&str] = if scene.focus.is_some() { &about_anybody } else { &about_others };
    fill(random.pick(texts), scene, &needless_number(random, magnitude), None)
}

/// Puts a needless fact before the last sentence of a scenario, which may go on with a pronoun for N.
fn insert_needless_fact(random: &mut Random, scene: &Scene, text: &mut String, magnitude: Magnitude) {
    let texts = ["{N} also has {d other}. ", "There are {d dog} in the park. "];
    if let Some(end) = text.rfind(". ") {
        text.insert_str(end + 2, &fill(random.pick(&texts), scene, &needless_number(random, magnitude), None));
    }
}

fn needless_number(random: &mut Random, magnitude: Magnitude) -> Numbers {
    let mut numbers = Numbers::default();
    numbers.set('d', random.draw_from(DISTRACTOR, magnitude));
    numbers
}
