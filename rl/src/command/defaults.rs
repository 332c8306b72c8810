//! Defaults that depend on the trained model, in the parser and its help, and how that model is found, made on demand
//! or loaded. The values are those of [`Configuration::defaults`](crate::cli::defaults::Configuration::defaults).

use crate::{
    cli::{
        args::ResolvedFlag,
        defaults::{Defaults, ModelKind},
    },
    training::dry_run,
};
use anyhow::Result;
use clap::{Arg, ArgMatches, parser::ValueSource};
use model::{ModelConfig, ModelSize};
use std::path::Path;
use toml::{Table, Value};

/// The named sizes, in the order of the help.
const SIZES: [ModelSize; 5] = [ModelSize::Pico, ModelSize::Nano, ModelSize::Tiny, ModelSize::Medium, ModelSize::Small];

impl Defaults {
    /// Flags whose default depends on the size of the model made on demand.
    fn by_size(&self) -> Vec<String> {
        let made = (self.of)(ModelKind::Size(ModelSize::default()));
        differing(&made, SIZES.map(|size| (self.of)(ModelKind::Size(size))))
    }

    /// Flags with another default for a published model.
    fn by_publication(&self) -> Vec<String> {
        let made = (self.of)(ModelKind::Size(ModelSize::default()));
        differing(&made, [false, true].map(|adapters| (self.of)(ModelKind::Published { adapters })))
    }

    fn text(&self, kind: ModelKind, key: &str) -> String {
        (self.of)(kind).get(key).map(text).unwrap_or_default()
    }

    /// A command with the defaults for a kind of model; without a kind, with those for `--model`, and the others in its
    /// help.
    fn apply(&self, mut command: clap::Command, kind: Option<ModelKind>) -> clap::Command {
        let declared = (self.declared)();
        for (key, value) in (self.of)(kind.unwrap_or(ModelKind::Size(ModelSize::default()))) {
            if declared.get(&key) != Some(&value) {
                command = command.mut_arg(key, |argument| argument.default_value(text(&value)));
            }
        }
        if kind.is_some() {
            return command;
        }
        for key in self.by_size() {
            let of_size = |size: ModelSize| (size.to_string(), self.text(ModelKind::Size(size), &key));
            let made = of_size(ModelSize::default()).1;
            let others: Vec<(String, String)> =
                SIZES.map(of_size).into_iter().filter(|(_, value)| *value != made).collect();
            let more: Vec<String> = others.iter().map(|(size, value)| format!("{value} for size {size}")).collect();
            let more = format!("; {}", more.join(", "));
            let of_model = format!("; it sets the default of --{}", key.replace('_', "-"));
            command = command
                .mut_arg(key, |argument| {
                    with_help(argument, &more)
                        .default_value_ifs(others.into_iter().map(|(size, value)| ("model", size, value)))
                })
                .mut_arg("model", |argument| with_help(argument, &of_model));
        }
        let has_adapters = command.get_arguments().any(|argument| argument.get_id() == "lora_rank");
        for key in self.by_publication() {
            let [all, adapters] = [false, true].map(|adapters| self.text(ModelKind::Published { adapters }, &key));
            let more = match all == adapters || !has_adapters {
                true => format!("; for a published model {all}"),
                false => format!("; {all} for a published model, {adapters} with --lora-rank"),
            };
            command = command.mut_arg(key, |argument| with_help(argument, &more));
        }
        command
    }
}

/// The command line with the defaults for what is trained, as [`Defaults::apply`].
pub(super) fn apply(all: &[Defaults], mut program: clap::Command, kind: Option<ModelKind>) -> clap::Command {
    for defaults in all {
        program = program.mut_subcommand(defaults.command, |command| defaults.apply(command, kind));
    }
    program
}

/// The settings that the summary of a run shows, by the first line of its `config.toml`: `rl ppo`, or `part of rl ei`.
pub(super) fn summary_keys_of(all: &[Defaults], heading: &str) -> Vec<String> {
    let name = heading.rsplit(' ').next().unwrap_or_default();
    all.iter().find(|defaults| defaults.command == name).map(|defaults| (defaults.summary_keys)()).unwrap_or_default()
}

/// The model that a command line trains.
pub(super) struct Trained {
    /// Its kind, on which defaults depend.
    pub(super) kind: ModelKind,
    /// Its path; `None` if it is made on demand.
    path: Option<String>,
}

impl Trained {
    /// The model in `path`, which exists.
    ///
    /// # Errors
    /// A model that cannot be read.
    pub(super) fn read(path: &Path, adapters: bool) -> Result<Self> {
        let shape = dry_run::shape(Some(path), ModelSize::default())?;
        let kind = size_of(&shape).map_or(ModelKind::Published { adapters }, ModelKind::Size);
        Ok(Self { kind, path: Some(path.display().to_string()) })
    }

