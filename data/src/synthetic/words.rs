//! The few words that a story can be about. Few on purpose: a byte-level vocabulary of 512 tokens has 255 merges, and
//! each name and object costs one to three of them before it is a token of its own.

use super::numbers::Number;

/// Somebody in a story.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) he: &'static str,
    pub(super) his: &'static str,
}

const fn he(name: &'static str) -> Person {
    Person { name, he: "he", his: "his" }
}

const fn she(name: &'static str) -> Person {
    Person { name, he: "she", his: "her" }
}

/// Everybody.
pub(super) const PEOPLE: [Person; 16] = [
    he("Tom"),
    she("Mia"),
    he("Ben"),
    she("Anna"),
    he("Sam"),
    she("Lily"),
    he("Max"),
    she("Emma"),
    he("Leo"),
    she("Nina"),
    he("Jack"),
    she("Ruby"),
    he("Paul"),
    she("Sara"),
    he("Adam"),
    she("Kate"),
];

/// What people count, find, buy and sell.
pub(super) const OBJECTS: [&str; 16] = [
    "apple", "pen", "book", "stamp", "shell", "card", "ball", "flower", "egg", "orange", "toy", "cup", "stone", "kite",
    "hat", "nut",
];

/// What objects are packed in.
pub(super) const CONTAINERS: [&str; 3] = ["box", "bag", "basket"];

/// "apples", "boxes", "children".
pub(super) fn plural(noun: &str) -> String {
    match noun {
        "child" => "children".to_string(),
        "people" => "people".to_string(),
        "box" => "boxes".to_string(),
        _ => format!("{noun}s"),
    }
}

/// "apple" for 1, "apples" for all other numbers.
pub(super) fn counted(number: Number, noun: &str) -> String {
    if number == Number::whole(1) { noun.to_string() } else { plural(noun) }
}

/// "an apple", "a pen".
pub(super) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// The text with a capital at the start of each sentence.
pub(super) fn capitalised(text: &str) -> String {
    let mut starts = true;
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        if starts && character.is_alphanumeric() {
            result.extend(character.to_uppercase());
            starts = false;
        } else {
            result.push(character);
        }
        if matches!(character, '.' | '?') {
            starts = true;
        }
    }
    result
}
