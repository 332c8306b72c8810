//! Which questions a step of PPO takes, and where in their solutions it starts (Havrilla et al. 2024, section on curricula).
//! Numbers only: independent of models and rewards.
//!
//! - none: all questions once per epoch, in an order that depends on the seed.
//! - plr: prioritised level replay (Jiang et al. 2021, arXiv 2010.03934): a share of the questions is replayed, first
//!   those with the largest mean absolute advantage.
//! - backtracking: the policy continues from the first lines of the reference solution, and from fewer of them as its
//!   accuracy rises (Salimans and Chen 2018, arXiv 1812.03381). Here one share of lines applies to all questions, since
//!   few are sampled twice.

use crate::{cli::effect::FlagEffect, training::order::permutation};
use clap::{Args, ValueEnum};
use data::{Problem, steps};
use model::{Key, Purpose, uniform};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Flags of the curriculum.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Sampling")]
pub struct CurriculumArgs {
    /// Curriculum: which questions a step samples, and where in their solutions it starts
    #[arg(long, value_enum, default_value_t)]
    pub curriculum: CurriculumKind,
    /// plr: share of a step's questions that are replayed
    #[arg(long, add = FlagEffect::with("curriculum", &["plr"]), value_name = "SHARE", default_value_t = 0.5, value_parser = crate::cli::args::share::<f64>)]
    pub replay: f64,
    /// plr: a question of rank r is replayed with weight (1/r)^(1/T); small values replay only the first ranks
    #[arg(long, add = FlagEffect::with("curriculum", &["plr"]), value_name = "T", default_value_t = 0.3, value_parser = crate::cli::args::above_0::<f64>)]
    pub replay_temperature: f64,
    /// plr: weight of a question's staleness (steps since it was last sampled) relative to its rank
    #[arg(long, add = FlagEffect::with("curriculum", &["plr"]), value_name = "SHARE", default_value_t = 0.1, value_parser = crate::cli::args::share::<f64>)]
    pub staleness: f64,
    /// backtracking: accuracy of a step from which on the start moves back
    #[arg(long, add = FlagEffect::with("curriculum", &["backtracking"]), value_name = "SHARE", default_value_t = 0.7, value_parser = crate::cli::args::share::<f64>)]
    pub saturation: f64,
    /// backtracking: share of a solution by which the start moves back
    #[arg(long, add = FlagEffect::with("curriculum", &["backtracking"]), value_name = "SHARE", default_value_t = 0.125, value_parser = crate::cli::args::share::<f64>)]
    pub backtrack: f64,
    /// backtracking: the solution prefix shrinks at least linearly, to nothing after this share of the steps
    #[arg(long, add = FlagEffect::with("curriculum", &["backtracking"]), value_name = "SHARE", default_value_t = 0.6, value_parser = crate::cli::args::share::<f64>)]
    pub backtrack_until: f64,
}

/// Which questions a step takes, and where in their solutions it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CurriculumKind {
    /// All questions in turn, each from the beginning of its solution.
    #[default]
    None,
    /// Prioritised level replay.
    Plr,
    /// Start within the reference solution, at ever earlier lines.
    Backtracking,
}

/// State of a curriculum; a part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curriculum {
    /// Number of questions taken in turn so far.
    fresh: usize,
    /// Questions that were sampled before, by index.
    met: BTreeMap<usize, SeenQuestion>,
    /// Share of the reference solution's lines in the prefix that the policy continues from.
    #[serde(rename = "given")]
    prefix_share: f64,
}

/// A question that was sampled before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct SeenQuestion {
    /// Mean absolute advantage of its tokens.
    score: f64,
    /// Step at which it was sampled last.
    step: usize,
}

impl Curriculum {
    /// Before the first step.
    pub fn new() -> Self {
        Self { fresh: 0, met: BTreeMap::new(), prefix_share: 1.0 }
    }

    /// Indices of the `questions` of a step; the end of one epoch and the start of the next may share some.
    pub fn choose(
        &mut self,
        args: &CurriculumArgs,
        problems: usize,
        questions: usize,
        step: usize,
        seed: u64,
    ) -> Vec<usize> {
        let replayed = match args.curriculum {
            CurriculumKind::Plr => {
                // A resumed run may have fewer problems than before.
                self.met.retain(|&place, _| place < problems);
                ((args.replay * questions as f64).round() as usize).min(self.met.len())
            }
            CurriculumKind::None | CurriculumKind::Backtracking => 0,
        };
        let mut places = in_turn(problems, self.fresh..self.fresh + questions - replayed, seed);
        self.fresh += questions - replayed;
        let again = self.replay(args, &places, replayed, step, seed);
        places.extend(again);
        // If too few questions can be replayed, the rest are taken in turn.
        let missing = questions - places.len();
        places.extend(in_turn(problems, self.fresh..self.fresh + missing, seed));
        self.fresh += missing;
        places
    }

