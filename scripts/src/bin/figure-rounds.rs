//! `study tables --only figure-rounds` under a name of its own: `cargo run -p scripts --release --bin figure-rounds -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("figure-rounds")
}
