#!/bin/bash
# soak_tap.sh NAME: a TAP test at length, as a soak: with a cluster of its own, since it kills its server. How long is
# said in the environment, as the test's header tells.
set -euo pipefail
test=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
dir=$(mktemp -d "$PWD/$1.XXXXXX")
sources=$(dirname "$(pg_config --pgxs)")/../test

mkdir "$dir/ports"
for name in $(compgen -e | grep '^PG' || true); do unset "$name"; done
exec env PG_CONFIG="$(command -v pg_config)" PG_REGRESS="$sources/regress/pg_regress" MA_TEST_DIR="$test" \
	TESTDIR="$dir" TESTDATADIR="$dir/tmp_check" TESTLOGDIR="$dir/tmp_check/log" TMPDIR="$dir" PG_TEST_PORT_DIR="$dir/ports" \
	PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-1800}" perl -I "$sources/perl" -I "$test/lib" "$test/t/$1.pl"
