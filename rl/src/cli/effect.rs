//! What the declaration of a flag says beside its value: when the flag has an effect, and whether it can change when a run is resumed.
//! Independent of commands.

use clap::{ArgMatches, builder::ArgExt};
use std::ffi::OsString;

/// When a flag has an effect: `#[arg(long, add = FlagEffect::with("reward", &["dense"]))]`.
#[derive(Clone, Copy, Debug)]
pub struct FlagEffect {
    /// The flag that decides it.
    flag: &'static str,
    condition: Condition,
    /// Another flag that suffices, if it is given.
    or_given: Option<&'static str>,
    /// The only command to which this applies.
    command: Option<&'static str>,
}

/// What the other flag must be.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// One of these values.
    Value(&'static [&'static str]),
    /// Given, and not 0.
    Given,
    /// Not given.
    NotGiven,
    /// None of these values.
    NotValue(&'static [&'static str]),
    /// The flag never has an effect in this command.
    Never,
}

impl ArgExt for FlagEffect {}

impl FlagEffect {
    /// Only if another flag has one of these values.
    pub const fn with(flag: &'static str, values: &'static [&'static str]) -> Self {
        Self { flag, condition: Condition::Value(values), or_given: None, command: None }
    }

    /// Unless another flag has one of these values.
    pub const fn unless(flag: &'static str, values: &'static [&'static str]) -> Self {
        Self { flag, condition: Condition::NotValue(values), or_given: None, command: None }
    }

    /// Only if another flag is given, and not 0.
    pub const fn if_given(flag: &'static str) -> Self {
        Self { flag, condition: Condition::Given, or_given: None, command: None }
    }

    /// Only if another flag is not given.
    pub const fn unless_given(flag: &'static str) -> Self {
        Self { flag, condition: Condition::NotGiven, or_given: None, command: None }
    }

    /// Never, in a command that has the flag only because it shares a group of flags with other commands.
    pub const fn not_in(command: &'static str) -> Self {
        Self { flag: "", condition: Condition::Never, or_given: None, command: Some(command) }
    }

    /// Or if another flag is given, and not 0.
    pub const fn or_given(self, flag: &'static str) -> Self {
        Self { or_given: Some(flag), ..self }
    }

    /// In one command; in others always.
    pub const fn in_command(self, command: &'static str) -> Self {
        Self { command: Some(command), ..self }
    }

    /// Why the flag has no effect, if it has none; `value` gives the values of other flags.
    fn missing(&self, command: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let is_given = |flag: &str| value(flag).is_some_and(|value| value.parse() != Ok(0.0));
        if self.command.is_some_and(|only| only != command) || self.or_given.is_some_and(is_given) {
            return None;
        }
        let flag = self.flag;
        match (self.condition, value(flag)) {
            (Condition::Value(values), Some(value)) if !values.contains(&value.as_str()) => {
                Some(format!("with --{flag} {value}: it belongs to --{flag} {}", values.join(" or ")))
            }
            (Condition::Given, None) => Some(format!("without --{flag}")),
            (Condition::Given, Some(value)) if !is_given(flag) => Some(format!("with --{flag} {value}")),
            (Condition::NotValue(excluded), Some(value)) if excluded.contains(&value.as_str()) => {
                Some(format!("with --{flag} {value}"))
            }
            (Condition::NotGiven, Some(_)) => Some(format!("with --{flag}")),
            (Condition::Never, _) => Some(format!("in rl {command}")),
            _ => None,
        }
    }
}

/// A flag that cannot change in a run that is resumed, since its checkpoints depend on it: `#[arg(long, add = FixedOnResume::Value)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedOnResume {
    /// The value itself, always.
    Value,
    /// The model that a path leads to, always.
    Path,
    /// The value, as soon as the run has completed step prefixes for its labels.
    OnceLabelled,
    /// The value, as soon as the run has verified questions.
    OnceVerified,
}

impl ArgExt for FixedOnResume {}

/// The value of a flag in a run that is older than the flag, whose `config.toml` does not have it: `#[arg(long, add = InOlderRuns("false"))]`,
/// where the default has changed what a run does.
#[derive(Clone, Copy, Debug)]
pub struct InOlderRuns(pub &'static str);

impl ArgExt for InOlderRuns {}

/// A flag that the one-line summary of a run shows: `#[arg(long, add = InSummary)]`.
#[derive(Clone, Copy, Debug)]
pub struct InSummary;

impl ArgExt for InSummary {}

/// The keys of the flags that a summary of a run with this configuration shows.
pub fn summary_keys<C: clap::Args>() -> Vec<String> {
    let command = C::augment_args(clap::Command::new(""));
    // The flags of `data` carry no marks of this crate.
    let names_problems = |argument: &clap::Arg| ["benchmark", "train"].contains(&argument.get_id().as_str());
    let is_shown = |argument: &&clap::Arg| argument.get::<InSummary>().is_some() || names_problems(argument);
    let shown = command.get_arguments().filter(is_shown);
    shown.map(|argument| argument.get_id().to_string()).collect()
}

/// A fixed flag of a command: its key in `config.toml`, and whether it has an effect with the values of a table.
pub(crate) struct FixedFlag {
    pub(crate) key: String,
    pub(crate) fixed: FixedOnResume,
    effect: Option<FlagEffect>,
}

impl FixedFlag {
    /// The fixed flags of a configuration; of the conditional kinds, those in `also`.
    pub(crate) fn all<C: clap::Args>(also: &[FixedOnResume]) -> Vec<Self> {
        let command = C::augment_args(clap::Command::new(""));
        let flag = |argument: &clap::Arg| {
            let key = argument.get_id().as_str();
            let fixed = *argument.get::<FixedOnResume>()?;
            let applies = matches!(fixed, FixedOnResume::Value | FixedOnResume::Path) || also.contains(&fixed);
            applies.then(|| Self { key: key.to_string(), fixed, effect: argument.get::<FlagEffect>().copied() })
        };
        command.get_arguments().filter_map(flag).collect()
    }

    /// Whether the flag has an effect with these values.
    pub(crate) fn has_effect(&self, values: &toml::Table) -> bool {
        let value = |flag: &str| values.get(&flag.replace('-', "_")).map(text);
        self.effect.is_none_or(|effect| effect.missing("", &value).is_none())
    }
}

/// A value as it is typed.
fn text(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A sentence for each flag among the `typed` arguments that has no effect in this command line. Values of a configuration file are not
/// counted: it may hold the values of all flags.
pub fn unused_flags(typed: &[OsString], program: &clap::Command, matches: &ArgMatches) -> Vec<String> {
    let Some((name, matches)) = matches.subcommand() else { return Vec::new() };
    let value = |flag: &str| {
        let mut values = matches.try_get_raw(&flag.replace('-', "_")).ok()??;
        values.next().map(|value| value.to_string_lossy().into_owned())
    };
    let is_typed = |flag: &str| {
        let names =
            |argument: &&str| argument.strip_prefix("--").is_some_and(|text| text.split('=').next() == Some(flag));
        typed.iter().filter_map(|argument| argument.to_str()).any(|argument| names(&argument))
    };
    let arguments = program.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    let sentence = |argument: &clap::Arg| {
        let flag = argument.get_long().filter(|flag| is_typed(flag))?;
        let why = argument.get::<FlagEffect>()?.missing(name, &value)?;
        Some(format!("--{flag} has no effect {why}"))
    };
    arguments.filter_map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::program;

    fn unused(line: &str) -> Vec<String> {
        let typed: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        unused_flags(&typed, &program(), &program().try_get_matches_from(&typed).unwrap())
    }

    #[test]
    fn a_flag_that_another_leaves_without_effect_is_named() {
        let of_ppo = unused("rl ppo --advantage rloo --lambda=0.5 --value-layers 3 --reward dense --orm-weight 2");
        assert_eq!(
            of_ppo,
            [
                "--value-layers has no effect with --advantage rloo: it belongs to --advantage gae",
                "--orm-weight has no effect with --reward dense: it belongs to --reward sparse-orm or dense-orm",
                "--lambda has no effect with --advantage rloo: it belongs to --advantage gae",
            ]
        );
        assert_eq!(unused("rl ppo --saturation 0.5 --curriculum plr").len(), 1);
        assert_eq!(unused("rl orm --step-label any").len(), 1);
        assert_eq!(unused("rl rcrl --labels outcome --threshold 0.3").len(), 1);
        assert_eq!(unused("rl ppo --kl-horizon 400"), ["--kl-horizon has no effect without --kl-target"]);
        assert_eq!(unused("rl ppo --kl-target 1 --kl-coefficient 0.0").len(), 1);
        assert_eq!(unused("rl ppo --advantage group --gamma 0.9").len(), 1);
        assert_eq!(unused("rl sft --lora-alpha 32"), ["--lora-alpha has no effect without --lora-rank"]);
        assert_eq!(unused("rl orm --check-completions 8"), ["--check-completions has no effect with --check-labels 0"]);
        assert_eq!(unused("rl pretrain --limit 9 --prompt-style chat").len(), 2);
        assert_eq!(unused("rl rcrl --from-samples f --samples 4"), ["--samples has no effect with --from-samples"]);
    }

    #[test]
    fn flags_that_have_an_effect_or_were_not_typed_are_not_named() {
        assert!(unused("rl ppo --lambda 0.5 --replay 0.3 --curriculum plr").is_empty());
        assert!(unused("rl ppo --saturation 0.5 --curriculum backtracking").is_empty());
        assert!(unused("rl ppo --advantage group").is_empty());
        assert!(unused("rl ppo --kl-target 2 --kl-horizon 400 --lora-rank 4 --lora-alpha 8").is_empty());
        assert!(unused("rl ei --from-samples f --samples 4").is_empty(), "later rounds sample");
        assert!(unused("rl orm --check-labels 9 --check-completions 8 --samples 4").is_empty());
        assert!(unused("rl orm --completions 8 --check-labels 20").is_empty());
        assert!(unused("rl generate --init x --prompt y").is_empty());
    }

    #[test]
    fn the_flag_that_an_effect_depends_on_exists() {
        let program = program();
        for command in program.get_subcommands() {
            let flags: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
            for argument in command.get_arguments() {
                let Some(effect) = argument.get::<FlagEffect>() else { continue };
                let applies = effect.command.is_none_or(|only| only == command.get_name());
                let needs_none = matches!(effect.condition, Condition::Never);
                assert!(!applies || needs_none || flags.contains(&effect.flag), "{}: {argument:?}", command.get_name());
            }
        }
    }
}
