//! Claims about texts that are no answers: none panics, none takes long.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

/// The longest that reading and comparing one answer may take, on a machine that is busy.
const LIMIT: Duration = Duration::from_millis(20);

/// Pieces of formulas, from which garbage is made.
const PIECES: [&str; 72] = [
    "1",
    "2",
    "7",
    "0",
    "10",
    "999999999999",
    "3.5",
    "1e9",
    "x",
    "y",
    "z",
    "e",
    "i",
    "f",
    "n",
    "\\pi",
    "\\infty",
    "+",
    "-",
    "*",
    "/",
    "=",
    "<",
    ">",
    "\\le",
    "\\ne",
    "\\in",
    "^",
    "_",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\\{",
    "\\}",
    "|",
    ",",
    ";",
    ":",
    "!",
    "%",
    "$",
    "\\frac",
    "\\sqrt",
    "\\sqrt[3]",
    "\\binom",
    "\\log",
    "\\sin",
    "\\ln",
    "\\max",
    "\\pm",
    "\\cup",
    "\\setminus",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "&",
    "\\\\",
    "\\text{and}",
    "\\text{ cm}",
    "\\text{",
    "\\boxed{",
    "\\overline{3}",
    "^\\circ",
    "or",
    "words",
    "√",
    "½",
    "é",
    "\\",
    " ",
];

fn time_of(run: impl Fn()) -> Duration {
    // The best of three: a machine may pause for others.
    let one = || {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..3).map(|_| one()).min().unwrap_or_default()
}

#[test]
fn garbage_neither_panics_nor_takes_long() {
    let mut numbers = ChaCha8Rng::seed_from_u64(7);
    let mut draw = |below: usize| numbers.next_u64() as usize % below;
    let mut previous = parsed("1");
    let (start, mut understood) = (Instant::now(), 0);
    for _ in 0..20_000 {
        let text: String = (0..1 + draw(40)).map(|_| PIECES[draw(PIECES.len())]).collect();
        extract(&text);
        if let Some(answer) = MathAnswer::parse(&text) {
            assert!(answer.equals(&answer), "{text}");
            assert_eq!(answer.equals(&previous), previous.equals(&answer), "{text} and {previous}");
            understood += usize::from(answer.is_understood());
            previous = answer;
        }
    }
    assert!(understood > 200, "{understood} of the texts are answers");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn deep_and_long_texts_are_bounded() {
    let repeated = |text: &str| text.repeat(100_000 / text.len());
    let nested = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    let mut texts = vec![
        "9^{9^{9^{9}}}".to_owned(),
        "9^9^9^9^9^9".to_owned(),
        "((9!)!)!".to_owned(),
        "999999999!".to_owned(),
        "\\binom{999999999}{5555}".to_owned(),
        "1e999".to_owned(),
        "0.\\overline{9}".to_owned(),
        "9".repeat(5000),
        "9".repeat(900),
        "1000!+".repeat(160),
        "\\binom{1000}{500}+".repeat(50) + "1",
        "1,".repeat(490),
        "1/".repeat(490),
        "x!".repeat(490),
        "\\pm 1".repeat(190),
        "\\pm 1,".repeat(160),
        "x^".repeat(490),
        "-".repeat(900),
        "\\sqrt".repeat(190),
        "[1,2]\\cup".repeat(100),
        "{x|".repeat(300),
    ];
    for piece in
        ["(", "{", "\\{", "[", "|", "\\frac{", "\\sqrt{", "\\boxed{", "-", "\\sin", "^", "$", "\\begin{pmatrix}"]
    {
        texts.push(repeated(piece));
        texts.push(piece.repeat(900 / piece.len()));
    }
    for (open, close) in
        [("(", ")"), ("{", "}"), ("\\{", "\\}"), ("(1,", ")"), ("\\sqrt{", "}"), ("|", "|"), ("2^{", "}")]
    {
        texts.extend([10, 60, 150, 20_000].map(|count| nested(open, close, count)));
    }
    for text in &texts {
        let shown: String = text.chars().take(30).collect();
        let took = time_of(|| {
            extract(text);
            if let Some(answer) = MathAnswer::parse(text) {
                answer.equals(&parsed(&format!("{text}+1")));
            }
        });
        // A long text is searched for claims once, in linear time.
        assert!(took < LIMIT, "{shown} ({} bytes): {took:?}", text.len());
    }
}

#[test]
fn comparisons_of_long_lists_are_bounded() {
    let list = |shift: usize| (0..200).map(|k| format!("{}", k * 7 + shift)).collect::<Vec<_>>().join(", ");
    let points = |shift: usize| (0..80).map(|k| format!("({k},{})", k + shift)).collect::<Vec<_>>().join(", ");
    let polynomial = |shift: usize| (0..90).map(|k| format!("{}x^{{{k}}}", k + shift)).collect::<Vec<_>>().join("+");
    for (one, other) in [(list(0), list(1)), (points(0), points(1)), (polynomial(1), polynomial(2))] {
        let (one, other) = (parsed(&one), parsed(&other));
        let took = time_of(|| assert!(!one.equals(&other)));
        assert!(took < LIMIT, "{took:?}");
    }
    let reversed = |text: &str| text.rsplit(", ").collect::<Vec<_>>().join(", ");
    let short = (0..40).map(|k| format!("{k}")).collect::<Vec<_>>().join(", ");
    assert!(parsed(&short).equals(&parsed(&reversed(&short))));
}
