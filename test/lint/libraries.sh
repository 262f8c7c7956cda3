#!/bin/bash
# The object that every backend loads links nothing but libc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
object=marketing_automation.so
if [ ! -f "$object" ]; then
	echo "lint libraries: $object is not built, run make first"
	exit 1
fi
listed=$(ldd "$object")
extra=$(awk '{print $1}' <<< "$listed" |
	grep -vE '^(linux-(vdso|gate)\.so|libc\.so|(/.*/)?ld-linux[-a-z0-9_]*\.so|statically)' || true)
if [ -n "$extra" ]; then
	printf '%s: needs %s; libraries belong to a room with its own object\n' "$object" $extra
	echo "lint libraries: $(wc -w <<< "$extra") violations"
	exit 1
fi
echo "lint libraries: ok"
