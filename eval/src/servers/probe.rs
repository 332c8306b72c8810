//! Whether a server writes with the weights of a policy: its log-probabilities of what it wrote beside those of the policy.

use model::{Padded, Transformer, score, to_host};

/// The temperature of a probe, at which log-probabilities differ from those at temperature 1.
pub(super) const PROBE_TEMPERATURE: f64 = 0.7;

/// Rows of a pass.
const ROWS: usize = 8;

/// A text that a server wrote, or a part of it.
pub(super) struct Reading {
    /// Prompt and completion, as the model reads them.
    pub(super) tokens: Vec<u32>,
    /// Places of the tokens that the server chose.
    pub(super) chosen: Vec<usize>,
    /// The server's log-probability of each of those, in nats.
    pub(super) log_probs: Vec<f32>,
}

/// How far log-probabilities are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gap {
    /// Sum of the absolute differences, in nats.
    sum: f64,
    tokens: usize,
}

impl Gap {
    /// Between the server's log-probabilities and those of a model at a temperature.
    pub(super) fn of(model: &Transformer, readings: &[Reading], temperature: f64) -> Self {
        let tokens: Vec<(&[u32], &[usize])> =
            readings.iter().map(|reading| (&*reading.tokens, &*reading.chosen)).collect();
        let theirs = readings.iter().flat_map(|reading| &reading.log_probs);
        log_probs(model, &tokens, temperature).iter().zip(theirs).fold(Self::default(), |gap, (ours, theirs)| Self {
            sum: gap.sum + f64::from((ours - theirs).abs()),
            tokens: gap.tokens + 1,
        })
    }

    /// Between two models, of the tokens of prompts at temperature 1.
    pub(super) fn between(one: &Transformer, other: &Transformer, prompts: &[&[u32]]) -> Self {
        let places: Vec<Vec<usize>> = prompts.iter().map(|prompt| (1..prompt.len()).collect()).collect();
        let rows: Vec<(&[u32], &[usize])> =
            prompts.iter().zip(&places).map(|(prompt, places)| (*prompt, &**places)).collect();
        let [one, other] = [one, other].map(|model| log_probs(model, &rows, 1.0));
        let sum = one.iter().zip(&other).map(|(one, other)| f64::from((one - other).abs())).sum();
        Self { sum, tokens: one.len() }
    }

    /// The mean over tokens, in nats; 0 of none.
    pub(super) fn mean(self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }

    /// Of both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, tokens: self.tokens + other.tokens }
    }
}

/// How far the log-probabilities of a server are from those of a model, and whether they are at temperature 1 rather than at that of the
/// probe: whichever is closer.
pub(super) fn closer(model: &Transformer, written: &[Reading]) -> (Gap, bool) {
    let [at_its_own, at_one] = [PROBE_TEMPERATURE, 1.0].map(|at| Gap::of(model, written, at));
    if at_one.mean() < at_its_own.mean() { (at_one, true) } else { (at_its_own, false) }
}

/// Log-probabilities of some places of rows, rows end to end.
fn log_probs(model: &Transformer, rows: &[(&[u32], &[usize])], temperature: f64) -> Vec<f32> {
    let of_rows = |rows: &[(&[u32], &[usize])]| {
        let tokens: Vec<&[u32]> = rows.iter().map(|(tokens, _)| *tokens).collect();
        let places: Vec<Vec<usize>> = rows.iter().map(|(_, places)| places.to_vec()).collect();
        to_host(score(model, &Padded::of(&tokens, &places, &model.device()), temperature).log_probs).values
    };
    let has_places: Vec<(&[u32], &[usize])> = rows.iter().filter(|(_, places)| !places.is_empty()).copied().collect();
    has_places.chunks(ROWS).flat_map(of_rows).collect()
}
