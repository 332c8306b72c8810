//! What chance does to a run beyond what its seed does to all runs that start from the same model: a block design, runs by seeds, whose
//! variance is pooled. Independent of claims.
//!
//! Runs of a seed share their base model and their order of problems: the seed is a block. With the scores y of M runs, S seeds and Q
//! questions, the residual of a run and a seed is e = ȳ_ms − ȳ_m − ȳ_s + ȳ, and their mean square
//!
//! ```text
//! MS = Σ e² / ((M − 1) (S − 1)),    E MS = τ² + κ / Q,
//! ```
//!
//! is the variance τ² of a run with its seed on any questions, and the variance κ of both with a question, which the mean square of the
//! three-way residuals estimates (Montgomery 2017, *Design and Analysis of Experiments*, sections 4.1 and 13.3). A sum Σ w_m ȳ_m whose weights
//! add up to zero has no block in it: one seed leaves τ² Σ w_m² open. Its variance is known as well as (M − 1) (S − 1) numbers tell it,
//! where the pair of runs alone has S − 1.

use statrs::distribution::{ContinuousCDF, FisherSnedecor};

/// A run is not pooled where chance would make the largest of so many equal variances as large with this probability at most
/// (Cochran 1941).
const LEVEL_OF_RUNS: f64 = 0.05;
/// A sum of runs is not pooled where chance would make its own variance as large with this probability at most. A test before pooling has a
/// loose level (Bancroft 1944): what it lets pass makes an interval too narrow, what it stops one that is wide.
const LEVEL_OF_SUMS: f64 = 0.2;
/// Fewer runs than this are no pool.
const FEWEST_RUNS: usize = 3;
/// What is left of a variance at least when that of single questions is taken from it. Without it, intervals of runs that seeds hardly change
/// would be as good as exact; of three runs and four seeds they would be too narrow.
const KEPT: f64 = 0.1;

/// Comparable runs, and what their variances have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Runs that are pooled.
    pub runs: Vec<String>,
    /// Runs whose variance is larger than that of the others by more than chance.
    pub apart: Vec<String>,
    /// Variance of a run's mean with its seed, as one seed shows it.
    variance: f64,
    /// How much of it is that of seeds with single questions.
    of_questions: f64,
    freedom: f64,
}

/// Variances of a sum of runs that one seed leaves, by all runs that its terms are comparable with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// As a seed's mean over questions shows it.
    pub variance: f64,
    /// The part of it that no questions change.
    pub alone: f64,
    /// Degrees of freedom.
    pub freedom: f64,
}

impl Pool {
    /// Of comparable runs, each with what it scores by seed and question, `[S][Q]`. Where scores by question are not known, a seed has a
    /// single number: what questions leave open is then part of its variance.
    ///
    /// Runs whose variance is too large are set apart, the largest first, until the largest left is one that chance would make (Cochran's C).
    /// `None` of fewer than three runs, of one seed, or of runs with other seeds or questions.
    pub fn of(runs: &[(&str, Vec<Vec<f64>>)]) -> Option<Self> {
        let seeds = runs.first()?.1.len();
        let questions = runs.first()?.1.first()?.len();
        let is_whole = |(_, scores): &(&str, Vec<Vec<f64>>)| {
            scores.len() == seeds && scores.iter().all(|scores| scores.len() == questions)
        };
        if seeds < 2 || questions == 0 || !runs.iter().all(is_whole) {
            return None;
        }
        let mut pooled: Vec<usize> = (0..runs.len()).collect();
        let mut apart = Vec::new();
        let means: Vec<Vec<f64>> =
            runs.iter().map(|(_, scores)| scores.iter().map(|scores| mean(scores.iter().copied())).collect()).collect();
        loop {
            if pooled.len() < FEWEST_RUNS {
                return None;
            }
            let variances = variances(&pooled.iter().map(|&run| means[run].as_slice()).collect::<Vec<_>>());
            let (place, largest) =
                variances.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a pool has runs");
            let sum: f64 = variances.iter().sum();
            if pooled.len() > FEWEST_RUNS && largest > sum * cochran(pooled.len(), seeds - 1, LEVEL_OF_RUNS) {
                apart.push(pooled.remove(place));
                continue;
            }
            let of = |places: &[usize]| places.iter().map(|&run| runs[run].0.to_string()).collect();
            let scores: Vec<&[Vec<f64>]> = pooled.iter().map(|&run| runs[run].1.as_slice()).collect();
            let three_way = three_way(&scores);
            return Some(Self {
                runs: of(&pooled),
                apart: of(&apart),
                variance: sum / pooled.len() as f64,
                of_questions: three_way / questions as f64,
                freedom: ((pooled.len() - 1) * (seeds - 1)) as f64,
            });
        }
    }