    /// Number of lines in the solution prefix that the policy continues from.
    pub fn prefix_lines(&self, args: &CurriculumArgs, step: usize, total_steps: usize, lines: usize) -> usize {
        if args.curriculum != CurriculumKind::Backtracking {
            return 0;
        }
        let until = args.backtrack_until * total_steps as f64;
        let at_most = if until > 0.0 { (1.0 - step as f64 / until).max(0.0) } else { 0.0 };
        // A small epsilon, so that a share of 1 gives all lines in spite of rounding.
        (self.prefix_share.min(at_most) * lines as f64 + 1e-9) as usize
    }

    /// Updates the curriculum after a step, by the mean absolute advantage of each question and the accuracy.
    pub fn update(&mut self, args: &CurriculumArgs, places: &[usize], scores: &[f64], accuracy: f64, step: usize) {
        match args.curriculum {
            CurriculumKind::None => {}
            CurriculumKind::Plr => {
                assert_eq!(places.len(), scores.len(), "one mean absolute advantage per question");
                let met = places.iter().zip(scores).map(|(&place, &score)| (place, SeenQuestion { score, step }));
                self.met.extend(met);
            }
            CurriculumKind::Backtracking if accuracy >= args.saturation => {
                self.prefix_share = (self.prefix_share - args.backtrack).max(0.0);
            }
            CurriculumKind::Backtracking => {}
        }
    }

    /// Draws questions to replay, without those of `taken` and without repetition: (1 - ρ) times the share by rank plus
    /// ρ times the share by staleness (Jiang et al. 2021, eq. 2 to 4). The draws without replacement are the largest of
    /// log-weights with Gumbel noise (Kool et al. 2019, arXiv 1903.06059).
    fn replay(&self, args: &CurriculumArgs, taken: &[usize], count: usize, step: usize, seed: u64) -> Vec<usize> {
        let taken: BTreeSet<usize> = taken.iter().copied().collect();
        let mut known: Vec<(usize, SeenQuestion)> =
            self.met.iter().map(|(&place, &met)| (place, met)).filter(|(place, _)| !taken.contains(place)).collect();
        known.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        let by_rank = |rank: usize| (1.0 / rank as f64).powf(1.0 / args.replay_temperature);
        let by_age = |met: &SeenQuestion| (step - met.step) as f64;
        let all_by_rank: f64 = (1..=known.len()).map(by_rank).sum();
        let all_by_age: f64 = known.iter().map(|(_, met)| by_age(met)).sum::<f64>().max(f64::MIN_POSITIVE);
        let key = Key::new(seed, Purpose::Replay).with(step as u64);
        let noisy = known.iter().enumerate().map(|(index, (place, met))| {
            let weight =
                (1.0 - args.staleness) * by_rank(index + 1) / all_by_rank + args.staleness * by_age(met) / all_by_age;
            let draw = f64::from(uniform(key, *place as u64)).max(1e-12);
            let noise = -(-draw.ln()).ln();
            (weight.ln() + noise, *place)
        });
        let mut noisy: Vec<(f64, usize)> = noisy.collect();
        noisy.sort_by(|a, b| b.0.total_cmp(&a.0));
        noisy.into_iter().take(count).map(|(_, place)| place).collect()
    }
}

impl Default for Curriculum {
    fn default() -> Self {
        Self::new()
    }
}

/// A solution prefix: the first lines of a reference solution, at most `lines` of those that are steps, each with its line end.
pub fn solution_prefix(problem: &Problem, lines: usize) -> &str {
    let solution = &problem.solution;
    let Some(last) = lines.checked_sub(1).and_then(|last| Some(steps(solution).get(last)?.line_end)) else { return "" };
    &solution[..(last + 1).min(solution.len())]
}

