#!/usr/bin/env bash
# The paper's tables, figures and claims by one command: `study run`, whose runs are declared in scripts/study.toml.
#
#     scripts/reproduce.sh --profile smoke|cpu|gpu [--out DIR] [-- FLAG …]      # --help for the rest
#
# The programs are those of this checkout, built first, or those of the folder BIN.
set -euo pipefail
here=$(dirname "$0") programs=${BIN:-$here/../target/release}
if [ -z "${BIN:-}" ]; then cargo build --quiet --release --workspace --manifest-path "$here/../Cargo.toml"; fi
exec "$programs/study" run --programs "$programs" --repository "$here/.." "$@"
