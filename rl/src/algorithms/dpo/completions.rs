//! KTO (Ethayarajh et al. 2024, arXiv 2402.01306): single completions as training examples, and their loss.
//!
//! The reference point is estimated on the whole batch of a step, so that no split into micro-batches changes it: each prompt is followed by
//! the completion of the next row that answers another question. Policy and reference read these rows once more, without gradients.

use super::pairs::{encode, fitting, gains};
use crate::{
    objective::preference::{KtoWeights, PreferenceArgs, kto, reference_point},
    sampling::labelled::LabelledCompletion,
    training::batch::{Row, flat, pad},
};
use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use data::{Example, Prompting};
use eval::Policy;
use model::{Transformer, parallel_map, score, to_host};
use std::{collections::HashMap, ops::Range, slice::from_ref};

/// A completion as tokens, with all that its loss needs.
#[derive(Clone, Debug)]
pub(super) struct TokenCompletion {
    example: Example,
    /// Completions of one question have the same number.
    question: usize,
    /// 1 of a desirable completion, -1 of an undesirable one.
    sign: f32,
    /// λ of its kind.
    weight: f32,
    /// log π_ref, summed over the tokens.
    reference: f32,
    /// z₀ of the batch that it is in.
    reference_point: f32,
}

impl Row for TokenCompletion {
    fn tokens(&self) -> &[u32] {
        &self.example.tokens
    }

    fn prompt_len(&self) -> usize {
        self.example.prompt_len
    }

    fn given(&self) -> &[Range<usize>] {
        &self.example.given
    }

    fn loss_terms(&self) -> usize {
        1
    }
}

/// Completions as tokens, with their log-probabilities under the reference and the weight of their kind. One that is longer than the
/// model's context is left out.
///
/// # Errors
/// A chat style without a template; completions of one kind only; if all are left out.
pub(super) fn tokenise(
    completions: &[LabelledCompletion],
    args: &PreferenceArgs,
    reference: &Policy,
    prompting: &Prompting,
    threads: usize,
) -> Result<Vec<TokenCompletion>> {
    let mut questions = HashMap::new();
    let mut encoded = Vec::with_capacity(completions.len());
    for LabelledCompletion { question, completion, calculated, desirable } in completions {
        let next = questions.len();
        encoded.push(TokenCompletion {
            example: encode(&reference.tokenizer, prompting, question, completion, calculated)?,
            question: *questions.entry(question.as_str()).or_insert(next),
            sign: if *desirable { 1.0 } else { -1.0 },
            weight: 1.0,
            reference: 0.0,
            reference_point: 0.0,
        });
    }
    let mut rows = fitting(encoded, "completions", reference, |row| row.example.tokens.len())?;
    let desirable = rows.iter().filter(|row| row.sign > 0.0).count();
    ensure!(
        desirable > 0 && desirable < rows.len(),
        "{desirable} of {} completions to train on are desirable: --loss kto needs both kinds; sample from another policy or at another \
         --temperature",
        rows.len()
    );
    let weights = KtoWeights::of(args, desirable, rows.len() - desirable);
    tracing::info!(
        "{desirable} desirable completions of weight {:.3}, {} undesirable ones of weight {:.3}",
        weights.desirable,
        rows.len() - desirable,
        weights.undesirable
    );
    let sum = |model: &mut Transformer, _, row: &TokenCompletion| to_host(sums(model, &[row])).values[0];
    let references = parallel_map(&rows, threads, || reference.model.clone(), sum);
    for (row, of_reference) in rows.iter_mut().zip(references) {
        row.reference = of_reference;
        row.weight = if row.sign > 0.0 { weights.desirable } else { weights.undesirable } as f32;
    }
    Ok(rows)
}

/// Log-probabilities of completions, summed over their tokens; `[P]`.
fn sums(model: &Transformer, rows: &[&TokenCompletion]) -> Tensor<1> {
    let of_tokens = score(model, &pad(rows, &model.device()), 1.0).log_probs;
    let lengths = rows.iter().map(|row| row.response_len()).collect();
    Tensor::cat(of_tokens.split_with_sizes(lengths, 0).into_iter().map(Tensor::sum).collect(), 0)
}

/// The loss of some completions, in a batch of `total`; `[1]`.
pub(super) fn loss(model: &Transformer, rows: &[&TokenCompletion], args: &PreferenceArgs, total: usize) -> Tensor<1> {
    let device = model.device();
    let column = |value: fn(&TokenCompletion) -> &f32| flat(rows.iter().map(|row| from_ref(value(row))), &device);
    let gains = sums(model, rows) - column(|row| &row.reference);
    kto(gains, column(|row| &row.sign), column(|row| &row.weight), column(|row| &row.reference_point), args.beta, total)
}

/// Estimates the reference point of a batch, in nats, and puts it into its rows.
pub(super) fn set_reference_point(
    policy: &Transformer,
    reference: &Transformer,
    batch: &mut [TokenCompletion],
    threads: usize,
) -> f64 {
    let mismatched = mismatched(batch, policy.config.max_position_embeddings);
    let point = reference_point(&gains(policy, reference, &mismatched, threads));
    for row in batch {
        row.reference_point = point as f32;
    }
    point
}

