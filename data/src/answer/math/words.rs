//! What words and commands mean in an answer: functions, units, joining words, names. Tables, independent of grammar.

use super::field::key_of;
use super::token::Token;
use super::tree::{Function, Relation};

/// Commands whose argument is text or a formula in another typeface.
pub(super) const TEXT_COMMANDS: [&str; 18] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "textnormal",
    "textsf",
    "texttt",
    "mbox",
    "hbox",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "operatorname",
    "mathbb",
    "mathcal",
    "boldsymbol",
    "emph",
];

/// Short words that are no products of variables.
const ENGLISH: [&str; 16] =
    ["is", "of", "the", "are", "for", "has", "not", "all", "yes", "no", "odd", "one", "was", "we", "if", "so"];

/// What a run of letters is.
pub(super) enum Word {
    Token(Token),
    /// A product of variables.
    Letters,
}

/// What a run of letters without a backslash is; a unit only behind a value.
pub(super) fn word(run: &str, follows_value: bool) -> Word {
    if let Some(function) = function(run) {
        return Word::Token(function);
    }
    let lower = run.to_lowercase();
    let token = match run {
        "and" | "or" | "to" => Token::Text(run.to_owned()),
        // `NO` is the name of a segment.
        _ if ENGLISH.contains(&lower.as_str()) && run[1..] == lower[1..] => Token::Text(run.to_owned()),
        "pi" => Token::Pi,
        "sqrt" => Token::Command("sqrt"),
        "inf" | "infty" | "infinity" | "Infinity" | "oo" => Token::Infinity,
        _ if matches!(lower.as_str(), "percent" | "percentage" | "pct") => Token::Percent,
        _ if lower == "degrees" || lower == "degree" => Token::Degree,
        _ if follows_value && run.len() > 1 && unit(&lower).is_some() => Token::Unit(lower),
        // `AB` and `ABCD` are names of points; a long run in lower case is a word.
        _ if run.len() >= 4 && lower[1..] == run[1..] => Token::Text(run.to_owned()),
        _ => return Word::Letters,
    };
    Word::Token(token)
}

/// One letter of a formula.
pub(super) fn letter(letter: char) -> Token {
    match letter {
        'e' => Token::E,
        'i' => Token::I,
        letter => Token::Symbol(letter.to_string()),
    }
}

/// A function by its name.
fn function(name: &str) -> Option<Token> {
    use Function::*;
    Some(Token::Function(match name {
        "sin" => Sin,
        "cos" => Cos,
        "tan" | "tg" => Tan,
        "cot" | "ctg" | "cotan" => Cot,
        "sec" => Sec,
        "csc" | "cosec" => Csc,
        "arcsin" | "asin" => Arcsin,
        "arccos" | "acos" => Arccos,
        "arctan" | "arctg" | "atan" => Arctan,
        "arccot" => Arccot,
        "sinh" => Sinh,
        "cosh" => Cosh,
        "tanh" => Tanh,
        "exp" => Exp,
        "ln" => Ln,
        "max" => Max,
        "min" => Min,
        "gcd" => Gcd,
        "lcm" => Lcm,
        "abs" => Abs,
        "log" | "lg" => return Some(Token::Command(if name == "log" { "log" } else { "lg" })),
        _ => return None,
    }))
}

