//! Flags that were typed and do nothing, because another flag leaves out what they are of: told, since whoever types one means
//! something by it.

use clap::ArgMatches;
use std::ffi::OsString;

/// What another flag must be for some flags to do anything.
enum Needed {
    /// One of these values.
    Is(&'static [&'static str]),
    /// Anything above 0.
    Given,
    /// Nothing: it takes their place.
    NotGiven,
    /// Whatever it is, they do nothing in this command.
    Nothing,
}
use Needed::{Given, Is, NotGiven, Nothing};

/// Flags that do nothing unless another is what they need.
type Rule = (&'static [&'static str], &'static str, Needed);

/// They are of the critic, or of what it alone makes of rewards.
const OF_CRITIC: [&str; 8] = [
    "lambda",
    "gamma",
    "value-layers",
    "value-shares-trunk",
    "value-learning-rate",
    "value-warm-up",
    "value-weight",
    "value-clip",
];
const OF_ADAPTERS: Rule = (&["lora-alpha", "lora-targets"], "lora-rank", Given);
const OF_SAMPLING: Rule = (&["samples"], "from-samples", NotGiven);

/// By command.
const RULES: [(&str, &[Rule]); 7] = [
    (
        "pretrain",
        &[
            (&["limit", "extra"], "benchmark", Is(&["gsm8k", "svamp"])),
            (&["prompt-style", "max-new-tokens"], "benchmark", Nothing),
        ],
    ),
    (
        "ppo",
        &[
            (&OF_CRITIC, "advantage", Is(&["gae"])),
            (&["dense-scale"], "reward", Is(&["dense"])),
            (&["orm-weight"], "reward", Is(&["sparse-orm", "dense-orm"])),
            (&["orm-score"], "reward", Is(&["dense-orm"])),
            (&["replay", "replay-temperature", "staleness"], "curriculum", Is(&["plr"])),
            (&["saturation", "backtrack", "backtrack-until"], "curriculum", Is(&["backtracking"])),
            (&["kl-horizon"], "kl-target", Given),
            (&["kl-target"], "kl-coefficient", Given),
            OF_ADAPTERS,
        ],
    ),
    (
        "orm",
        &[
            (&["step-label", "completions", "from-prefixes"], "labels", Is(&["steps"])),
            (&["check-completions"], "check-labels", Given),
            OF_SAMPLING,
            OF_ADAPTERS,
        ],
    ),
    ("rcrl", &[(&["completions", "from-prefixes", "threshold"], "labels", Is(&["steps"])), OF_SAMPLING, OF_ADAPTERS]),
    ("augment", &[OF_SAMPLING]),
    ("ei", &[OF_ADAPTERS]),
    ("sft", &[OF_ADAPTERS]),
];

/// A sentence for each flag among `typed` that does nothing in this command line. What stands in a configuration file is not
/// counted: it may hold the values of all flags.
pub fn idle(typed: &[OsString], matches: &ArgMatches) -> Vec<String> {
    let Some((command, matches)) = matches.subcommand() else { return Vec::new() };
    let rules = RULES.iter().find(|(name, _)| *name == command).map_or(&[][..], |(_, rules)| rules);
    let value = |flag: &str| {
        let mut values = matches.try_get_raw(&flag.replace('-', "_")).ok()??;
        values.next().map(|value| value.to_string_lossy().into_owned())
    };
    // Labels of any kind are compared with many completions where that is asked for.
    let compares = value("check-labels").is_some_and(|samples| samples != "0");
    let is_typed = |flag: &str| {
        let names =
            |argument: &&str| argument.strip_prefix("--").is_some_and(|text| text.split('=').next() == Some(flag));
        typed.iter().filter_map(|argument| argument.to_str()).any(|argument| names(&argument))
    };
    let mut sentences = Vec::new();
    for (flags, other, needed) in rules {
        let value = value(other);
        let of = match (needed, value) {
            (Is(needed), Some(value)) if !needed.contains(&value.as_str()) => {
                format!("with --{other} {value}: it is of --{other} {}", needed.join(" or "))
            }
            (Given, None) => format!("without --{other}"),
            (Given, Some(value)) if value.parse() == Ok(0.0) => format!("with --{other} {value}"),
            (NotGiven, Some(_)) => format!("with --{other}"),
            (Nothing, _) => "when a base model is trained".into(),
            _ => continue,
        };
        for flag in flags.iter().filter(|flag| is_typed(flag) && !(compares && **flag == "completions")) {
            sentences.push(format!("--{flag} does nothing {of}"));
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::program;

    fn told(line: &str) -> Vec<String> {
        let typed: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        idle(&typed, &program().try_get_matches_from(&typed).unwrap())
    }

    #[test]
    fn a_flag_that_another_leaves_without_effect_is_told_by_its_name() {
        let told_of_ppo = told("rl ppo --advantage rloo --lambda=0.5 --value-layers 3 --reward dense --orm-weight 2");
        assert_eq!(
            told_of_ppo,
            [
                "--lambda does nothing with --advantage rloo: it is of --advantage gae",
                "--value-layers does nothing with --advantage rloo: it is of --advantage gae",
                "--orm-weight does nothing with --reward dense: it is of --reward sparse-orm or dense-orm",
            ]
        );
        assert_eq!(told("rl ppo --saturation 0.5 --curriculum plr").len(), 1);
        assert_eq!(told("rl orm --step-label any").len(), 1);
        assert_eq!(told("rl rcrl --labels outcome --threshold 0.3").len(), 1);
        assert_eq!(told("rl ppo --kl-horizon 400"), ["--kl-horizon does nothing without --kl-target"]);
        assert_eq!(told("rl ppo --kl-target 1 --kl-coefficient 0.0").len(), 1);
        assert_eq!(told("rl ppo --advantage group --gamma 0.9").len(), 1);
        assert_eq!(told("rl sft --lora-alpha 32"), ["--lora-alpha does nothing without --lora-rank"]);
        assert_eq!(told("rl orm --check-completions 8"), ["--check-completions does nothing with --check-labels 0"]);
        assert_eq!(told("rl pretrain --limit 9 --prompt-style chat").len(), 2);
        assert_eq!(told("rl rcrl --from-samples f --samples 4"), ["--samples does nothing with --from-samples"]);
    }

    #[test]
    fn a_flag_that_has_its_effect_and_one_that_was_not_typed_are_not() {
        assert!(told("rl ppo --lambda 0.5 --replay 0.3 --curriculum plr").is_empty());
        assert!(told("rl ppo --saturation 0.5 --curriculum backtracking").is_empty());
        assert!(told("rl ppo --advantage group").is_empty());
        assert!(told("rl ppo --kl-target 2 --kl-horizon 400 --lora-rank 4 --lora-alpha 8").is_empty());
        assert!(told("rl ei --from-samples f --samples 4").is_empty(), "later rounds sample");
        assert!(told("rl orm --check-labels 9 --check-completions 8 --samples 4").is_empty());
        assert!(told("rl orm --completions 8 --check-labels 20").is_empty());
        assert!(told("rl generate --init x --prompt y").is_empty());
    }

    #[test]
    fn every_flag_of_the_rules_is_one_of_its_command() {
        let program = program();
        for (command, rules) in RULES {
            let flags: Vec<&str> =
                program.find_subcommand(command).unwrap().get_arguments().filter_map(clap::Arg::get_long).collect();
            for (names, other, _) in rules {
                assert!(names.iter().chain([other]).all(|name| flags.contains(name)), "{command}: {names:?}, {other}");
            }
        }
    }
}
