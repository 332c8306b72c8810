//! Hand-written stories of one to five steps: what does not fit into a chain of steps with one quantity each, such as
//! rates, ages, times of the day, and stories that begin at their end.

use super::{ADDEND, AGE, DIVISOR, GOAL, GROUP_SIZE, GROUPS, MINUTES, MONEY, PRICE, START};
use crate::synthetic::kinds::{Kind, scenario};
use crate::synthetic::numbers::{Range, range};

const O_CLOCK_START: Range = range(1, 6);
const O_CLOCK_END: Range = range(7, 12);

/// All scenarios.
pub(in crate::synthetic) const SCENARIOS: &[Kind] = &[
    // One step.
    scenario(
        "before-giving",
        &[('a', ADDEND), ('b', START)],
        &[
            "{N} had some {objs}. {he} gave {a obj} to a friend and has {b} left. How many {objs} did {N} have at first?",
            "After {N} lost {a obj}, {he} has {b obj} left. How many {objs} did {he} have before?",
        ],
        &["At first {N} had [r=b+a obj]."],
    ),
    scenario(
        "before-finding",
        &[('a', ADDEND), ('b', START)],
        &[
            "{N} had some {objs}. {he} found {a more obj} and now has {b}. How many {objs} did {N} have at first?",
            "After {N} bought {a more obj}, {he} has {b obj}. How many {objs} did {he} have before?",
        ],
        &["At first {N} had [r=b-a obj]."],
    ),
    scenario(
        "lost-how-many",
        &[('a', START), ('b', START)],
        &[
            "{N} had {a obj}. Now {he} has {b obj}. How many {objs} did {N} lose?",
            "{N} had {a obj} and gave some to a friend. Now {he} has {b obj}. How many did {he} give away?",
        ],
        &["{N} lost [r=a-b obj].|The difference is [r=a-b obj]."],
    ),
    scenario(
        "rest-of-the-time",
        &[('a', GOAL), ('b', ADDEND)],
        &[
            "A game lasts {a minute}. {N} has played for {b minute}. How many minutes are left?",
            "{N} wants to read for {a minute}. {he} has read for {b minute}. How many minutes are left?",
        ],
        &["There are [r=a-b minute] left."],
    ),
    scenario(
        "rest-of-the-hour",
        &[('a', range(40, 55))],
        &[
            "The way to school takes 1 hour. {N} has walked for {a minute}. How many minutes are left?",
            "{N} wants to play for 1 hour. {he} has played for {a minute}. How many minutes are left?",
        ],
        &["There are [r=60-a minute] left."],
    ),
    scenario(
        "clock",
        &[('a', O_CLOCK_START), ('b', O_CLOCK_END)],
        &[
            "{N} starts to work at {a} o'clock and stops at {b} o'clock. How many hours does {he} work?",
            "School starts at {a} o'clock and ends at {b} o'clock. How many hours does it last?",
        ],
        &["That is [r=b-a hour]."],
    ),
    scenario(
        "rows",
        &[('k', GROUPS), ('m', GROUP_SIZE)],
        &[
            "There are {k row} of trees in a garden. Each row has {m tree}. How many trees are there?",
            "{N} rides {m mile} an hour and rides for {k hour}. How many miles is that?",
        ],
        &["That is [r=k*m]."],
    ),
    // Two steps.
    scenario(
        "pages",
        &[('g', GOAL), ('m', GROUP_SIZE), ('k', GROUPS)],
        &[
            "A book has {g page}. {N} reads {m page} a day for {k day}. How many pages are left?",
            "{N} reads {m page} a day. How many pages of a book with {g page} are left after {k day}?",
        ],
        &["{N} reads [x=k*m page].", "There are [r=g-x page] left."],
    ),
    scenario(
        "each-day",
        &[('a', GROUP_SIZE), ('b', GROUP_SIZE), ('k', GROUPS)],
        &[
            "{N} walks {a mile} in the morning and {b mile} at night. How many miles does {he} walk in {k day}?",
            "Each day {N} reads {a page} and {M} reads {b page}. How many pages do they read in {k day}?",
        ],
        &["In one day that is [x=a+b].", "In {k day} it is [r=k*x]."],
    ),
    scenario(
        "week",
        &[('a', range(1, 2).or_middle(1, 6).or_large(3, 9)), ('b', range(1, 2).or_middle(2, 7).or_large(3, 12))],
        &[
            "{N} finds {a obj} a day and {M} finds {b obj} a day. How many {objs} do they find in a week?",
            "{N} uses {a red obj} and {b blue obj} a day. How many {objs} does {he} use in a week?",
        ],
        &["In one day that is [x=a+b obj].", "In a week it is [r=x*7 obj]."],
    ),
    scenario(
        "hour-and-minutes",
        &[('a', MINUTES), ('b', ADDEND)],
        &[
            "A game lasts 1 hour and {a minute}. {N} has played for {b minute}. How many minutes are left?",
            "{N} has 1 hour and {a minute} to read. {he} has read for {b minute}. How many minutes are left?",
        ],
        &["That is [x=60+a minute] in all.", "There are [r=x-b minute] left."],
    ),
    scenario(
        "change",
        &[('k', GROUPS), ('m', PRICE), ('g', MONEY)],
        &[
            "{N} buys {k item} for {m dollar} each and pays with {g dollar}. How many dollars does {he} get back?",
            "{k item} cost {m dollar} each. {N} pays for them with {g dollar}. How many dollars does {he} get back?",
        ],
        &["The {items} cost [x=k*m dollar].", "{N} gets [r=g-x dollar] back."],
    ),
    scenario(
        "shared-cost",
        &[('a', GROUPS), ('m', GROUP_SIZE), ('k', DIVISOR)],
        &[
            "{k friend} buy {a item} for {m dollar} each and share the cost equally. How many dollars does each friend pay?",
            "{a item} cost {m dollar} each. {k friend} buy them together and pay equally. How many dollars does each pay?",
        ],
        &["The {items} cost [x=a*m dollar].", "Each friend pays [r=x/k dollar]."],
    ),
    scenario(
        "bus",
        &[('a', MONEY), ('b', ADDEND), ('c', ADDEND)],
        &[
            "There are {a people} on a bus. At the park {b} get off and {c} get on. How many people are on the bus now?",
            "{a people} are on a bus. {c} more get on at the school, where {b} get off. How many people are on the bus now?",
        ],
        &["After {b} get off there are [x=a-b].", "Then there are [r=x+c] people."],
    ),
    scenario(
        "tables",
        &[('a', START), ('b', ADDEND), ('k', DIVISOR)],
        &[
            "A class has {a girl} and {b boy}. {k} of them sit at each table. How many tables do they need?",
            "{a girl} and {b boy} make teams of {k}. How many teams are there?",
        ],
        &["There are [x=a+b] children.", "That makes [r=x/k]."],
    ),
    scenario(
        "older",
        &[('a', AGE), ('b', ADDEND), ('c', ADDEND)],
        &[
            "{N} is {a year} old. {M} is {b year} older than {N}. How old will {M} be in {c year}?",
            "{M} is {b year} older than {N}, who is {a year} old. How old will {M} be in {c year}?",
        ],
        &["{M} is [x=a+b year] old.", "In {c year} {M} is [r=x+c year] old."],
    ),
    scenario(
        "was-younger",
        &[('a', AGE), ('c', ADDEND)],
        &[
            "{N} is {a year} old. {M} is twice as old as {N}. How old was {M} {c year} ago?",
            "{M} is twice as old as {N}, who is {a year} old. How old was {M} {c year} ago?",
        ],
        &["{M} is [x=a*2 year] old.", "{c year} ago {M} was [r=x-c year] old."],
    ),
    scenario(
        "profit",
        &[('k', GROUPS), ('a', PRICE), ('b', GROUP_SIZE)],
        &[
            "{N} buys {k item} for {a dollar} each and sells them for {b dollar} each. How many dollars does {he} gain?",
            "{N} sells {k item} for {b dollar} each that {he} bought for {a dollar} each. How many dollars does {he} gain?",
        ],
        &["On each {item} {N} gains [x=b-a dollar].", "In all {he} gains [r=k*x dollar]."],
    ),
    scenario(
        "two-days-of-work",
        &[('m', GROUP_SIZE), ('a', GROUPS), ('b', GROUPS)],
        &[
            "{N} earns {m dollar} an hour. {he} works {a hour} on Monday and {b hour} on Friday. How many dollars does {he} earn?",
            "{N} works {a hour} on Monday and {b hour} on Friday for {m dollar} an hour. How many dollars does {he} earn?",
        ],
        &["{N} works [x=a+b hour].", "{N} earns [r=x*m dollar]."],
    ),
    scenario(
        "rate",
        &[('a', range(6, 20).or_middle(20, 90).or_large(60, 480)), ('k', DIVISOR), ('b', GROUPS)],
        &[
            "{N} makes {a obj} in {k hour}. How many {objs} does {he} make in {b hour}?",
            "In {k hour} {N} can make {a obj}. How many {objs} can {he} make in {b hour}?",
        ],
        &["In one hour it is [x=a/k obj].", "In {b hour} it is [r=x*b obj]."],
    ),
    scenario(
        "price",
        &[('a', range(6, 20).or_middle(20, 90).or_large(60, 480)), ('k', DIVISOR), ('b', GROUPS)],
        &[
            "{k item} cost {a dollar}. How many dollars do {b item} cost?",
            "{N} pays {a dollar} for {k item}. How many dollars would {he} pay for {b item}?",
        ],
        &["One {item} costs [x=a/k dollar].", "So {b item} cost [r=x*b dollar]."],
    ),
    scenario(
        "saving",
        &[('a', MONEY), ('m', DIVISOR), ('g', GOAL)],
        &[
            "{N} has {a dollar} and saves {m dollar} a week. After how many weeks can {he} buy a bike for {g dollar}?",
            "A bike costs {g dollar}. {N} has {a dollar} and saves {m dollar} a week. How many weeks does {he} need?",
        ],
        &["{N} still needs [x=g-a dollar].", "This takes [r=x/m week]."],
    ),
    // Three steps.
    scenario(
        "show",
        &[('k', GROUPS), ('m', GROUPS), ('a', GROUP_SIZE), ('b', PRICE)],
        &[
            "{k girl} and {m boy} go to a show. A girl pays {a dollar} and a boy pays {b dollar}. How many dollars do they pay?",
            "{N} buys {k item} for {a dollar} each and {m other} for {b dollar} each. How many dollars does {he} pay?",
        ],
        &["The first cost [x=k*a dollar].", "The others cost [y=m*b dollar].", "In all it is [r=x+y dollar]."],
    ),
    scenario(
        "shelves",
        &[('a', MONEY), ('k', GROUPS), ('m', GROUPS), ('b', DIVISOR)],
        &[
            "{N} has {a obj}. {he} puts {k obj} in each of {m box} and shares the rest equally among {b friend}. How many does each friend get?",
        ],
        &["In the {boxes} are [x=m*k obj].", "The rest is [y=a-x obj].", "Each friend gets [r=y/b obj]."],
    ),
    scenario(
        "cakes",
        &[('k', GROUPS), ('m', GROUP_SIZE), ('a', GROUPS), ('b', range(2, 3).or_middle(3, 12).or_large(5, 30))],
        &[
            "{N} cuts {k cake} in {m piece} each. {a friend} eat {b piece} each. How many pieces are left?",
            "{k cake} have {m piece} each. {a friend} take {b piece} each. How many pieces are left?",
        ],
        &["There are [x=k*m piece].", "The friends take [y=a*b piece].", "There are [r=x-y piece] left."],
    ),
    scenario(
        "garden",
        &[('k', GROUPS), ('m', GROUP_SIZE), ('n', ADDEND)],
        &[
            "{N} has {k row} of {m flower} each. {he} sells {n flower} and gives half of the rest to a friend. How many flowers does {he} keep?",
        ],
        &["There are [x=k*m flower].", "The rest is [y=x-n flower].", "{N} keeps [r=y/2 flower]."],
    ),
    scenario(
        "who-needs-more",
        &[('g', GOAL), ('a', START), ('n', ADDEND)],
        &[
            "{N} and {M} need {g obj} together. {N} has {a obj} and {M} has {n} fewer than {N}. How many more {objs} do they need?",
        ],
        &["{M} has [x=a-n obj].", "Together they have [y=a+x obj].", "They still need [r=g-y obj]."],
    ),
    // Four steps.
    scenario(
        "two-purchases",
        &[('g', GOAL), ('k', GROUPS), ('a', PRICE), ('m', GROUPS), ('b', PRICE)],
        &[
            "{N} has {g dollar}. {he} buys {k item} for {a dollar} each and {m other} for {b dollar} each. How many dollars does {he} have left?",
        ],
        &[
            "The {items} cost [x=k*a dollar].",
            "The {others} cost [y=m*b dollar].",
            "In all it is [z=x+y dollar].",
            "{N} has [r=g-z dollar] left.",
        ],
    ),
    scenario(
        "three-days",
        &[('a', START), ('b', ADDEND)],
        &[
            "On Monday {N} reads {a page}, on Friday {b} more than on Monday, and on Sunday twice as many as on Friday. How many pages does {he} read in all?",
        ],
        &[
            "On Friday {N} reads [x=a+b page].",
            "On Sunday {N} reads [y=x*2 page].",
            "On Monday and Friday it is [z=a+x page].",
            "In all it is [r=z+y page].",
        ],
    ),
    scenario(
        "work-and-buy",
        &[('a', GROUPS), ('b', GROUPS), ('m', GROUP_SIZE), ('k', GROUPS), ('n', PRICE)],
        &[
            "{N} works {a hour} on Monday and {b hour} on Friday for {m dollar} an hour. {he} buys {k item} for {n dollar} each. How many dollars does {he} have left?",
        ],
        &[
            "{N} works [x=a+b hour].",
            "{N} earns [y=x*m dollar].",
            "The {items} cost [z=k*n dollar].",
            "{N} has [r=y-z dollar] left.",
        ],
    ),
    // Five steps.
    scenario(
        "work-buy-and-share",
        &[('a', GROUPS), ('b', GROUPS), ('m', GROUP_SIZE), ('k', GROUPS), ('n', PRICE), ('c', DIVISOR)],
        &[
            "{N} works {a hour} and then {b hour} for {m dollar} an hour. {he} buys {k item} for {n dollar} each. {c friend} share the rest. How many dollars does each get?",
        ],
        &[
            "{N} works [x=a+b hour].",
            "{N} earns [y=x*m dollar].",
            "The {items} cost [z=k*n dollar].",
            "The rest is [d=y-z dollar].",
            "Each friend gets [r=d/c dollar].",
        ],
    ),
    scenario(
        "sold-flowers",
        &[('k', GROUPS), ('m', GROUP_SIZE), ('n', ADDEND), ('p', PRICE), ('g', GOAL)],
        &[
            "{N} has {k row} of {m flower} each. {n flower} die. {he} sells half of the rest for {p dollar} each. How many more dollars does {he} need to have {g dollar}?",
        ],
        &[
            "There are [x=k*m flower].",
            "The rest is [y=x-n flower].",
            "{N} sells [z=y/2 flower].",
            "{N} gets [d=z*p dollar].",
            "{N} still needs [r=g-d dollar].",
        ],
    ),
];
