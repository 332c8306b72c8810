//! Flags that were typed and do nothing, because another flag leaves out what they are of: told, since whoever types one means
//! something by it.

use clap::ArgMatches;
use std::ffi::OsString;

/// A flag does nothing unless another has one of these values.
type Rule = (&'static [&'static str], &'static str, &'static [&'static str]);

/// By command.
const RULES: [(&str, &[Rule]); 3] = [
    (
        "ppo",
        &[
            (
                &[
                    "lambda",
                    "value-layers",
                    "value-shares-trunk",
                    "value-learning-rate",
                    "value-warm-up",
                    "value-weight",
                    "value-clip",
                ],
                "advantage",
                &["gae"],
            ),
            (&["dense-scale"], "reward", &["dense"]),
            (&["orm-weight"], "reward", &["sparse-orm", "dense-orm"]),
            (&["orm-score"], "reward", &["dense-orm"]),
            (&["replay", "replay-temperature", "staleness"], "curriculum", &["plr"]),
            (&["saturation", "backtrack", "backtrack-until"], "curriculum", &["backtracking"]),
        ],
    ),
    ("orm", &[(&["step-label", "completions", "from-prefixes"], "labels", &["steps"])]),
    ("rcrl", &[(&["completions", "from-prefixes", "threshold"], "labels", &["steps"])]),
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
    for &(flags, other, needed) in rules {
        let Some(value) = value(other).filter(|value| !needed.contains(&value.as_str())) else { continue };
        for flag in flags.iter().filter(|flag| is_typed(flag) && !(compares && **flag == "completions")) {
            sentences.push(format!(
                "--{flag} does nothing with --{other} {value}: it is of --{other} {}",
                needed.join(" or ")
            ));
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
    }

    #[test]
    fn a_flag_that_has_its_effect_and_one_that_was_not_typed_are_not() {
        assert!(told("rl ppo --lambda 0.5 --replay 0.3 --curriculum plr").is_empty());
        assert!(told("rl ppo --saturation 0.5 --curriculum backtracking").is_empty());
        assert!(told("rl ppo --advantage group").is_empty());
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