    /// What one seed leaves open of a sum of runs, each with its weight. `None` unless each run is in one of the pools, and the weights
    /// of each pool add up to zero.
    pub fn spread(pools: &[Self], terms: &[(f64, String)]) -> Option<Spread> {
        let pool_of = |name: &String| pools.iter().position(|pool| pool.runs.contains(name));
        let places: Vec<usize> = terms.iter().map(|(_, name)| pool_of(name)).collect::<Option<_>>()?;
        let mut spread = Spread { variance: 0.0, alone: 0.0, freedom: 0.0 };
        let mut by_freedom = 0.0;
        for (place, pool) in pools.iter().enumerate() {
            let weights = || terms.iter().zip(&places).filter(|(_, of)| **of == place).map(|((weight, _), _)| weight);
            if weights().sum::<f64>().abs() > 1e-9 {
                return None;
            }
            let squares: f64 = weights().map(|weight| weight * weight).sum();
            let variance = squares * pool.variance;
            spread.variance += variance;
            spread.alone += squares * (pool.variance - pool.of_questions).max(KEPT * pool.variance);
            by_freedom += variance * variance / pool.freedom;
        }
        // Satterthwaite (1946).
        spread.freedom = spread.variance * spread.variance / by_freedom;
        (spread.freedom.is_finite()).then_some(spread)
    }
}

impl Spread {
    /// Whether chance may make the variance of one sum over so many seeds as large as it is.
    pub fn allows(&self, own: f64, seeds: usize) -> bool {
        let bound = fisher((seeds - 1) as f64, self.freedom, LEVEL_OF_SUMS);
        own <= bound * self.variance
    }
}

/// Of each run, the variance with the seed: `[M]` of means `[M][S]`. The residuals of a run are M − 1 of M parts its own.
fn variances(means: &[&[f64]]) -> Vec<f64> {
    let (runs, seeds) = (means.len() as f64, means[0].len());
    let of_seed: Vec<f64> = (0..seeds).map(|seed| mean(means.iter().map(|of_run| of_run[seed]))).collect();
    let all = mean(of_seed.iter().copied());
    let of_run = |of_run: &&[f64]| {
        let own = mean(of_run.iter().copied());
        let residuals = of_run.iter().zip(&of_seed).map(|(score, of_seed)| score - own - of_seed + all);
        residuals.map(|residual| residual * residual).sum::<f64>() * runs / ((runs - 1.0) * (seeds - 1) as f64)
    };
    means.iter().map(of_run).collect()
}

