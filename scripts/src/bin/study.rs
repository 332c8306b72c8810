//! The study: what would run, running it, what is left, and its tables. `--help` has the commands.
//!
//! ```sh
//! cargo run -p scripts --release --bin study -- plan --profile cpu
//! ```

fn main() -> std::process::ExitCode {
    scripts::run_study()
}
