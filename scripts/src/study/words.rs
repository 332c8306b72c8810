//! Lines of flags as words: `{name}` stands for a setting, which may be several words, or none. Independent of what settings mean.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// How deep settings may refer to each other.
const MAX_LEVELS: usize = 8;

/// What names in braces stand for.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Lines of flags, in which there may be names in braces.
    pub settings: BTreeMap<String, String>,
    /// Words as they are: paths may hold spaces and braces.
    pub values: BTreeMap<String, Vec<String>>,
}

impl Words {
    /// The words of a line. A word that is a name in braces alone is replaced by all words of the setting; within a longer word there
    /// must be one.
    ///
    /// # Errors
    /// A name that stands for nothing, settings that refer to themselves.
    pub fn expand(&self, line: &str) -> Result<Vec<String>> {
        self.expand_at(line, MAX_LEVELS)
    }

    fn expand_at(&self, line: &str, levels: usize) -> Result<Vec<String>> {
        ensure!(levels > 0, "settings refer to themselves: {line}");
        let mut words = Vec::new();
        for word in line.split_whitespace() {
            match word.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if !name.contains(['{', '}']) => words.extend(self.setting(name, levels)?),
                _ => words.push(self.within(word, levels)?),
            }
        }
        Ok(words)
    }

    fn setting(&self, name: &str, levels: usize) -> Result<Vec<String>> {
        if let Some(words) = self.values.get(name) {
            return Ok(words.clone());
        }
        let line = self.settings.get(name).with_context(|| format!("there is no setting {{{name}}}"))?;
        self.expand_at(line, levels - 1)
    }

    fn within(&self, word: &str, levels: usize) -> Result<String> {
        let Some((before, rest)) = word.split_once('{') else { return Ok(word.into()) };
        let (name, after) = rest.split_once('}').with_context(|| format!("{word} has a brace that is not closed"))?;
        let words = self.setting(name, levels)?;
        ensure!(words.len() == 1, "{{{name}}} is {} words within {word}", words.len());
        Ok(format!("{before}{}{}", words[0], self.within(after, levels)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_braces_is_the_words_of_its_setting_and_one_word_within_another() {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        let words = Words {
            settings: owned(&[("sft", "--steps 4"), ("ei", "{sft} --patience 2"), ("none", ""), ("loop", "{loop}")]),
            values: BTreeMap::from([("dir".into(), vec!["a folder/{x}".into()])]),
        };
        assert_eq!(words.expand("{ei} {none} -q").unwrap(), ["--steps", "4", "--patience", "2", "-q"]);
        assert_eq!(words.expand("--orm {dir}/orm").unwrap(), ["--orm", "a folder/{x}/orm"]);
        for bad in ["{unknown}", "x{sft}", "{loop}", "x{dir"] {
            assert!(words.expand(bad).is_err(), "{bad}");
        }
    }
}
