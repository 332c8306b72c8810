//! An outcome reward model: the probability that a solution, finished or not, is correct, or a score that orders the solutions of a question.
//! Here its text and tensors meet.
//!
//! p(correct | Q, S_1..S_i) is the sigmoid of a scalar head on the last residual stream of a language model, read at the token
//! that ends the prefix (Havrilla et al. 2024, section on reward models; Cobbe et al. 2021, arXiv 2110.14168). The head starts
//! at 0, which is p = 1/2 for everything.
//!
//! A head that was trained on comparisons gives a score without a zero ([`ScoreKind::Relative`]). Its zero is put at the mean feature v of the
//! solutions that it was fitted on ([`Coverage`]): r = θᵀ(φ - v). A pessimistic score is r - F ‖φ - v‖ (Zhu, Jiao and Jordan 2023, arXiv
//! 2301.11270).

use super::{
    coverage::Coverage,
    likelihood::{Likelihood, Signal, Weights, mean_log_probs},
    policy::{Policy, load_trunk},
    resolve::resolve_checkpoint,
};
use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use data::{Example, Tokenizer};
use model::{Device, REWARD_HEAD, RewardNetwork, ScoreKind, Transformer, parallel_map, read_score_kind, to_host};
use std::path::Path;

/// A language model with a scalar head, which gives a score of solutions.
#[derive(Clone)]
pub struct RewardModel {
    /// The language model, and a head on its last residual stream.
    pub model: RewardNetwork,
    /// A likelihood that is combined with the head, where there is one.
    pub likelihood: Option<Likelihood>,
    /// The features of the solutions that the head was fitted on, where they are known.
    pub coverage: Option<Coverage>,
    /// F: how much of the uncertainty is taken off the score; 0 takes off nothing.
    pub pessimism: f64,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// What is known of a reward model before its weights are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewardModelKind {
    /// What its score means.
    pub score: ScoreKind,
    /// Whether the features of the solutions that it was fitted on are known.
    pub has_coverage: bool,
}

/// A solution with its outcome.
pub struct Outcome<'a> {
    /// Prompt and solution.
    pub example: &'a Example,
    /// Positions in `example.tokens`, after the prompt, at which the reward model is read.
    pub places: &'a [usize],
    /// Whether it is right.
    pub right: bool,
}

impl RewardModelKind {
    /// Of a checkpoint of `rl orm`, or the best one of its run.
    ///
    /// # Errors
    /// If it is no reward model.
    pub fn of(path: &Path) -> Result<Self> {
        let folder = resolve_checkpoint(path)?;
        ensure!(
            folder.join(REWARD_HEAD).is_file(),
            "{} is not a reward model (no {REWARD_HEAD} in it): give a run of `rl orm`",
            folder.display()
        );
        Ok(Self { score: read_score_kind(&folder)?, has_coverage: Coverage::is_in(&folder) })
    }

    /// Refuses pessimism without a covariance.
    ///
    /// # Errors
    /// Naming the reward model at `path`.
    pub fn check_pessimism(self, flag: &str, path: &Path) -> Result<()> {
        ensure!(
            self.has_coverage,
            "--{flag}: {} has no covariance of features; a run of `rl orm --objective pairwise`, kwise or kwise-split has one when it has ended",
            path.display()
        );
        Ok(())
    }
}

impl RewardModel {
    /// A reward model of its head alone.
    pub fn new(model: RewardNetwork, tokenizer: Tokenizer) -> Self {
        Self { model, likelihood: None, coverage: None, pessimism: 0.0, tokenizer }
    }

