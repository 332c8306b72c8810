//! The hand-written stories that the second version has beside those of the first, of one to six steps. Some share their
//! facts and differ in their question.

use super::{ADDEND, DIVISOR, GOAL, GROUP_SIZE, GROUPS, PRICE, START};
use crate::synthetic::kinds::{Kind, scenario};
use crate::synthetic::numbers::range;

/// The scenarios that the first version does not have.
pub(in crate::synthetic) const SCENARIOS: &[Kind] = &[
    // One step.
    scenario(
        "each-pays",
        &[('a', GOAL), ('k', DIVISOR)],
        &[
            "A meal costs {a dollar}. {k friend} pay equally. How many dollars does each friend pay?",
            "{k friend} share a bill of {a dollar} equally. How many dollars does each of them pay?",
        ],
        &["Each friend pays [r=a/k dollar]."],
    ),
    scenario(
        "taller",
        &[('a', GOAL), ('b', START)],
        &[
            "A tree is {a meter} high and a house is {b meter} high. How many meters higher is the tree?",
            "A house is {b meter} high. How many meters higher is a tree of {a meter}?",
        ],
        &["The difference is [r=a-b meter]."],
    ),
    scenario(
        "colder",
        &[('a', range(2, 12)), ('b', range(2, 14))],
        &[
            "It is {a degree} in the morning, and at night it is {b degree} colder. How many degrees is it at night?",
            "At noon it is {a degree}. Then it gets {b degree} colder. How many degrees is it now?",
        ],
        &["Then it is [r=a-b degree]."],
    ),
    scenario(
        "points-lost",
        &[('a', range(2, 12)), ('b', range(2, 14))],
        &[
            "{N} has {a point} in a game and loses {b point}. How many points does {he} have now?",
            "In a game {N} first wins {a point} and then loses {b}. How many points does {he} have in the end?",
        ],
        &["Then {N} has [r=a-b point]."],
    ),
    // Two steps.
    scenario(
        "colder-and-warmer",
        &[('a', range(2, 10)), ('b', range(4, 14)), ('c', range(2, 9))],
        &[
            "It is {a degree} at noon, at night it is {b degree} colder, and the next day {c degree} warmer than at night. How many degrees is it then?",
            "At noon it is {a degree}. Until night it gets {b degree} colder, and then {c degree} warmer. How many degrees is it in the end?",
        ],
        &["At night it is [x=a-b degree].", "In the end it is [r=x+c degree]."],
    ),
    scenario(
        "wrong-answers",
        &[('a', range(3, 12)), ('k', range(2, 4)), ('m', range(2, 5))],
        &[
            "{N} has {a point} in a game and loses {m point} for each wrong answer. {he} gives {k} wrong answers. How many points does {he} have then?",
            "In a game {N} loses {m point} for each of {k} wrong answers. Before that {he} had {a point}. How many points does {he} have now?",
        ],
        &["{N} loses [x=k*m point].", "Then {N} has [r=a-x point]."],
    ),
    scenario(
        "unknown-part",
        &[('t', GOAL), ('a', START), ('b', ADDEND)],
        &[
            "A {box} holds {t obj}. {a} are red, {b} are blue, and the rest are green. How many {objs} are green?",
            "Of the {t obj} in a {box}, {a} are red and {b} are blue. All others are green. How many are green?",
        ],
        &["Red or blue are [x=a+b obj].", "Green are [r=t-x obj]."],
    ),
    scenario(
        "before-half",
        &[('a', ADDEND), ('b', ADDEND)],
        &[
            "{N} gave half of {his} {objs} to a friend and then lost {a}. Now {he} has {b obj}. How many {objs} did {he} have at first?",
            "{N} sold half of {his} {objs} and then {a} more. {he} has {b obj} left. How many {objs} did {he} have before?",
        ],
        &["Half of the {objs} were [x=b+a obj].", "At first {N} had [r=x*2 obj]."],
    ),
    scenario(
        "before-gift",
        &[('a', ADDEND), ('k', DIVISOR), ('m', GROUP_SIZE)],
        &[
            "{N} kept {a obj} and shared the others equally among {k friend}. Each friend got {m obj}. How many {objs} did {N} have at first?",
            "{k friend} each got {m obj} from {N}, who then had {a} left. How many {objs} did {N} have at first?",
        ],
        &["The friends got [x=k*m obj].", "At first {N} had [r=x+a obj]."],
    ),
    scenario(
        "speed",
        &[('a', range(6, 20)), ('k', DIVISOR), ('b', GROUPS)],
        &[
            "{N} rides {a mile} in {k hour} at the same speed. How many miles is that in {b hour}?",
            "A train goes {a mile} in {k hour}. How many miles does it go in {b hour}?",
        ],
        &["In one hour it is [x=a/k mile].", "In {b hour} it is [r=x*b mile]."],
    ),
    scenario(
        "meals",
        &[('a', GOAL), ('k', GROUPS), ('m', GROUPS)],
        &[
            "{k dog} eat {m egg} a day each. How many days do {a egg} last?",
            "{N} has {a egg} and {k dog}. Each dog eats {m egg} a day. How many days do the eggs last?",
        ],
        &["In one day the dogs eat [x=k*m egg].", "The eggs last [r=a/x day]."],
    ),
    // Three steps.
    scenario(
        "colder-each-hour",
        &[('a', range(3, 12)), ('k', range(2, 4)), ('b', range(2, 5)), ('c', range(2, 9))],
        &[
            "It is {a degree} at noon. For {k hour} it gets {b degree} colder each hour, and then {c degree} warmer. How many degrees is it in the end?",
        ],
        &["It gets [x=k*b degree] colder.", "Then it is [y=a-x degree].", "In the end it is [r=y+c degree]."],
    ),
    scenario(
        "right-and-wrong-answers",
        &[('k', range(2, 4)), ('m', range(2, 5)), ('j', range(2, 4)), ('n', range(2, 5))],
        &[
            "{N} wins {m point} for each of {k} right answers and loses {n point} for each of {j} wrong ones. How many points does {he} have in the end?",
            "A right answer brings {m point}, and a wrong one costs {n point}. {N} gives {k} right answers and {j} wrong ones. How many points does {he} have?",
        ],
        &["{N} wins [x=k*m point].", "{N} loses [y=j*n point].", "In the end {N} has [r=x-y point]."],
    ),
    scenario(
        "cost-of-both",
        &[('k', GROUPS), ('a', PRICE), ('b', ADDEND)],
        &[
            "{an item} costs {a dollar}, and a {box} costs {b dollar} more than that. {N} buys {k item} and a {box}. How many dollars does {he} pay?",
            "{N} buys {k item} for {a dollar} each and a {box} that costs {b dollar} more than one {item}. How many dollars does {he} pay?",
        ],
        &["The {items} cost [x=k*a dollar].", "The {box} costs [y=a+b dollar].", "In all it is [r=x+y dollar]."],
    ),
    scenario(
        "rest-equally",
        &[('t', GOAL), ('a', ADDEND), ('b', ADDEND), ('k', DIVISOR)],
        &[
            "{N} has {t dollar}, buys {an item} for {a dollar} and pays {b dollar} for a meal. {he} spends the rest equally in {k day}. How many dollars is that a day?",
        ],
        &["{N} spends [x=a+b dollar] at first.", "The rest is [y=t-x dollar].", "In a day it is [r=y/k dollar]."],
    ),
    scenario(
        "ages",
        &[('a', range(6, 12)), ('b', range(2, 5)), ('c', range(2, 6))],
        &[
            "{N} is {a year} old, and {M} is {b year} younger. How old will they be together in {c year}?",
            "{M} is {b year} younger than {N}, who is {a year} old. How old will both be together in {c year}?",
        ],
        &["{N} will be [x=a+c year] old.", "{M} will be [y=x-b year] old.", "Together it is [r=x+y year]."],
    ),
    scenario(
        "days-of-work",
        &[('k', GROUPS), ('m', GROUP_SIZE), ('a', ADDEND), ('g', GOAL)],
        &[
            "{N} needs {g page} for school. {he} writes {m page} a day for {k day} and then {a page} more. How many pages are missing?",
            "{N} wants to read {g page}. {he} reads {m page} a day for {k day} and {a more page} at night. How many pages are left?",
        ],
        &["In {k day} it is [x=k*m page].", "With the others it is [y=x+a page].", "So [r=g-y page] are left."],
    ),
    // Four steps.
    scenario(
        "two-teams",
        &[('a', GROUPS), ('b', GROUP_SIZE), ('c', GROUPS), ('d', GROUP_SIZE), ('n', ADDEND)],
        &[
            "{a team} of {b boy} and {c team} of {d girl} come to play. Then {n} children go home. How many children are still there?",
        ],
        &[
            "There are [x=a*b boy].",
            "There are [y=c*d girl].",
            "That is [z=x+y] children.",
            "Then there are [r=z-n] children.",
        ],
    ),
    scenario(
        "profit-of-all",
        &[('k', GROUPS), ('a', PRICE), ('m', GROUPS), ('n', PRICE)],
        &[
            "{N} buys {k box} of {items} for {a dollar} a {box}. There are {m item} in each {box}. {he} sells all {items} for {n dollar} each. How many dollars does {he} gain?",
        ],
        &[
            "The {boxes} cost [x=k*a dollar].",
            "There are [y=k*m item].",
            "{N} gets [z=y*n dollar].",
            "{N} gains [r=z-x dollar].",
        ],
    ),
    scenario(
        "parts-of-a-book",
        &[('g', range(8, 28))],
        &[
            "A book has {g page}. On Monday {N} reads a quarter of it and on Friday half of the rest. How many pages are left?",
            "{N} has {g page} to read. {he} reads a quarter of them on Monday and half of the others on Friday. How many are left?",
        ],
        &[
            "On Monday it is [x=g/4 page].",
            "Then there are [y=g-x page] left.",
            "On Friday it is [z=y/2 page].",
            "There are [r=y-z page] left.",
        ],
    ),
    // Five steps.
    scenario(
        "good-ones",
        &[('k', GROUPS), ('m', GROUP_SIZE), ('a', GROUPS), ('b', GROUP_SIZE), ('n', ADDEND), ('p', DIVISOR)],
        &[
            "{N} has {k box} with {m red obj} each and {a box} with {b blue obj} each. {n} of the blue ones are broken. {he} shares the good {objs} equally among {p friend}. How many does each friend get?",
        ],
        &[
            "There are [x=k*m] red {objs}.",
            "There are [y=a*b] blue {objs}.",
            "[z=y-n] of them are good.",
            "In all it is [c=x+z obj].",
            "Each friend gets [r=c/p obj].",
        ],
    ),
    // Six steps.
    scenario(
        "half-of-the-rest",
        &[('k', GROUPS), ('a', PRICE), ('m', GROUPS), ('b', PRICE), ('n', ADDEND), ('g', range(14, 20))],
        &[
            "{N} has {g dollar}. {he} buys {k item} for {a dollar} each and {m other} for {b dollar} each. {he} gives half of the rest to a friend and then earns {n dollar}. How many dollars does {he} have now?",
        ],
        &[
            "The {items} cost [x=k*a dollar].",
            "The {others} cost [y=m*b dollar].",
            "In all it is [z=x+y dollar].",
            "The rest is [d=g-z dollar].",
            "{N} keeps [e=d/2 dollar].",
            "Now {he} has [r=e+n dollar].",
        ],
    ),
];