/// Mean square of what runs `[M][S][Q]` score beyond what any two of run, seed and question tell; 0 of one question.
fn three_way(runs: &[&[Vec<f64>]]) -> f64 {
    let (seeds, questions) = (runs[0].len(), runs[0][0].len());
    if questions < 2 {
        return 0.0;
    }
    let count = runs.len() as f64;
    // Of each run less the mean run, the residuals of seeds and questions.
    let mut mean_run = vec![vec![0.0; questions]; seeds];
    for run in runs {
        for (sums, scores) in mean_run.iter_mut().zip(*run) {
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / count);
        }
    }
    let squares = |run: &&[Vec<f64>]| {
        let rest: Vec<Vec<f64>> = run
            .iter()
            .zip(&mean_run)
            .map(|(scores, means)| scores.iter().zip(means).map(|(score, mean)| score - mean).collect())
            .collect();
        let of_seed: Vec<f64> = rest.iter().map(|rest| mean(rest.iter().copied())).collect();
        let all = mean(of_seed.iter().copied());
        let mut of_question = vec![-all; questions];
        for rest in &rest {
            of_question.iter_mut().zip(rest).for_each(|(sum, rest)| *sum += rest / seeds as f64);
        }
        let of_one = |(rest, of_seed): (&Vec<f64>, &f64)| {
            rest.iter().zip(&of_question).map(|(rest, of_question)| (rest - of_seed - of_question).powi(2)).sum::<f64>()
        };
        rest.iter().zip(&of_seed).map(of_one).sum::<f64>()
    };
    runs.iter().map(squares).sum::<f64>() / ((count - 1.0) * ((seeds - 1) * (questions - 1)) as f64)
}

/// The share of their sum that the largest of so many variances exceeds with the probability `level` (Cochran 1941; Bonferroni's bound, which
/// is as good as exact).
fn cochran(runs: usize, freedom: usize, level: f64) -> f64 {
    let (others, freedom) = ((runs - 1) as f64, freedom as f64);
    1.0 / (1.0 + others / fisher(freedom, others * freedom, level / runs as f64))
}

