//! `--config FILE.toml` and `--resume DIR`: flags read from a file, placed before the typed ones.
//!
//! A key is the name of a flag. So an unknown key, a wrong type or a value out of range get clap's own message.

use super::effect::InOlderRuns;
use anyhow::{Result, anyhow, bail, ensure};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Start of the first line of `config.toml`, after `# `, in a run that is a part of another.
pub(crate) const PART_OF: &str = "part of rl ";

/// Rewrites a command line: the flags of its `--config` or `--resume` follow the subcommand, the typed ones come last and
/// win.
///
/// # Errors
/// A missing or malformed file, a key that is not a flag of the subcommand.
pub fn expand(arguments: Vec<OsString>, program: &clap::Command) -> Result<Vec<OsString>> {
    let Some(subcommand) = arguments.get(1).and_then(|name| program.find_subcommand(name)) else {
        return Ok(arguments);
    };
    let arguments = with_run_of_checkpoint(arguments)?;
    let mut older = Vec::new();
    let file = match (value_of(&arguments, "--config"), value_of(&arguments, "--resume")) {
        (Some(_), Some(_)) => {
            bail!("--config and --resume exclude each other: a run resumes with its own configuration")
        }
        (Some(file), None) => PathBuf::from(file),
        (None, Some(run)) => {
            let file = configuration_of_run(Path::new(&run), subcommand.get_name())?;
            older = in_older_runs(subcommand);
            file
        }
        (None, None) => return Ok(arguments),
    };
    let mut expanded = arguments[..2].to_vec();
    expanded.extend(older);
    expanded.extend(flags(&file, subcommand)?);
    expanded.extend_from_slice(&arguments[2..]);
    Ok(expanded)
}

/// Flags as runs have them that are older than the flags; the file of a run that has them wins.
fn in_older_runs(subcommand: &clap::Command) -> Vec<OsString> {
    let flag = |argument: &clap::Arg| {
        let InOlderRuns(value) = argument.get::<InOlderRuns>()?;
        Some(format!("--{}={value}", argument.get_long()?).into())
    };
    subcommand.get_arguments().filter_map(flag).collect()
}

/// `--resume RUN/checkpoints/STEP` as `--resume RUN`, with the name of the checkpoint.
fn with_run_of_checkpoint(mut arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let Some(resumed) = value_of(&arguments, "--resume").map(PathBuf::from) else { return Ok(arguments) };
    let folder = resumed.parent().filter(|folder| folder.ends_with("checkpoints"));
    let (Some(run), Some(name)) = (folder.and_then(Path::parent), resumed.file_name()) else { return Ok(arguments) };
    ensure!(
        resumed.is_dir(),
        "{} does not exist: give --resume a run directory, or one of its checkpoints",
        resumed.display()
    );
    let run = if run.as_os_str().is_empty() { Path::new(".") } else { run };
    // If a flag is given several times, the last one counts.
    arguments.extend(["--resume".into(), run.into(), "--resume-from".into(), name.to_os_string()]);
    Ok(arguments)
}

fn value_of(arguments: &[OsString], flag: &str) -> Option<OsString> {
    let position = arguments.iter().rposition(|argument| {
        argument == flag || argument.to_str().is_some_and(|text| text.starts_with(&format!("{flag}=")))
    })?;
    match arguments[position].to_str().and_then(|text| text.split_once('=')) {
        Some((_, value)) => Some(value.into()),
        None => arguments.get(position + 1).cloned(),
    }
}

/// The configuration of a run that `command` can resume.
fn configuration_of_run(run: &Path, command: &str) -> Result<PathBuf> {
    let file = run.join("config.toml");
    ensure!(
        file.is_file(),
        "{} is not a run that can be resumed (it has no config.toml): give --resume the directory of an earlier --out",
        run.display()
    );
    // `Run::create` writes the command into the first line.
    let text = data::read_text(&file)?;
    let heading = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
    if let Some(writer) = heading.strip_prefix(PART_OF) {
        bail!("{} is a part of a run of `rl {writer}`: resume the run that contains it", run.display());
    }
    let writer = heading.strip_prefix("rl ").unwrap_or(command);
    ensure!(writer == command, "{} is a run of `rl {writer}`: resume it with that command", run.display());
    Ok(file)
}

/// The configuration in a file; a flag that the file does not have keeps its declared default.
///
/// # Errors
/// A missing or malformed file, a key that is not a flag, a value out of range.
pub fn read<C: clap::Args>(file: &Path) -> Result<C> {
    let command = C::augment_args(clap::Command::new("")).args_override_self(true);
    let arguments = [OsString::new()].into_iter().chain(flags(file, &command)?);
    let matches = command.try_get_matches_from(arguments).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    Ok(C::from_arg_matches(&matches)?)
}

