#!/bin/bash
# run.sh [soak] [NAME...]
#
# Runs the measurements of test/bench/bars (or, with "soak" first, of test/bench/soak), each against
# a fresh database with the extension in a private cluster with durable settings. A measurement is
# NAME.sh, NAME.pl or NAME.sql; it finds the server by PGHOST, PGUSER and PGDATABASE, prints our
# figure beside the alternative's of the same run, and ends with a non-zero exit code when it
# misses its bar. Only ratios within one run mean something. SCALE is handed on for smaller runs.
# EMPTY_TRIGGER names a library with a C trigger that does nothing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib/cluster.sh"

kind=bars
if [ "${1:-}" = soak ]; then
	kind=soak
	shift
fi
mapfile -t all < <(cd "$top/test/bench" && find "$kind" -maxdepth 1 \
	\( -name '*.sh' -o -name '*.pl' -o -name '*.sql' \) 2>/dev/null | sort)
wanted=()
for file in "${all[@]}"; do
	name=$(basename "${file%.*}")
	if [ $# -eq 0 ] || [[ " $* " == *" $name "* ]]; then
		wanted+=("$file")
	fi
done
if [ ${#wanted[@]} -eq 0 ]; then
	echo "bench: nothing to measure in test/bench/$kind"
	exit 1
fi

scratch_begin
install_private
cp -RL "$top/test/." "$scratch/test/"
as_server mkdir "$scratch/empty"
cp "$top/test/bench/empty_trigger.c" "$scratch/empty/"
pgxs=$(as_server pg_config --pgxs)
as_server make -s -C "$scratch/empty" -f "$pgxs" PGXS="$pgxs" PG_CONFIG="$scratch/pg/bin/pg_config" \
	MODULES=empty_trigger with_llvm=no > "$scratch/empty.log" 2>&1 || { cat "$scratch/empty.log"; exit 1; }
chmod -R go+rX "$scratch/test" "$scratch/empty"
# Between two pages of WAL no commit wakes the WAL writer: a signal costs some of them as much as
# all else, and which ones is chance.
cluster_start bench "fsync = on" "full_page_writes = on" "shared_buffers = '${SHARED_BUFFERS:-1GB}'" \
	"jit = off" "max_wal_size = '8GB'" "work_mem = '64MB'" "random_page_cost = 1.1" \
	"max_connections = 120" "wal_writer_flush_after = 0"
as_server psql -X -At -h "$scratch/bench" -U postgres -d postgres -c "SELECT version()"

missed=0
for file in "${wanted[@]}"; do
	name=$(basename "${file%.*}")
	echo "=== $name"
	as_server psql -X -q -h "$scratch/bench" -U postgres -d postgres -c "CREATE DATABASE \"$name\""
	as_server psql -X -q -h "$scratch/bench" -U postgres -d "$name" \
		-c "SET client_min_messages = warning; CREATE EXTENSION marketing_automation" -c "CHECKPOINT"
	case $file in
		*.sh) run=(bash "$scratch/test/bench/$file") ;;
		*.pl) run=(perl -I "$scratch/test/lib" "$scratch/test/bench/$file") ;;
		*.sql) run=(psql -X -q -v ON_ERROR_STOP=1 -f "$scratch/test/bench/$file") ;;
	esac
	if ! bounded "${BENCH_TIMEOUT:-3600}" env PGHOST="$scratch/bench" PGUSER=postgres \
		PGDATABASE="$name" SCALE="${SCALE:-1}" EMPTY_TRIGGER="$scratch/empty/empty_trigger" \
		MA_BENCH_TOP="$scratch/test" "${run[@]}"; then
		echo "--- $name: missed its bar or failed"
		missed=$((missed + 1))
	fi
	as_server psql -X -q -h "$scratch/bench" -U postgres -d postgres -c "DROP DATABASE \"$name\" WITH (FORCE)"
done
cluster_stop bench
echo "$((${#wanted[@]} - missed)) held their bars, $missed did not"
[ $missed -eq 0 ]
