//! The identity of a model made on demand: kind, size, seed, problems and configuration. Another identity is another
//! model in another folder. Makes nothing.

use crate::{
    algorithms::{orm::OrmConfig, pretrain::PretrainConfig, sft::SftConfig},
    cli::{
        args::{ComputeArgs, DataArgs, InitArgs, RunArgs},
        config_file,
        defaults::{Configuration, ModelKind, table},
    },
    run::start::RUNS,
    sampling::problems::Problems,
};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use data::{AnswerFormat, Problem, PromptStyle};
use model::{Dtype, ModelSize};
use std::path::{Path, PathBuf};

/// Kinds of models made on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Base,
    Sft,
    Orm,
}

impl Kind {
    /// Name in the folder's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Sft => "sft",
            Self::Orm => "orm",
        }
    }

    /// The data it is made from. The embedded benchmark's base model is trained on its own corpus, and no base model
    /// answers problems. Reference solutions teach an SFT model the same with a calculator as without, so there is one for both.
    pub(super) fn reads(self, data: &DataArgs) -> DataArgs {
        let mut data = data.clone();
        data.calculator = data.calculator.filter(|_| self == Self::Orm);
        if self == Self::Base {
            data.prompt_style = PromptStyle::Plain;
            data.answer_format = Some(data.benchmark().answer_format(PromptStyle::Plain));
            data.max_new_tokens = None;
            if data.benchmark().is_synthetic() {
                (data.limit, data.extra) = (None, None);
            }
        }
        data
    }
}

/// Keys of `config.toml` that the command that needs the model decides. A missing key belongs to an earlier version
/// without that flag.
const IDENTITY: [&str; 10] = [
    "model",
    "benchmark",
    "seed",
    "dtype",
    "svamp_solutions",
    "prompt_style",
    "answer_format",
    "limit",
    "max_new_tokens",
    "calculator",
];

/// A model that is made on demand.
pub(super) struct Recipe {
    pub(super) kind: Kind,
    /// `runs/KIND-BENCHMARK-SIZE-seedSEED`, with a suffix for each value that differs from the defaults.
    pub(super) dir: PathBuf,
    size: ModelSize,
    data: DataArgs,
    /// Number and checksum of the training problems.
    problems: String,
    /// Values of [`IDENTITY`].
    identity: toml::Table,
}

impl Recipe {
    /// The model of a kind for a run with these flags.
    pub(super) fn new(kind: Kind, size: ModelSize, problems: &Problems, run: &RunArgs) -> Result<Self> {
        let data = problems.data().clone();
        let dir = Path::new(RUNS).join(folder_name(kind, size, &data, run)?);
        let fingerprint = fingerprint(problems)?;
        let mut recipe = Self { kind, dir, size, data, problems: fingerprint, identity: toml::Table::new() };
        let run = recipe.run_args(run);
        let all = match kind {
            Kind::Base => table(&recipe.pretrain(run, &recipe.data)),
            Kind::Sft => table(&recipe.sft(run, &recipe.data, PathBuf::new())),
            Kind::Orm => table(&recipe.orm(run, &recipe.data, PathBuf::new())),
        };
        recipe.identity = all?.into_iter().filter(|(key, _)| IDENTITY.contains(&key.as_str())).collect();
        Ok(recipe)
    }

    /// The flags of the run that makes the model, where no attempt was begun.
    pub(super) fn run_args(&self, asking: &RunArgs) -> RunArgs {
        let defaults = match self.kind {
            Kind::Base => PretrainConfig::defaults(ModelKind::Size(self.size)).run,
            Kind::Sft => SftConfig::defaults(ModelKind::Size(self.size)).run,
            Kind::Orm => OrmConfig::defaults(ModelKind::Size(self.size)).run,
        };
        let compute = ComputeArgs { dtype: asking.compute.dtype, ..defaults.compute };
        let run = RunArgs { out: Some(self.dir.clone()), seed: asking.seed, compute, ..defaults };
        with_costs(run, asking)
    }

    /// Whether an attempt to make the model was begun and left a checkpoint.
    pub(super) fn is_begun(&self) -> bool {
        self.dir.join("checkpoints/index.json").is_file()
    }

