//! The reward of a completion as a weighted sum of several, one number per token. Pure functions: no model, no process.

use crate::objective::{
    reward::{OrmScore, Response, RewardArgs, RewardKind, task_rewards},
    weights::{Component, RewardWeights, WeightArgs},
};
use data::{Tokenizer, checked_lines};
use eval::{
    Sample,
    external::{Reward, line_ends},
};

/// The rewards of a completion, and what they consist of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighted {
    /// One per token.
    pub rewards: Vec<f32>,
    /// What each component gives in all, multiplied by its weight.
    pub sums: Vec<(Component, f32)>,
    /// Whether the reward from outside had no opinion; `false` without one.
    pub no_opinion: bool,
}

/// The weighted sum of the rewards of a completion, token by token: Σ_c w_c r_c(t).
///
/// `external` is the reward from outside, if it is a component; no opinion counts as 0.
///
/// # Panics
/// If a reward model's score or an external reward is a component and not there.
pub fn weighted_rewards(
    weights: &RewardWeights,
    tokenizer: &Tokenizer,
    response: &Response<'_>,
    sample: &Sample,
    external: Option<&Reward>,
) -> Weighted {
    let mut rewards = vec![0.0; response.tokens.len()];
    let mut sums = Vec::with_capacity(weights.0.len());
    for &(component, weight) in &weights.0 {
        let of_component: Vec<f32> = component_rewards(component, tokenizer, response, sample, external);
        rewards.iter_mut().zip(&of_component).for_each(|(reward, part)| *reward += weight * part);
        sums.push((component, weight * of_component.iter().sum::<f32>()));
    }
    Weighted { rewards, sums, no_opinion: external == Some(&Reward::None) }
}

/// One component of the reward, without its weight, one number per token.
fn component_rewards(
    component: Component,
    tokenizer: &Tokenizer,
    response: &Response<'_>,
    sample: &Sample,
    external: Option<&Reward>,
) -> Vec<f32> {
    let on_last = |value: f32| {
        let mut rewards = vec![0.0; response.tokens.len()];
        rewards.last_mut().into_iter().for_each(|last| *last = value);
        rewards
    };
    let built_in = |reward: RewardKind| task_rewards(&unit(reward), tokenizer, response, false);
    match component {
        Component::Answer => on_last(f32::from(u8::from(sample.correct))),
        Component::Dense => built_in(RewardKind::Dense),
        Component::Orm => built_in(RewardKind::SparseOrm),
        Component::Length => on_last(response.tokens.len() as f32),
        Component::Format => on_last(f32::from(u8::from(sample.answer.is_some()))),
        Component::External => match external.expect("the external reward was asked for") {
            Reward::None => on_last(0.0),
            Reward::Whole(value) => on_last(*value as f32),
            Reward::Lines(values) => on_lines(tokenizer, response.tokens, sample, values),
        },
        Component::CheckedLines => {
            // Lines that were given count as said, and have no score.
            let lines = checked_lines(response.problem, &sample.completion, sample.correct);
            let given = sample.completion.floor_char_boundary(sample.given);
            let score =
                |end: usize| lines.iter().find(|line| line.end == given + end).map_or(0.0, |line| line.kind.score());
            let scores: Vec<f64> =
                line_ends(&sample.completion[given..]).into_iter().map(|end| f64::from(score(end))).collect();
            on_lines(tokenizer, response.tokens, sample, &scores)
        }
        Component::OrmLines => {
            let places = line_places(tokenizer, response.tokens, sample);
            let scores: Vec<f64> = places.into_iter().map(|place| f64::from(response.scores[place])).collect();
            on_lines(tokenizer, response.tokens, sample, &scores)
        }
        Component::Lines => {
            let lines = line_places(tokenizer, response.tokens, sample).len();
            on_lines(tokenizer, response.tokens, sample, &vec![1.0; lines])
        }
    }
}

/// A built-in reward with weight 1 for its own part and none for the answer.
fn unit(reward: RewardKind) -> RewardArgs {
    let weights = WeightArgs::default();
    RewardArgs {
        reward,
        answer_weight: 0.0,
        dense_scale: 1.0,
        orm: None,
        orm_weight: 1.0,
        orm_pessimism: 0.0,
        orm_score: OrmScore::Potential,
        weights,
    }
}