    /// A model made on demand.
    pub(super) fn made(size: ModelSize) -> Self {
        Self { kind: ModelKind::Size(size), path: None }
    }

    fn why(&self, same_for_adapters: bool) -> String {
        match (self.kind, &self.path) {
            (ModelKind::Size(size), None) => format!("the default for --model {size}, which this command makes"),
            (ModelKind::Size(size), Some(path)) => format!("the default for size {size}, the size of {path}"),
            (ModelKind::Published { adapters }, path) => {
                let what = match adapters {
                    _ if same_for_adapters => "",
                    true => "adapters on ",
                    false => "all weights of ",
                };
                let path = path.as_deref().unwrap_or("it");
                format!("the default for {what}a published model: {path} has none of the named sizes")
            }
        }
    }
}

/// Whether a command line uses a default that depends on whether the model is a published one.
pub(super) fn need_the_model(all: &[Defaults], matches: &ArgMatches) -> bool {
    of_command(all, matches).is_some_and(|(defaults, matches)| {
        let is_default = |key: &String| matches.value_source(key) == Some(ValueSource::DefaultValue);
        defaults.by_publication().iter().any(is_default)
    })
}

/// The flags whose default depends on whether the model is a published one, with values and origins.
pub(super) fn resolved(all: &[Defaults], matches: &ArgMatches, trained: Option<&Trained>) -> Vec<ResolvedFlag> {
    let Some((defaults, matches)) = of_command(all, matches) else { return Vec::new() };
    let flag = |key: String| {
        let mut values = matches.try_get_raw(&key).ok().flatten().into_iter().flatten();
        let value = values.next().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        let [all, adapters] = [false, true].map(|adapters| defaults.text(ModelKind::Published { adapters }, &key));
        let why = match trained.filter(|_| matches.value_source(&key) == Some(ValueSource::DefaultValue)) {
            Some(trained) => trained.why(all == adapters),
            None => "given".to_string(),
        };
        ResolvedFlag { flag: key.replace('_', "-"), value, why }
    };
    defaults.by_publication().into_iter().map(flag).collect()
}

fn of_command<'a>(all: &'a [Defaults], matches: &'a ArgMatches) -> Option<(&'a Defaults, &'a ArgMatches)> {
    let (command, matches) = matches.subcommand()?;
    Some((all.iter().find(|defaults| defaults.command == command)?, matches))
}

/// The named size of a model, regardless of vocabulary and context.
fn size_of(shape: &ModelConfig) -> Option<ModelSize> {
    let sizes = |shape: &ModelConfig| {
        let heads = (shape.num_attention_heads, shape.kv_heads(), shape.head_width());
        (shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers, heads)
    };
    SIZES.into_iter().find(|&size| sizes(&ModelConfig::of_size(size, 1, 0)) == sizes(shape))
}

/// Keys whose value differs between tables.
fn differing<const N: usize>(one: &Table, others: [Table; N]) -> Vec<String> {
    let differs = |key: &&String| others.iter().any(|other| other.get(*key) != one.get(*key));
    one.keys().filter(differs).cloned().collect()
}

/// A value as it is typed; small numbers as powers of ten.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) if number.abs() < 0.01 && *number != 0.0 => format!("{number:e}"),
        Value::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// A flag with an addition to its help.
