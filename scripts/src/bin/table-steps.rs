//! `study tables --only table-steps` under a name of its own: `cargo run -p scripts --release --bin table-steps -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-steps")
}
