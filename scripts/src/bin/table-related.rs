//! `study tables --only table-related` under a name of its own: `cargo run -p scripts --release --bin table-related -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-related")
}
