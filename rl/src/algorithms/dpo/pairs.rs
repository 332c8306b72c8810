//! Pairs as training examples: tokens, and log-probabilities under the reference, which are computed once.

use crate::{
    sampling::pairs::Pair,
    training::batch::{Row, flat, pad},
};
use anyhow::{Result, bail, ensure};
use burn::tensor::Tensor;
use data::{Example, Prompting, Tokenizer, encode_written};
use eval::Policy;
use model::{Device, Transformer, parallel_map, score, to_host};
use std::slice::from_ref;

/// Two completions of a question as tokens, with the sums of their tokens' log-probabilities under the reference.
#[derive(Clone, Debug)]
pub(super) struct TokenPair {
    pub(super) chosen: Example,
    pub(super) rejected: Example,
    pub(super) ref_chosen: f32,
    pub(super) ref_rejected: f32,
}

/// The longer completion stands for both where pairs of similar length are put into a micro-batch. A pair is one term of the loss.
impl Row for TokenPair {
    fn tokens(&self) -> &[u32] {
        let both = [&self.chosen.tokens, &self.rejected.tokens];
        both[usize::from(both[1].len() > both[0].len())]
    }

    fn prompt_len(&self) -> usize {
        self.chosen.prompt_len
    }

    fn loss_terms(&self) -> usize {
        1
    }
}

/// Log-probabilities of both completions of pairs, `[P]` each.
#[derive(Clone, Debug)]
pub(super) struct PairLogProbs {
    pub(super) chosen: Tensor<1>,
    pub(super) rejected: Tensor<1>,
}

impl PairLogProbs {
    /// Under a model: sums over the tokens of a completion.
    pub(super) fn under(model: &Transformer, pairs: &[&TokenPair]) -> Self {
        let rows: Vec<&Example> =
            pairs.iter().map(|pair| &pair.chosen).chain(pairs.iter().map(|pair| &pair.rejected)).collect();
        let of_tokens = score(model, &pad(&rows, &model.device()), 1.0).log_probs;
        let lengths = rows.iter().map(|row| row.response_len()).collect();
        let mut of_rows: Vec<Tensor<1>> = of_tokens.split_with_sizes(lengths, 0).into_iter().map(Tensor::sum).collect();
        let rejected = of_rows.split_off(pairs.len());
        Self { chosen: Tensor::cat(of_rows, 0), rejected: Tensor::cat(rejected, 0) }
    }

    /// Under the reference.
    pub(super) fn under_reference(pairs: &[&TokenPair], device: &Device) -> Self {
        Self {
            chosen: flat(pairs.iter().map(|pair| from_ref(&pair.ref_chosen)), device),
            rejected: flat(pairs.iter().map(|pair| from_ref(&pair.ref_rejected)), device),
        }
    }

    /// Per token of each completion.
    pub(super) fn per_token(self, pairs: &[&TokenPair]) -> Self {
        let device = self.chosen.device();
        let divide = |sums: Tensor<1>, row: fn(&TokenPair) -> &Example| {
            let lengths: Vec<f32> = pairs.iter().map(|pair| row(pair).response_len() as f32).collect();
            sums / Tensor::from_floats(lengths.as_slice(), &device)
        };
        Self {
            chosen: divide(self.chosen, |pair| &pair.chosen),
            rejected: divide(self.rejected, |pair| &pair.rejected),
        }
    }
}

/// A completion as tokens, after the prompt of its question. What the calculator wrote is given: it belongs to no completion's
/// log-probability.
///
/// # Errors
/// A chat style without a template.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    prompting: &Prompting,
    question: &str,
    completion: &str,
    calculated: &[[usize; 2]],
) -> Result<Example> {
    // What a policy has written in the plain style begins with a space; the texts of others may not.
    let text = match completion.starts_with(char::is_whitespace) {
        true => completion.to_owned(),
        false => prompting.format.solution(question, completion)?,
    };
    Ok(encode_written(tokenizer, prompting, question, &text, true)?.with_calculated(tokenizer, calculated))
}

/// Leaves out, with a warning, those that are longer than the policy's context.
///
/// # Errors
/// If all are.
pub(super) fn fitting<T>(all: Vec<T>, what: &str, policy: &Policy, longest_of: impl Fn(&T) -> usize) -> Result<Vec<T>> {
    let (count, longest) = (all.len(), policy.model.config.max_position_embeddings);
    let fitting: Vec<T> = all.into_iter().filter(|one| longest_of(one) <= longest).collect();
    ensure!(!fitting.is_empty(), "all {count} {what} are longer than the context of {longest} tokens");
    if fitting.len() < count {
        tracing::warn!("{} of {count} {what} are longer than the context of {longest} tokens", count - fitting.len());
    }
    Ok(fitting)
}

/// Refuses pairs of which none fits the policy's context, before a run is made.
///
/// # Errors
/// If none does; a chat style without a template.
pub(super) fn check_lengths(pairs: &[Pair], policy: &Policy, prompting: &Prompting) -> Result<()> {
    let longest = policy.model.config.max_position_embeddings;
    for pair in pairs {
        if longest_of(&encode_both(pair, policy, prompting)?) <= longest {
            return Ok(());
        }
    }
    bail!("all {} pairs are longer than the context of {longest} tokens", pairs.len())
}