/// A number for each written line that is not blank: on the token that ends the line, and for the last one on the last token.
///
/// # Panics
/// If there are not as many numbers as lines.
fn on_lines(tokenizer: &Tokenizer, tokens: &[u32], sample: &Sample, values: &[f64]) -> Vec<f32> {
    let mut rewards = vec![0.0; tokens.len()];
    let places = line_places(tokenizer, tokens, sample);
    assert_eq!(places.len(), values.len(), "one reward per line");
    places.into_iter().zip(values).for_each(|(place, &value)| rewards[place] += value as f32);
    rewards
}

/// The token that ends each written line that is not blank; of the last line, the last token.
fn line_places(tokenizer: &Tokenizer, tokens: &[u32], sample: &Sample) -> Vec<usize> {
    let written = &sample.completion[sample.completion.floor_char_boundary(sample.given)..];
    let ends = line_ends(written);
    let place = |(line, &end): (usize, &usize)| match line + 1 == ends.len() {
        true => tokens.len() - 1,
        false => tokenizer.token_reaching(tokens, end),
    };
    ends.iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::{Answer, Problem};
    use model::Finish;

    const TEXT: &str = " 6*4 = <<6*4=24>>24 nuts.\n\n24-3 = <<24-3=21>>21\n#### 21";

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

    fn sample(completion: &str, given: usize) -> Sample {
        Sample {
            step: None,
            id: "test/0".into(),
            question: problem().question,
            completion: completion.into(),
            answer: Some("21".into()),
            kind: data::AnswerKind::Number,
            expected: "21".into(),
            reward: None,
            correct: true,
            finish: Finish::Stop,
            tokens: 1,
            greedy: false,
            given,
            calculated: Vec::new(),
            score: None,
        }
    }

    /// The reward of a text and its end, with scores that rise by 0.01 per token; and its tokens.
    fn weighted(weights: &str, given: &str, text: &str, external: Option<&Reward>) -> (Weighted, Vec<u32>) {
        let (tokenizer, problem) = (tokenizer(), problem());
        let mut tokens = tokenizer.encode(text);
        tokens.push(tokenizer.eos_ids()[0]);
        let scores: Vec<f32> = (1..=tokens.len()).map(|place| 0.01 * place as f32).collect();
        let response =
            Response { problem: &problem, prefix: given, tokens: &tokens, scores: &scores, score_of_prefix: 0.0 };
        let sample = sample(&format!("{given}{text}"), given.len());
        (weighted_rewards(&weights.parse().unwrap(), &tokenizer, &response, &sample, external), tokens)
    }

    #[test]
    fn the_answer_with_weight_1_is_the_sparse_reward_and_so_is_an_external_reward_that_says_the_same() {
        let (tokenizer, problem) = (tokenizer(), problem());
        let (of_answer, tokens) = weighted("answer=1", "", TEXT, None);
        let response = Response { problem: &problem, prefix: "", tokens: &tokens, scores: &[], score_of_prefix: 0.0 };
        let sparse = RewardArgs { answer_weight: 1.0, ..unit(RewardKind::Sparse) };
        assert_eq!(of_answer.rewards, task_rewards(&sparse, &tokenizer, &response, true));
        assert_eq!(weighted("external=1", "", TEXT, Some(&Reward::Whole(1.0))).0.rewards, of_answer.rewards);
    }

    #[test]
    fn the_sum_has_each_reward_by_its_weight_and_says_what_each_gave() {
        let external = Reward::Whole(0.25);
        let weights = "answer=2,dense=0.5,orm=10,length=-0.125,format=0.25,external=4";
        let (all, tokens) = weighted(weights, "", TEXT, Some(&external));
        let count = tokens.len() as f32;
        let expected = [2.0, 0.5, 10.0 * 0.01 * count, -0.125 * count, 0.25, 1.0];
        assert_eq!(all.sums.iter().map(|(component, _)| *component).collect::<Vec<_>>(), Component::ALL[..6]);
        assert!(all.sums.iter().zip(expected).all(|((_, sum), wanted)| (sum - wanted).abs() < 1e-5), "{:?}", all.sums);
        let total: f32 = all.rewards.iter().sum();
        assert!((total - expected.iter().sum::<f32>()).abs() < 1e-5, "{total}");
        // The dense part alone is not on the last token.
        let paid: Vec<f32> = all.rewards[..tokens.len() - 1].iter().copied().filter(|reward| *reward != 0.0).collect();
        assert_eq!(paid, [0.25, 0.25]);
    }

    #[test]
    fn a_number_per_line_is_on_the_token_that_ends_the_line_and_the_last_one_on_the_last_token() {
        let external = Reward::Lines(vec![1.0, -2.0, 4.0]);
        let (all, tokens) = weighted("external=0.5", "", TEXT, Some(&external));
        let paid: Vec<usize> = (0..tokens.len()).filter(|&place| all.rewards[place] != 0.0).collect();
        let text = |place: usize| tokenizer().decode(&tokens[..=place]);
        assert_eq!(paid.iter().map(|&place| all.rewards[place]).collect::<Vec<_>>(), [0.5, -1.0, 2.0]);
        assert_eq!(text(paid[0]), " 6*4 = <<6*4=24>>24 nuts.");
        assert_eq!(text(paid[1]), " 6*4 = <<6*4=24>>24 nuts.\n\n24-3 = <<24-3=21>>21");
        assert_eq!(paid[2], tokens.len() - 1);
        assert_eq!(all.sums, [(Component::External, 1.5)]);
    }

    #[test]
    fn lines_are_rewarded_by_the_checker_and_by_the_reward_model_and_have_a_price() {
        let text = " 6*4 = <<6*4=24>>24 nuts.\nSo far.\n24+3 = <<24+3=27>>27\n#### 27";
        let (all, tokens) = weighted("checked-lines=1,lines=-0.5", "", text, None);
        let paid: Vec<usize> = (0..tokens.len()).filter(|&place| all.rewards[place] != 0.0).collect();
        // The answer counts as right in these tests; "So far." is neutral.
        assert_eq!(paid.iter().map(|&place| all.rewards[place]).collect::<Vec<_>>(), [0.5, -0.5, 0.5]);
        assert_eq!(all.sums, [(Component::CheckedLines, 2.5), (Component::Lines, -2.0)]);
        let of_lines =
            |place: usize| all.rewards[place] != 0.0 || tokenizer().decode(&tokens[..=place]).ends_with("far.");
        let scores: f32 =
            (0..tokens.len()).filter(|&place| of_lines(place)).map(|place| 0.01 * (place + 1) as f32).sum();
        let (of_model, _) = weighted("orm-lines=2", "", text, None);
        assert!((of_model.sums[0].1 - 2.0 * scores).abs() < 1e-5, "{:?} {scores}", of_model.sums);
    }

    #[test]
    fn a_line_that_was_given_counts_as_said() {
        let line = "6*4 = <<6*4=24>>24 nuts.\n";
        let (all, _) = weighted("checked-lines=1", line, &format!("{line}24-3 = <<24-3=21>>21\n#### 21"), None);
        assert_eq!(all.sums, [(Component::CheckedLines, 2.0)]);
    }

    #[test]
    fn given_lines_have_no_reward_of_their_own() {
        let external = Reward::Lines(vec![1.0, 2.0]);
        let (all, tokens) = weighted("external=1", "6*4 = <<6*4=24>>24 nuts.\n", "24-3 = 21\n#### 21", Some(&external));
        let paid: Vec<usize> = (0..tokens.len()).filter(|&place| all.rewards[place] != 0.0).collect();
        assert_eq!(tokenizer().decode(&tokens[..=paid[0]]), "24-3 = 21");
        assert_eq!((paid.len(), paid[1]), (2, tokens.len() - 1));
    }

    #[test]
    fn no_opinion_counts_as_0_and_is_noted() {
        let (all, _) = weighted("external=3,answer=1", "", TEXT, Some(&Reward::None));
        assert!(all.no_opinion);
        assert_eq!(all.sums, [(Component::External, 0.0), (Component::Answer, 1.0)]);
        assert!(!weighted("external=3", "", TEXT, Some(&Reward::Whole(0.0))).0.no_opinion);
    }
}
