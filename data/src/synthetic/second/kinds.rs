//! The kinds of steps that the chains of the second version have beside those of the first: relations to somebody other
//! than the last person or to two together, relations of two calculations, fractions, gifts between two people of the
//! story, and questions about anybody in it.
//!
//! One long table: a kind is a row, and rows are compared with each other.

use super::{ADDEND, DIVISOR, GOAL, GROUP_SIZE, GROUPS, PRICE, START};
use crate::synthetic::kinds::{Cast, Kind, Role, Unit};
use crate::synthetic::numbers::Range;

/// Pairs of consecutive kinds that make no sense or ask for a number that the question already states.
pub(in crate::synthetic) const SENSELESS_PAIRS: &[(&str, &str)] = &[
    ("more", "difference"),
    ("fewer", "difference"),
    ("more-reversed", "difference"),
    ("fewer-reversed", "difference"),
    ("more-than-first", "difference-of-ends"),
    ("fewer-than-first", "difference-of-ends"),
    ("pool", "ask"),
    ("sell", "ask"),
    ("together", "total"),
    ("together", "total-of-two"),
    ("together", "pool"),
    ("together", "goal-together"),
    ("together", "take-half-each"),
    ("pool", "exchange"),
    ("have", "exchange"),
];

type Numbers = &'static [(char, Range)];
type Texts = &'static [&'static str];

const fn start(name: &'static str, unit: Unit, weight: u32, numbers: Numbers, texts: Texts, lines: Texts) -> Kind {
    Kind { name, role: Role::Start, unit, cast: Cast::Any, weight, numbers, texts, lines }
}

const fn event(name: &'static str, unit: Unit, weight: u32, numbers: Numbers, texts: Texts, lines: Texts) -> Kind {
    Kind { name, role: Role::Event, unit, cast: Cast::Any, weight, numbers, texts, lines }
}

const fn relation(name: &'static str, cast: Cast, weight: u32, numbers: Numbers, texts: Texts, lines: Texts) -> Kind {
    Kind { name, role: Role::Relation, unit: Unit::Either, cast, weight, numbers, texts, lines }
}

const fn question(name: &'static str, cast: Cast, weight: u32, numbers: Numbers, texts: Texts, lines: Texts) -> Kind {
    Kind { name, role: Role::Question, unit: Unit::Either, cast, weight, numbers, texts, lines }
}

const fn ask(name: &'static str, letter: char, cast: Cast, weight: u32, texts: Texts) -> Kind {
    Kind { name, role: Role::Ask(letter), unit: Unit::Either, cast, weight, numbers: &[], texts, lines: &[] }
}

