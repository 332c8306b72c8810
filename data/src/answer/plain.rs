//! LaTeX and Unicode spellings as plain text, so that one reader of numbers serves all of them. Independent of numbers.

use std::iter::Peekable;
use std::str::Chars;

/// Stands for what is not understood: a number beside it is not read.
pub(super) const OPAQUE: char = '\u{FFFC}';
/// A space that belongs to a number or joins it with its unit, as in `1 000` of typographers and `1\,000` of LaTeX.
pub(super) const THIN_SPACE: char = '\u{A0}';
/// How deep braces may nest.
const MAX_DEPTH: usize = 16;

/// Commands of LaTeX whose argument is text like any other.
const TEXT_COMMANDS: [&str; 20] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "textnormal",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathnormal",
    "boldsymbol",
    "bm",
    "mbox",
    "hbox",
    "emph",
    "underline",
    "operatorname",
];

/// Commands of LaTeX that do not concern the number: sizes, fonts, brackets that grow.
const SILENT_COMMANDS: [&str; 22] = [
    "left",
    "right",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "bigg",
    "Bigg",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "limits",
    "bf",
    "rm",
    "it",
    "bfseries",
    "large",
    "Large",
    "normalsize",
    "huge",
];

/// The text with one spelling for each thing: ASCII digits, `-` for every minus sign, `×` for every sign of multiplication
/// but `*` and `x`, fractions as `a/b`, exponents as `^n`, no commands of LaTeX and no characters without width. What is not
/// understood becomes [`OPAQUE`].
pub(super) fn plain(text: &str) -> String {
    let mut writer = Writer::default();
    writer.write(text, 0);
    writer.plain
}

#[derive(Default)]
struct Writer {
    plain: String,
    /// The last character was a digit of an exponent.
    raised: bool,
}

impl Writer {
    fn write(&mut self, text: &str, depth: usize) {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let was_raised = std::mem::take(&mut self.raised);
            match c {
                '\\' => self.command(&mut chars, depth),
                // `1{,}234`, and groups that only hold together.
                '{' | '}' => {}
                '^' => self.exponent(&mut chars),
                '~' if self.plain.ends_with(|c: char| c.is_ascii_alphanumeric())
                    && chars.peek().is_some_and(char::is_ascii_alphanumeric) =>
                {
                    self.plain.push(THIN_SPACE);
                }
                _ => self.character(c, was_raised),
            }
        }
    }

    fn character(&mut self, c: char, was_raised: bool) {
        if let Some(digit) = decimal_digit(c) {
            self.plain.push(digit);
        } else if let Some(digit) = superscript(c) {
            if !was_raised {
                self.plain.push('^');
            }
            self.plain.push(digit);
            self.raised = true;
        } else if let Some(fraction) = vulgar_fraction(c) {
            self.fraction(fraction);
        } else if !has_no_width(c) {
            self.plain.push(match c {
                '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(OPAQUE),
                '−' | '﹣' | '‐' | '‑' => '-',
                '⁄' | '∕' => '/',
                '·' | '⋅' | '∙' | '∗' | '✕' | '✖' => '×',
                '٫' => '.',
                '٬' | '،' => ',',
                '’' | '‘' => '\'',
                '\u{A0}' | '\u{202F}' | '\u{2007}' | '\u{2008}' | '\u{2009}' | '\u{200A}' => THIN_SPACE,
                '\n' => '\n',
                c if c.is_whitespace() => ' ',
                c => c,
            });
        }
    }

    /// A fraction stands apart from a whole number before it.
    fn fraction(&mut self, fraction: &str) {
        if self.plain.ends_with(|c: char| c.is_ascii_digit()) {
            self.plain.push(' ');
        }
        self.plain.push_str(fraction);
    }

    /// `^{10}` as `^10`, `^\circ` as a sign of degrees.
    fn exponent(&mut self, chars: &mut Peekable<Chars<'_>>) {
        let mut inside = Writer::default();
        match argument(chars) {
            Some(text) => inside.write(&text, 1),
            None => inside.plain.push('^'),
        }
        match inside.plain.as_str() {
            "°" => self.plain.push('°'),
            other => {
                self.plain.push('^');
                self.plain.push_str(other);
            }
        }
    }

    /// What a backslash begins.
    fn command(&mut self, chars: &mut Peekable<Chars<'_>>, depth: usize) {
        let Some(&first) = chars.peek() else { return };
        if !first.is_ascii_alphabetic() {
            chars.next();
            match first {
                '!' | '(' | ')' | '[' | ']' | '{' | '}' | '/' => {}
                ',' | ';' | ':' | ' ' | '>' => self.plain.push(THIN_SPACE),
                '\\' => self.plain.push(' '),
                other => self.character(other, false),
            }
            return;
        }
        let mut name = String::new();
        while let Some(letter) = chars.next_if(char::is_ascii_alphabetic) {
            name.push(letter);
        }
        match name.as_str() {
            name if SILENT_COMMANDS.contains(&name) => {}
            name if TEXT_COMMANDS.contains(&name) && depth < MAX_DEPTH => {
                chars.next_if_eq(&'*');
                if let Some(text) = argument(chars) {
                    self.write(&text, depth + 1);
                }
            }
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let (above, below) = (argument(chars), argument(chars));
                match (above.as_deref().map(plain_number), below.as_deref().map(plain_number)) {
                    (Some(Some(above)), Some(Some(below))) => self.fraction(&format!("{above}/{below}")),
                    _ => self.plain.push(OPAQUE),
                }
            }
            "times" | "cdot" | "bullet" => self.plain.push('×'),
            "ast" => self.plain.push('*'),
            "div" => self.plain.push('÷'),
            "pm" => self.plain.push('±'),
            "sqrt" => self.plain.push('√'),
            "circ" | "degree" | "textdegree" => self.plain.push('°'),
            "quad" | "qquad" | "space" | "thinspace" | "enspace" => self.plain.push(THIN_SPACE),
            "ldots" | "dots" | "cdots" => self.plain.push('…'),
            "textdollar" | "dollar" => self.plain.push('$'),
            "pounds" | "textsterling" => self.plain.push('£'),
            "euro" | "texteuro" => self.plain.push('€'),
            "percent" => self.plain.push('%'),
            "approx" | "sim" | "simeq" => self.plain.push('≈'),
            _ => self.plain.push(OPAQUE),
        }
    }
}

