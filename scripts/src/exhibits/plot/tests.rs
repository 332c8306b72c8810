use super::figure::with_problems;
use super::*;
use crate::{
    results::{Cost, Evaluation, Made, RunResult, SeedRuns, Size, mean_over_seeds},
    study::{Row, Scale},
};
use std::collections::BTreeMap;

fn rows<const N: usize>(rows: [(&str, &str); N]) -> Vec<Row> {
    rows.map(|(label, run)| (label.into(), run.into())).into()
}

fn two_rows() -> Vec<Row> {
    rows([("EI, K < 9", "ei-k4"), ("PPO", "ppo")])
}

/// A run a seed, whose evaluations have these steps and scores; it has drawn eight samples a step.
fn size(run: &str, seeds: &[&[(f64, f64)]]) -> Size {
    let of_seed = |(seed, evaluations): (u64, &&[(f64, f64)])| {
        let evaluation = |&(step, score): &(f64, f64)| {
            let all = [("step", step), ("samples", 8.0 * step), ("validation/maj@1", score)];
            all.into_iter().map(|(name, value)| (name.to_string(), value)).collect::<Evaluation>()
        };
        let run = RunResult {
            name: run.into(),
            command: "ppo".into(),
            model: "tiny".into(),
            seed,
            test: None,
            single: None,
            by_question: BTreeMap::new(),
            reward_model: None,
            cost: Cost::default(),
            evaluations: evaluations.iter().map(evaluation).collect(),
            flags: BTreeMap::new(),
            made: Made::default(),
        };
        SeedRuns { seed, runs: BTreeMap::from([(run.name.clone(), run)]) }
    };
    Size { model: "tiny".into(), by_seed: (0..).zip(seeds).map(of_seed).collect() }
}

fn figure(size: &Size, scale: Scale) -> Figure {
    let panels = vec![Panel::of_evaluations(size, &two_rows(), "samples", "validation/maj@1")];
    Figure {
        title: "A & B".into(),
        x: "samples".into(),
        scale,
        panels,
        note: "Mean over seeds, so that the note is long enough to be wrapped. ".repeat(4),
    }
}

#[test]
fn a_point_is_the_mean_of_the_seeds_that_came_so_far() {
    let size = size("ppo", &[&[(1.0, 0.3), (2.0, 0.5)], &[(1.0, 0.5)]]);
    let points = &Panel::of_evaluations(&size, &two_rows(), "samples", "validation/maj@1").series[1].points;
    assert_eq!(points.iter().map(|point| (point.x, point.cell.seeds)).collect::<Vec<_>>(), [(8.0, 2), (16.0, 1)]);
    // Deviation 0.1414 over two seeds: 12.706 * 0.1414 / sqrt(2) = 1.2706.
    let cell = points[0].cell;
    assert!((cell.mean - 0.4).abs() < 1e-12 && (cell.half_width - 1.2706).abs() < 1e-4, "{cell:?}");
    let csv = figure(&size, Scale::Linear).rendered().unwrap().csv;
    // The other point has one seed, and the deviation of the line.
    assert_eq!(csv.lines().last(), Some("tiny,PPO,16,validation/maj@1,0.50000,1.79693,1"));
}

#[test]
fn one_evaluation_on_many_problems_has_the_interval_of_a_share() {
    // 1.96 * sqrt(0.4 * 0.6 / 400) = 0.0480.
    let evaluation = mean_over_seeds(&[0.4]).unwrap();
    let cell = with_problems(evaluation, Some(400.0));
    assert!((cell.half_width - 0.0480).abs() < 1e-4, "{cell:?}");
    assert_eq!(with_problems(evaluation, None).half_width, 0.0);
}

#[test]
fn a_run_that_is_missing_is_named_below_and_is_an_error_only_if_all_are() {
    let size = size("ppo", &[&[(1.0, 0.3)], &[]]);
    let markdown = figure(&size, Scale::Linear).rendered().unwrap().markdown;
    assert!(markdown.contains("\n`ei-k4` was not run on `tiny`."), "{markdown}");
    assert!(markdown.contains("\n`ppo` of `tiny` has 1 of 2 seeds."), "{markdown}");
    assert!(markdown.contains("\n| `tiny`, validation maj@1 by samples | PPO |\n"), "{markdown}");
    let nothing = Size { model: "tiny".into(), by_seed: Vec::new() };
    let error = figure(&nothing, Scale::Linear).rendered().unwrap_err().to_string();
    assert!(error.contains("`ei-k4`") && error.contains("`ppo`"), "{error}");
}

#[test]
fn a_size_that_has_nothing_to_compare_has_no_panel() {
    let (first, second) = (size("ei-k4", &[&[(1.0, 0.3)]]), size("ppo", &[&[(1.0, 0.3)]]));
    let drawn = |sizes: &[&Size]| {
        let panels =
            sizes.iter().map(|size| Panel::of_evaluations(size, &two_rows(), "samples", "validation/maj@1")).collect();
        Figure { panels, ..figure(&first, Scale::Linear) }.rendered().unwrap().markdown
    };
    assert!(drawn(&[&first]).contains("| `tiny`, validation maj@1"), "there is nothing else");
    let other = Size { model: "nano".into(), ..first.clone() };
    let text = drawn(&[&other, &second]);
    assert!(!text.contains("| `nano`") && text.contains("\nNot run on `nano`."), "{text}");
}

#[test]
fn what_starts_from_sft_begins_where_sft_was_best() {
    let mut size = size("ppo", &[&[(1.0, 0.3)]]);
    let mut sft = size.by_seed[0].runs["ppo"].clone();
    sft.name = "sft".into();
    size.by_seed[0].runs.insert("sft".into(), sft);
    let rows = rows([("PPO", "ppo"), ("PPO from the base", "ppo-base"), ("EI", "ei")]);
    let mut panel = Panel::of_evaluations(&size, &rows, "samples", "validation/maj@1");
    panel.begin_with("sft", &size, |place| rows[place].1 != "ppo-base");
    let xs: Vec<Vec<f64>> =
        panel.series.iter().map(|series| series.points.iter().map(|point| point.x).collect()).collect();
    assert_eq!(xs, [vec![0.0, 8.0], vec![], vec![]]);
}

#[test]
fn a_count_of_zero_is_in_the_table_but_not_on_a_log_axis() {
    let of_zero = size("ppo", &[&[(0.0, 0.3), (1.0, 0.4), (50.0, 0.5)]]);
    let circles = |scale| figure(&of_zero, scale).rendered().unwrap().svg.unwrap().matches("<circle").count();
    assert_eq!(circles(Scale::Linear) - circles(Scale::Log), 2);
    assert!(figure(&of_zero, Scale::Log).rendered().unwrap().markdown.contains("\n| 0 | 0.300 (1) |"));
    assert!(figure(&size("ppo", &[&[(0.0, 0.3)]]), Scale::Log).rendered().is_err());
}

#[test]
fn the_drawing_is_well_formed_names_its_lines_and_is_always_the_same() {
    let size = size("ei-k4", &[&[(1.0, 0.3)]]);
    let svg = figure(&size, Scale::Log).rendered().unwrap().svg.unwrap();
    assert!(svg.contains("EI, K &lt; 9") && svg.contains("A &amp; B") && !svg.contains("PPO"));
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(text.len() < 140, "it is cut at the margin: {text}");
        assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap()),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(figure(&size, Scale::Log).rendered().unwrap().svg.unwrap(), svg);
}
