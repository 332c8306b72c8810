//! Draws one problem: kinds whose numbers fit together, in words, and if wanted with a mistake in the solution.

use super::kinds::{Kind, Role, Unit};
use super::numbers::{Magnitude, Number};
use super::plan::{Plan, chain, scenario};
use super::profile::Profile;
use super::random::Random;
use super::story::{Story, draw_numbers, mistaken};
use super::template::{Calculation, Numbers, Scene, fill};
use super::words::{CONTAINERS, PEOPLE, Person, capitalised};

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
    pub(super) answer: Number,
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

    /// The question without its last sentence, which asks, where that holds no number of its own.
    pub(super) fn facts(&self) -> Option<&str> {
        let (facts, last) = self.question.split_at(self.question.rfind(". ")? + 1);
        (!last.contains(|character: char| character.is_ascii_digit())).then_some(facts)
    }
}

/// A draft of the wanted profile that `wanted` accepts. The number of lines, whether it is a scenario, and how
/// large its numbers are is drawn first and kept, so that what is rejected does not change their distribution; some draft of
/// each that the profile allows must be acceptable.
pub(super) fn draw(random: &mut Random, profile: &Profile, wanted: impl FnMut(&Draft) -> bool) -> Draft {
    draw_told(random, profile, wanted).0
}

/// As [`draw`], with what it takes to ask another question of the same story.
pub(super) fn draw_told(
    random: &mut Random,
    profile: &Profile,
    mut wanted: impl FnMut(&Draft) -> bool,
) -> (Draft, Told) {
    let lines = 1 + random.weighted(&profile.step_weights);
    let is_scenario = random.percent(profile.scenario_percents[lines - 1]);
    let magnitude = random.magnitude(profile.magnitude_weights);
    for _ in 0..DRAFT_ATTEMPTS {
        // Most attempts are too long: what is not needed to know that is written later.
        if let Some((story, told)) = attempt(random, profile, lines, is_scenario, magnitude)
            && story.words() <= profile.settings.question_words_max
        {
            let draft = story.draft();
            if wanted(&draft) {
                return (draft, told);
            }
        }
    }
    panic!("no draft of {lines} lines is left (scenario: {is_scenario}, numbers: {magnitude:?})");
}

/// A story that was told: with the same draws it is told again in the same words.
pub(super) struct Told {
    plan: Plan,
    numbers: Vec<Numbers>,
    magnitude: Magnitude,
    /// The draws before the first word.
    random: Random,
}

/// A draft with the same story and another question; none where no other question that `wanted` accepts can be asked.
pub(super) fn another_question(
    random: &mut Random,
    profile: &Profile,
    told: &Told,
    mut wanted: impl FnMut(&Draft) -> bool,
) -> Option<Draft> {
    let settings = profile.settings;
    let asked = told.plan.kinds.last().expect("a story has a kind").name;
    let mut questions: Vec<&'static Kind> =
        settings.all_kinds().filter(|kind| kind.ends() && kind.name != asked).collect();
    random.shuffle(&mut questions);
    questions.into_iter().find_map(|question| {
        let plan = told.plan.with_question(question, settings)?;
        let mut story = Story { numbers: told.numbers.clone(), ..Story::default() };
        (0..NUMBER_ATTEMPTS).find(|_| {
            let numbers = story.numbers.last_mut().expect("a story has a kind");
            draw_numbers(random, question, told.magnitude, numbers);
            story.solve_rightly(&plan, profile, told.magnitude)
        })?;
        let written = write_story(&mut told.random.clone(), profile, &plan, &story, &story, told.magnitude);
        let draft = (written.words() <= settings.question_words_max).then(|| written.draft())?;
        wanted(&draft).then_some(draft)
    })
}

