//! `study tables --only table-6` under a name of its own: `cargo run -p scripts --release --bin table-6 -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-6")
}
