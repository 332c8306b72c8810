//! Tests of `augment.rs`.

use super::*;
use eval::Sample;

#[test]
fn a_solution_counts_once_and_only_with_an_answer_and_an_end() {
    let sample = |completion: &str, finish: Finish| Sample {
        finish,
        ..crate::sampling::prefix::tests::sample("test/0", completion)
    };
    let samples = [
        sample(" 3+4 = <<3+4=7>>7\n#### 7", Finish::Stop),
        sample(" 3+4 = <<3+4=7>>7\n#### 7", Finish::Stop),
        sample(" 3+4 = <<3+4=7>>7", Finish::Stop),
        sample(" 3+4 = <<3+4=8>>8\n#### 8", Finish::Stop),
        sample(" #### 8", Finish::Length),
        sample(" #### 9", Finish::Stop),
    ];
    let solutions: Vec<String> = distinct_solutions(&samples).into_iter().map(|(solution, _)| solution).collect();
    assert_eq!(solutions, ["3+4 = <<3+4=7>>7\n#### 7", "#### 9"]);
}
