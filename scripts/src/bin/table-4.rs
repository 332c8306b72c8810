//! `study tables --only table-4` under a name of its own: `cargo run -p scripts --release --bin table-4 -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-4")
}
