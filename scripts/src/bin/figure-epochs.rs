//! `study tables --only figure-epochs` under a name of its own: `cargo run -p scripts --release --bin figure-epochs -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("figure-epochs")
}
