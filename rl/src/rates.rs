//! Learning rates that nobody has given: they go by the shape of the model that is trained, whether it is made here or loaded. Knows
//! which flag names that model; computes nothing.

use crate::{augment, dry_run, expert_iteration, orm, ppo, pretrain, rcrl, sft};
use anyhow::Result;
use clap::{ArgMatches, parser::ValueSource};
use model::{ModelConfig, ModelSize};
use std::path::PathBuf;

/// A flag, the size that it is for, and its value.
pub(crate) type OfSize = (&'static str, &'static str, &'static str);

/// A flag, and its values for published models: all weights trained, and adapters alone.
pub(crate) type OfPublished = (&'static str, &'static str, &'static str);

/// The defaults of a command.
pub(crate) struct Defaults {
    pub(crate) command: &'static str,
    /// What differs from the defaults of the flags themselves: those of the size `tiny`.
    pub(crate) plain: &'static [(&'static str, &'static str)],
    pub(crate) by_size: &'static [OfSize],
    pub(crate) published: &'static [OfPublished],
}

/// By command.
pub(crate) const ALL: [Defaults; 7] = [
    Defaults { command: "pretrain", plain: pretrain::DEFAULTS, by_size: pretrain::BY_SIZE, published: &[] },
    Defaults { command: "sft", plain: sft::DEFAULTS, by_size: sft::BY_SIZE, published: sft::PUBLISHED },
    Defaults { command: "orm", plain: orm::DEFAULTS, by_size: &[], published: orm::PUBLISHED },
    Defaults { command: "ei", plain: expert_iteration::DEFAULTS, by_size: sft::BY_SIZE, published: sft::PUBLISHED },
    Defaults { command: "ppo", plain: ppo::DEFAULTS, by_size: &[], published: ppo::PUBLISHED },
    Defaults { command: "rcrl", plain: rcrl::DEFAULTS, by_size: sft::BY_SIZE, published: sft::PUBLISHED },
    Defaults { command: "augment", plain: augment::DEFAULTS, by_size: sft::BY_SIZE, published: sft::PUBLISHED },
];

/// What was decided of a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// As it is typed, without its dashes.
    pub flag: String,
    /// Its value.
    pub value: String,
    /// Where it comes from, for `--dry-run`.
    pub why: String,
    /// Whether the parser has another value, which this one replaces.
    pub(crate) replaces: bool,
}

/// The learning rates of a command line that was parsed. What was typed or stands in a configuration file stays as it is.
///
/// # Errors
/// A model to start from that cannot be read.
pub(crate) fn resolve(program: &clap::Command, matches: &ArgMatches) -> Result<Vec<Resolved>> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(Vec::new()) };
    let Some(defaults) = ALL.iter().find(|defaults| defaults.command == command) else { return Ok(Vec::new()) };
    let mut trained = None;
    let mut resolved = Vec::new();
    for &(id, full, adapters) in defaults.published {
        let current = raw(matches, id).unwrap_or_default();
        let flag = id.replace('_', "-");
        if matches.value_source(id) != Some(ValueSource::DefaultValue) {
            let why = "as given".to_string();
            resolved.push(Resolved { flag, value: current, why, replaces: false });
            continue;
        }
        let trained = match &trained {
            Some(known) => known,
            None => trained.insert(Trained::of(command, matches)?),
        };
        let of_size = |size: &str| {
            let of_size = defaults.by_size.iter().find(|(flag, of, _)| *flag == id && *of == size);
            of_size.map_or_else(|| plain(program, command, id), |&(.., value)| value.to_string())
        };
        let has_adapters = matches.try_get_raw("lora_rank").ok().flatten().is_some();
        let (value, why) = match trained {
            Trained::Made(size) => (of_size(size), format!("the default for --model {size}, which is made here")),
            Trained::Ours(size, path) => (of_size(size), format!("the default for the size {size}, which {path} has")),
            Trained::Published(path) => {
                let value = if has_adapters { adapters } else { full };
                let what = match has_adapters {
                    _ if full == adapters => "",
                    true => "adapters on ",
                    false => "all weights of ",
                };
                (value.to_string(), format!("the default for {what}a published model: {path} has none of our sizes"))
            }
        };
        let replaces = value.parse::<f64>().ok() != current.parse::<f64>().ok();
        resolved.push(Resolved { flag, value, why, replaces });
    }
    Ok(resolved)
}

/// What is trained.
enum Trained {
    /// A model that is made here, of the size of `--model`.
    Made(String),
    /// A model of one of our sizes, at a path.
    Ours(String, String),
    /// Any other.
    Published(String),
}