    /// The configuration of an attempt that was begun, to resume it.
    ///
    /// # Errors
    /// A configuration that cannot be read; an attempt that was begun with other problems, or is another model.
    pub(super) fn begun<C: Configuration>(&self, asking: &RunArgs, data: impl Fn(&C) -> &DataArgs) -> Result<C> {
        let mut config: C = config_file::read(&self.dir.join("config.toml"))?;
        config.data_mut().resolve()?;
        self.check_problems(&fingerprint(&Problems::new(&self.kind.reads(data(&config))))?)?;
        self.check_identity()?;
        let run = RunArgs { resume: Some(self.dir.clone()), ..config.run_mut().clone() };
        *config.run_mut() = with_costs(run, asking);
        Ok(config)
    }

    /// The configuration that makes a base.
    pub(super) fn pretrain(&self, run: RunArgs, data: &DataArgs) -> PretrainConfig {
        let defaults = PretrainConfig::defaults(ModelKind::Size(self.size));
        PretrainConfig { run, data: data.clone(), model: self.size, ..defaults }
    }

    /// The configuration that makes an SFT model of a base. The command that needs the model prints its own table.
    pub(super) fn sft(&self, run: RunArgs, data: &DataArgs, base: PathBuf) -> SftConfig {
        let mut config = SftConfig::defaults(ModelKind::Size(self.size));
        config.eval.test_problems = 0;
        SftConfig { run, data: data.clone(), init: InitArgs { init: Some(base), model: self.size }, ..config }
    }

    /// The configuration that makes a reward model on samples of an SFT model.
    pub(super) fn orm(&self, run: RunArgs, data: &DataArgs, sft: PathBuf) -> OrmConfig {
        let defaults = OrmConfig::defaults(ModelKind::Size(self.size));
        OrmConfig { run, data: data.clone(), init: InitArgs { init: Some(sft), model: self.size }, ..defaults }
    }

    /// The file that marks the model as finished and records its inputs.
    pub(super) fn finished(&self) -> PathBuf {
        self.dir.join("finished")
    }

    /// Whether the model is finished.
    ///
    /// # Errors
    /// A model with other inputs.
    pub(super) fn is_made(&self) -> Result<bool> {
        let Ok(made_of) = std::fs::read_to_string(self.finished()) else { return Ok(false) };
        let (problems, from) = made_of.split_once('\n').unwrap_or((&made_of, ""));
        self.check_problems(problems)?;
        self.check_identity()?;
        self.check_made_from(from)?;
        Ok(true)
    }

    /// Marks the model as finished.
    pub(super) fn finish(&self) -> Result<()> {
        let from = self.made_from()?.map(|(from, sum)| format!("from {}, CRC-32C {sum:08x}\n", from.display()));
        eval::write_whole(&self.finished(), self.problems.clone() + &from.unwrap_or_default())
    }

    /// Refuses a model made for other problems.
    fn check_problems(&self, made_for: &str) -> Result<()> {
        let (made_for, problems) = (made_for.trim(), self.problems.trim());
        ensure!(
            made_for == problems,
            "{} was made for other problems ({made_for}) than this command uses now ({problems}): move it away, or give it with --init",
            self.dir.display()
        );
        Ok(())
    }

    /// Refuses a model whose configuration differs from what is needed.
    fn check_identity(&self) -> Result<()> {
        let made = self.written_config();
        for (key, wanted) in &self.identity {
            let found = made.get(key);
            ensure!(
                found.is_none_or(|found| found == wanted),
                "{} was made with {key} = {}, and this command needs {wanted}: move it away, or give it with --init",
                self.dir.display(),
                found.unwrap_or(wanted)
            );
        }
        Ok(())
    }

    /// Refuses a model whose starting model has changed since; earlier versions did not record its checksum.
    fn check_made_from(&self, written: &str) -> Result<()> {
        let Some((from, sum)) = self.made_from()?.filter(|_| !written.is_empty()) else { return Ok(()) };
        ensure!(
            written.trim().ends_with(&format!("{sum:08x}")),
            "{} was made from an earlier version of {} (CRC-32C {}; now {sum:08x}): move it away, or give it with --init",
            self.dir.display(),
            from.display(),
            written.trim().rsplit(' ').next().unwrap_or_default()
        );
        Ok(())
    }

