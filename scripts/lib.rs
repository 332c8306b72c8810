//! The paper's tables, figures and claims, from results only. Nothing here trains or samples.
//!
//! `scripts/reproduce.sh` leaves one *result* a run (`result.rs`); all results of one size and seed are a *study* (`study.rs`).
//! A table, figure or claim names runs and reads them from the studies of each size, as means over seeds.

mod plot;
mod result;
mod study;
mod table;

pub use plot::{Figure, OVER_SEEDS, Panel, Point, Scale, Series};
pub use result::{Cost, Look, Made, RunResult, check_name};
pub use study::{Size, Study, StudyArgs, metric, read_studies};
pub use table::{OutArgs, Row, TableArgs, Written, print_methods};

use eval::Estimate;

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

/// The mean of what seeds have found. Its interval has two independent parts: the questions, which all seeds share and more
/// seeds do not make more of (the mean of the seeds' own intervals), and the seeds (Student's t).
pub fn over_seeds(estimates: &[Estimate]) -> Option<Cell> {
    let values: Vec<f64> = estimates.iter().map(|estimate| estimate.value).collect();
    let Cell { mean, half_width, seeds } = mean_over_seeds(&values)?;
    let of_questions = estimates.iter().map(|estimate| (estimate.ci95[1] - estimate.ci95[0]) / 2.0).sum::<f64>();
    Some(Cell { mean, half_width: half_width.hypot(of_questions / seeds as f64), seeds })
}

/// The mean of numbers, one a seed, with Student's interval; of half-width 0 where there is one seed only.
pub fn mean_over_seeds(values: &[f64]) -> Option<Cell> {
    let seeds = values.len();
    if seeds == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / seeds as f64;
    let spread = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let half_width = match seeds {
        1 => 0.0,
        _ => student_t(seeds - 1) * (spread / (seeds - 1) as f64 / seeds as f64).sqrt(),
    };
    Some(Cell { mean, half_width, seeds })
}

/// The 97.5 % quantile of Student's distribution.
fn student_t(freedom: usize) -> f64 {
    const TABLE: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    TABLE.get(freedom - 1).copied().unwrap_or(2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64) -> Estimate {
        Estimate { value, ci95: [value - 0.03, value + 0.03] }
    }

    #[test]
    fn one_seed_has_the_interval_of_its_questions() {
        let cell = over_seeds(&[estimate(0.4)]).unwrap();
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 0.03).abs() < 1e-12);
        assert_eq!(over_seeds(&[]), None);
    }

    #[test]
    fn seeds_that_agree_do_not_shrink_the_interval_and_seeds_that_differ_widen_it() {
        let agreed = over_seeds(&[estimate(0.4); 3]).unwrap();
        assert!((agreed.half_width - 0.03).abs() < 1e-12);
        // Deviation 0.02 over three seeds: 4.303 * 0.02 / sqrt(3) = 0.0497 beside 0.03.
        let cell = over_seeds(&[estimate(0.38), estimate(0.4), estimate(0.42)]).unwrap();
        assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 0.05804).abs() < 1e-4, "{cell:?}");
    }
}
