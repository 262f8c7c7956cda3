#!/bin/bash
# run.sh [WHAT...]
#
# Runs tests with the servers under valgrind and shows what memory faults they met. WHAT is what `make
# test` takes (regress, isolation, regress/segments, 110_journeys_kill), or fuzz, fuzz/NAME, demo;
# without arguments it is `regress isolation fuzz demo` and the TAP files that render, score and kill.
#
# The server is one of test/assert/build_postgres.sh with KIND=valgrind: without it, valgrind knows of
# a text only that it lies somewhere in a large block. All processes of a server are watched; each place
# with an error is shown once at the end. Everything runs about thirty times slower, so this takes hours
# on a small machine.
#
# Environment: MA_FUZZ_SEED (1), MA_FUZZ_VARIANTS (2) of each statement, MA_VALGRIND_ORIGINS=yes tells
# where an uninitialised value comes from (slower by half), KEEP=1 leaves the logs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
source "$here/../lib/cluster.sh"

usual=(regress isolation fuzz demo 022_worker_ends 040_audit 100_delivery 103_liquid_golden 104_mime 110_journeys_kill
	111_scores 112_segments)
[ $# -gt 0 ] || set -- "${usual[@]}"
tests=()
fuzz=()
demo=
for word in "$@"; do
	case $word in
		fuzz) mapfile -t -O ${#fuzz[@]} fuzz < <(cd "$top/test/sql" && ls ./*.sql | sed 's,.*/,,; s,\.sql$,,' && echo golden) ;;
		fuzz/*) fuzz+=("${word#fuzz/}") ;;
		demo) demo=yes ;;
		*) tests+=("$word") ;;
	esac
done

server=$(KIND=valgrind bash "$top/test/assert/build_postgres.sh" | tail -n 1)
export PG_CONFIG=$server/bin/pg_config SERVER_WRAPPER=$here/postgres
export PGCTLTIMEOUT=600 PGISOLATIONTIMEOUT=3000 PG_TEST_TIMEOUT_DEFAULT=3000
export REGRESS_TIMEOUT=${REGRESS_TIMEOUT:-14400} ISOLATION_TIMEOUT=${ISOLATION_TIMEOUT:-14400} TAP_TIMEOUT=${TAP_TIMEOUT:-28800}
scratch_begin
export MA_VALGRIND_LOGS=$scratch/valgrind
as_server mkdir "$MA_VALGRIND_LOGS"
cat "$server/share/valgrind.supp" "$here/suppressions" > "$MA_VALGRIND_LOGS/suppressions"
failed=

if [ ${#tests[@]} -gt 0 ]; then
	bash "$top/test/lib/run_tests.sh" "${tests[@]}" &
	wait $! || failed=yes
fi

# Statements with damaged literals: any answer is right, but the server must live and read nothing wrong.
if [ ${#fuzz[@]} -gt 0 ]; then
	install_private
	cluster_start fuzz
	for name in "${fuzz[@]}"; do
		file=$top/test/sql/$name.sql
		[ "$name" != golden ] || file=${GOLDEN_LIQUID:-/dev/null}
		[ -s "$file" ] || continue
		python3 "$here/fuzz.py" "$file" "${MA_FUZZ_SEED:-1}" "${MA_FUZZ_VARIANTS:-2}" > "$scratch/fuzz.sql"
		start=$SECONDS
		if as_server createdb -h "$scratch/fuzz" -U postgres "$name" && bounded "$REGRESS_TIMEOUT" psql -X -q -h "$scratch/fuzz" -U postgres -d "$name" -f "$scratch/fuzz.sql" > "$scratch/fuzz.out" 2>&1; then
			echo "ok - fuzz/$name ($(grep -c '^BEGIN;\|^SAVEPOINT fuzz;' "$scratch/fuzz.sql") statements, $((SECONDS - start)) s)"
		else
			echo "not ok - fuzz/$name"
			tail -n 5 "$scratch/fuzz.out"
			failed=yes
			# After a crash the server comes back by itself.
			as_server pg_ctl -D "$scratch/fuzz/data" status > /dev/null || break
			for _ in $(seq 600); do
				as_server pg_isready -q -h "$scratch/fuzz" && break
				sleep 1
			done
		fi
	done
	cluster_stop fuzz || failed=yes
	grep -aE 'PANIC|TRAP:|was terminated by signal' "$scratch/fuzz/server.log" && failed=yes
fi

# The demo with its worker.
if [ -n "$demo" ]; then
	MA_DEMO_PATIENCE='1 hour' MA_DEMO_DIR=$scratch/demo bash "$top/doc/demo/run.sh" start > "$scratch/demo.out" 2>&1 || {
		tail -n 40 "$scratch/demo.out"
		failed=yes
	}
	MA_DEMO_DIR=$scratch/demo bash "$top/doc/demo/run.sh" stop
fi

python3 "$here/report.py" "$MA_VALGRIND_LOGS" || failed=yes
[ -z "$failed" ]
