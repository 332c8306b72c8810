//! Rankings of solutions of one question, for the objectives that compare: how they are made of samples, and their loss.

use crate::{
    objective::{
        comparison::{RewardObjective, compared_pairs},
        loss::negative_log_likelihood,
    },
    sampling::prefix::PrefixedSample,
    training::batch::{Row, flat},
    training::order::permutation,
};
use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use data::Example;
use eval::{Coverage, RankingCounts, RewardModel, Sample};
use model::{Key, Purpose, RewardNetwork};
use std::collections::{BTreeSet, HashMap};

/// Solutions of one question, two of which differ in value at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Prompt and solution of each.
    pub solutions: Vec<Example>,
    /// The value of each: a better solution has a higher one, and equal values are ties.
    pub values: Vec<f32>,
    /// Weights of the language-modelling loss of each solution.
    pub language_modelling: Vec<f32>,
    /// Terms of the loss.
    terms: usize,
    /// Places of the solutions among all that were ranked.
    places: Vec<usize>,
}

/// The longest solution stands for all where rankings of similar length are put into a micro-batch.
impl Row for Ranking {
    fn tokens(&self) -> &[u32] {
        &self.solutions.iter().max_by_key(|solution| solution.tokens.len()).expect("a ranking has solutions").tokens
    }

    fn prompt_len(&self) -> usize {
        self.solutions[0].prompt_len
    }

    fn loss_terms(&self) -> usize {
        self.terms
    }
}

/// The rankings of training questions.
pub struct Rankings {
    /// Question by question.
    pub rankings: Vec<Ranking>,
    /// The solutions in them, each once.
    pub solutions: Vec<Example>,
    /// What there is, and what was left out.
    pub counts: RankingCounts,
}

/// How rankings are made.
pub(super) struct RankingConfig {
    pub(super) objective: RewardObjective,
    /// Solutions of a ranking.
    pub(super) size: usize,
    /// Weight of the language-modelling loss.
    pub(super) language_modelling: f32,
    pub(super) seed: u64,
}

/// Rankings of `size` solutions of each question. The solutions are split at the value that halves them best, right from wrong where there
/// are two values, and each ranking takes from both sides in proportion, in turn: all solutions of a side are used as often as the others,
/// but for one, and every solution is used. The seed decides the order. Questions whose solutions are all equally good are left out.
///
/// The value is the reward where all samples have one and there are more than two rewards, else whether a sample is right.
///
/// # Errors
/// If no question is left.
pub(super) fn make(samples: &[(&Sample, PrefixedSample)], config: &RankingConfig) -> Result<Rankings> {
    let by_reward = is_graded(samples);
    let value = |place: usize| {
        let sample = samples[place].0;
        if by_reward { sample.reward.expect("all have one") as f32 } else { f32::from(u8::from(sample.correct)) }
    };
    let (mut order, mut of_question): (Vec<&str>, HashMap<&str, Vec<usize>>) = Default::default();
    for (place, (sample, _)) in samples.iter().enumerate() {
        let group = of_question.entry(&sample.id).or_insert_with(|| {
            order.push(&sample.id);
            Vec::new()
        });
        group.push(place);
    }
    let mut made = Rankings { rankings: Vec::new(), solutions: Vec::new(), counts: RankingCounts::default() };
    for (question, id) in order.iter().enumerate() {
        let group = &of_question[id];
        let shuffled = permutation(group.len(), Key::new(config.seed, Purpose::Mixture).with(question as u64));
        let group: Vec<usize> = shuffled.into_iter().map(|at| group[at]).collect();
        let Some((better, worse)) = halves(&group, value) else {
            made.counts.left_out += 1;
            continue;
        };
        made.counts.questions += 1;
        let first = made.solutions.len();
        made.solutions.extend(group.iter().map(|&place| samples[place].1.example.clone()));
        let place_of: HashMap<usize, usize> =
            group.iter().enumerate().map(|(at, &place)| (place, first + at)).collect();
        for chosen in in_turn(&better, &worse, config.size) {
            let values: Vec<f32> = chosen.iter().map(|&place| value(place)).collect();
            let terms = config.objective.terms(&values);
            let right: Vec<bool> = chosen.iter().map(|&place| samples[place].0.correct).collect();
            made.rankings.push(Ranking {
                solutions: chosen.iter().map(|&place| samples[place].1.example.clone()).collect(),
                language_modelling: language_modelling(&right, config.language_modelling),
                places: chosen.iter().map(|place| place_of[place]).collect(),
                values,
                terms,
            });
        }
    }
    ensure!(
        !made.rankings.is_empty(),
        "nothing can be compared: the solutions of each of the {} training questions are equally good; sample more of each, from another policy or at another --temperature",
        order.len()
    );
    made.counts =
        RankingCounts { rankings: made.rankings.len(), solutions: made.solutions.len(), by_reward, ..made.counts };
    Ok(made)
}

