#!/bin/bash
# Checks the catalog entries of the installed extension (catalog.sql) in a private cluster.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib/cluster.sh"
here=$top/test/lint
scratch_begin
install_private
cluster_start lint

psql=(psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$scratch/lint" -U postgres -d postgres)
as_server "${psql[@]}" -c "SET client_min_messages = warning; CREATE EXTENSION marketing_automation"
found=$({
	echo "CREATE TEMP TABLE allowed (list text, name text);"
	for list in parallel_safe not_dumped public_execute; do
		sed -n "s/^\([a-z_.]\+\).*/INSERT INTO allowed VALUES ('$list', '\1');/p" "$here/allow_$list.txt"
	done
	cat "$here/catalog.sql"
} | as_server "${psql[@]}" -f -)
members=$(as_server "${psql[@]}" -c "SELECT count(*) FROM pg_depend d JOIN pg_extension e
	ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	WHERE e.extname = 'marketing_automation'")
cluster_stop lint

if [ "$members" -eq 0 ]; then
	echo "lint catalog: the extension has no objects"
	exit 1
fi
if [ -n "$found" ]; then
	echo "$found"
	echo "lint catalog: $(wc -l <<< "$found") violations"
	exit 1
fi
echo "lint catalog: ok ($members objects)"
