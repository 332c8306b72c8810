//! `study tables --only table-numbers` under a name of its own: `cargo run -p scripts --release --bin table-numbers -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-numbers")
}
