//! Means over seeds and their 95 % intervals over seeds and questions, each counted once. Independent of runs. The quantiles are those of
//! `statrs`.

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

/// Degrees of freedom of the variance of so many numbers. Of one there is nothing to be said.
pub fn freedom_of(seeds: usize) -> f64 {
    (seeds.max(2) - 1) as f64
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
        Cell {
            mean: mean(values),
            half_width: student_t(freedom_of(most), ERROR) * deviation / (seeds as f64).sqrt(),
            seeds,
        }
    };
    points.map(cell).collect()
}

/// The mean of numbers.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Their variance, of two numbers at least.
pub fn variance(values: &[f64]) -> f64 {
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

/// The same of a number whose variance is as well known as so many degrees of freedom make it.
pub fn student_t(freedom: f64, error: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).expect("at least one degree of freedom").inverse_cdf(1.0 - error / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_interval_that_may_miss_less_often_is_wider_as_the_tables_of_the_quantiles_have_it() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        near(normal(0.05), 1.960);
        near(normal(0.01), 2.576);
        near(student_t(2.0, 0.05), 4.303);
        near(student_t(2.0, 0.01), 9.925);
        near(student_t(10.0, 0.05), 2.228);
    }
}
