//! A grid of two rooms with a locked door between them. The key lies in the first room, the goal in the second.

use crate::guided::mdp::{Choice, Mdp, Situation, one_hot};
use anyhow::{Result, ensure};
use model::{Key, Purpose};

/// The way is not always the one that was chosen: with this probability a step does nothing.
const SLIP: f64 = 0.1;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Grid {
    side: usize,
    /// Column and row, from the west and from the north.
    place: (usize, usize),
    key: (usize, usize),
    /// In the wall, which is the middle column.
    door: (usize, usize),
    goal: (usize, usize),
    has_key: bool,
    is_open: bool,
}

/// The grid of a seed.
pub(super) fn build(side: usize, seed: u64) -> Result<Mdp> {
    ensure!((5..=15).contains(&side), "a grid has sides of 5 to 15 fields");
    let wall = side / 2;
    let number =
        |place: u64, below: usize| (Key::new(seed, Purpose::Problems).with(place).bits() % below as u64) as usize;
    let first = Grid {
        side,
        place: (0, number(0, side)),
        key: (number(1, wall - 1) + 1, number(2, side)),
        door: (wall, number(3, side)),
        goal: (side - 1 - number(4, side - wall - 1), number(5, side)),
        has_key: false,
        is_open: false,
    };
    let rules = "You walk on a grid. Fetch the key, open the door with it, and reach the goal.".to_string();
    Mdp::of(rules, first, 5 * side)
}

impl Grid {
    fn is_free(&self, place: (usize, usize)) -> bool {
        place.0 != self.side / 2 || place == self.door && self.is_open
    }

    /// The neighbouring field in a direction.
    fn beside(&self, (dx, dy): (isize, isize)) -> Option<(usize, usize)> {
        let place = (self.place.0.checked_add_signed(dx)?, self.place.1.checked_add_signed(dy)?);
        (place.0 < self.side && place.1 < self.side).then_some(place)
    }
}

const DIRECTIONS: [(&str, (isize, isize)); 4] =
    [("north", (0, -1)), ("south", (0, 1)), ("west", (-1, 0)), ("east", (1, 0))];

/// Where something is, seen from a place.
fn towards(from: (usize, usize), to: (usize, usize)) -> String {
    let part = |from: usize, to: usize, less: &str, more: &str| match to.cmp(&from) {
        std::cmp::Ordering::Less => Some(format!("{} {less}", from - to)),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(format!("{} {more}", to - from)),
    };
    let parts: Vec<String> =
        [part(from.1, to.1, "north", "south"), part(from.0, to.0, "west", "east")].into_iter().flatten().collect();
    if parts.is_empty() { "here".into() } else { parts.join(" and ") }
}

impl Situation for Grid {
    fn text(&self) -> String {
        let key = match self.has_key {
            true => "You have the key.".to_string(),
            false => format!("The key is {}.", towards(self.place, self.key)),
        };
        let state = if self.is_open { "open" } else { "closed" };
        let (door, goal) = (towards(self.place, self.door), towards(self.place, self.goal));
        format!("{key} The door is {door} and {state}. The goal is {goal}.")
    }

    fn picture(&self) -> String {
        let field = |column: usize, row: usize| match (column, row) {
            place if place == self.place => '@',
            place if place == self.goal => 'G',
            place if place == self.key && !self.has_key => 'k',
            place if place == self.door => {
                if self.is_open {
                    '/'
                } else {
                    '+'
                }
            }
            (column, _) if column == self.side / 2 => '#',
            _ => '.',
        };
        (0..self.side).map(|row| (0..self.side).map(|column| field(column, row)).collect::<String>() + "\n").collect()
    }

    /// Column, row, and whether there are key and open door.
    fn features(&self) -> Vec<f32> {
        let is = |yes: bool| f32::from(u8::from(yes));
        let place = one_hot(self.place.0, self.side).chain(one_hot(self.place.1, self.side));
        place.chain([is(self.has_key), is(self.is_open)]).collect()
    }

    /// A third for the key, one for the open door, and less the further away the next of key, door and goal is.
    fn estimate(&self) -> f64 {
        let done = u8::from(self.has_key) + u8::from(self.is_open);
        let next = [self.key, self.door, self.goal][usize::from(done)];
        let distance = self.place.0.abs_diff(next.0) + self.place.1.abs_diff(next.1);
        let nearer = 1.0 - distance as f64 / (2 * self.side) as f64;
        if self.place == self.goal { 0.0 } else { (f64::from(done) + nearer) / 3.0 }
    }

    fn actions(&self) -> Vec<Choice<Self>> {
        if self.place == self.goal {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for (name, direction) in DIRECTIONS {
            let Some(place) = self.beside(direction).filter(|&place| self.is_free(place)) else { continue };
            let moved = Self { place, ..self.clone() };
            let reward = f64::from(u8::from(place == self.goal));
            actions.push((format!("go {name}"), vec![(1.0 - SLIP, moved, reward), (SLIP, self.clone(), 0.0)]));
        }
        if self.place == self.key && !self.has_key {
            actions.push(("take the key".into(), vec![(1.0, Self { has_key: true, ..self.clone() }, 0.0)]));
        }
        let is_beside_door = DIRECTIONS.iter().any(|(_, direction)| self.beside(*direction) == Some(self.door));
        if self.has_key && !self.is_open && is_beside_door {
            actions.push(("open the door".into(), vec![(1.0, Self { is_open: true, ..self.clone() }, 0.0)]));
        }
        actions
    }
}
