//! The small language in which kinds and scenarios are written.
//!
//! Words in braces: `{N}` who the story is about at this point, `{S}` the same at the start of a sentence, where a
//! pronoun may do, `{M}` somebody new, `{P}` who it was about before, `{O}` the first of three; `{he}`, `{his}`,
//! `{has}`, `{does}` and the ending `{s}` of a verb agree with `{N}`, which may be several people ("they"). `{obj}`,
//! `{objs}` what is counted, `{stuff}` all of it ("his apples", "her money"), `{item}`, `{items}` what can be bought,
//! `{box}`, `{boxes}` a container, `{an item}` with its article. `{now}` and `{has now}` are empty until something
//! happened to the quantity.
//!
//! Numbers are single small letters: `{n}`, with a noun that agrees `{n obj}`, `{n hour}`, with words between
//! `{n more obj}`. `u`, `v`, `w` are what O, N and P have; `r` is what a step leads to; `q` is how many times `k` goes
//! into `v`. Calculations stand in brackets: `[r=v+n obj]` is written `8+3 = <<8+3=11>>11 apples`. A number in a
//! calculation may be a constant that the story implies: 2 for half and twice, 7 for a week, 12 for a dozen, 60 for an
//! hour. `|` separates phrasings of one line.

use super::numbers::{Domain, Number};
use super::words::{Person, counted, plural, with_article};

/// The numbers of one step, by letter; 0 where nothing is set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Numbers([Number; 26]);

impl Numbers {
    pub(super) fn get(&self, letter: char) -> Number {
        self.0[position(letter)]
    }

    pub(super) fn set(&mut self, letter: char, value: Number) {
        self.0[position(letter)] = value;
    }

    fn operand(&self, operand: Operand) -> Number {
        match operand {
            Operand::Constant(constant) => Number::whole(constant),
            Operand::Letter(letter) => self.get(letter),
        }
    }
}

fn position(letter: char) -> usize {
    assert!(letter.is_ascii_lowercase(), "{letter:?} is not a letter for a number");
    letter as usize - 'a' as usize
}

/// One calculation of a solution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Calculation {
    pub(super) left: Number,
    pub(super) operator: char,
    pub(super) right: Number,
    pub(super) result: Number,
}

impl Calculation {
    /// The calculation with its right result; none when that is outside the domain.
    pub(super) fn of(left: Number, operator: char, right: Number, domain: &Domain) -> Option<Calculation> {
        let (result, is_exact) = left.calculate(operator, right)?;
        domain.has(result, is_exact).then_some(Calculation { left, operator, right, result })
    }

    /// `8+3`
    pub(super) fn expression(&self) -> String {
        format!("{}{}{}", self.left, self.operator, self.right)
    }

    /// `8+3=11`
    pub(super) fn equation(&self) -> String {
        format!("{}={}", self.expression(), self.result)
    }

    /// `8+3 = <<8+3=11>>11`
    pub(super) fn annotated(&self) -> String {
        format!("{} = <<{}>>{}", self.expression(), self.equation(), self.result)
    }
}

/// One of the two numbers of a calculation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operand {
    /// A number that the story implies.
    Constant(u32),
    /// A number of the step.
    Letter(char),
}

impl Operand {
    fn of(text: &str) -> Operand {
        match text.parse() {
            Ok(constant) => Operand::Constant(constant),
            Err(_) => Operand::Letter(text.chars().next().expect("an operand is a letter or a number")),
        }
    }
}

/// What stands in the brackets of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Formula {
    pub(super) target: char,
    /// What the result is counted in; empty for a number alone.
    pub(super) unit: &'static str,
    pub(super) left: Operand,
    pub(super) operator: char,
    pub(super) right: Operand,
}

impl Formula {
    /// The formula of a line; all phrasings of a line have the same one.
    pub(super) fn of_line(line: &'static str) -> Formula {
        let start = line.find('[').expect("a line has a calculation") + 1;
        let end = line.find(']').expect("a bracket is closed");
        let (formula, unit) = line[start..end].split_once(' ').unwrap_or((&line[start..end], ""));
        let (target, expression) = formula.split_once('=').expect("a calculation has a target");
        let at = expression.find(['+', '-', '*', '/']).expect("a calculation has an operator");
        Formula {
            unit,
            target: target.chars().next().expect("a target is a letter"),
            left: Operand::of(&expression[..at]),
            operator: expression.as_bytes()[at] as char,
            right: Operand::of(&expression[at + 1..]),
        }
    }

