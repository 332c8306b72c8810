//! Displays of a run: progress bars, the terminal, the HTML page. Reads only run directories.

pub mod html;
pub mod inspect;
pub mod progress;
