//! Progress bars with rate and remaining time; plain lines without a terminal.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{ErrorKind, Write};

/// A progress bar; plain lines without a terminal; nothing with --quiet.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
}

impl Progress {
    /// A bar of `length` units.
    pub fn new(length: usize, label: &str, unit: &str, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length as u64), target);
        let template = format!(
            "{{prefix}} [{{bar:24}}] {{human_pos}}/{{human_len}} {unit} · {{per_sec}} · {{eta}} left {{wide_msg}}"
        );
        let style = ProgressStyle::with_template(&template).expect("the template is fixed");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(label.to_string());
        bar.enable_steady_tick(std::time::Duration::from_millis(500));
        Self { bar, quiet }
    }

    /// Advances by `amount`.
    pub fn advance(&self, amount: usize) {
        self.bar.inc(amount as u64);
    }

    /// Starts at `done` where a run was resumed.
    pub fn start_at(&self, done: usize) {
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
    }

    /// Sets the text after the bar.
    pub fn set_message(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Prints a line above the bar.
    pub fn print_above(&self, line: &str) {
        match (self.quiet, self.bar.is_hidden()) {
            (true, _) => {}
            (false, true) => eprintln!("{line}"),
            (false, false) => self.bar.println(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Prints a line, or several, to standard output; of several ranks, the first one prints.
///
/// # Errors
/// If it cannot be written. A closed pipe, as with `| head`, is not an error.
pub fn print_line(text: &str) -> Result<()> {
    if !model::ranks::is_first() {
        return Ok(());
    }
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// A curve in a line of text: one block character per value.
pub fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::MAX, f64::min), finite().fold(f64::MIN, f64::max));
    let height = |value: f64| ((value - low) / (high - low).max(1e-12) * 7.0).round().clamp(0.0, 7.0) as usize;
    finite().map(|value| BLOCKS[height(value)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_spans_from_the_lowest_to_the_highest_value() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(sparkline(&[2.0, 2.0]), "▁▁");
        assert_eq!(sparkline(&[]), "");
    }
}
