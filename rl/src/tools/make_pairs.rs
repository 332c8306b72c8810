//! `rl pairs`: pairs of a better and a worse completion, made of the samples of runs, as a file for `rl dpo --pairs` and other programs.

use crate::{
    sampling::pairs::{Pair, PairArgs, make_pairs},
    training::batch::pad,
    view::progress::print_line,
};
use anyhow::{Result, ensure};
use clap::Args;
use data::{PromptStyle, Prompting, encode_written};
use eval::{Policy, read_samples};
use model::{Device, Transformer, parallel_map, score, threads, to_host};
use std::{collections::HashMap, path::PathBuf};

/// Flags of `rl pairs`.
#[derive(Args, Clone, Debug)]
pub struct PairsArgs {
    /// Samples, as a run's samples.jsonl or `eval run --save-samples` has them; several files count as one
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub from_samples: Vec<PathBuf>,
    /// File to write, one pair a line
    #[arg(long, value_name = "FILE", default_value = "pairs.jsonl")]
    pub out: PathBuf,
    /// Which pairs are made.
    #[command(flatten)]
    pub making: PairArgs,
    /// Take first the pairs that this policy orders most wrongly, by mean log-probability per token [default: in an order of the seed]
    #[arg(long, value_name = "PATH", help_heading = "Sampling")]
    pub hardest_for: Option<PathBuf>,
    /// Format of the prompt, for --hardest-for
    #[arg(long, value_enum, default_value_t, help_heading = "Sampling")]
    pub prompt_style: PromptStyle,
    /// Seed of the order
    #[arg(long, default_value_t = 0, help_heading = "Sampling")]
    pub seed: u64,
}

/// Writes the file and prints how many pairs there are.
///
/// # Errors
/// A file that cannot be read or written, samples without a pair, a policy that cannot be read.
pub fn run(args: &PairsArgs) -> Result<()> {
    let samples = args.from_samples.iter().map(|path| read_samples(path)).collect::<Result<Vec<_>>>()?.concat();
    // Which pairs are the hardest is known once all are there.
    let most = args.making.pairs_per_question;
    let making = PairArgs { pairs_per_question: most.filter(|_| args.hardest_for.is_none()), ..args.making.clone() };
    let mut made = make_pairs(&samples, &making, args.seed)?;
    made.check()?;
    if let Some(path) = &args.hardest_for {
        made.pairs = hardest(made.pairs, &Policy::load(path, &Device::default())?, args.prompt_style, most)?;
    }
    made.write(&args.out)?;
    print_line(&format!("{}: {}", args.out.display(), made.summary()))
}

/// The pairs of each question, those first whose rejected completion leads most.
fn hardest(pairs: Vec<Pair>, policy: &Policy, style: PromptStyle, most: Option<usize>) -> Result<Vec<Pair>> {
    let prompting = Prompting::bare(style);
    let longest = policy.model.config.max_position_embeddings;
    let encode = |pair: &Pair| {
        let both = [&pair.chosen, &pair.rejected];
        let rows = both.map(|text| encode_written(&policy.tokenizer, &prompting, &pair.question, text, true));
        let [chosen, rejected] = rows;
        let rows = [chosen?, rejected?];
        ensure!(
            rows.iter().all(|row| row.tokens.len() <= longest),
            "a pair of {:?} is longer than the context of {longest} tokens",
            pair.question
        );
        Ok(rows)
    };
    let rows = pairs.iter().map(encode).collect::<Result<Vec<_>>>()?;
    let leads = parallel_map(
        &rows,
        threads(None, &policy.model.device()),
        || policy.model.clone(),
        |model: &mut Transformer, _, rows| {
            let [chosen, rejected] = rows.each_ref().map(|row| {
                let of_tokens = score(model, &pad(&[row], &model.device()), 1.0).log_probs;
                to_host(of_tokens.mean()).values[0]
            });
            rejected - chosen
        },
    );
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut sorted: Vec<(usize, f32, Pair)> = Vec::with_capacity(pairs.len());
    for (pair, lead) in pairs.into_iter().zip(leads) {
        let next = places.len();
        sorted.push((*places.entry(pair.question.clone()).or_insert(next), lead, pair));
    }
    sorted.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let of_question =
        sorted.chunk_by(|a, b| a.0 == b.0).flat_map(|pairs| pairs.iter().take(most.unwrap_or(usize::MAX)));
    Ok(of_question.map(|(_, _, pair)| pair.clone()).collect())
}
