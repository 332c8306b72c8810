//! `study tables --only table-1` under a name of its own: `cargo run -p scripts --release --bin table-1 -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-1")
}
