#!/bin/bash
# The built shared objects export only what PostgreSQL calls and what other objects of ours need:
# Pg_magic_func, _PG_init, pg_finfo_* and ma_*. The main object defines every ma_* it calls: the linker
# lets a missing one pass, and the server would refuse to load the library.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
main=marketing_automation.so
if [ ! -f "$main" ]; then
	echo "lint exports: $main is not built, run make first"
	exit 1
fi

bad=0
for object in "$main" src/*/marketing_automation*.so src/*/*/marketing_automation*.so; do
	[ -f "$object" ] || continue
	symbols=$(nm -D --defined-only --format=posix "$object" | awk '{print $1}')
	while read -r symbol; do
		case $symbol in
			Pg_magic_func | _PG_init | pg_finfo_* | ma_*) ;;
			*)
				echo "$object: exports $symbol: make it static, or name it ma_*"
				bad=$((bad + 1))
				;;
		esac
	done <<< "$symbols"
	if ! grep -qx Pg_magic_func <<< "$symbols"; then
		echo "$object: does not export Pg_magic_func: include base/base.h before PG_MODULE_MAGIC"
		bad=$((bad + 1))
	fi
	if [ "$object" = "$main" ] && ! grep -qx _PG_init <<< "$symbols"; then
		echo "$object: does not export _PG_init, so it would never run: declare it PGDLLEXPORT"
		bad=$((bad + 1))
	fi
done
for symbol in $(nm -D --undefined-only --format=posix "$main" | awk '$1 ~ /^ma_/ {print $1}'); do
	echo "$main: calls $symbol, which no file of it defines"
	bad=$((bad + 1))
done
if [ $bad -gt 0 ]; then
	echo "lint exports: $bad violations"
	exit 1
fi
echo "lint exports: ok ($(nm -D --defined-only "$main" | wc -l) symbols)"