fn with_help(argument: Arg, more: &str) -> Arg {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    argument.help(help + more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        algorithms::Algorithm,
        command::{Command, parse},
    };
    use std::{ffi::OsString, fs, path::Path};

    /// Folders with the configuration of a model: of our sizes, and of SmolLM2-135M.
    fn models() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, shape: &ModelConfig| {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("config.json"), serde_json::to_string(shape).unwrap()).unwrap();
        };
        write("nano", &ModelConfig::of_size(ModelSize::Nano, 2048, 0));
        write("tiny", &ModelConfig::of_size(ModelSize::Tiny, 600, 0));
        let smol = ModelConfig {
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: Some(3),
            ..ModelConfig::of_size(ModelSize::Tiny, 49_152, 0)
        };
        write("published", &smol);
        folder
    }

    /// The learning rates of a command line, and where they come from. Words that begin with `@` name models.
    fn rates(models: &Path, line: &str) -> (Vec<f64>, Vec<String>) {
        let word = |word: &str| match word.split_once('@') {
            Some((flag, model)) => OsString::from(format!("{flag}{}", models.join(model).display())),
            None => word.into(),
        };
        let mut command = parse(["rl"].into_iter().chain(line.split(' ')).map(word).collect()).unwrap();
        let rates = match &command {
            Command::Train(Algorithm::Pretrain(config)) => vec![config.fit.learning_rate],
            Command::Train(Algorithm::Sft(config)) => vec![config.fit.learning_rate],
            Command::Train(Algorithm::Orm(config)) => vec![config.fit.learning_rate],
            Command::Train(Algorithm::Ei(config)) => vec![config.fit.learning_rate],
            Command::Train(Algorithm::Rcrl(config)) => vec![config.fit.learning_rate],
            Command::Train(Algorithm::Augment(config)) => vec![config.fit.learning_rate],
            Command::Train(Algorithm::Ppo(config)) => vec![config.learning_rate, config.value_learning_rate],
            _ => unreachable!("no other command trains here"),
        };
        let why = |rate: &ResolvedFlag| {
            assert!(rates.contains(&rate.value.parse().unwrap()), "{rate:?} is not what the command has: {rates:?}");
            rate.why.clone()
        };
        let Command::Train(algorithm) = &mut command else { unreachable!("it trains") };
        let resolved = algorithm.run_args_mut().resolved.iter().filter(|flag| flag.flag.ends_with("rate"));
        let why = resolved.map(why).collect();
        (rates, why)
    }

    #[test]
    fn a_default_depends_on_the_shape_of_the_trained_model_and_not_on_the_flag_model() {
        let models = models();
        for (line, expected) in [
            // Models made on demand, and models of the named sizes.
            ("sft", &[2.5e-3][..]),
            ("sft --model tiny", &[1.5e-3]),
            ("sft --model nano", &[2.5e-3]),
            ("sft --init=@nano --model nano", &[2.5e-3]),
            ("sft --init=@tiny", &[1.5e-3]),
            ("sft --init=@tiny --lora-rank 8", &[1.5e-3]),
            ("ppo", &[3e-4, 2e-3]),
            ("ppo --init=@nano --model nano", &[1.5e-4, 2e-3]),
            ("orm --init=@tiny", &[5e-4]),
            ("ei --init=@nano --base=@nano --model nano", &[2.5e-3]),
            ("augment --init=@tiny --base=@tiny", &[1.5e-3]),
            ("pretrain --model medium", &[1.2e-3]),
            // One of our sizes, whatever --model says.
            ("sft --init=@nano", &[2.5e-3]),
            ("sft --init=@tiny --model nano", &[1.5e-3]),
            ("rcrl --init=@tiny --base=@nano", &[2.5e-3]),
            ("ei --start base --init=@nano", &[2.5e-3]),
            // Published models.
            ("sft --init=@published", &[2e-5]),
            ("sft --init=@published --lora-rank 8", &[2e-4]),
            ("sft --init=@published --model small", &[2e-5]),
            ("orm --init=@published", &[1e-5]),
            ("orm --init=@published --lora-rank 8", &[1e-4]),
            ("ppo --init=@published", &[1e-6, 1e-5]),
            ("ppo --init=@published --lora-rank 8", &[1e-5, 1e-5]),
            ("ei --init=@tiny --base=@published", &[2e-5]),
            ("ei --init=@published --start base --lora-rank 8", &[2e-4]),
            ("rcrl --init=@tiny --base=@published", &[2e-5]),
            ("augment --init=@tiny --base=@published", &[2e-5]),
        ] {
            assert_eq!(rates(models.path(), line).0, expected, "{line}");
        }
    }

    #[test]
    fn a_given_value_wins_and_a_default_says_where_it_comes_from() {
        let models = models();
        let file = models.path().join("run.toml");
        fs::write(&file, "learning_rate = 0.25\n").unwrap();
        let typed = "ppo --init=@published --learning-rate 0.5";
        let (found, why) = rates(models.path(), typed);
        assert_eq!(found, [0.5, 1e-5]);
        assert!(why[0] == "given" && why[1].contains("published model"), "{why:?}");
        assert_eq!(rates(models.path(), "sft --init=@published --config=@run.toml").0, [0.25]);
        assert_eq!(rates(models.path(), "sft --config=@run.toml --learning-rate 0.125").0, [0.125]);
        // A resumed run keeps its own values, even if its starting model no longer exists.
        fs::create_dir(models.path().join("run")).unwrap();
        fs::write(models.path().join("run/config.toml"), "# rl sft\ninit = \"gone\"\nlearning_rate = 0.75\n").unwrap();
        assert_eq!(rates(models.path(), "sft --resume=@run").0, [0.75]);
        for (line, part) in [
            ("sft --model nano", "--model nano, which this command makes"),
            ("sft --init=@nano", "size nano, the size of"),
            ("sft --init=@published", "all weights of a published model"),
            ("sft --init=@published --lora-rank 8", "adapters on a published model"),
        ] {
            let (_, why) = rates(models.path(), line);
            assert!(why[0].contains(part), "{line}: {why:?}");
        }
    }
}
