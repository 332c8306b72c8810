//! `study tables --only table-differences` under a name of its own: `cargo run -p scripts --release --bin table-differences -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("table-differences")
}
