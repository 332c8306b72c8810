//! `study tables --only figure-value` under a name of its own: `cargo run -p scripts --release --bin figure-value -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("figure-value")
}
