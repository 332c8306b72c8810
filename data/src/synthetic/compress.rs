//! The terse style of a solution: two calculations in one line, as GSM8K's references have it now and then.
//!
//! Every line of a draft has one calculation. The terse style takes pairs together: `3+4 = <<3+4=7>>7` and
//! `7*2 = <<7*2=14>>14` become `(3+4)*2 = <<(3+4)*2=14>>14`. It is shorter, and harder for a model that has to compute it
//! without writing down what lies between. Which style serves better is for a policy to find out.

use super::draft::Draft;
use super::template::Calculation;

/// The lines of a draft without a mistake, pairs of calculations taken together where the first result serves the next
/// line alone.
pub(super) fn compressed(draft: &Draft) -> Vec<String> {
    let mut lines = Vec::new();
    let mut index = 0;
    while index < draft.right.len() {
        let serves_next = index + 1 < draft.right.len() && serves_only_next(&draft.right, index);
        if serves_next {
            lines.push(joined(&draft.right[index], &draft.right[index + 1], &draft.lines[index + 1]));
            index += 2;
        } else {
            lines.push(draft.lines[index].clone());
            index += 1;
        }
    }
    lines
}

fn serves_only_next(calculations: &[Calculation], index: usize) -> bool {
    let uses = |later: &Calculation| [later.left, later.right].contains(&calculations[index].result);
    uses(&calculations[index + 1]) && !calculations[index + 2..].iter().any(uses)
}

/// The line of `second` with the result of `first` replaced by its calculation.
fn joined(first: &Calculation, second: &Calculation, line: &str) -> String {
    let is_sum = matches!(first.operator, '+' | '-');
    let expression = if second.left == first.result {
        let brackets = is_sum && matches!(second.operator, '*' | '/');
        format!("{}{}{}", bracketed(first, brackets), second.operator, second.right)
    } else {
        let brackets = match second.operator {
            '+' => false,
            '-' | '*' => is_sum,
            _ => true,
        };
        format!("{}{}{}", second.left, second.operator, bracketed(first, brackets))
    };
    line.replace(&second.annotated(), &format!("{expression} = <<{expression}={0}>>{0}", second.result))
}

fn bracketed(calculation: &Calculation, brackets: bool) -> String {
    if brackets { format!("({})", calculation.expression()) } else { calculation.expression() }
}
