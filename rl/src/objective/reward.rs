//! Rewards of a completion, one per token. Pure functions: no model, no random numbers.

use crate::cli::effect::{FlagEffect, InSummary};
use crate::objective::weights::{Component, WeightArgs};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use data::{Problem, ReferenceSteps, Tokenizer, prefix_ends};
use serde::Serialize;
use std::{ops::Range, path::PathBuf};

/// Flags of the reward.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Objective")]
pub struct RewardArgs {
    /// Reward of a completion
    #[arg(long, add = InSummary, value_enum, default_value_t)]
    pub reward: RewardKind,
    /// Reward of a correct answer, on the last token
    #[arg(long, add = FlagEffect::unless_given("reward-weights"), default_value_t = 1.0, value_parser = crate::cli::args::at_least_0::<f32>)]
    pub answer_weight: f32,
    /// Total dense reward of a solution that shows every intermediate result
    #[arg(long, add = FlagEffect::with("reward", &["dense"]), default_value_t = 0.5, value_parser = crate::cli::args::at_least_0::<f32>)]
    pub dense_scale: f32,
    /// Reward model (a run of `rl orm`) for sparse-orm and dense-orm [default: one made for the benchmark and kept
    /// under runs/]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orm: Option<PathBuf>,
    /// Weight of the reward model's score: a probability, or for one that learnt from comparisons a number without bounds
    #[arg(long, add = FlagEffect::with("reward", &["sparse-orm", "dense-orm"]), default_value_t = 1.0, value_parser = crate::cli::args::at_least_0::<f32>)]
    pub orm_weight: f32,
    /// F: how much of the reward model's uncertainty about a solution is taken off its score before that is a reward; 0 takes off nothing. Needs
    /// the --orm of a run of `rl orm --objective pairwise`, kwise or kwise-split
    #[arg(long, add = FlagEffect::with("reward", &["sparse-orm"]).or_given("reward-weights"), value_name = "F", default_value_t = 0.0, value_parser = crate::cli::args::at_least_0::<f64>)]
    pub orm_pessimism: f64,
    /// Reward of a line, with dense-orm
    #[arg(long, add = FlagEffect::with("reward", &["dense-orm"]), value_enum, default_value_t)]
    pub orm_score: OrmScore,
    /// A reward from outside, and a sum of several rewards.
    #[command(flatten)]
    #[serde(flatten)]
    pub weights: WeightArgs,
}

/// Which reward the environment gives (Havrilla et al. 2024, section on rewards).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardKind {
    /// Reward for a correct final answer, on the last token.
    #[default]
    Sparse,
    /// Sparse reward, plus a share for every line whose result is an intermediate result of the reference solution.
    Dense,
    /// Sparse reward, plus the reward model's probability that the finished solution is correct, or its score from comparisons, on the last
    /// token.
    SparseOrm,
    /// Sparse reward, plus a reward from the reward model for every line, on the line's last token.
    DenseOrm,
}

impl RewardKind {
    /// Whether it needs a reward model.
    pub fn needs_reward_model(self) -> bool {
        matches!(self, Self::SparseOrm | Self::DenseOrm)
    }
}

/// How dense-orm rewards a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OrmScore {
    /// The change of the probability (potential-based shaping); all lines together earn the same as sparse-orm.
    #[default]
    Potential,
    /// The probability after the line; long solutions earn more.
    Plain,
}

impl RewardArgs {
    /// Whether a reward model is needed.
    pub fn needs_reward_model(&self) -> bool {
        self.reward.needs_reward_model() || self.weights.has(Component::Orm) || self.scores_unfinished()
    }

    /// Whether a reward model has to score unfinished solutions.
    pub fn scores_unfinished(&self) -> bool {
        self.reward == RewardKind::DenseOrm || self.weights.has(Component::OrmLines)
    }

    /// Refuses a reward model that is not used, and flags that contradict each other.
    ///
    /// # Errors
    /// Naming the flag.
    pub fn check(&self) -> Result<()> {
        let has_external = self.weights.external.is_given();
        ensure!(
            self.weights.weights().is_none() || self.reward == RewardKind::Sparse,
            "{} takes the place of --reward: leave it out, and give --reward-weights, as in answer=1,dense=0.5",
            if self.weights.reward_weights.is_some() { "--reward-weights" } else { "an external reward" }
        );
        ensure!(
            has_external || !self.weights.has(Component::External),
            "--reward-weights has external: give its --reward-command or --reward-url"
        );
        ensure!(
            !has_external || self.weights.has(Component::External),
            "the external reward is not used: give it a weight in --reward-weights, as in external=1"
        );
        ensure!(
            self.orm.is_none() || self.needs_reward_model(),
            "--orm is not used by this reward: give --reward sparse-orm or dense-orm with it, or orm in --reward-weights"
        );
        Ok(())
    }
}

