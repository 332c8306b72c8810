//! A text without what does not belong to a formula: signs of Unicode become commands of LaTeX, marks of formulas and currency go.
//! Independent of grammar.

/// A text in the characters that the tokeniser knows.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    // The code of a full-width character is that of its ASCII twin and this.
    const FULL_WIDTH: u32 = 0xFEE0;
    // `\\frac` where a text was escaped twice; in a matrix two backslashes end a row.
    let unescaped =
        if text.contains("\\\\") && !text.contains("begin") { text.replace("\\\\", "\\") } else { text.to_owned() };
    let mut chars = unescaped.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'$') => {
                chars.next();
            }
            '$' => cleaned.push(' '),
            '€' | '£' | '¥' | '₹' | '₽' | '₩' => {}
            '\u{FF01}'..='\u{FF5E}' => cleaned.extend(char::from_u32(u32::from(c) - FULL_WIDTH)),
            '√' => {
                let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)).collect();
                let radicand = if digits.is_empty() { digits } else { format!("{{{digits}}}") };
                cleaned.push_str(&format!("\\sqrt{radicand} "));
            }
            c => match replacement(c) {
                Some(text) => cleaned.push_str(text),
                None => cleaned.push(c),
            },
        }
    }
    let trimmed = cleaned.trim().trim_end_matches(['.', ',', ';', ':']).trim_end();
    // An escaped space lost its space.
    let trimmed =
        if trimmed.ends_with('\\') && !trimmed.ends_with("\\\\") { &trimmed[..trimmed.len() - 1] } else { trimmed };
    trimmed.trim_matches('*').trim().to_owned()
}

/// A sign as LaTeX writes it.
fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        '−' | '–' | '—' | '‐' | '‑' | '﹣' => "-",
        '×' | '·' | '⋅' | '∙' | '∗' | '✕' => "\\times ",
        '÷' => "\\div ",
        '⁄' | '∕' => "/",
        '≤' | '⩽' => "\\le ",
        '≥' | '⩾' => "\\ge ",
        '≠' => "\\ne ",
        '≈' => "\\approx ",
        '±' => "\\pm ",
        '∓' => "\\mp ",
        '∞' => "\\infty ",
        '∪' => "\\cup ",
        '∩' => "\\cap ",
        '∈' => "\\in ",
        '∅' => "\\emptyset ",
        '°' => "^{\\circ}",
        '′' | '’' => "'",
        '∣' => "|",
        'π' => "\\pi ",
        'θ' => "\\theta ",
        'α' => "\\alpha ",
        'β' => "\\beta ",
        'γ' => "\\gamma ",
        'λ' => "\\lambda ",
        'μ' => "\\mu ",
        'ω' => "\\omega ",
        'φ' => "\\phi ",
        'ℝ' => "\\mathbb{R}",
        '⟨' => "\\langle ",
        '⟩' => "\\rangle ",
        '⌊' => "\\lfloor ",
        '⌋' => "\\rfloor ",
        '⌈' => "\\lceil ",
        '⌉' => "\\rceil ",
        '½' => "\\frac{1}{2}",
        '⅓' => "\\frac{1}{3}",
        '⅔' => "\\frac{2}{3}",
        '¼' => "\\frac{1}{4}",
        '¾' => "\\frac{3}{4}",
        '²' => "^{2}",
        '³' => "^{3}",
        '“' | '”' => "\"",
        '，' | '、' => ",",
        '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}' | '\u{AD}' => "",
        c if c.is_whitespace() => " ",
        _ => return None,
    })
}
