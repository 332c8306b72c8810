//! One page for a study: its claims, tables, figures and runs, in one file that loads nothing.
//!
//! ```sh
//! cargo run -p scripts --release --bin index -- runs/reproduce-cpu-synthetic
//! ```

fn main() -> std::process::ExitCode {
    scripts::index()
}
