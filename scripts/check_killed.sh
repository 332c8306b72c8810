#!/usr/bin/env bash
# Does a reproduction that is killed again and again come to the same tables as one that never was?
#
#     scripts/check_killed.sh DIR      # DIR: what `scripts/reproduce.sh --profile smoke --out DIR` has left
#
# Does it again in DIR-killed: killed (SIGKILL, with all it has started) after 5 seconds, gone on with, killed after 10, and so on until it
# comes to its end. Then every table, as CSV, and every figure must be the same file, but for CPU seconds.
set -euo pipefail
here=$(dirname "$0") times=0 status=137 whole=${1:?DIR is missing; see the head of this script}
whole=${whole%/}
killed=$whole-killed
rm -rf "$killed" "$killed-svamp" && mkdir -p "$killed"
cp -r "$whole/knows" "$killed"
while ((status == 137 && times < 40)); do
  status=0
  timeout --signal=KILL $((5 * ++times)) "$here/reproduce.sh" --profile smoke --out "$killed" -- --quiet >/dev/null 2>"$killed/log" || status=$?
done
if ((status)); then cat "$killed/log" >&2 && exit 1; fi
if ((times == 1)); then echo "error: it was not killed once" >&2 && exit 1; fi
for file in "$whole"/tables/*.csv "$whole"/tables/*.svg; do
  cmp <(grep -v ,cpu_seconds, "$file") <(grep -v ,cpu_seconds, "$killed/tables/$(basename "$file")")
done
echo "killed $((times - 1)) times, and every table and figure is the same"