/// A completion to reward.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The problem that it answers.
    pub problem: &'a Problem,
    /// The solution prefix that the policy continued from; it earns nothing.
    pub prefix: &'a str,
    /// The tokens that the policy wrote.
    pub tokens: &'a [u32],
    /// The reward model's score after each token; empty without a reward model.
    pub scores: &'a [f32],
    /// Its score after the prefix; 0 without one, or without a reward model.
    pub score_of_prefix: f32,
}

/// The environment's rewards of a completion, one per token.
///
/// - sparse: `answer_weight` on the last token written (end-of-sequence, or the last one of a completion that was cut) if
///   `correct`.
/// - dense: besides, `dense_scale` / (number of results in the reference) on the token that ends each line that works one of
///   them out ([`ReferenceSteps::matched`]); each counts once, in any order.
/// - sparse-orm: besides, `orm_weight` p(S_1..S_L) on the last token, or the score from comparisons in the place of p.
/// - dense-orm: besides, at the token that ends line i `orm_weight` (p(S_1..S_i) - p(S_1..S_{i-1})) with 0 before the first
///   line, so that the sum is that of sparse-orm, less what the prefix is worth; or, plain, `orm_weight` p(S_1..S_i).
///
/// # Panics
/// If the reward needs a reward model and `scores` does not have one entry per token.
pub fn task_rewards(
    args: &RewardArgs,
    tokenizer: &Tokenizer,
    &Response { problem, prefix, tokens, scores, score_of_prefix }: &Response<'_>,
    correct: bool,
) -> Vec<f32> {
    let mut rewards = vec![0.0; tokens.len()];
    let Some(last) = rewards.last_mut() else { return rewards };
    *last = if correct { args.answer_weight } else { 0.0 };
    if args.reward.needs_reward_model() {
        assert_eq!(scores.len(), tokens.len(), "one score per token");
    }
    match args.reward {
        RewardKind::Sparse => {}
        RewardKind::Dense => {
            let text = format!("{prefix}{}", tokenizer.decode(tokens));
            // Some reference solutions show no readable calculation: then there is nothing to match.
            let steps = ReferenceSteps::of(problem);
            let share = args.dense_scale / steps.count().max(1) as f32;
            // The results of the prefix count as used, so repeating them earns nothing.
            for line_end in steps.matched(&text).into_iter().filter(|&end| end > prefix.len()) {
                rewards[tokenizer.token_reaching(tokens, line_end - prefix.len())] += share;
            }
        }
        RewardKind::SparseOrm => *last += args.orm_weight * scores[scores.len() - 1],
        RewardKind::DenseOrm => {
            let potential = |score: f32| if args.orm_score == OrmScore::Potential { score } else { 0.0 };
            let mut before = potential(score_of_prefix);
            for end in prefix_ends(tokenizer, tokens) {
                rewards[end] += args.orm_weight * (scores[end] - before);
                before = potential(scores[end]);
            }
        }
    }
    rewards
}

/// The rewards of the chosen tokens of a completion, which has given ones as well (`given`, places in the completion): what lies on a given
/// token is earned by the last chosen token before it. The sum is the same.
///
/// # Panics
/// If the first token was given: nothing was chosen before it.
pub fn earned_by_chosen(rewards: &[f32], given: &[Range<usize>]) -> Vec<f32> {
    let mut earned: Vec<f32> = Vec::with_capacity(rewards.len());
    for (place, &reward) in rewards.iter().enumerate() {
        match given.iter().any(|given| given.contains(&place)) {
            true => *earned.last_mut().expect("the first token of a completion was chosen") += reward,
            false => earned.push(reward),
        }
    }
    earned
}

/// The reward that PPO sees: r_t - β (log π(a_t) - log π_ref(a_t)), with the k1 estimate of the KL divergence as a
/// penalty per token.
pub fn with_kl_penalty(rewards: &[f32], log_probs: &[f32], ref_log_probs: &[f32], beta: f32) -> Vec<f32> {
    assert!(rewards.len() == log_probs.len() && rewards.len() == ref_log_probs.len(), "one entry per token");
    let penalised =
        |((reward, log_prob), ref_log_prob): ((&f32, &f32), &f32)| reward - beta * (log_prob - ref_log_prob);
    rewards.iter().zip(log_probs).zip(ref_log_probs).map(penalised).collect()
}