/// Whether the rewards of samples say more than right and wrong.
fn is_graded(samples: &[(&Sample, PrefixedSample)]) -> bool {
    let rewards: Option<Vec<f64>> =
        samples.iter().map(|(sample, _)| sample.reward.filter(|reward| reward.is_finite())).collect();
    rewards.is_some_and(|rewards| rewards.into_iter().map(f64::to_bits).collect::<BTreeSet<_>>().len() > 2)
}

/// The better and the worse half, split at the value that halves them best; `None` where there is one value.
fn halves(group: &[usize], value: impl Fn(usize) -> f32) -> Option<(Vec<usize>, Vec<usize>)> {
    let count_from = |least: f32| group.iter().filter(|&&place| value(place) >= least).count();
    let splits = group.iter().map(|&place| value(place)).filter(|&least| count_from(least) < group.len());
    let least = splits.min_by_key(|&least| (2 * count_from(least)).abs_diff(group.len()))?;
    Some(group.iter().copied().partition(|&place| value(place) >= least))
}

/// Rankings of `size`, each of both sides.
fn in_turn(better: &[usize], worse: &[usize], size: usize) -> Vec<Vec<usize>> {
    let (n, m) = (better.len(), worse.len());
    let share = (size.min(n + m) * n + (n + m) / 2) / (n + m);
    let of_better = share.clamp(1, size - 1).min(n);
    let of_worse = (size - of_better).min(m);
    let of = |side: &[usize], ranking: usize, count: usize| -> Vec<usize> {
        (0..count).map(|at| side[(ranking * count + at) % side.len()]).collect()
    };
    let rankings = n.div_ceil(of_better).max(m.div_ceil(of_worse));
    (0..rankings).map(|ranking| [of(better, ranking, of_better), of(worse, ranking, of_worse)].concat()).collect()
}

/// The weight of each solution in the language-modelling loss of a ranking: all right ones share it.
fn language_modelling(right: &[bool], weight: f32) -> Vec<f32> {
    let count = right.iter().filter(|&&right| right).count().max(1) as f32;
    right.iter().map(|&right| if right { weight / count } else { 0.0 }).collect()
}

/// The loss of rankings whose scores are read at the end of each solution, `total` terms in the batch; with a language-modelling loss, plus
/// the mean negative log-likelihood per token of the right solutions of a ranking, which weighs as much as its terms together; `[1]`.
pub(super) fn loss(
    model: &RewardNetwork,
    rankings: &[&Ranking],
    objective: RewardObjective,
    total: usize,
) -> Tensor<1> {
    let all = || rankings.iter().flat_map(|ranking| &ranking.solutions);
    let solutions: Vec<(&[u32], usize)> = all().map(|row| (row.tokens.as_slice(), row.prompt_len)).collect();
    let ends: Vec<[usize; 1]> = all().map(|row| [row.tokens.len() - 1]).collect();
    let ends: Vec<&[usize]> = ends.iter().map(|end| end.as_slice()).collect();
    let values: Vec<&[f32]> = rankings.iter().map(|ranking| ranking.values.as_slice()).collect();
    if rankings.iter().all(|ranking| ranking.language_modelling.iter().all(|&weight| weight == 0.0)) {
        return objective.loss(model.reward_logits(&solutions, &ends), &values, total);
    }
    let (scores, log_probs) = model.reward_logits_and_log_probs(&solutions, &ends);
    let of_solution = |ranking: &Ranking, at: usize| {
        let tokens = ranking.solutions[at].tokens.len() - ranking.solutions[at].prompt_len;
        vec![ranking.language_modelling[at] * ranking.terms as f32 / tokens as f32; tokens]
    };
    let weights: Vec<Vec<f32>> = rankings
        .iter()
        .flat_map(|ranking| (0..ranking.solutions.len()).map(move |at| of_solution(ranking, at)))
        .collect();
    let weights = flat(weights.iter().map(Vec::as_slice), &model.language_model.device());
    objective.loss(scores, &values, total) + negative_log_likelihood(log_probs * weights, total)
}