/// The prompt of each row with the completion of the next row, in a circle, that answers another question. What has no such row, or would be
/// longer than the context, is left out.
fn mismatched(batch: &[TokenCompletion], longest: usize) -> Vec<Example> {
    let of_row = |at: usize| {
        let next = (1..batch.len()).map(|by| &batch[(at + by) % batch.len()]);
        let (prompt, other) =
            (&batch[at].example, &next.into_iter().find(|row| row.question != batch[at].question)?.example);
        let moved = |place: usize| place - other.prompt_len + prompt.prompt_len;
        let tokens = [&prompt.tokens[..prompt.prompt_len], &other.tokens[other.prompt_len..]].concat();
        let given = other.given.iter().map(|given| moved(given.start)..moved(given.end)).collect();
        (tokens.len() <= longest).then_some(Example { tokens, prompt_len: prompt.prompt_len, given })
    };
    (0..batch.len()).filter_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        objective::preference::PreferenceLoss,
        training::optim::{Adam, GradientOptions},
        training::supervised::update,
    };
    use model::{Device, ModelConfig, ModelSize};

    fn args() -> PreferenceArgs {
        PreferenceArgs {
            loss: PreferenceLoss::Kto,
            beta: 0.5,
            label_smoothing: 0.0,
            simpo_margin: 0.0,
            desirable_weight: None,
            undesirable_weight: None,
            nll_weight: 0.0,
        }
    }

    fn model(seed: u64) -> Transformer {
        let size = ModelConfig { hidden_size: 16, ..ModelConfig::of_size(ModelSize::Tiny, 12, 0) };
        Transformer::init(&size, seed, &Device::default())
    }

    fn row(question: usize, tokens: &[u32], prompt_len: usize, sign: f32) -> TokenCompletion {
        let example = Example::new(tokens.to_vec(), prompt_len);
        TokenCompletion { example, question, sign, weight: 1.0, reference: 0.0, reference_point: 0.0 }
    }

    fn rows(reference: &Transformer) -> Vec<TokenCompletion> {
        let mut rows = vec![
            row(0, &[3, 1, 4, 1], 2, 1.0),
            row(0, &[3, 1, 5, 9, 2], 2, -1.0),
            row(1, &[7, 6, 6], 1, 1.0),
            row(1, &[7, 2], 1, -1.0),
        ];
        for row in &mut rows {
            row.reference = to_host(sums(reference, &[row])).values[0];
        }
        rows
    }

    #[test]
    fn a_prompt_is_followed_by_the_next_completion_of_another_question() {
        let mut batch = rows(&model(1));
        batch[2].example.given.push(1..2);
        let found = mismatched(&batch, 100);
        let tokens: Vec<&[u32]> = found.iter().map(|example| example.tokens.as_slice()).collect();
        assert_eq!(tokens, [&[3, 1, 6, 6][..], &[3, 1, 6, 6], &[7, 4, 1], &[7, 4, 1]]);
        assert_eq!((found[0].prompt_len, found[2].prompt_len), (2, 1));
        assert_eq!((found[0].given.first(), found[2].given.len()), (Some(&(2..3)), 0));
        assert_eq!(mismatched(&batch, 3).len(), 2, "two are longer than the context");
        assert!(mismatched(&batch[..2], 100).is_empty(), "there is no other question");
    }

    #[test]
    fn the_reference_point_is_the_clamped_mean_gain_of_the_mismatched_completions() {
        let (policy, reference) = (model(2), model(1));
        let mut batch = rows(&reference);
        let rows = mismatched(&batch, 100);
        let sum = |model: &Transformer, row: &Example| {
            f64::from(to_host(score(model, &pad(&[row], &model.device()), 1.0).log_probs.sum()).values[0])
        };
        let expected = rows.iter().map(|row| sum(&policy, row) - sum(&reference, row)).sum::<f64>() / 4.0;
        for (of, other, expected) in
            [(&policy, &reference, expected.max(0.0)), (&reference, &policy, (-expected).max(0.0))]
        {
            let point = set_reference_point(of, other, &mut batch, 2);
            assert!((point - expected).abs() < 1e-5, "{point} against {expected}");
            assert!(batch.iter().all(|row| row.reference_point == point as f32));
        }
        assert!(expected.abs() > 1e-3, "the test needs models that differ");
        assert_eq!(set_reference_point(&policy, &policy, &mut batch, 1), 0.0);
    }

    #[test]
    fn training_raises_desirable_completions_and_lowers_undesirable_ones_whatever_the_split() {
        let reference = model(1);
        let trained = |micro_batch: usize| {
            let (mut model, mut optimizer) = (reference.clone(), Adam::new(0.9, 0.98, 1e-8, 0.0, 1.0));
            let mut losses = Vec::new();
            for _ in 0..30 {
                let mut batch = rows(&reference);
                set_reference_point(&model, &reference, &mut batch, 1);
                let loss = |model: &Transformer, rows: &[&TokenCompletion], total| loss(model, rows, &args(), total);
                let step = update(model, &batch, &loss, &mut optimizer, 3e-3, micro_batch, GradientOptions::on(2));
                (model, losses) = (step.model, [losses, vec![step.loss]].concat());
            }
            (model, losses)
        };
        let (model, losses) = trained(4);
        assert!((losses[0] - 0.5).abs() < 1e-6, "before training every gain is 0: {losses:?}");
        assert!(losses[29] < 0.7 * losses[0], "{losses:?}");
        for row in rows(&reference) {
            let gain = to_host(sums(&model, &[&row])).values[0] - row.reference;
            assert!(gain * row.sign > 0.1, "{gain} of {row:?}");
        }
        let difference = trained(1).1.iter().zip(&losses).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(difference < 1e-4, "{difference:e}");
    }
}