/// Keeps the KL divergence from the reference near a target by adapting β (Ziegler et al. 2019, arXiv 1909.08593, eq.
/// 4):
///
/// β ← β (1 + clip((KL - target) / target, -0.2, 0.2) · n / horizon), with KL summed over a completion.
pub fn adapted_beta(beta: f64, kl: f64, target: f64, samples: usize, horizon: usize) -> f64 {
    let error = ((kl - target) / target).clamp(-0.2, 0.2);
    beta * (1.0 + error * samples as f64 / horizon as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Answer;

    fn problem() -> Problem {
        Problem {
            id: "test/0".into(),
            question: "Ann has 6 bags of 4 nuts and eats 3. How many are left?".into(),
            solution: "6*4 = <<6*4=24>>24 nuts.\n24-3 = <<24-3=21>>21 nuts.\n#### 21".into(),
            answer: Answer::from_integer(21),
            worked: None,
        }
    }

    fn tokenizer() -> Tokenizer {
        Tokenizer::train_bpe(&[problem().solution], 300).unwrap()
    }

    fn args(reward: RewardKind) -> RewardArgs {
        let (answer_weight, dense_scale, orm, orm_weight, weights) = (1.0, 0.5, None, 2.0, WeightArgs::default());
        let (orm_pessimism, orm_score) = (0.0, OrmScore::Potential);
        RewardArgs { reward, answer_weight, dense_scale, orm, orm_weight, orm_pessimism, orm_score, weights }
    }

    #[test]
    fn a_sum_of_rewards_needs_what_it_names_and_names_what_is_given() {
        let refusal = |flags: &[&str]| {
            #[derive(clap::Parser)]
            struct Flags {
                #[command(flatten)]
                reward: RewardArgs,
            }
            let flags = [&["ppo"], flags].concat();
            <Flags as clap::Parser>::parse_from(flags).reward.check().err().map(|error| error.to_string())
        };
        let (command, weights) = ("--reward-command=true", "--reward-weights=answer=1,external=0.5");
        assert_eq!(refusal(&[command]), None);
        assert_eq!(refusal(&[command, weights]), None);
        assert_eq!(refusal(&["--reward-weights=answer=1,orm=1", "--orm=runs/orm"]), None);
        for (flags, said) in [
            (vec![weights], "give its --reward-command or --reward-url"),
            (vec![command, "--reward-weights=answer=1"], "the external reward is not used"),
            (vec![command, "--reward=dense"], "an external reward takes the place of --reward"),
            (vec!["--reward-weights=dense=1", "--reward=dense"], "--reward-weights takes the place of --reward"),
            (vec!["--reward-weights=dense=1", "--orm=runs/orm"], "--orm is not used"),
        ] {
            let refusal = refusal(&flags).unwrap_or_default();
            assert!(refusal.contains(said), "{flags:?}: {refusal}");
        }
    }

    #[test]
    fn a_reward_on_a_given_token_is_earned_by_the_last_chosen_token_before_it() {
        let rewards = [0.5, 0.0, 0.25, 1.0, 0.0, 2.0];
        assert_eq!(earned_by_chosen(&rewards, &[]), rewards);
        assert_eq!(earned_by_chosen(&rewards, &[1..3, 3..4]), [1.75, 0.0, 2.0]);
        assert_eq!(earned_by_chosen(&rewards, &[2..3, 5..6]), [0.5, 0.25, 1.0, 2.0]);
        assert!(earned_by_chosen(&[], &[]).is_empty());
    }

    /// The rewards of a text whose reward model score rises by 0.01 per token, and its tokens.
    fn rewards_of(args: &RewardArgs, text: &str, correct: bool) -> (Vec<f32>, Vec<u32>) {
        let tokenizer = tokenizer();
        let mut tokens = tokenizer.encode(text);
        tokens.push(tokenizer.eos_ids()[0]);
        let scores: Vec<f32> = (1..=tokens.len()).map(|place| 0.01 * place as f32).collect();
        let response =
            Response { problem: &problem(), prefix: "", tokens: &tokens, scores: &scores, score_of_prefix: 0.0 };
        (task_rewards(args, &tokenizer, &response, correct), tokens)
    }

    fn rewards(reward: RewardKind, text: &str, correct: bool) -> (Vec<f32>, Vec<u32>) {
        rewards_of(&args(reward), text, correct)
    }

    const TWO_LINES: &str = " 6*4 = <<6*4=24>>24 nuts.\n24-3 = <<24-3=21>>21\n#### 21";

    #[test]
    fn the_sparse_orm_reward_is_its_weight_times_the_probability_of_the_whole_solution() {
        let (rewards, tokens) = rewards(RewardKind::SparseOrm, TWO_LINES, true);
        assert!((rewards[tokens.len() - 1] - (1.0 + 2.0 * 0.01 * tokens.len() as f32)).abs() < 1e-6);
        assert!(rewards[..tokens.len() - 1].iter().all(|&reward| reward == 0.0));
    }

    #[test]
    fn lines_earn_the_rise_of_the_probability_and_all_together_earn_the_sparse_orm_reward() {
        let (dense, tokens) = rewards(RewardKind::DenseOrm, TWO_LINES, false);
        let ends = prefix_ends(&tokenizer(), &tokens);
        let paid: Vec<usize> = (0..dense.len()).filter(|&place| dense[place] != 0.0).collect();
        assert_eq!((paid.as_slice(), paid.len()), (ends.as_slice(), 3));
        assert!((dense[ends[1]] - 2.0 * 0.01 * (ends[1] - ends[0]) as f32).abs() < 1e-6);
        let (sparse, _) = rewards(RewardKind::SparseOrm, TWO_LINES, false);
        assert!((dense.iter().sum::<f32>() - sparse.iter().sum::<f32>()).abs() < 1e-5);
        let plain = RewardArgs { orm_score: OrmScore::Plain, ..args(RewardKind::DenseOrm) };
        let (plain, _) = rewards_of(&plain, TWO_LINES, false);
        assert!((plain[ends[1]] - 2.0 * 0.01 * (ends[1] + 1) as f32).abs() < 1e-6);
    }

    #[test]
    fn the_sparse_reward_sits_on_the_end_of_sequence_token_and_is_zero_when_wrong() {
        let (right, _) = rewards(RewardKind::Sparse, " #### 21", true);
        assert_eq!(*right.last().unwrap(), 1.0);
        assert!(right[..right.len() - 1].iter().all(|&r| r == 0.0));
        let (wrong, _) = rewards(RewardKind::Sparse, " #### 22", false);
        assert!(wrong.iter().all(|&r| r == 0.0));
    }

    #[test]
    fn a_dense_reward_sits_on_the_last_token_of_each_matching_line_once() {
        let text = " 6*4 = <<6*4=24>>24 nuts.\n20+4 = <<20+4=24>>24.\n24-2 = <<24-2=22>>22\n#### 22";
        let (rewards, tokens) = rewards(RewardKind::Dense, text, false);
        let paid: Vec<usize> = (0..rewards.len()).filter(|&t| rewards[t] != 0.0).collect();
        assert_eq!(paid.len(), 1, "{rewards:?}");
        assert_eq!(rewards[paid[0]], 0.25);
        assert_eq!(tokenizer().decode(&tokens[..=paid[0]]), " 6*4 = <<6*4=24>>24 nuts.");
    }

    #[test]
    fn a_solution_prefix_earns_nothing_also_where_it_is_repeated() {
        let (tokenizer, problem) = (tokenizer(), problem());
        let prefix = "6*4 = <<6*4=24>>24 nuts.\n";
        let rewards = |text: &str| {
            let tokens = tokenizer.encode(text);
            let response = Response { problem: &problem, prefix, tokens: &tokens, scores: &[], score_of_prefix: 0.0 };
            task_rewards(&args(RewardKind::Dense), &tokenizer, &response, false).iter().sum::<f32>()
        };
        assert_eq!(rewards("6*4 = <<6*4=24>>24 nuts.\n#### 24"), 0.0);
        assert_eq!(rewards("24-3 = <<24-3=21>>21 nuts.\n#### 21"), 0.25);
    }

    #[test]
    fn lines_after_the_prefix_earn_what_they_add() {
        let (tokenizer, problem) = (tokenizer(), problem());
        let tokens = tokenizer.encode("24-3 = <<24-3=21>>21 nuts.\n#### 21");
        let scores: Vec<f32> = (0..tokens.len()).map(|place| 0.5 + 0.01 * place as f32).collect();
        let sum = |args: &RewardArgs, score_of_prefix: f32| {
            let response = Response {
                problem: &problem,
                prefix: "6*4 = <<6*4=24>>24 nuts.\n",
                tokens: &tokens,
                scores: &scores,
                score_of_prefix,
            };
            task_rewards(args, &tokenizer, &response, false).iter().sum::<f32>()
        };
        let dense = args(RewardKind::DenseOrm);
        assert!((sum(&dense, 0.4) - 2.0 * (scores[tokens.len() - 1] - 0.4)).abs() < 1e-5);
        let plain = RewardArgs { orm_score: OrmScore::Plain, ..dense };
        assert_eq!(sum(&plain, 0.4), sum(&plain, 0.0));
    }

    #[test]
    fn the_penalty_is_beta_times_the_log_ratio() {
        let rewards = with_kl_penalty(&[0.0, 1.0], &[-1.0, -2.0], &[-1.5, -1.0], 0.1);
        assert!((rewards[0] + 0.05).abs() < 1e-6 && (rewards[1] - 1.1).abs() < 1e-6);
    }

    #[test]
    fn beta_rises_above_the_target_and_falls_below_it() {
        assert!(adapted_beta(0.1, 8.0, 4.0, 256, 1024) > 0.1);
        assert!(adapted_beta(0.1, 1.0, 4.0, 256, 1024) < 0.1);
        assert_eq!(adapted_beta(0.1, 4.0, 4.0, 256, 1024), 0.1);
    }
}
