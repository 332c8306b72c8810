//! `study tables --only figure-samples` under a name of its own: `cargo run -p scripts --release --bin figure-samples -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("figure-samples")
}