/// What a quotient of two variances exceeds with the probability `level`.
fn fisher(freedom: f64, other: f64, level: f64) -> f64 {
    FisherSnedecor::new(freedom, other).expect("degrees of freedom").inverse_cdf(1.0 - level)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One number a seed.
    fn numbers<const S: usize>(runs: &[(&'static str, [f64; S])]) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        runs.iter().map(|(name, values)| (*name, values.iter().map(|&value| vec![value]).collect())).collect()
    }

    fn terms(terms: &[(f64, &str)]) -> Vec<(f64, String)> {
        terms.iter().map(|(weight, name)| (*weight, name.to_string())).collect()
    }

    #[test]
    fn the_variance_is_that_of_the_residuals_of_runs_and_seeds_by_hand() {
        // The second seed adds 0.2, 0.2 and −0.1, 0.1 in the mean. Residuals ± 0.05, ± 0.05 and ∓ 0.1: 0.03 / 2 = 0.015.
        let pool = Pool::of(&numbers(&[("a", [0.1, 0.3]), ("b", [0.2, 0.4]), ("c", [0.3, 0.2])])).unwrap();
        let spread = Pool::spread(&[pool], &terms(&[(1.0, "a"), (-1.0, "b")])).unwrap();
        assert!((spread.variance - 0.03).abs() < 1e-12 && (spread.alone - 0.03).abs() < 1e-12, "{spread:?}");
        assert_eq!(spread.freedom, 2.0);
    }

    #[test]
    fn what_a_seed_does_to_single_questions_is_no_variance_of_the_seed_alone() {
        // Scores c x z of runs c = 1/2, 0, −1/2, seeds x = ± 1 and questions z = ± 1: all of it is between the three. Squares add up to 2, of
        // 2 · 1 · 1 degrees of freedom; of two questions, 1/2. A block of 0.3 changes nothing.
        let run = |c: f64, shift: f64| vec![vec![c, -c], vec![-c + 0.3 + shift, c + 0.3 + shift]];
        let runs = |shift: f64| [("a", run(0.5, shift)), ("b", run(0.0, 0.0)), ("c", run(-0.5, -shift))];
        let pool = Pool::of(&runs(0.0)).unwrap();
        assert!(pool.variance < 1e-12 && (pool.of_questions - 0.5).abs() < 1e-12, "{pool:?}");
        // The second seed adds 2, 0 and −2 beside the block: residuals ± 1, 0 and ∓ 1, 4 / 2 = 2 a run.
        let pool = Pool::of(&runs(2.0)).unwrap();
        let spread = Pool::spread(&[pool], &terms(&[(1.0, "a"), (-1.0, "c")])).unwrap();
        assert!((spread.variance - 4.0).abs() < 1e-12 && (spread.alone - 3.0).abs() < 1e-12, "{spread:?}");
    }

    #[test]
    fn a_sum_has_the_variances_of_its_pools_where_weights_of_each_add_up_to_zero() {
        let pool = |names: [&'static str; 3], by: f64| {
            let scores = [[0.1, 0.3], [0.2, 0.4], [0.3, 0.2]].map(|scores| scores.map(|score| by * score));
            Pool::of(&numbers(&[(names[0], scores[0]), (names[1], scores[1]), (names[2], scores[2])])).unwrap()
        };
        let pools = [pool(["a", "b", "c"], 1.0), pool(["x", "y", "z"], 2.0)];
        let spread = |of: &[(f64, &str)]| Pool::spread(&pools, &terms(of));
        // 2 · 0.015 and 2 · 0.06, with 2 degrees of freedom each: 0.15² / (0.03² / 2 + 0.12² / 2) = 2.94.
        let both = spread(&[(1.0, "a"), (-1.0, "x"), (-1.0, "b"), (1.0, "y")]).unwrap();
        assert!((both.variance - 0.15).abs() < 1e-12 && (both.freedom - 2.941).abs() < 1e-3, "{both:?}");
        let one = spread(&[(1.0, "a"), (-0.5, "b"), (-0.5, "c")]).unwrap();
        assert!((one.variance - 1.5 * 0.015).abs() < 1e-12, "{one:?}");
        assert_eq!(spread(&[(1.0, "a"), (-0.5, "b")]), None, "the block counts");
        assert_eq!(spread(&[(1.0, "a"), (-1.0, "x")]), None, "two blocks");
        assert_eq!(spread(&[(1.0, "a"), (-1.0, "other")]), None);
    }

    #[test]
    fn the_largest_variance_is_judged_by_cochrans_table() {
        // Ten variances of 3 degrees of freedom, and five of 4.
        let table = [(10, 3, 0.01, 0.4469), (5, 4, 0.01, 0.6329), (10, 3, 0.05, 0.3733), (5, 4, 0.05, 0.5441)];
        for (runs, freedom, level, expected) in table {
            let found = cochran(runs, freedom, level);
            assert!((found - expected).abs() < 2e-4, "{found} {expected}");
        }
    }

    #[test]
    fn a_run_that_varies_far_more_is_apart_and_sums_with_it_have_no_pool() {
        let alike = |shift: f64| [0.30, 0.34, 0.32, 0.36].map(|score| score + shift);
        let mut runs: Vec<(&str, [f64; 4])> =
            vec![("a", alike(0.0)), ("b", alike(0.1)), ("c", alike(0.2)), ("d", alike(0.3))];
        for (run, by) in runs.iter_mut().zip([0.01, -0.01, 0.015, -0.015]) {
            run.1[1] += by;
        }
        runs.push(("wild", [0.1, 0.9, 0.2, 0.7]));
        let pool = Pool::of(&numbers(&runs)).unwrap();
        assert_eq!((pool.runs.len(), pool.apart.as_slice()), (4, &["wild".to_string()][..]));
        assert_eq!(Pool::spread(std::slice::from_ref(&pool), &terms(&[(1.0, "a"), (-1.0, "wild")])), None);
        assert!(Pool::spread(&[pool], &terms(&[(1.0, "a"), (-1.0, "d")])).is_some());
        assert_eq!(Pool::of(&numbers(&runs[..2])), None, "two runs are a pair and no pool");
        assert_eq!(
            Pool::of(&[("a", vec![vec![0.1]]), ("b", vec![vec![0.1]]), ("c", vec![vec![0.1]])]),
            None,
            "one seed"
        );
    }
}