/// Both completions of a pair as tokens.
fn encode_both(pair: &Pair, policy: &Policy, prompting: &Prompting) -> Result<[Example; 2]> {
    let of = |completion: &str, calculated: &[[usize; 2]]| {
        encode(&policy.tokenizer, prompting, &pair.question, completion, calculated)
    };
    Ok([of(&pair.chosen, &pair.chosen_calculated)?, of(&pair.rejected, &pair.rejected_calculated)?])
}

fn longest_of(both: &[Example; 2]) -> usize {
    both[0].tokens.len().max(both[1].tokens.len())
}

/// Pairs as tokens, with their log-probabilities under the reference. A pair that is longer than the model's context is left out.
///
/// # Errors
/// A chat style without a template; if all pairs are left out.
pub(super) fn tokenise(
    pairs: &[Pair],
    reference: &Policy,
    prompting: &Prompting,
    threads: usize,
) -> Result<Vec<TokenPair>> {
    let encoded = pairs.iter().map(|pair| encode_both(pair, reference, prompting)).collect::<Result<Vec<_>>>()?;
    let encoded = fitting(encoded, "pairs", reference, longest_of)?;
    let pair = |[chosen, rejected]: [Example; 2]| TokenPair { chosen, rejected, ref_chosen: 0.0, ref_rejected: 0.0 };
    let mut pairs: Vec<TokenPair> = encoded.into_iter().map(pair).collect();
    let sums = log_probs(&reference.model, &pairs, threads);
    for (pair, [chosen, rejected]) in pairs.iter_mut().zip(sums) {
        (pair.ref_chosen, pair.ref_rejected) = (chosen, rejected);
    }
    Ok(pairs)
}

/// Log-probabilities of the chosen and the rejected completion of each pair under a model, without gradients.
pub(super) fn log_probs(model: &Transformer, pairs: &[TokenPair], threads: usize) -> Vec<[f32; 2]> {
    let of_pair = |model: &mut Transformer, _, pair: &TokenPair| {
        let PairLogProbs { chosen, rejected } = PairLogProbs::under(model, &[pair]);
        let values = to_host(Tensor::cat(vec![chosen, rejected], 0)).values;
        [values[0], values[1]]
    };
    parallel_map(pairs, threads, || model.clone(), of_pair)
}

/// log π - log π_ref of completions, without gradients.
pub(super) fn gains(policy: &Transformer, reference: &Transformer, rows: &[Example], threads: usize) -> Vec<f32> {
    let models = || (policy.clone(), reference.clone());
    let of_row = |models: &mut (Transformer, Transformer), _, row: &Example| {
        let batch = pad(&[row], &models.0.device());
        let [of_policy, of_reference] = [&models.0, &models.1].map(|model| score(model, &batch, 1.0).log_probs.sum());
        to_host(of_policy - of_reference).values[0]
    };
    parallel_map(rows, threads, models, of_row)
}

/// What pairs show of a policy, as means over them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PairReport {
    /// Share of pairs whose chosen completion has gained more on the reference than the rejected one.
    pub(super) accuracy: f64,
    /// By how much more, in nats of the whole completion.
    pub(super) margin: f64,
    /// log π of the chosen completion.
    pub(super) chosen: f64,
    /// log π of the rejected completion.
    pub(super) rejected: f64,
    /// log π - log π_ref of the chosen completion.
    pub(super) chosen_gain: f64,
}

impl PairReport {
    /// Of a policy's log-probabilities of these pairs; `None` of no pairs.
    pub(super) fn of(pairs: &[TokenPair], log_probs: &[[f32; 2]]) -> Option<Self> {
        let count = pairs.len() as f64;
        let mean = |value: &dyn Fn(&TokenPair, f64, f64) -> f64| {
            let values = pairs.iter().zip(log_probs).map(|(pair, [w, l])| value(pair, f64::from(*w), f64::from(*l)));
            values.sum::<f64>() / count
        };
        let gain = |log_prob: f64, reference: f32| log_prob - f64::from(reference);
        let margin = |pair: &TokenPair, w: f64, l: f64| gain(w, pair.ref_chosen) - gain(l, pair.ref_rejected);
        (!pairs.is_empty()).then(|| Self {
            accuracy: mean(&|pair, w, l| f64::from(u8::from(margin(pair, w, l) > 0.0))),
            margin: mean(&margin),
            chosen: mean(&|_, w, _| w),
            rejected: mean(&|_, _, l| l),
            chosen_gain: mean(&|pair, w, _| gain(w, pair.ref_chosen)),
        })
    }

    /// As metrics of an evaluation.
    pub(super) fn metrics(&self) -> [(&'static str, f64); 4] {
        [
            ("pairs/accuracy", self.accuracy),
            ("pairs/margin", self.margin),
            ("pairs/chosen_log_prob", self.chosen),
            ("pairs/rejected_log_prob", self.rejected),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_compares_what_both_completions_have_gained_on_the_reference() {
        let example = || Example::new(vec![1, 2], 1);
        let pair =
            |ref_chosen, ref_rejected| TokenPair { chosen: example(), rejected: example(), ref_chosen, ref_rejected };
        let pairs = [pair(-4.0, -2.0), pair(-4.0, -4.0)];
        let report = PairReport::of(&pairs, &[[-3.0, -4.0], [-6.0, -5.0]]).unwrap();
        let expected =
            PairReport { accuracy: 0.5, margin: (3.0 - 1.0) / 2.0, chosen: -4.5, rejected: -4.5, chosen_gain: -0.5 };
        assert_eq!(report, expected);
        assert_eq!(PairReport::of(&[], &[]), None);
    }
}