/// The kinds that the first version does not have.
pub(in crate::synthetic) const KINDS: &[Kind] = &[
    // Starts.
    start(
        "have",
        Unit::Objects,
        24,
        &[('r', START)],
        &[
            "There are {r obj} on the table in front of {N}.",
            "{N} opens a {box} and finds {r obj} in it.",
            "{N} collects {objs} and owns {r} of them.",
        ],
        &[],
    ),
    start(
        "parts-more",
        Unit::Objects,
        9,
        &[('a', START), ('b', ADDEND)],
        &[
            "{N} has {a red obj} and {b more blue obj} than red ones.",
            "{N} finds {a obj} on Monday and {b} more than that on Friday.",
        ],
        &["The second time it is [x=a+b obj].|The second number is [x=a+b].", "In all {N} has [r=a+x obj]."],
    ),
    start(
        "parts-fewer",
        Unit::Objects,
        8,
        &[('a', START), ('b', ADDEND)],
        &[
            "{N} has {a red obj} and {b fewer blue obj} than red ones.",
            "{N} finds {a obj} on Monday and {b} fewer than that on Friday.",
        ],
        &["The second number is [x=a-b].", "In all {N} has [r=a+x obj]."],
    ),
    start(
        "parts-twice",
        Unit::Objects,
        7,
        &[('a', START)],
        &[
            "{N} has {a red obj} and twice as many blue ones.",
            "{N} finds {a obj} in the morning and twice as many at night.",
        ],
        &["The second number is [x=a*2].", "In all {N} has [r=a+x obj]."],
    ),
    start(
        "two-sizes",
        Unit::Objects,
        7,
        &[('k', GROUPS), ('m', GROUP_SIZE), ('n', ADDEND)],
        &[
            "{N} has {k full box} with {m obj} each and {n} loose {objs}.",
            "{N} fills {k box} with {m obj} each and has {n obj} left over.",
        ],
        &["In the {boxes} are [x=k*m obj].", "In all {N} has [r=x+n obj]."],
    ),
    start(
        "wages",
        Unit::Money,
        8,
        &[('k', GROUPS), ('m', GROUP_SIZE), ('n', ADDEND)],
        &[
            "{N} works {k hour} for {m dollar} an hour and gets {n dollar} more as a gift.",
            "{N} sells {k item} for {m dollar} each and has {n dollar} at home.",
        ],
        &["{N} earns [x=k*m dollar].|That is [x=k*m dollar].", "With the rest {N} has [r=x+n dollar]."],
    ),
    // Events.
    event(
        "gain",
        Unit::Objects,
        6,
        &[('n', ADDEND)],
        &["Later {N} find{s} {n more obj} in a {box}.", "Then {N} win{s} {n obj} in a game."],
        &["{N} {has} [r=v+n obj].|Then it is [r=v+n obj]."],
    ),
    event(
        "lose",
        Unit::Objects,
        6,
        &[('n', ADDEND)],
        &["A dog runs off with {n} of {his} {objs}.", "On the way home {N} drop{s} and lose{s} {n obj}."],
        &["{N} {has} [r=v-n obj] left.|Then it is [r=v-n obj]."],
    ),
    event(
        "give-quarter",
        Unit::Money,
        6,
        &[],
        &["{S} spend{s} a quarter of {his} money.", "Then {N} give{s} a quarter of {his} money to a friend."],
        &["A quarter of the money is [x=v/4 dollar].", "{N} {has} [r=v-x dollar] left."],
    ),
    event(
        "give-quarter",
        Unit::Objects,
        6,
        &[],
        &["{S} lose{s} a quarter of {his} {objs}.", "Then {N} give{s} a quarter of {his} {objs} to a friend."],
        &["A quarter of the {objs} is [x=v/4].", "{N} {has} [r=v-x obj] left."],
    ),
    event(
        "keep-quarter",
        Unit::Objects,
        5,
        &[],
        &["{S} keep{s} a quarter of {his} {objs} and give{s} the rest away."],
        &["{N} keep{s} [r=v/4 obj]."],
    ),
    event(
        "exchange",
        Unit::Objects,
        8,
        &[('a', ADDEND), ('b', ADDEND)],
        &[
            "{S} give{s} {a obj} to a friend and get{s} {b obj} from another.",
            "{S} lose{s} {a obj} but find{s} {b obj} later.",
        ],
        &["First it is [x=v-a obj].|After the loss {N} {has} [x=v-a obj].", "Then it is [r=x+b obj]."],
    ),
    event(
        "exchange",
        Unit::Money,
        8,
        &[('a', ADDEND), ('b', ADDEND)],
        &[
            "{S} pay{s} {a dollar} for {an item} and sell{s} it for {b dollar}.",
            "{S} spend{s} {a dollar} and then earn{s} {b dollar}.",
        ],
        &["First it is [x=v-a dollar].", "Then it is [r=x+b dollar]."],
    ),
    event(
        "double",
        Unit::Objects,
        4,
        &[],
        &["Then the number of {his} {objs} doubles.", "After a week {N} {has} double the number of {objs}."],
        &["Then {N} {has} [r=v*2 obj]."],
    ),
    Kind {
        name: "transfer",
        role: Role::Transfer,
        unit: Unit::Either,
        cast: Cast::Several,
        weight: 9,
        numbers: &[('n', ADDEND)],
        texts: &["Then {P} gives {n obj} to {N}.", "{N} gets {n} of the {objs} that {P} has."],
        lines: &["{P} has [s=w-n obj] left.", "{N} has [r=v+n obj] then."],
    },
    Kind {
        name: "transfer",
        role: Role::Transfer,
        unit: Unit::Either,
        cast: Cast::Several,
        weight: 9,
        numbers: &[('n', ADDEND)],
        texts: &["Then {N} gives {n obj} to {P}.", "{P} gets {n} of the {objs} that {N} has."],
        lines: &["{P} has [s=w+n obj] then.", "{N} has [r=v-n obj] left."],
    },
    // Relations to the last person.
    relation(
        "quarter-as-many",
        Cast::Named,
        6,
        &[],
        &["{M} has a quarter as many {objs} as {N}{has now}.", "{M} has a quarter of the number that {N}{now} has."],
        &["{M} has [r=v/4 obj]."],
    ),
    relation(
        "more-reversed",
        Cast::Named,
        4,
        &[('n', ADDEND)],
        &["If {N} had {n fewer obj}, {N} would have as many as {M}.", "{N} must lose {n obj} to have as many as {M}."],
        &["{M} has [r=v-n obj]."],
    ),
    relation(
        "fewer-reversed",
        Cast::Named,
        4,
        &[('n', ADDEND)],
        &[
            "If {N} had {n more obj}, {N} would have as many as {M}.",
            "{N} must get {n more obj} to have as many as {M}.",
        ],
        &["{M} has [r=v+n obj]."],
    ),
    relation(
        "twice-and-more",
        Cast::Named,
        6,
        &[('n', ADDEND)],
        &[
            "{M} has {n more obj} than twice the number that {N}{now} has.",
            "{M} has twice as many {objs} as {N}{has now} and {n} more.",
        ],
        &["Twice the number is [x=v*2].", "{M} has [r=x+n obj]."],
    ),
    relation(
        "twice-and-fewer",
        Cast::Named,
        6,
        &[('n', ADDEND)],
        &[
            "{M} has {n fewer obj} than twice the number that {N}{now} has.",
            "If {M} had {n more obj}, {M} would have twice as many as {N}{has now}.",
        ],
        &["Twice the number is [x=v*2].", "{M} has [r=x-n obj]."],
    ),
    relation(
        "half-and-more",
        Cast::Named,
        5,
        &[('n', ADDEND)],
        &[
            "{M} has {n more obj} than half the number that {N}{now} has.",
            "{M} has half as many {objs} as {N}{has now} and {n} more.",
        ],
        &["Half the number is [x=v/2].", "{M} has [r=x+n obj]."],
    ),
    relation(
        "together",
        Cast::Named,
        9,
        &[('t', GOAL)],
        &["{N} and {M} have {t obj} together.", "Together with {M}, {N} has {t obj}."],
        &["{M} has [r=t-v obj]."],
    ),
    // Relations to the first of two, or to both.
    relation(
        "more-than-first",
        Cast::Two,
        8,
        &[('n', ADDEND)],
        &["{M} has {n more obj} than {P}.", "{P} has {n fewer obj} than {M}."],
        &["{M} has [r=w+n obj]."],
    ),
    relation(
        "fewer-than-first",
        Cast::Two,
        8,
        &[('n', ADDEND)],
        &["{M} has {n fewer obj} than {P}.", "{P} has {n more obj} than {M}."],
        &["{M} has [r=w-n obj]."],
    ),
    relation(
        "twice-the-first",
        Cast::Two,
        5,
        &[],
        &["{M} has twice as many {objs} as {P}.", "{P} has half as many {objs} as {M}."],
        &["{M} has [r=w*2 obj]."],
    ),
    relation(
        "as-many-as-both",
        Cast::Two,
        7,
        &[],
        &["{M} has as many {objs} as {P} and {N} together.", "{M} has the same number as both of them together."],
        &["{M} has [r=w+v obj]."],
    ),
    relation(
        "fewer-than-both",
        Cast::Two,
        6,
        &[('n', ADDEND)],
        &["{M} has {n fewer obj} than {P} and {N} together.", "{P} and {N} together have {n more obj} than {M}."],
        &["The other two have [x=w+v obj].", "{M} has [r=x-n obj]."],
    ),
    // Questions.
    ask(
        "ask-previous",
        'w',
        Cast::Several,
        9,
        &["How many {objs} does {P} have in the end?", "What is the number of {objs} that {P} has in the end?"],
    ),
    ask(
        "ask-first",
        'u',
        Cast::Three,
        6,
        &["How many {objs} does {O} have in the end?", "What is the number of {objs} that {O} has in the end?"],
    ),
    question(
        "total-of-ends",
        Cast::Three,
        10,
        &[],
        &["How many {objs} do {O} and {N} have together?", "How many {objs} do {N} and {O} have in all?"],
        &["Together they have [r=u+v obj]."],
    ),
    question(
        "total-of-two",
        Cast::Three,
        9,
        &[],
        &["How many {objs} do {P} and {N} have together?", "How many {objs} do {N} and {P} have in all?"],
        &["Together they have [r=w+v obj]."],
    ),
    question(
        "difference-of-ends",
        Cast::Three,
        7,
        &[],
        &["How many more {objs} does {N} have than {O}?", "How many fewer {objs} does {O} have than {N}?"],
        &["The difference is [r=v-u obj]."],
    ),
    question(
        "difference-of-ends",
        Cast::Three,
        7,
        &[],
        &["How many more {objs} does {O} have than {N}?", "How many fewer {objs} does {N} have than {O}?"],
        &["The difference is [r=u-v obj]."],
    ),
    question(
        "take-half-each",
        Cast::Two,
        8,
        &[],
        &[
            "{P} and {N} put all together, and each takes half. How many {objs} does each get?",
            "How many {objs} does each get if {P} and {N} put all together and each takes half?",
        ],
        &["Together they have [x=w+v obj].", "Each gets [r=x/2 obj]."],
    ),
    question(
        "make-equal",
        Cast::Two,
        7,
        &[],
        &[
            "How many {objs} must {N} give to {P} so that both have the same number?",
            "{N} gives some {objs} to {P}, and then both have the same number. How many {objs} does {N} give?",
        ],
        &["The difference is [x=v-w obj].", "{N} gives half of it, [r=x/2 obj]."],
    ),
    question(
        "make-equal",
        Cast::Two,
        7,
        &[],
        &[
            "How many {objs} must {P} give to {N} so that both have the same number?",
            "{P} gives some {objs} to {N}, and then both have the same number. How many {objs} does {P} give?",
        ],
        &["The difference is [x=w-v obj].", "{P} gives half of it, [r=x/2 obj]."],
    ),
    question(
        "goal-together",
        Cast::Two,
        8,
        &[('g', GOAL)],
        &[
            "{P} and {N} want to have {g obj} together. How many more {objs} do they need?",
            "They need {g obj} in all. How many {objs} are missing?",
        ],
        &["Together they have [x=w+v obj].", "They still need [r=g-x obj]."],
    ),
    question(
        "share-of-both",
        Cast::Two,
        6,
        &[('k', DIVISOR)],
        &["{P} and {N} share all that they have equally among {k friend}. How many {objs} does each friend get?"],
        &["Together they have [x=w+v obj].", "Each friend gets [r=x/k obj]."],
    ),
    Kind {
        name: "sell-some",
        role: Role::Question,
        unit: Unit::Objects,
        cast: Cast::Any,
        weight: 6,
        numbers: &[('n', ADDEND), ('p', PRICE)],
        texts: &[
            "{S} keep{s} {n} of {his} {objs} and sell{s} the rest for {p dollar} each. How many dollars {does} {he} get?",
            "{N} sell{s} all {his} {objs} but {n} for {p dollar} each. How many dollars {does} {he} get?",
        ],
        lines: &["{N} sell{s} [x=v-n obj].", "{N} get{s} [r=x*p dollar]."],
    },
    Kind {
        name: "give-to-each",
        role: Role::Question,
        unit: Unit::Objects,
        cast: Cast::Any,
        weight: 6,
        numbers: &[('k', GROUPS), ('m', GROUP_SIZE)],
        texts: &["{S} want{s} to give {m obj} to each of {k friend}. How many more {objs} {does} {he} need for that?"],
        lines: &["For the friends it takes [x=k*m obj].", "{N} still need{s} [r=x-v obj]."],
    },
];
