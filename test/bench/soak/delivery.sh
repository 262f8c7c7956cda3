#!/bin/bash
# delivery.sh: t/131_smtp_kill.pl at length: MESSAGES (100000) through a mail server that writes down what it takes,
# while the worker is killed KILLS (500) times, with `hold` and then with `resend`. It has a cluster of its own,
# since each kill restarts the server. None may be lost, and with `hold` none may come twice.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
test=$(cd "$here/../.." && pwd -P)
dir=$(mktemp -d "$PWD/delivery.XXXXXX")
sources=$(dirname "$(pg_config --pgxs)")/../test

mkdir "$dir/ports"
for name in $(compgen -e | grep '^PG' || true); do unset "$name"; done
exec env MESSAGES="${MESSAGES:-100000}" KILLS="${KILLS:-500}" CONNECTIONS="${CONNECTIONS:-20}" \
	PG_CONFIG="$(command -v pg_config)" PG_REGRESS="$sources/regress/pg_regress" MA_TEST_DIR="$test" \
	TESTDIR="$dir" TESTDATADIR="$dir/tmp_check" TESTLOGDIR="$dir/tmp_check/log" TMPDIR="$dir" PG_TEST_PORT_DIR="$dir/ports" \
	PG_TEST_TIMEOUT_DEFAULT=1800 perl -I "$sources/perl" -I "$test/lib" "$test/t/131_smtp_kill.pl"
