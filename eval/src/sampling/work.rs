//! What some sampling depends on, for the parts that processes share it in.

use super::completions::SampleConfig;
use crate::models::policy::Policy;
use data::Problem;
use model::checksum;
use serde_json::{Map, Value, json};

/// What samples of these prompts, one or more of each problem, depend on beside `seed` and `step`: parts that agree in it belong together.
/// The prompts stand for the questions, their order and everything that is shown around them.
pub fn sampling_work(
    policy: &Policy,
    problems: &[&Problem],
    prompts: &[Vec<u32>],
    config: &SampleConfig,
    (seed, step): (u64, usize),
) -> Map<String, Value> {
    let prompts_sum = prompts.iter().fold(0, |sum, prompt| {
        let bytes: Vec<u8> = prompt.iter().flat_map(|token| token.to_le_bytes()).chain([0xff; 4]).collect();
        crc32c::crc32c_append(sum, &bytes)
    });
    let answers_sum = problems.iter().fold(0, |sum, problem| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, problem.id.as_bytes()), problem.answer.to_string().as_bytes())
    });
    let work = json!({
        "seed": seed,
        "step": step,
        "samples": config.samples,
        "temperature": config.temperature,
        "max_new_tokens": config.max_new_tokens,
        "calculator": config.calculator,
        "answer_format": config.answer_format.to_string(),
        "checker": config.checker.as_ref().map(ToString::to_string),
        "rollout_batch": config.rows,
        "rollout_streams": config.streams,
        "prompts": prompts.len(),
        "prompts_crc32c": format!("{prompts_sum:08x}"),
        "answers_crc32c": format!("{answers_sum:08x}"),
        "weights_crc32c": format!("{:08x}", checksum(&policy.model)),
    });
    let Value::Object(work) = work else { unreachable!("it is written as an object") };
    work
}
