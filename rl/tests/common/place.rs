//! A folder with a usable model in it, and commands that take seconds there.

#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../eval/tests/common/mistakes.rs"]
pub mod mistakes;

use super::common::start;
use mistakes::{Place, copy};
use std::{fs, path::Path};

/// A place with a usable `model` in it.
pub fn place() -> Place {
    let place = Place::new(env!("CARGO_BIN_EXE_rl"));
    copy(start(), &place.path("model"));
    place
}

pub fn cut_in_half(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Flags of a PPO run of seconds.
const PPO: [&str; 15] = [
    "ppo",
    "--init=model",
    "--out=run",
    "--quiet",
    "--device=cpu",
    "--limit=4",
    "--steps=2",
    "--questions=2",
    "--samples=2",
    "--mini-batch=4",
    "--max-new-tokens=8",
    "--eval-every=1",
    "--eval-problems=2",
    "--test-problems=2",
    "--test-samples=2",
];

pub fn ppo<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [PPO.as_slice(), more].concat()
}

pub fn sft<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let flags = ["sft", "--init=model", "--out=run", "--quiet", "--device=cpu", "--limit=4", "--steps=1"];
    [flags.as_slice(), more].concat()
}
