//! Means over seeds and their 95 % intervals over seeds and questions, each counted once. Independent of runs. The quantiles are those of
//! `statrs`.

use eval::Estimate;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// How often an interval misses where nothing else is said: one in twenty.
pub const ERROR: f64 = 0.05;

/// A mean over seeds with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The mean.
    pub mean: f64,
    /// Half the width of the interval.
    pub half_width: f64,
    /// How many seeds.
    pub seeds: usize,
}

/// What each seed scores of each question: a run's scores, or a difference of two runs'.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossed {
    /// Of each question, the mean over seeds.
    pub by_question: Vec<f64>,
    /// The standard error that the seeds leave, beyond what they leave as samples of the questions.
    pub error_of_seeds: f64,
    /// How many seeds.
    pub seeds: usize,
}

impl Crossed {
    /// Scores by seed and question, `[S][Q]`; `None` unless all seeds have the same questions, two at least.
    ///
    /// The variance of the mean is that of questions over Q, that of seeds over S, and that of both together (of a seed with a
    /// question) over S Q. The spread of the questions' means holds the first and the last, that of the seeds' means the second
    /// and the last; it is taken from the latter, by the mean square of the interaction, so as to be counted once. By chance that
    /// may leave little or nothing of few seeds: a quarter of what they vary is kept, without which the interval of three seeds that
    /// differ holds the truth too seldom.
    pub fn of(scores: &[Vec<f64>]) -> Option<Self> {
        let (seeds, questions) = (scores.len(), scores.first()?.len());
        if questions < 2 || scores.iter().any(|scores| scores.len() != questions) {
            return None;
        }
        let by_question: Vec<f64> =
            (0..questions).map(|at| scores.iter().map(|of_seed| of_seed[at]).sum::<f64>() / seeds as f64).collect();
        let error_of_seeds = match seeds {
            1 => 0.0,
            _ => {
                let means: Vec<f64> = scores.iter().map(|scores| mean(scores)).collect();
                let both = scores.iter().zip(&means).flat_map(|(scores, of_seed)| {
                    let expected = by_question.iter().map(move |of_question| of_seed + of_question);
                    scores.iter().zip(expected).map(|(score, expected)| score - expected)
                });
                let all = mean(&means);
                let interaction =
                    both.map(|rest| (rest + all).powi(2)).sum::<f64>() / ((seeds - 1) * (questions - 1)) as f64;
                let alone = (variance(&means) - interaction / questions as f64).max(variance(&means) / 4.0);
                (alone / seeds as f64).sqrt()
            }
        };
        Some(Self { by_question, error_of_seeds, seeds })
    }

    /// The mean, with the interval of seeds and questions that misses with the probability `error`.
    pub fn cell(&self, error: f64) -> Cell {
        let of_questions = (variance(&self.by_question) / self.by_question.len() as f64).sqrt();
        let half_width = (student_t(self.seeds, error) * self.error_of_seeds).hypot(normal(error) * of_questions);
        Cell { mean: mean(&self.by_question), half_width, seeds: self.seeds }
    }

    /// This minus another on the same questions, of seeds that have nothing in common; `None` of other questions.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let by_question = self.by_question.iter().zip(&other.by_question).map(|(a, b)| a - b).collect();
        (self.by_question.len() == other.by_question.len()).then(|| Self {
            by_question,
            error_of_seeds: self.error_of_seeds.hypot(other.error_of_seeds),
            seeds: self.seeds.min(other.seeds),
        })
    }
}

/// The mean of what seeds have found, where it is not known what each question scored: the mean of the seeds' own intervals,
/// which more seeds do not narrow, and the seeds (Student's t). The interaction of seeds and questions counts twice, so that it is too
/// wide.
pub fn over_seeds(estimates: &[Estimate], error: f64) -> Option<Cell> {
    let values: Vec<f64> = estimates.iter().map(|estimate| estimate.value).collect();
    let Cell { mean, half_width, seeds } = mean_over_seeds(&values)?;
    let of_seeds = half_width * student_t(seeds, error) / student_t(seeds, ERROR);
    let of_questions = estimates.iter().map(|estimate| (estimate.ci95[1] - estimate.ci95[0]) / 2.0).sum::<f64>();
    let of_questions = of_questions / seeds as f64 * normal(error) / normal(ERROR);
    Some(Cell { mean, half_width: of_seeds.hypot(of_questions), seeds })
}