/// The questions at positions of an endless list that has each of them once per epoch, in an order that depends on the
/// seed.
fn in_turn(problems: usize, places: std::ops::Range<usize>, seed: u64) -> Vec<usize> {
    let mut known: Option<(usize, Vec<usize>)> = None;
    let mut chosen = Vec::with_capacity(places.len());
    for place in places {
        let epoch = place / problems;
        if known.as_ref().is_none_or(|(known, _)| *known != epoch) {
            known = Some((epoch, permutation(problems, Key::new(seed, Purpose::Problems).with(epoch as u64))));
        }
        chosen.extend(known.as_ref().map(|(_, order)| order[place % problems]));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Answer;

    fn args(curriculum: CurriculumKind) -> CurriculumArgs {
        CurriculumArgs {
            curriculum,
            replay: 0.5,
            replay_temperature: 0.1,
            staleness: 0.0,
            saturation: 0.7,
            backtrack: 0.25,
            backtrack_until: 0.5,
        }
    }

    #[test]
    fn without_a_curriculum_every_question_comes_once_per_epoch() {
        let mut curriculum = Curriculum::new();
        let none = args(CurriculumKind::None);
        let taken: Vec<usize> = (0..5).flat_map(|step| curriculum.choose(&none, 10, 4, step, 1)).collect();
        for epoch in taken.chunks(10) {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), 10);
        }
        assert_ne!(taken[..10], taken[10..]);
        assert_eq!(taken[8..12], Curriculum { fresh: 8, ..Curriculum::new() }.choose(&none, 10, 4, 2, 1));
    }

    #[test]
    fn the_largest_mean_advantages_are_replayed_first_and_no_question_twice_in_a_step() {
        let plr = args(CurriculumKind::Plr);
        let mut curriculum = Curriculum::new();
        let first = curriculum.choose(&plr, 100, 8, 0, 1);
        let scores: Vec<f64> = (0..8).map(f64::from).collect();
        curriculum.update(&plr, &first, &scores, 0.5, 0);
        let second = curriculum.choose(&plr, 100, 8, 1, 1);
        assert_eq!(second.iter().collect::<BTreeSet<_>>().len(), 8);
        let again: BTreeSet<usize> = second.iter().filter(|place| first.contains(place)).copied().collect();
        assert_eq!(again.len(), 4);
        // Rank r has the weight r^-10: those with the four highest scores, but for a chance of about one in ten.
        assert!(again.contains(&first[7]) && again.contains(&first[6]), "{again:?} of {first:?}");
    }

    #[test]
    fn with_fewer_problems_than_before_no_missing_question_is_sampled() {
        let plr = args(CurriculumKind::Plr);
        let mut curriculum = Curriculum::new();
        curriculum.update(&plr, &[1, 50, 99], &[1.0, 9.0, 9.0], 0.5, 0);
        let places = curriculum.choose(&plr, 10, 8, 1, 1);
        assert!(places.len() == 8 && places.iter().all(|&place| place < 10), "{places:?}");
    }

    #[test]
    fn with_staleness_alone_questions_of_the_last_step_are_not_replayed() {
        let stale = CurriculumArgs { staleness: 1.0, ..args(CurriculumKind::Plr) };
        let mut curriculum = Curriculum::new();
        curriculum.update(&stale, &[3, 5], &[9.0, 9.0], 0.0, 4);
        curriculum.update(&stale, &[1, 2], &[0.0, 0.0], 0.0, 0);
        let mut again = curriculum.replay(&stale, &[], 2, 4, 7);
        again.sort_unstable();
        assert_eq!(again, [1, 2]);
    }

    #[test]
    fn the_start_moves_back_where_samples_are_right_and_is_at_the_beginning_in_time() {
        let backtracking = args(CurriculumKind::Backtracking);
        let mut curriculum = Curriculum::new();
        let prefix = |curriculum: &Curriculum, step: usize| curriculum.prefix_lines(&backtracking, step, 20, 4);
        assert_eq!(prefix(&curriculum, 0), 4);
        curriculum.update(&backtracking, &[], &[], 0.5, 0);
        assert_eq!(prefix(&curriculum, 0), 4, "half of the samples are not enough");
        curriculum.update(&backtracking, &[], &[], 0.75, 0);
        assert_eq!(prefix(&curriculum, 0), 3);
        // Half of the way to `backtrack_until`, and past it.
        assert_eq!((prefix(&curriculum, 5), prefix(&curriculum, 10)), (2, 0));
        assert_eq!(curriculum.prefix_lines(&args(CurriculumKind::None), 0, 20, 4), 0);
    }

    #[test]
    fn a_solution_prefix_is_complete_lines_of_the_reference() {
        let problem = Problem {
            id: "test/0".into(),
            question: "Why?".into(),
            solution: "6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n#### 21".into(),
            answer: Answer::from_integer(21),
            worked: None,
        };
        assert_eq!(solution_prefix(&problem, 0), "");
        assert_eq!(solution_prefix(&problem, 1), "6*4 = <<6*4=24>>24\n");
        assert_eq!(solution_prefix(&problem, 2), "6*4 = <<6*4=24>>24\n24-3 = <<24-3=21>>21\n");
        assert_eq!(solution_prefix(&problem, 5), "");
    }
}
