//! `study tables --only claims` under a name of its own: `cargo run -p scripts --release --bin claims -- DIR`.

fn main() -> std::process::ExitCode {
    scripts::exhibit("claims")
}