/// The mean of numbers, one a seed, with Student's interval; of half-width 0 where there is one seed only.
pub fn mean_over_seeds(values: &[f64]) -> Option<Cell> {
    means_over_seeds(&[values]).pop()
}

/// The same of the points of a line, for which the same seeds have numbers, or some of them: with the deviation that all points have
/// together, so that chance does not make one wide and its neighbour narrow. Points of a line are not independent: it is as well known
/// as that of one point. A point without a number is left out.
pub fn means_over_seeds(points: &[&[f64]]) -> Vec<Cell> {
    let points = points.iter().filter(|values| !values.is_empty());
    let freedom: usize = points.clone().map(|values| values.len() - 1).sum();
    let squares: f64 = points.clone().map(|values| squares(values)).sum();
    let most = points.clone().map(|values| values.len()).max().unwrap_or(1);
    let deviation = if freedom == 0 { 0.0 } else { (squares / freedom as f64).sqrt() };
    let cell = |values: &&[f64]| {
        let seeds = values.len();
        Cell { mean: mean(values), half_width: student_t(most, ERROR) * deviation / (seeds as f64).sqrt(), seeds }
    };
    points.map(cell).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of two numbers at least.
fn variance(values: &[f64]) -> f64 {
    squares(values) / (values.len() - 1) as f64
}

/// Sum of the squared distances from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// What a normal variable exceeds in size with the probability `error`, in standard deviations.
pub fn normal(error: f64) -> f64 {
    Normal::standard().inverse_cdf(1.0 - error / 2.0)
}

/// The same of the mean of `seeds` numbers whose deviation is not known. Of one there is nothing to be said.
fn student_t(seeds: usize, error: f64) -> f64 {
    let freedom = seeds.max(2) - 1;
    StudentsT::new(0.0, 1.0, freedom as f64).expect("at least one degree of freedom").inverse_cdf(1.0 - error / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64) -> Estimate {
        Estimate { value, ci95: [value - 0.03, value + 0.03] }
    }

    #[test]
    fn one_seed_has_the_interval_of_its_questions() {
        let cell = over_seeds(&[estimate(0.4)], ERROR).unwrap();
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 0.03).abs() < 1e-12);
        assert_eq!(over_seeds(&[], ERROR), None);
    }

    #[test]
    fn points_of_a_line_have_one_deviation() {
        // Deviations 0.02 and 0 of three seeds each: sqrt(2 * 0.0004 / 4) = 0.01414, 4.303 * 0.01414 / sqrt(3) = 0.0351.
        let cells = means_over_seeds(&[&[0.38, 0.4, 0.42], &[], &[0.5, 0.5, 0.5], &[0.6]]);
        assert_eq!(cells.iter().map(|cell| cell.seeds).collect::<Vec<_>>(), [3, 3, 1]);
        assert!(cells[..2].iter().all(|cell| (cell.half_width - 0.0351).abs() < 1e-4), "{cells:?}");
        assert!((cells[2].half_width - 0.0608).abs() < 1e-4, "{cells:?}");
        let own = mean_over_seeds(&[0.38, 0.4, 0.42]).unwrap();
        assert!((own.half_width - 0.0497).abs() < 1e-4, "{own:?}");
        assert_eq!((mean_over_seeds(&[0.4]).unwrap().half_width, mean_over_seeds(&[])), (0.0, None));
    }

    #[test]
    fn seeds_that_agree_do_not_shrink_the_interval_and_seeds_that_differ_widen_it() {
        let agreed = over_seeds(&[estimate(0.4); 3], ERROR).unwrap();
        assert!((agreed.half_width - 0.03).abs() < 1e-12);
        // Deviation 0.02 over three seeds: 4.303 * 0.02 / sqrt(3) = 0.0497 beside 0.03.
        let cell = over_seeds(&[estimate(0.38), estimate(0.4), estimate(0.42)], ERROR).unwrap();
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 0.05804).abs() < 1e-4, "{cell:?}");
    }

    #[test]
    fn a_constant_difference_of_seeds_is_no_interaction_of_seeds_with_questions() {
        // Of the first two the second is better by 0.1 everywhere: there is no interaction.
        // sqrt(0.005 / 2) = 0.05 of the seeds, 12.706 times; of the questions 1.96 * sqrt(0.5 / 2) = 0.98.
        let constant = Crossed::of(&[vec![0.0, 1.0], vec![0.1, 1.1]]).unwrap();
        assert!((constant.error_of_seeds - 0.05).abs() < 1e-9, "{constant:?}");
        assert!((constant.cell(ERROR).half_width - 0.6353f64.hypot(0.98)).abs() < 1e-4);
        // Seeds of the same mean: all of it is interaction, and more of it than seeds alone would show.
        let mixed = Crossed::of(&[vec![0.0, 1.0], vec![1.0, 0.0]]).unwrap();
        assert_eq!((mixed.error_of_seeds, mixed.by_question), (0.0, vec![0.5, 0.5]));
        assert_eq!(Crossed::of(&[vec![0.0, 1.0], vec![0.0]]), None);
    }

    #[test]
    fn an_interval_that_may_miss_less_often_is_wider_as_the_tables_of_the_quantiles_have_it() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        near(normal(0.05), 1.960);
        near(normal(0.01), 2.576);
        near(student_t(3, 0.05), 4.303);
        near(student_t(3, 0.01), 9.925);
        near(student_t(11, 0.05), 2.228);
        let crossed = Crossed { by_question: vec![0.0, 1.0], error_of_seeds: 0.1, seeds: 3 };
        near(crossed.cell(0.01).half_width, (9.925f64 * 0.1).hypot(2.576 * 0.5));
        near(over_seeds(&[estimate(0.4); 3], 0.01).unwrap().half_width, 0.03 * 2.576 / 1.960);
    }

    #[test]
    fn the_interval_of_a_difference_of_three_seeds_holds_the_truth_in_93_to_99_of_100_cases_by_what_seeds_do() {
        // Numbers without a seed of the machine: a multiplicative generator (Park and Miller 1988).
        let mut state = 1u64;
        let mut uniform = || {
            state = state * 48_271 % 2_147_483_647;
            state as f64 / 2_147_483_647.0
        };
        // Two runs a seed on the same questions, both of which the seed moves; they are equally good. The shares are those of 40,000
        // cases from another generator. Without the part that is kept of what seeds vary they would be 0.967, 0.932, 0.904 and 0.919;
        // with the normal distribution's quantile in place of Student's 0.970, 0.926, 0.858 and 0.820; with all that seeds vary, as
        // if they were of other questions, 0.995, 0.989, 0.973 and 0.957.
        for (spread, expected) in [(0.0, 0.986), (0.1, 0.964), (0.2, 0.930), (0.4, 0.927)] {
            let (trials, mut inside) = (20_000, 0);
            for _ in 0..trials {
                let questions: Vec<f64> = (0..200).map(|_| 0.25 + 0.5 * uniform()).collect();
                let scores: Vec<Vec<f64>> = (0..3)
                    .map(|_| {
                        let shifts = [0; 2].map(|_| spread * (uniform() - 0.5));
                        let mut is_right = |p: f64| f64::from(uniform() < p);
                        questions.iter().map(|p| is_right(p + shifts[0]) - is_right(p + shifts[1])).collect()
                    })
                    .collect();
                let Cell { mean, half_width, .. } = Crossed::of(&scores).unwrap().cell(ERROR);
                inside += usize::from(mean.abs() < half_width);
            }
            let share = inside as f64 / f64::from(trials);
            // Three standard errors of the share.
            assert!((share - expected).abs() < 0.0055, "{share} at {spread}, not {expected}");
        }
    }
}