    /// The model that this one was made from (a base or SFT model) and a checksum of its weights, if they still exist.
    fn made_from(&self) -> Result<Option<(PathBuf, u32)>> {
        let made = self.written_config();
        let Some(from) = made.get("init").and_then(toml::Value::as_str).map(PathBuf::from) else { return Ok(None) };
        let weights = from.join("model.safetensors");
        if !weights.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
        Ok(Some((from, crc32c::crc32c(&bytes))))
    }

    /// `config.toml` of the folder; empty where there is none.
    fn written_config(&self) -> toml::Table {
        let text = std::fs::read_to_string(self.dir.join("config.toml")).unwrap_or_default();
        text.parse().unwrap_or_default()
    }
}

/// Threads, gradient checkpointing and quietness of the run that needs the model: they change its cost, not the model.
fn with_costs(run: RunArgs, asking: &RunArgs) -> RunArgs {
    let compute = ComputeArgs {
        threads: asking.compute.threads.or(run.compute.threads),
        gradient_checkpointing: asking.compute.gradient_checkpointing || run.compute.gradient_checkpointing,
        ..run.compute
    };
    RunArgs { quiet: asking.quiet || run.quiet, compute, ..run }
}

fn folder_name(kind: Kind, size: ModelSize, data: &DataArgs, run: &RunArgs) -> Result<String> {
    let mut name = format!("{}-{}-{size}-seed{}", kind.name(), data.benchmark(), run.seed);
    if run.compute.dtype == Dtype::Bf16 {
        name += "-bf16";
    }
    if data.prompt_style != PromptStyle::default() {
        let style = data.prompt_style.to_possible_value().expect("no value is skipped");
        name += &format!("-{}", style.get_name());
    }
    let usual = data.benchmark().answer_format(data.prompt_style);
    let format = data.answer_format().to_string();
    match data.answer_format() {
        same if same == usual => {}
        // A pattern may hold characters that a file name cannot.
        AnswerFormat::Regex(_) => name += &format!("-regex{:08x}", crc32c::crc32c(format.as_bytes())),
        _ => name += &format!("-{format}"),
    }
    if let Some(limit) = data.limit {
        name += &format!("-limit{limit}");
    }
    if let Some(tokens) = data.max_new_tokens {
        name += &format!("-tokens{tokens}");
    }
    match data.calculator {
        Some(calculator) if calculator == data.benchmark().calculator() => {}
        Some(true) => name += "-calculator",
        Some(false) => name += "-no-calculator",
        None => {}
    }
    if let Some(extra) = &data.extra {
        name += &format!("-extra{:08x}", checksum(&data::read_problems(extra)?));
    }
    Ok(name)
}

/// Number and checksum of the training problems, and the checksum of the description of a benchmark of the user's own.
fn fingerprint(problems: &Problems) -> Result<String> {
    let description = problems.data().benchmark().description();
    let description = description.map(|text| format!(", description {:08x}", crc32c::crc32c(text.as_bytes())));
    let problems = problems.train()?;
    let checksum = checksum(problems);
    Ok(format!("{} problems, CRC-32C {checksum:08x}{}\n", problems.len(), description.unwrap_or_default()))
}