impl Trained {
    fn of(command: &str, matches: &ArgMatches) -> Result<Self> {
        let path = |flag: &str| matches.try_get_one::<PathBuf>(flag).ok().flatten();
        // Some commands sample from one model and train another, `--base`; Expert Iteration from the base has one for both.
        let from_base = raw(matches, "start").is_some_and(|start| start == "base");
        let path = match command {
            "ei" | "rcrl" | "augment" => path("base").or_else(|| path("init").filter(|_| from_base)),
            _ => path("init"),
        };
        let Some(path) = path else { return Ok(Self::Made(raw(matches, "model").unwrap_or_default())) };
        let shape = dry_run::shape(Some(path), ModelSize::Tiny)?;
        let shown = path.display().to_string();
        Ok(match size_of(&shape) {
            Some(size) => Self::Ours(size.to_string(), shown),
            None => Self::Published(shown),
        })
    }
}

/// The size of ours that a model has, whatever its vocabulary and its context.
fn size_of(shape: &ModelConfig) -> Option<ModelSize> {
    let sizes = |shape: &ModelConfig| {
        let heads = (shape.num_attention_heads, shape.kv_heads(), shape.head_width());
        (shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers, heads)
    };
    let all = [ModelSize::Nano, ModelSize::Tiny, ModelSize::Medium, ModelSize::Small];
    all.into_iter().find(|&size| sizes(&ModelConfig::of_size(size, 1, 0)) == sizes(shape))
}

/// The default of a flag for the size `tiny`.
fn plain(program: &clap::Command, command: &str, id: &str) -> String {
    let arguments = program.find_subcommand(command).into_iter().flat_map(clap::Command::get_arguments);
    let argument = arguments.into_iter().find(|argument| argument.get_id() == id);
    let values = argument.map(clap::Arg::get_default_values).unwrap_or_default();
    values.first().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

fn raw(matches: &ArgMatches, id: &str) -> Option<String> {
    let mut values = matches.try_get_raw(id).ok()??;
    values.next().map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, parse};
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

    /// The learning rates of a command line, the words of which that begin with `@` are models; and where they come from.
    fn rates(models: &Path, line: &str) -> (Vec<f64>, Vec<String>) {
        let word = |word: &str| match word.split_once('@') {
            Some((flag, model)) => OsString::from(format!("{flag}{}", models.join(model).display())),
            None => word.into(),
        };
        let mut command = parse(["rl"].into_iter().chain(line.split(' ')).map(word).collect()).unwrap();
        let rates = match &command {
            Command::Pretrain(config) => vec![config.fit.learning_rate],
            Command::Sft(config) => vec![config.fit.learning_rate],
            Command::Orm(config) => vec![config.fit.learning_rate],
            Command::Ei(config) => vec![config.fit.learning_rate],
            Command::Rcrl(config) => vec![config.fit.learning_rate],
            Command::Augment(config) => vec![config.fit.learning_rate],
            Command::Ppo(config) => vec![config.learning_rate, config.value_learning_rate],
            _ => unreachable!("no other trains"),
        };
        let why = |rate: &Resolved| {
            assert!(rates.contains(&rate.value.parse().unwrap()), "{rate:?} is not what the command has: {rates:?}");
            rate.why.clone()
        };
        let why = command.run_args_mut().unwrap().rates.iter().map(why).collect();
        (rates, why)
    }

    #[test]
    fn a_default_goes_by_the_shape_of_what_is_trained_and_not_by_model() {
        let models = models();
        for (line, expected) in [
            // What is made here, and our own sizes: as ever.
            ("sft", &[1.5e-3][..]),
            ("sft --model nano", &[2.5e-3]),
            ("sft --init=@nano --model nano", &[2.5e-3]),
            ("sft --init=@tiny", &[1.5e-3]),
            ("sft --init=@tiny --lora-rank 8", &[1.5e-3]),
            ("ppo", &[2e-4, 2e-3]),
            ("ppo --init=@nano --model nano", &[2e-4, 2e-3]),
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
    fn what_is_given_wins_and_what_is_not_says_where_it_comes_from() {
        let models = models();
        let file = models.path().join("run.toml");
        fs::write(&file, "learning_rate = 0.25\n").unwrap();
        let typed = "ppo --init=@published --learning-rate 0.5";
        let (found, why) = rates(models.path(), typed);
        assert_eq!(found, [0.5, 1e-5]);
        assert!(why[0] == "as given" && why[1].contains("published model"), "{why:?}");
        assert_eq!(rates(models.path(), "sft --init=@published --config=@run.toml").0, [0.25]);
        assert_eq!(rates(models.path(), "sft --config=@run.toml --learning-rate 0.125").0, [0.125]);
        // A run goes on with its own, though what it started from is there no more.
        fs::create_dir(models.path().join("run")).unwrap();
        fs::write(models.path().join("run/config.toml"), "# rl sft\ninit = \"gone\"\nlearning_rate = 0.75\n").unwrap();
        assert_eq!(rates(models.path(), "sft --resume=@run").0, [0.75]);
        for (line, part) in [
            ("sft --model nano", "--model nano, which is made here"),
            ("sft --init=@nano", "the size nano, which"),
            ("sft --init=@published", "all weights of a published model"),
            ("sft --init=@published --lora-rank 8", "adapters on a published model"),
        ] {
            let (_, why) = rates(models.path(), line);
            assert!(why[0].contains(part), "{line}: {why:?}");
        }
    }
}