fn flags(file: &Path, subcommand: &clap::Command) -> Result<Vec<OsString>> {
    let text = data::read_text(file)?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        anyhow!("{}, line {line}: not TOML: {}", file.display(), error.message())
    })?;
    let mut flags = Vec::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let is_named = |argument: &&clap::Arg| {
            let former = argument.get_all_aliases().unwrap_or_default();
            argument.get_long() == Some(name.as_str()) || former.contains(&name.as_str())
        };
        let Some(argument) = subcommand.get_arguments().find(is_named) else {
            bail!(
                "{}: unknown key `{key}`; the keys are the flags of `{}`, see its --help",
                file.display(),
                subcommand.get_name()
            );
        };
        let is_switch = matches!(argument.get_action(), clap::ArgAction::SetTrue);
        match value {
            toml::Value::Boolean(on) if is_switch => flags.extend(on.then(|| format!("--{name}").into())),
            value if is_switch => bail!("{}: `{key}` is true or false, not {value}", file.display()),
            toml::Value::Table(_) => bail!("{}: `{key}` is a table; keys stand above all tables", file.display()),
            toml::Value::Array(values) => {
                flags.extend(values.iter().map(|value| typed(&name, value)));
            }
            value => flags.push(typed(&name, &value)),
        }
    }
    Ok(flags)
}

/// A flag with its value in one argument: a negative number by itself would look like a flag.
fn typed(name: &str, value: &toml::Value) -> OsString {
    match value {
        toml::Value::String(text) => format!("--{name}={text}").into(),
        other => format!("--{name}={other}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction, Command};

    fn program() -> Command {
        let ppo = Command::new("ppo")
            .args_override_self(true)
            .arg(Arg::new("steps").long("steps"))
            .arg(Arg::new("learning_rate").long("learning-rate"))
            .arg(Arg::new("config").long("config"))
            .args(["resume", "out"].map(|name| Arg::new(name).long(name)))
            .arg(Arg::new("filter").long("filter").default_value("true").add(InOlderRuns("false")))
            .arg(Arg::new("tensorboard").long("tensorboard").action(ArgAction::SetTrue));
        Command::new("rl").subcommand(ppo)
    }

    fn parse(toml: &str, typed: &[&str]) -> Result<clap::ArgMatches> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        std::fs::write(&file, toml).unwrap();
        let mut arguments: Vec<OsString> = vec!["rl".into(), "ppo".into(), "--config".into(), file.into()];
        arguments.extend(typed.iter().map(OsString::from));
        let matches = program().try_get_matches_from(expand(arguments, &program())?)?;
        Ok(matches.subcommand_matches("ppo").unwrap().clone())
    }

    #[test]
    fn a_typed_flag_wins_over_the_file() {
        let matches = parse("steps = 5\nlearning_rate = 0.001\ntensorboard = true", &["--steps", "7"]).unwrap();
        assert_eq!(matches.get_one::<String>("steps").unwrap(), "7");
        assert_eq!(matches.get_one::<String>("learning_rate").unwrap(), "0.001");
        assert!(matches.get_flag("tensorboard"));
    }

    #[test]
    fn a_run_resumes_from_a_checkpoint_that_is_named_by_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let step = folder.path().join("run/checkpoints/step-000002");
        std::fs::create_dir_all(&step).unwrap();
        let rewritten = |flags: &[&str]| {
            let arguments = [["rl", "ppo"].as_slice(), flags].concat().iter().map(OsString::from).collect();
            let arguments = with_run_of_checkpoint(arguments).unwrap();
            ["--resume", "--resume-from"].map(|flag| value_of(&arguments, flag))
        };
        let run = folder.path().join("run").into_os_string();
        let (joined, apart) = (format!("--resume={}/", step.display()), step.to_str().unwrap());
        for flags in [[joined.as_str()].as_slice(), &["--resume", apart, "--quiet"]] {
            assert_eq!(rewritten(flags), [Some(run.clone()), Some("step-000002".into())]);
        }
        assert_eq!(rewritten(&["--resume", run.to_str().unwrap()]), [Some(run), None]);
        let missing = vec!["rl".into(), "ppo".into(), format!("{}3", joined.trim_end_matches('/')).into()];
        assert!(with_run_of_checkpoint(missing).unwrap_err().to_string().contains("step-0000023 does not exist"));
    }

    #[test]
    fn a_resumed_run_that_is_older_than_a_flag_does_what_it_did_and_one_that_has_it_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let filters = |config: &str, flag: &str| {
            std::fs::write(folder.path().join("config.toml"), config).unwrap();
            let arguments = ["rl", "ppo", flag, folder.path().to_str().unwrap()].map(OsString::from).to_vec();
            let matches = program().try_get_matches_from(expand(arguments, &program()).unwrap()).unwrap();
            matches.subcommand_matches("ppo").unwrap().get_one::<String>("filter").unwrap().clone()
        };
        assert_eq!(filters("# rl ppo\nsteps = 9\n", "--resume"), "false");
        assert_eq!(filters("# rl ppo\nfilter = true\n", "--resume"), "true");
        assert_eq!(filters("# rl ppo\nsteps = 9\n", "--out"), "true", "a new run has the default");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = parse("stepps = 5", &[]).unwrap_err();
        assert!(error.to_string().contains("unknown key `stepps`"), "{error}");
    }
}
