//! `study tables --only table-2` under a name of its own: `cargo run -p scripts --release --bin table-2 -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-2")
}