/// The features of the ranked solutions, and the covariance of the differences of the pairs that the rankings compare.
pub(super) fn coverage(
    model: &RewardModel,
    made: &Rankings,
    lambda: f64,
    (at_once, threads): (usize, usize),
) -> Coverage {
    let features = model.features(&made.solutions, at_once, threads);
    let of_ranking = |ranking: &Ranking| {
        let pairs = compared_pairs(&[&ranking.values]).into_iter();
        pairs.map(|(better, worse)| (ranking.places[better], ranking.places[worse])).collect::<Vec<_>>()
    };
    let pairs: Vec<(usize, usize)> = made.rankings.iter().flat_map(of_ranking).collect();
    Coverage::fit(&features, &pairs, lambda)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::prefix::tests::sample;
    use model::{Device, ModelConfig, ModelSize, Transformer, to_host};

    fn prefixed(token: u32) -> PrefixedSample {
        PrefixedSample { example: Example::new(vec![1, token, 2, 3], 2), ends: vec![3] }
    }

    fn samples(of: &[(&str, bool, Option<f64>)]) -> Vec<Sample> {
        of.iter().map(|&(id, correct, reward)| Sample { correct, reward, ..sample(id, "") }).collect()
    }

    fn made(samples: &[Sample], objective: RewardObjective, size: usize) -> Result<Rankings> {
        let encoded: Vec<(&Sample, PrefixedSample)> =
            samples.iter().enumerate().map(|(at, sample)| (sample, prefixed(at as u32))).collect();
        make(&encoded, &RankingConfig { objective, size, language_modelling: 0.5, seed: 0 })
    }

    #[test]
    fn questions_of_one_kind_are_left_out_and_every_solution_of_others_is_used() {
        let row = |id, right, count| vec![(id, right, Some(f64::from(u8::from(right)))); count];
        let samples = samples(
            &[row("a", true, 1), row("a", false, 7), row("b", true, 4), row("c", false, 3), row("c", true, 3)].concat(),
        );
        for (objective, size, rankings) in
            [(RewardObjective::Pairwise, 2, 7 + 3), (RewardObjective::Kwise, 4, 3 + 2), (RewardObjective::Kwise, 9, 2)]
        {
            let made = made(&samples, objective, size).unwrap();
            let counts = RankingCounts { questions: 2, left_out: 1, rankings, solutions: 14, by_reward: false };
            assert_eq!(made.counts, counts);
            let used: BTreeSet<usize> = made.rankings.iter().flat_map(|ranking| ranking.places.clone()).collect();
            assert_eq!(used.len(), 14, "{objective:?} of {size}");
            for ranking in &made.rankings {
                assert!(ranking.values.contains(&0.0) && ranking.values.contains(&1.0) && ranking.values.len() <= size);
                let distinct: BTreeSet<usize> = ranking.places.iter().copied().collect();
                assert_eq!(distinct.len(), ranking.values.len());
                assert!((ranking.language_modelling.iter().sum::<f32>() - 0.5).abs() < 1e-6);
            }
        }
        let error = made(&samples[8..12], RewardObjective::Kwise, 4).err().unwrap().to_string();
        assert!(error.contains("nothing can be compared"), "{error}");
    }

    #[test]
    fn more_than_two_rewards_rank_and_one_missing_reward_leaves_right_and_wrong() {
        let graded =
            [("a", true, Some(2.0)), ("a", false, Some(0.5)), ("a", false, Some(-1.0)), ("a", true, Some(2.0))];
        let ranked = made(&samples(&graded), RewardObjective::Kwise, 4).unwrap();
        let mut values = ranked.rankings[0].values.clone();
        values.sort_by(f32::total_cmp);
        assert_eq!((values, ranked.counts.by_reward), (vec![-1.0, 0.5, 2.0, 2.0], true));
        assert_eq!(ranked.rankings[0].terms, 3);
        let missing = [graded[0], graded[1], ("a", false, None)];
        let ranked = made(&samples(&missing), RewardObjective::Kwise, 4).unwrap();
        assert!(!ranked.counts.by_reward && ranked.rankings[0].values == [1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_new_head_has_the_loss_of_chance_and_the_language_model_is_added_per_token_of_right_solutions() {
        let size = ModelConfig { hidden_size: 16, ..ModelConfig::of_size(ModelSize::Tiny, 12, 0) };
        let model = RewardNetwork::new(&Transformer::init(&size, 1, &Device::default()));
        let samples = samples(&[("a", true, None), ("a", false, None), ("a", false, None)]);
        let ranking = made(&samples, RewardObjective::Kwise, 3).unwrap().rankings.remove(0);
        let plain = Ranking { language_modelling: vec![0.0; 3], ..ranking.clone() };
        let of = |ranking: &Ranking| loss(&model, &[ranking], RewardObjective::Kwise, 2).into_scalar::<f32>();
        assert!((of(&plain) - 3f32.ln() / 2.0).abs() < 1e-6);
        let row = &ranking.solutions[0];
        let (_, log_probs) = model.reward_logits_and_log_probs(&[(&row.tokens, row.prompt_len)], &[&[3]]);
        let mean = to_host(log_probs).values.iter().sum::<f32>() / 2.0;
        assert!((of(&ranking) - of(&plain) + 0.5 * mean / 2.0).abs() < 1e-6);
    }
}