/// The tokens of a command that is no text.
pub(super) fn command(name: &str) -> Vec<Token> {
    use Relation::*;
    if let Some(function) = function(name) {
        return vec![function];
    }
    let token = match name {
        // Size, place and typeface.
        "left" | "right" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "biggl" | "biggr"
        | "mleft" | "mright" | "middle" | "displaystyle" | "textstyle" | "scriptstyle" | "limits" | "nolimits"
        | "rm" | "bf" | "it" | "phantom" | "hline" | "boxed" | "fbox" | "mathop" | "mathstrut" | "strut"
        | "nonumber" | "large" | "Large" | "textdollar" | "dollar" | "pounds" | "euro" => return Vec::new(),
        "quad" | "qquad" | "thinspace" | "enspace" | "space" | "hspace" => Token::Space,
        "frac" | "dfrac" | "tfrac" | "cfrac" => Token::Command("frac"),
        "binom" | "dbinom" | "tbinom" => Token::Command("binom"),
        "choose" => Token::Command("choose"),
        "sqrt" => Token::Command("sqrt"),
        "overline" | "bar" => Token::Command("overline"),
        "underline" => Token::Command("underline"),
        "vec" | "overrightarrow" => Token::Command("vec"),
        "hat" | "widehat" => Token::Command("hat"),
        "tilde" | "widetilde" => Token::Command("tilde"),
        "dot" => Token::Command("dot"),
        "ddot" => Token::Command("ddot"),
        "pi" => Token::Pi,
        "infty" => Token::Infinity,
        "imath" => Token::I,
        "cdot" | "times" | "ast" | "bullet" => Token::Times,
        "div" => Token::Divide,
        "pm" => Token::PlusMinus,
        "mp" => Token::MinusPlus,
        "circ" | "degree" | "textdegree" => Token::Degree,
        "prime" => Token::Prime,
        "percent" => Token::Percent,
        "cup" | "bigcup" => Token::Union,
        "cap" | "bigcap" => Token::Intersection,
        "setminus" | "backslash" => Token::Without,
        "emptyset" | "varnothing" => return vec![Token::Open('{'), Token::Close('}')],
        "in" => Token::Relation(In),
        "le" | "leq" | "leqslant" | "leqq" => Token::Relation(LessOrEqual),
        "ge" | "geq" | "geqslant" | "geqq" => Token::Relation(GreaterOrEqual),
        "lt" => Token::Relation(Less),
        "gt" => Token::Relation(Greater),
        "ne" | "neq" => Token::Relation(NotEqual),
        "approx" | "simeq" | "thickapprox" | "doteq" => Token::Relation(Approximately),
        "equiv" | "sim" | "cong" | "subset" | "subseteq" | "supset" | "supseteq" | "notin" | "to" | "rightarrow"
        | "Rightarrow" | "leftrightarrow" | "Leftrightarrow" | "implies" | "iff" | "perp" | "parallel" | "propto"
        | "mapsto" | "ll" | "gg" | "longrightarrow" => Token::Relation(Other(key_of(name))),
        "colon" => Token::Colon,
        "mid" => Token::Mid,
        "vert" | "lvert" | "rvert" | "Vert" | "lVert" | "rVert" => Token::Bar,
        "lbrace" => Token::Open('{'),
        "rbrace" => Token::Close('}'),
        "lbrack" => Token::Open('['),
        "rbrack" => Token::Close(']'),
        "langle" => Token::Open('('),
        "rangle" => Token::Close(')'),
        "lfloor" => Token::Open('f'),
        "rfloor" => Token::Close('f'),
        "lceil" => Token::Open('c'),
        "rceil" => Token::Close('c'),
        "land" | "wedge" => Token::Text("and".to_owned()),
        "lor" | "vee" => Token::Text("or".to_owned()),
        "sum" | "prod" | "int" | "iint" | "oint" | "lim" | "limsup" | "liminf" | "partial" | "nabla" | "pmod"
        | "bmod" | "mod" | "underbrace" | "overbrace" | "stackrel" | "substack" | "det" | "color" | "href" => {
            Token::Unknown(name.to_owned())
        }
        "varepsilon" => Token::Symbol("epsilon".to_owned()),
        "varphi" => Token::Symbol("phi".to_owned()),
        name => Token::Symbol(name.to_owned()),
    };
    vec![token]
}

/// What stands in a text command.
pub(super) enum Text {
    Tokens(Vec<Token>),
    /// A formula, still to be read.
    Formula(String),
}

/// What stands in a text command; a unit only behind a value.
pub(super) fn text(command: &str, argument: &str, follows_value: bool) -> Text {
    match formula(command, argument, follows_value) {
        Some(formula) => Text::Formula(formula),
        None => Text::Tokens(text_tokens(command, argument, follows_value)),
    }
}