fn checksum(problems: &[Problem]) -> u32 {
    problems.iter().fold(0, |sum, problem| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, problem.question.as_bytes()), problem.solution.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures");

    /// The flags of the commands that need a model.
    #[derive(clap::Parser)]
    #[command(args_override_self = true)]
    struct Flags {
        #[command(flatten)]
        run: RunArgs,
        #[command(flatten)]
        data: DataArgs,
    }

    /// The folder of what a command makes for itself, and the configuration that it is made with.
    fn made(kind: Kind, line: &[&str]) -> (String, RunArgs, DataArgs) {
        let mut flags = <Flags as clap::Parser>::parse_from([&[""], line].concat());
        flags.data.resolve().unwrap();
        let problems = Problems::new(&kind.reads(&flags.data));
        let recipe = Recipe::new(kind, ModelSize::Tiny, &problems, &flags.run).unwrap();
        let run = recipe.run_args(&flags.run);
        let (run, data) = match kind {
            Kind::Base => {
                let made = recipe.pretrain(run, problems.data());
                (made.run, made.data)
            }
            Kind::Sft => {
                let made = recipe.sft(run, problems.data(), "base".into());
                (made.run, made.data)
            }
            Kind::Orm => {
                let made = recipe.orm(run, problems.data(), "sft".into());
                (made.run, made.data)
            }
        };
        assert!(recipe.identity.len() >= 7, "{:?}", recipe.identity);
        (recipe.dir.display().to_string(), run, data)
    }

    #[test]
    fn a_model_made_with_defaults_is_named_by_its_size_and_seed_alone() {
        for (kind, name) in [(Kind::Base, "base"), (Kind::Sft, "sft"), (Kind::Orm, "orm")] {
            let (dir, run, data) = made(kind, &["--seed=3", "--threads=1", "--micro-batch=2"]);
            assert_eq!(dir, format!("runs/{name}-synthetic-tiny-seed3"));
            assert_eq!((run.compute.dtype, run.compute.threads, run.seed), (Dtype::F32, Some(1), 3));
            assert_eq!((data.limit, data.extra, run.compute.gradient_checkpointing), (None, None, false));
        }
    }

    #[test]
    fn what_a_model_is_made_from_is_passed_on_and_is_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let extra = |name: &str, question: &str| {
            let line = serde_json::json!({"question": question, "answer": "1+1 = <<1+1=2>>2\n#### 2"});
            std::fs::write(folder.path().join(name), format!("{line}\n")).unwrap();
            format!("--extra={}", folder.path().join(name).display())
        };
        let (one, other) = (extra("one.jsonl", "One and one?"), extra("other.jsonl", "And one?"));
        let flags = ["--dtype=bf16", "--limit=100", &one, "--gradient-checkpointing"];
        let mut names = Vec::new();
        for kind in [Kind::Sft, Kind::Orm] {
            let (dir, run, data) = made(kind, &flags);
            assert_eq!((run.compute.dtype, run.compute.gradient_checkpointing), (Dtype::Bf16, true));
            assert_eq!((data.limit, data.extra), (Some(100), Some(folder.path().join("one.jsonl"))));
            assert!(dir.contains("-seed0-bf16-limit100-extra"), "{dir}");
            names.push(dir);
        }
        for flags in [
            &[][..],
            &["--answer-format=boxed"],
            &["--answer-format=regex:a/b"],
            &["--max-new-tokens=64"],
            &["--dtype=bf16"],
            &["--limit=100"],
            &[&one],
            &[&other],
            &["--limit=99"],
        ] {
            names.push(made(Kind::Sft, flags).0);
        }
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        // A calculator takes part in the samples of a reward model.
        let first = "--benchmark=synthetic-1";
        assert_eq!(made(Kind::Orm, &[first, "--calculator"]).0, "runs/orm-synthetic-1-tiny-seed0-calculator");
        assert_eq!(made(Kind::Orm, &["--calculator=false"]).0, "runs/orm-synthetic-tiny-seed0-no-calculator");
        assert_eq!(made(Kind::Orm, &["--calculator=false"]).2.calculator, Some(false));
        assert_eq!(made(Kind::Orm, &["--calculator"]).0, made(Kind::Orm, &[]).0);
        assert_eq!(made(Kind::Sft, &["--calculator=false"]).0, "runs/sft-synthetic-tiny-seed0");
        // Flags that change only the cost make the same model.
        assert_eq!(made(Kind::Sft, &["--gradient-checkpointing"]).0, made(Kind::Sft, &[]).0);
    }

    #[test]
    fn the_problems_that_a_base_model_reads_are_part_of_its_identity() {
        let (dir, run, data) = made(Kind::Base, &["--dtype=bf16", "--limit=100", "--max-new-tokens=64"]);
        assert_eq!((dir.as_str(), data.limit), ("runs/base-synthetic-tiny-seed0-bf16", None), "it reads no problems");
        assert_eq!(run.compute.dtype, Dtype::Bf16);
        let data_dir = format!("--data-dir={FIXTURES}");
        let (dir, _, data) = made(Kind::Base, &["--benchmark=svamp", &data_dir, "--limit=3"]);
        assert_eq!((dir.as_str(), data.limit), ("runs/base-svamp-tiny-seed0-limit3", Some(3)));
    }
}
