//! `study tables --only table-3` under a name of its own: `cargo run -p scripts --release --bin table-3 -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-3")
}