/// The tokens of a text that is no formula.
fn text_tokens(command: &str, argument: &str, follows_value: bool) -> Vec<Token> {
    let content = argument.replace(['~', '\\'], " ");
    let content = content.trim();
    let lower = content.to_lowercase();
    let joined = lower.trim_matches(|c: char| c == ',' || c.is_whitespace());
    let bare: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    match joined {
        "" => return vec![if lower.contains(',') { Token::Comma } else { Token::Space }],
        "and" | "or" => return vec![Token::Text(joined.to_owned())],
        "percent" | "percentage" | "pct" => return vec![Token::Percent],
        "degree" | "degrees" => return vec![Token::Degree],
        _ => {}
    }
    if has_formula_typeface(command) {
        if let Some(function) = function(&bare) {
            return vec![function];
        }
        if command == "mathbb" {
            return vec![Token::Symbol(format!("mathbb {content}"))];
        }
    }
    if matches!(content, "i" | "e") {
        return vec![letter(if content == "i" { 'i' } else { 'e' })];
    }
    if follows_value {
        return vec![Token::Unit(lower)];
    }
    vec![Token::Text(content.to_owned())]
}

/// The formula that stands in a text command, if one does.
fn formula(command: &str, argument: &str, follows_value: bool) -> Option<String> {
    let content = argument.replace(['~', '\\'], " ");
    let content = content.trim();
    let bare: String = content.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    if content.trim_matches(',').trim().is_empty() || matches!(content, "i" | "e") || command == "mathbb" {
        return None;
    }
    // `\text{C, F, H}`: several choices.
    let choices: Vec<&str> = content.split([',', ' ', '(', ')']).filter(|choice| !choice.is_empty()).collect();
    if choices.len() > 1
        && content.contains(',')
        && choices.iter().all(|choice| choice.len() == 1)
        && letters(content) > 0
    {
        return Some(choices.join(","));
    }
    // A formula in upright letters: `\text{13}`, `\mathrm{e}`, `\mathbf{v}`, `\text{(2, 3)}`.
    let is_formula = letters(content) == 0
        || has_formula_typeface(command) && letters(content) == 1 && !(follows_value && unit(&bare).is_some());
    (is_formula && argument.len() < 200 && !argument.contains("\\text")).then(|| argument.to_owned())
}

/// Whether a command changes the typeface of a formula, and does not begin text.
fn has_formula_typeface(command: &str) -> bool {
    !command.starts_with("text") && !matches!(command, "mbox" | "hbox" | "emph")
}

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphabetic()).count()
}

/// Units of measurement: names of one unit, the first of them its canonical name.
const UNITS: [&[&str]; 44] = [
    &["cm", "centimeter", "centimeters", "centimetre", "centimetres"],
    &["mm", "millimeter", "millimeters", "millimetre", "millimetres"],
    &["km", "kilometer", "kilometers", "kilometre", "kilometres"],
    &["m", "meter", "meters", "metre", "metres"],
    &["dm", "decimeter", "decimeters"],
    &["nm", "nanometer", "nanometers"],
    &["in", "inch", "inches"],
    &["ft", "foot", "feet"],
    &["yd", "yard", "yards"],
    &["mi", "mile", "miles"],
    &["kg", "kilogram", "kilograms"],
    &["g", "gram", "grams"],
    &["mg", "milligram", "milligrams"],
    &["lb", "lbs", "pound", "pounds"],
    &["oz", "ounce", "ounces"],
    &["s", "sec", "secs", "second", "seconds"],
    &["min", "mins", "minute", "minutes"],
    &["h", "hr", "hrs", "hour", "hours"],
    &["day", "days"],
    &["week", "weeks"],
    &["month", "months"],
    &["year", "years", "yr", "yrs"],
    &["l", "liter", "liters", "litre", "litres"],
    &["ml", "milliliter", "milliliters"],
    &["gal", "gallon", "gallons"],
    &["dollar", "dollars", "usd"],
    &["cent", "cents"],
    &["yuan", "rmb"],
    &["euro", "euros"],
    &["mph", "milesperhour"],
    &["kmh", "kmph", "kilometersperhour"],
    &["radian", "radians", "rad"],
    &["unit", "units"],
    &["hz", "hertz"],
    &["khz"],
    &["j", "joule", "joules"],
    &["n", "newton", "newtons"],
    &["w", "watt", "watts"],
    &["v", "volt", "volts"],
    &["ev"],
    &["sq", "square", "cubic", "cu"],
    &["acre", "acres"],
    &["am"],
    &["pm"],
];

/// The canonical name of a unit.
pub(super) fn unit(name: &str) -> Option<&'static str> {
    UNITS.iter().find(|names| names.contains(&name)).and_then(|names| names.first()).copied()
}
