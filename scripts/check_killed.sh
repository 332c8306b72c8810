#!/usr/bin/env bash
# Does a reproduction that is killed again and again come to the same tables as one that never was?
#
#     scripts/check_killed.sh DIR      # DIR: what `scripts/reproduce.sh --profile smoke --out DIR` has left
#
# Does it again in DIR-killed: killed (SIGKILL, with all it has started) after 5 seconds, gone on with, killed after 10, and so on until it
# comes to its end. Then every table and figure must be the same file, but for the Markdown, which tells CPU seconds.
set -euo pipefail
here=$(dirname "$0") whole=$1 killed=$1-killed times=0
rm -rf "$killed" "$killed-svamp" && mkdir -p "$killed"
cp -r "$whole/knows" "$killed"
until timeout --signal=KILL $((5 * ++times)) "$here/reproduce.sh" --profile smoke --out "$killed" -- --quiet >/dev/null 2>"$killed/log"; do
  if ((times == 40)); then cat "$killed/log" >&2 && exit 1; fi
done
if ((times == 1)); then echo "error: it was not killed once" >&2 && exit 1; fi
for file in "$whole"/tables/*.csv "$whole"/tables/*.svg; do cmp "$file" "$killed/tables/$(basename "$file")"; done
echo "killed $((times - 1)) times, and every table and figure is the same"
