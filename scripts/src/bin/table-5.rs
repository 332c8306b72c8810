//! `study tables --only table-5` under a name of its own: `cargo run -p scripts --release --bin table-5 -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-5")
}