/// The next argument of a command of LaTeX: what stands in braces, or one character or command.
fn argument(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    while chars.next_if_eq(&' ').is_some() {}
    let mut argument = String::new();
    match chars.next()? {
        '{' => {
            let mut depth = 1_usize;
            for c in chars.by_ref() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return Some(argument);
                }
                argument.push(c);
            }
            None
        }
        '\\' => {
            argument.push('\\');
            while let Some(letter) = chars.next_if(char::is_ascii_alphabetic) {
                argument.push(letter);
            }
            Some(argument)
        }
        c => {
            argument.push(c);
            Some(argument)
        }
    }
}

/// A numerator or denominator, where it is a number: digits, with a sign, commas and a point at most.
fn plain_number(text: &str) -> Option<String> {
    let plain = plain(text.trim());
    let is_number = plain.chars().any(|c| c.is_ascii_digit()) && plain.chars().all(|c| "-,.0123456789".contains(c));
    is_number.then_some(plain)
}

/// The decimal digits of the world's scripts, by their zeros.
fn decimal_digit(c: char) -> Option<char> {
    const ZEROS: [u32; 22] = [
        0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20,
        0x1040, 0x17E0, 0x1810, 0xFF10, 0x1D7CE, 0x1D7EC,
    ];
    let code = u32::from(c);
    let zero = ZEROS.into_iter().find(|zero| (*zero..zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

fn superscript(c: char) -> Option<char> {
    const SUPERSCRIPTS: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let value = SUPERSCRIPTS.chars().position(|superscript| superscript == c)?;
    char::from_digit(value as u32, 10)
}

fn vulgar_fraction(c: char) -> Option<&'static str> {
    Some(match c {
        '½' => "1/2",
        '⅓' => "1/3",
        '⅔' => "2/3",
        '¼' => "1/4",
        '¾' => "3/4",
        '⅕' => "1/5",
        '⅖' => "2/5",
        '⅗' => "3/5",
        '⅘' => "4/5",
        '⅙' => "1/6",
        '⅚' => "5/6",
        '⅐' => "1/7",
        '⅛' => "1/8",
        '⅜' => "3/8",
        '⅝' => "5/8",
        '⅞' => "7/8",
        '⅑' => "1/9",
        '⅒' => "1/10",
        _ => return None,
    })
}

fn has_no_width(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{AD}' | '\u{FE0F}')
}