    /// Loads a checkpoint of `rl orm`, or the best one of its run.
    ///
    /// # Errors
    /// As [`Policy::load`]; or if it is a policy and no reward model.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        RewardModelKind::of(path)?;
        let folder = resolve_checkpoint(path)?;
        let Policy { model, tokenizer, .. } = load_trunk(&folder, device)?;
        let model = RewardNetwork::with_reward_head(model, &folder, device)?;
        let coverage = Coverage::load(&folder, model.language_model.config.hidden_size)?;
        Ok(Self { likelihood: Likelihood::load(&folder, device)?, coverage, ..Self::new(model, tokenizer) })
    }

    /// What the score means.
    pub fn kind(&self) -> ScoreKind {
        self.model.kind
    }

    /// The score after each token of each completion, `at_once` rows per batch: the probability of being correct; of a head that was
    /// trained on comparisons, a number that is 0 for the mean feature of the solutions it was fitted on. With pessimism, its share of the
    /// uncertainty is taken off the head's number first.
    ///
    /// A row without a completion has no score.
    ///
    /// # Panics
    /// If a row is longer than the model's context; if there is pessimism and no covariance.
    pub fn scores(&self, rows: &[Example], at_once: usize, threads: usize) -> Vec<Vec<f32>> {
        let (writer, weights) = match &self.likelihood {
            None => (None, Weights::HEAD),
            Some(Likelihood { model, weights }) => (Some(model), *weights),
        };
        let zero = match (self.kind(), &self.coverage) {
            (ScoreKind::Relative, Some(coverage)) => self.head_at(coverage.mean()),
            _ => 0.0,
        };
        let score = |signal: Signal| match self.kind() {
            ScoreKind::Logit => (1.0 / (1.0 + (-weights.logit(signal)).exp())) as f32,
            ScoreKind::Relative => (weights.logit(signal) - zero) as f32,
        };
        let of_row = |signals: Vec<Signal>| signals.into_iter().map(score).collect();
        let has_completion = |row: &&Example| row.tokens.len() > row.prompt_len;
        let completed: Vec<Example> = rows.iter().filter(has_completion).cloned().collect();
        let mut scores = self.signals(writer, &completed, at_once, threads).into_iter().map(of_row);
        let scores_of =
            |row| if has_completion(&row) { scores.next().expect("every row was scored") } else { Vec::new() };
        rows.iter().map(scores_of).collect()
    }

    /// The head's number for a feature.
    fn head_at(&self, feature: &[f32]) -> f64 {
        let [head, bias] = [self.model.score.head.val().flatten(0, 1), self.model.score.head_bias.val()]
            .map(|values: Tensor<1>| to_host(values).values);
        let product = |(weight, x): (&f32, &f32)| f64::from(*weight) * f64::from(*x);
        head.iter().zip(feature).map(product).sum::<f64>() + f64::from(bias[0])
    }

    /// What the head reads at the end of each row, `at_once` rows per batch.
    pub fn features(&self, rows: &[Example], at_once: usize, threads: usize) -> Vec<Vec<f32>> {
        let batches: Vec<&[Example]> = rows.chunks(at_once.max(1)).collect();
        let of_batch = |model: &mut RewardNetwork, _: usize, batch: &&[Example]| {
            let solutions: Vec<(&[u32], usize)> =
                batch.iter().map(|row| (row.tokens.as_slice(), row.prompt_len)).collect();
            let ends: Vec<[usize; 1]> = batch.iter().map(|row| [row.tokens.len() - 1]).collect();
            let places: Vec<&[usize]> = ends.iter().map(|end| end.as_slice()).collect();
            let (_, features) = model.reward_logits_and_features(&solutions, &places);
            let width = features.dims()[1];
            to_host(features).values.chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        parallel_map(&batches, threads, || self.model.clone(), of_batch).into_iter().flatten().collect()
    }

    /// The likelihood under a language model, with weights fitted to the outcomes of some solutions. Head and language model should
    /// not have been trained on these.
    pub fn likelihood_to(
        &self,
        model: Transformer,
        outcomes: &[Outcome<'_>],
        at_once: usize,
        threads: usize,
    ) -> Likelihood {
        let rows: Vec<Example> = outcomes.iter().map(|outcome| outcome.example.clone()).collect();
        let signals = self.signals(Some(&model), &rows, at_once, threads);
        let at_places = outcomes.iter().zip(&signals).flat_map(|(outcome, signals)| {
            outcome.places.iter().map(|place| (signals[place - outcome.example.prompt_len], outcome.right))
        });
        let weights = Weights::fit(&at_places.collect::<Vec<_>>());
        Likelihood { model, weights }
    }

    /// The head's numbers at places, less the share of the uncertainty that pessimism takes off.
    fn heads(&self, model: &RewardNetwork, solutions: &[(&[u32], usize)], places: &[&[usize]]) -> Tensor<1> {
        if self.pessimism == 0.0 {
            return model.reward_logits(solutions, places);
        }
        let coverage = self.coverage.as_ref().expect("pessimism needs a covariance");
        let (logits, features) = model.reward_logits_and_features(solutions, places);
        logits - coverage.distances(features).mul_scalar(self.pessimism)
    }

    /// The signals after each token of each completion; a likelihood of 0 without a `writer`.
    fn signals(
        &self,
        writer: Option<&Transformer>,
        rows: &[Example],
        at_once: usize,
        threads: usize,
    ) -> Vec<Vec<Signal>> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| rows[row].tokens.len());
        let batches: Vec<&[usize]> = order.chunks(at_once.max(1)).collect();
        let scored = parallel_map(
            &batches,
            threads,
            || (self.model.clone(), writer.cloned()),
            |(model, writer), _, batch| {
                let solutions: Vec<(&[u32], usize)> =
                    batch.iter().map(|&row| (rows[row].tokens.as_slice(), rows[row].prompt_len)).collect();
                let places: Vec<Vec<usize>> =
                    solutions.iter().map(|(tokens, prompt_len)| (*prompt_len..tokens.len()).collect()).collect();
                assert!(places.iter().all(|places| !places.is_empty()), "there are rows without a completion");
                let places: Vec<&[usize]> = places.iter().map(Vec::as_slice).collect();
                let heads = to_host(self.heads(model, &solutions, &places)).values;
                let likelihoods = match writer {
                    Some(writer) => mean_log_probs(writer, &solutions),
                    None => vec![0.0; heads.len()],
                };
                let mut signals =
                    heads.into_iter().zip(likelihoods).map(|(head, likelihood)| Signal { head, likelihood });
                places.iter().map(|places| signals.by_ref().take(places.len()).collect()).collect::<Vec<_>>()
            },
        );
        let mut signals = vec![Vec::new(); rows.len()];
        for (&row, of_row) in order.iter().zip(scored.into_iter().flatten()) {
            signals[row] = of_row;
        }
        signals
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sampling::{completions::SampleConfig, sample::Sample, scores};
    use burn::tensor::activation::sigmoid;
    use data::Prompting;
    use model::{Finish, ModelConfig, ModelSize, save_model, score, solutions};

    pub fn policy() -> Policy {
        let tokenizer = Tokenizer::train_bpe(&["one and two is three".to_string()], 260).unwrap();
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            ..ModelConfig::of_size(ModelSize::Tiny, tokenizer.vocab_size(), 0)
        };
        Policy {
            model: Transformer::init(&config, 3, &Device::default()),
            tokenizer,
            conditioning: None,
            adapter: None,
        }
    }

    /// A head that is not 0.
    pub fn reward_model() -> RewardModel {
        let Policy { model: policy, tokenizer, .. } = policy();
        let mut model = RewardNetwork::new(&policy);
        model.score.head = model.score.head.map(|head| head.add_scalar(0.3));
        let weights = Weights { head: 0.5, likelihood: 0.7, constant: 3.0 };
        let likelihood = Some(Likelihood { model: policy, weights });
        RewardModel { likelihood, ..RewardModel::new(model, tokenizer) }
    }

    fn rows() -> Vec<Example> {
        let row = |length: u32| Example::new((0..length).map(|i| (7 * i + length) % 250).collect(), 3);
        [9, 4, 12, 5].map(row).to_vec()
    }

    #[test]
    fn equal_completions_get_one_probability_and_an_empty_one_gets_none() {
        let written = |id: &str, completion: &str| Sample {
            step: None,
            id: id.into(),
            question: format!("{id} and two?"),
            completion: completion.into(),
            answer: None,
            kind: data::AnswerKind::Number,
            expected: "3".into(),
            reward: None,
            correct: false,
            finish: if completion.is_empty() { Finish::Length } else { Finish::Stop },
            tokens: completion.len(),
            greedy: false,
            given: 0,
            calculated: Vec::new(),
            score: None,
        };
        let mut samples = [("one", "three"), ("two", "three"), ("one", "is"), ("one", "three"), ("one", "")]
            .map(|(id, completion)| written(id, completion));
        let config = SampleConfig {
            answer_format: data::AnswerFormat::Gsm8k,
            samples: 1,
            temperature: 1.0,
            max_new_tokens: 8,
            rows: 2,
            streams: None,
            threads: 1,
            prompting: Prompting::default(),
            calculator: false,
            checker: None,
            servers: None,
        };
        let scored = |some: &mut [Sample]| {
            scores::score(&reward_model(), &mut some.iter_mut().collect::<Vec<_>>(), &config).unwrap();
            some.iter().map(|sample| sample.score.unwrap()).collect::<Vec<_>>()
        };
        let together = scored(&mut samples);
        let alone: Vec<f64> = samples.iter_mut().flat_map(|sample| scored(std::slice::from_mut(sample))).collect();
        assert!(together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5), "{together:?}, {alone:?}");
        assert_eq!((together[0], together[4]), (together[3], 0.0));
        assert!((together[0] - together[1]).abs() > 1e-3 && (together[0] - together[2]).abs() > 1e-3);
    }

    #[test]
    fn a_probability_depends_neither_on_the_batch_nor_on_what_comes_after() {
        let (reward_model, rows) = (reward_model(), rows());
        let together = reward_model.scores(&rows, 4, 2);
        for (row, scored) in rows.iter().zip(&together) {
            let cut = Example::new(row.tokens[..4].to_vec(), 3);
            let alone = reward_model.scores(&[cut], 1, 1);
            assert!((alone[0][0] - scored[0]).abs() < 1e-5 && (scored[0] - 0.5).abs() > 1e-3, "{alone:?}, {scored:?}");
        }
    }

    #[test]
    fn a_new_head_predicts_one_half_after_every_token_of_the_completion() {
        let Policy { model, tokenizer, .. } = policy();
        let new = RewardModel::new(RewardNetwork::new(&model), tokenizer);
        assert_eq!(new.scores(&rows(), 2, 1), [6, 1, 9, 2].map(|length| vec![0.5; length]));
    }

    #[test]
    fn the_logits_in_training_are_those_of_the_probabilities() {
        let (reward_model, rows) = (RewardModel { likelihood: None, ..reward_model() }, rows());
        let solutions: Vec<(&[u32], usize)> = rows.iter().map(|row| (row.tokens.as_slice(), row.prompt_len)).collect();
        let ends: [&[usize]; 4] = [&[3, 8], &[3], &[5, 7, 11], &[4]];
        let predicted = to_host(sigmoid(reward_model.model.reward_logits(&solutions, &ends))).values;
        let scored = reward_model.scores(&rows, 4, 1);
        let expected = ends.iter().zip(&scored).flat_map(|(ends, scored)| ends.iter().map(|end| scored[end - 3]));
        assert_eq!(predicted.len(), 7);
        for (predicted, expected) in predicted.iter().zip(expected) {
            assert!((predicted - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn the_signal_of_the_likelihood_is_the_mean_log_probability_so_far() {
        let (counting, rows) = (reward_model(), rows());
        let alone = RewardModel { likelihood: None, ..counting.clone() };
        let Likelihood { model, weights } = counting.likelihood.as_ref().unwrap();
        let logit = |probability: f32| f64::from(probability / (1.0 - probability)).ln();
        let [counted, heads] = [&counting, &alone].map(|model| model.scores(&rows, 2, 1));
        for ((row, counted), heads) in rows.iter().zip(counted).zip(heads) {
            let solution = [(row.tokens.as_slice(), row.prompt_len)];
            let log_probs = to_host(score(model, &solutions(&solution, &model.device()), 1.0).log_probs).values;
            for (place, (counted, head)) in counted.into_iter().zip(heads).enumerate() {
                let mean = f64::from(log_probs[..=place].iter().sum::<f32>()) / (place + 1) as f64;
                let expected = weights.head * logit(head) + weights.likelihood * mean + weights.constant;
                assert!((logit(counted) - expected).abs() < 1e-3, "{} against {expected}", logit(counted));
            }
        }
    }

    #[test]
    fn a_relative_score_is_zero_at_the_mean_feature_and_pessimism_takes_the_distance_from_it_off() {
        let Policy { model, tokenizer, .. } = policy();
        let mut network = RewardNetwork { kind: ScoreKind::Relative, ..RewardNetwork::new(&model) };
        network.score.head = network.score.head.map(|head| head.add_scalar(0.3));
        network.score.head_bias = network.score.head_bias.map(|bias| bias.add_scalar(5.0));
        let plain = RewardModel::new(network, tokenizer);
        let rows = rows();
        let features = plain.features(&rows, 2, 1);
        let coverage = Coverage::fit(&features, &[(0, 1), (2, 3)], 0.5);
        let centred = RewardModel { coverage: Some(coverage.clone()), ..plain.clone() };
        let careful = RewardModel { pessimism: 0.25, ..centred.clone() };
        let ends = |model: &RewardModel| -> Vec<f32> {
            model.scores(&rows, 4, 1).iter().map(|scores| *scores.last().unwrap()).collect()
        };
        let (raw, centred, careful) = (ends(&plain), ends(&centred), ends(&careful));
        let mean = raw.iter().sum::<f32>() / 4.0;
        let width = features[0].len();
        let flat = burn::tensor::TensorData::new(features.concat(), [4, width]);
        let distances = to_host(coverage.distances(Tensor::from_data(flat, &Device::default()))).values;
        for row in 0..4 {
            assert!((centred[row] - (raw[row] - mean)).abs() < 1e-5, "{centred:?}, {raw:?}");
            assert!((careful[row] - (centred[row] - 0.25 * distances[row])).abs() < 1e-5 && distances[row] > 0.1);
        }
    }

    #[test]
    fn a_policy_is_no_reward_model_and_a_reward_model_no_policy() {
        let folder = tempfile::tempdir().unwrap();
        let (reward_model, device) = (reward_model(), Device::default());
        save_model(folder.path(), &reward_model.model.language_model).unwrap();
        reward_model.tokenizer.save(folder.path()).unwrap();
        let error = |error: anyhow::Error| error.to_string();
        assert!(error(RewardModel::load(folder.path(), &device).err().unwrap()).contains("not a reward model"));
        reward_model.model.save_reward_head(folder.path()).unwrap();
        reward_model.likelihood.as_ref().unwrap().save(folder.path()).unwrap();
        assert!(error(Policy::load(folder.path(), &device).err().unwrap()).contains("is a reward model"));
        let loaded = RewardModel::load(folder.path(), &device).unwrap();
        assert_eq!(loaded.scores(&rows(), 4, 1), reward_model.scores(&rows(), 4, 1));
    }
}