    pub(super) fn operands(&self, numbers: &Numbers) -> (Number, char, Number) {
        (numbers.operand(self.left), self.operator, numbers.operand(self.right))
    }
}

/// Who and what the words of a template stand for at one point of a story.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    /// N; none when it is "they".
    pub(super) focus: Option<Person>,
    pub(super) previous: Person,
    pub(super) first: Person,
    pub(super) newcomer: Person,
    pub(super) object: &'static str,
    pub(super) item: &'static str,
    pub(super) other: &'static str,
    pub(super) container: &'static str,
    /// The quantity of N has changed since the text last stated it.
    pub(super) changed: bool,
    /// A pronoun for N is clear, and wanted.
    pub(super) pronoun: bool,
}

/// A template of a question or a line with its words, numbers and calculations filled in.
pub(super) fn fill(template: &str, scene: &Scene, numbers: &Numbers, calculation: Option<Calculation>) -> String {
    let mut text = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some(start) = rest.find(['{', '[']) {
        text.push_str(&rest[..start]);
        let end = start + rest[start..].find(['}', ']']).expect("a bracket is closed");
        let inside = &rest[start + 1..end];
        if rest[start..].starts_with('{') {
            text.push_str(&word(inside, scene, numbers));
        } else {
            let calculation = calculation.expect("calculations stand in lines only");
            text.push_str(&calculation.annotated());
            if let Some((_, unit)) = inside.split_once(' ') {
                text.push(' ');
                text.push_str(&counted(calculation.result, noun(unit, scene)));
            }
        }
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    text
}

fn word(placeholder: &str, scene: &Scene, numbers: &Numbers) -> String {
    let they = scene.focus.is_none();
    let he = scene.focus.map_or("they", |person| person.he);
    let name = scene.focus.map_or("they", |person| person.name);
    let his = scene.focus.map_or("their", |person| person.his);
    let either = |several: &str, one: &str| if they { several } else { one }.to_string();
    let changed = |text: &str| if scene.changed { text } else { "" }.to_string();
    match placeholder {
        "N" => name.to_string(),
        "S" => if scene.pronoun { he } else { name }.to_string(),
        "M" => scene.newcomer.name.to_string(),
        "P" => scene.previous.name.to_string(),
        "O" => scene.first.name.to_string(),
        "he" => he.to_string(),
        "his" => his.to_string(),
        "s" => either("", "s"),
        "has" => either("have", "has"),
        "does" => either("do", "does"),
        "now" => changed(" now"),
        "has now" => changed(" has now"),
        "stuff" if scene.object == "dollar" => format!("{his} money"),
        "stuff" => format!("{his} {}", plural(scene.object)),
        "obj" | "item" | "other" | "box" => noun(placeholder, scene).to_string(),
        "objs" => plural(scene.object),
        "items" => plural(scene.item),
        "others" => plural(scene.other),
        "boxes" => plural(scene.container),
        "an item" => with_article(scene.item),
        _ => number_with_noun(placeholder, scene, numbers),
    }
}

/// `n`, `n obj`, `n more obj`.
fn number_with_noun(placeholder: &str, scene: &Scene, numbers: &Numbers) -> String {
    let mut parts: Vec<&str> = placeholder.split(' ').collect();
    let letter = parts.remove(0);
    assert_eq!(letter.len(), 1, "unknown placeholder {{{placeholder}}}");
    let number = numbers.get(letter.chars().next().expect("one letter"));
    assert!(!number.is_zero(), "no number for {{{placeholder}}}");
    match parts.pop() {
        None => number.to_string(),
        Some(last) => {
            let mut text = number.to_string();
            for part in parts {
                text.push(' ');
                text.push_str(part);
            }
            format!("{text} {}", counted(number, noun(last, scene)))
        }
    }
}

fn noun<'a>(word: &'a str, scene: &Scene) -> &'a str {
    match word {
        "obj" => scene.object,
        "item" => scene.item,
        "other" => scene.other,
        "box" => scene.container,
        _ => word,
    }
}
