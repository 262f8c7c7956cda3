#!/bin/bash
# installcheck.sh [NAME...]
#
# Runs the regress files against a running server (PGHOST, PGPORT, PGUSER) that has the extension
# installed and no worker of it in the test databases. Results stay in test/results.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$top"
pg_regress=$(dirname "$("${PG_CONFIG:-pg_config}" --pgxs)")/../test/regress/pg_regress
bindir=$("${PG_CONFIG:-pg_config}" --bindir)
[ $# -gt 0 ] || mapfile -t names < <(ls test/sql/*.sql | sed 's,.*/,,; s,\.sql$,,')
[ $# -eq 0 ] || names=("$@")

passed=0
failed=0
for name in "${names[@]}"; do
	out=test/results/$name
	mkdir -p "$out"
	ln -sfn "$top/expected" "$out/expected"
	if "$pg_regress" --inputdir=test --outputdir="$out" --bindir="$bindir" \
		--dbname="regress_$name" "$name" > "$out/log" 2>&1; then
		echo "ok - regress/$name"
		passed=$((passed + 1))
	else
		echo "not ok - regress/$name"
		failed=$((failed + 1))
		head -n 200 "$out/regression.diffs" 2>/dev/null || tail -n 40 "$out/log"
	fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