/// One attempt at a draft; none when no numbers fit the kinds.
fn attempt(
    random: &mut Random,
    profile: &Profile,
    lines: usize,
    is_scenario: bool,
    magnitude: Magnitude,
) -> Option<(WrittenStory, Told)> {
    let settings = profile.settings;
    let plan = if is_scenario {
        scenario(random, settings, lines)
    } else {
        let spare = profile.spare_percent > 0 && random.percent(profile.spare_percent);
        chain(random, settings, lines, spare)
    };
    // One for all attempts: there are millions of them.
    let mut story = Story { numbers: vec![Numbers::default(); plan.kinds.len()], ..Story::default() };
    (0..NUMBER_ATTEMPTS).find(|_| {
        for (numbers, kind) in story.numbers.iter_mut().zip(&plan.kinds) {
            draw_numbers(random, kind, magnitude, numbers);
        }
        story.solve_rightly(&plan, profile, magnitude)
    })?;
    let wrong = random.percent(profile.wrong_percent).then(|| mistaken(random, profile, &plan, &story));
    let told = Told { plan, numbers: story.numbers.clone(), magnitude, random: random.clone() };
    let solution = wrong.as_ref().unwrap_or(&story);
    Some((write_story(random, profile, &told.plan, &story, solution, magnitude), told))
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
    answer: Number,
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
    let mut scene = draw_scene(random, profile, first, plan.kinds[0].unit == Unit::Money);
    let distractor_at = random
        .percent(profile.distractor_percent)
        .then(|| random.between(1, plan.kinds.len().max(2) as u32 - 1) as usize);
    let mut sentences = Vec::new();
    let mut lines = Vec::new();
    // A pronoun is clear after a sentence about nobody else.
    let mut alone = false;
    let mut calculations = solution.calculations.iter().zip(&plan.needed);
    for (index, kind) in plan.kinds.iter().enumerate() {
        if distractor_at == Some(index) {
            scene.newcomer = newcomers.next().expect("people enough");
            sentences.push(needless_fact(random, profile, &scene, magnitude));
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
        for (line, (&calculation, &needed)) in kind.lines.iter().zip(calculations.by_ref()) {
            let phrasings: Vec<&str> = line.split('|').collect();
            let (phrasing, numbers) = (random.pick(&phrasings), solution.numbers[index]);
            if needed {
                lines.push(Line { phrasing, scene, numbers, calculation });
            }
        }
        scene.changed |= matches!(kind.role, Role::Event | Role::Transfer | Role::Pool | Role::Sale);
        if kind.role == Role::Sale {
            scene.object = "dollar";
        }
        alone = !matches!(kind.role, Role::Relation | Role::Transfer);
    }
    if distractor_at.is_some() && plan.kinds.len() == 1 {
        insert_needless_fact(random, profile, &scene, &mut sentences[0], magnitude);
    }
    WrittenStory {
        kinds: plan.kinds.iter().map(|kind| kind.name).collect(),
        sentences,
        lines,
        answer: solution.answer(plan),
        right: story.needed(plan),
    }
}

fn draw_scene(random: &mut Random, profile: &Profile, first: Person, money: bool) -> Scene {
    let mut objects = profile.settings.objects.to_vec();
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
fn needless_fact(random: &mut Random, profile: &Profile, scene: &Scene, magnitude: Magnitude) -> String {
    let facts = &profile.settings.needless_facts;
    let texts = if scene.focus.is_some() { facts.about_anybody } else { facts.about_others };
    let text = random.pick(texts);
    fill(text, scene, &needless_number(random, profile, magnitude), None)
}

/// Puts a needless fact before the last sentence of a scenario, which may go on with a pronoun for N.
fn insert_needless_fact(
    random: &mut Random,
    profile: &Profile,
    scene: &Scene,
    text: &mut String,
    magnitude: Magnitude,
) {
    if let Some(end) = text.rfind(". ") {
        let fact = random.pick(profile.settings.needless_facts.in_scenarios);
        text.insert_str(end + 2, &fill(fact, scene, &needless_number(random, profile, magnitude), None));
    }
}

fn needless_number(random: &mut Random, profile: &Profile, magnitude: Magnitude) -> Numbers {
    let mut numbers = Numbers::default();
    numbers.set('d', random.draw_from(profile.settings.needless_facts.number, magnitude));
    numbers
}
