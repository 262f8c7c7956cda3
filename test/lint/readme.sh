#!/bin/bash
# Runs every SQL block of README.md in a private cluster, in order, as a new user would, and demands
# that README.md names every function, view, setting and error code there is, and no other.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib/cluster.sh"
scratch_begin
install_private
cluster_start readme "marketing_automation.databases = '*'"

psql=(psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$scratch/readme" -U postgres -d postgres)
# A long run of the work procedure is shown there, but need not be waited for.
sed -n '/^```sql$/,/^```$/{/^```/!p}' "$top/README.md" | sed "s/work('10 minutes')/work('1 second')/" > "$scratch/readme.sql"
chmod a+r "$scratch/readme.sql"
if ! bounded 120 "${psql[@]}" -f "$scratch/readme.sql" > "$scratch/readme.out" 2>&1; then
	tail -n 20 "$scratch/readme.out"
	echo "lint readme: its SQL does not run"
	exit 1
fi

as_server "${psql[@]}" > "$scratch/there.txt" <<'SQL'
SELECT DISTINCT 'function ' || proname FROM pg_proc WHERE pronamespace = 'marketing'::regnamespace;
SELECT 'view ' || relname FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relkind = 'v';
SELECT 'setting ' || name FROM pg_settings WHERE name LIKE 'marketing\_automation.%';
SQL
cluster_stop readme
sed -n "s/^#define ERRCODE_MA_\([A-Z_]*\) MAKE_SQLSTATE('M', 'A', '\(.\)', '\(.\)', '\(.\)').*/code MA\2\3\4 \L\1/p" \
	"$top/src/base/errors.h" >> "$scratch/there.txt"
sort -u -o "$scratch/there.txt" "$scratch/there.txt"

{
	sed -n '/^### Functions/,/^### Views/s/^| `\([a-z_]*\)(.*/function \1/p' "$top/README.md"
	sed -n '/^### Views/,/^### Settings/s/^| `\([a-z_]*\)`.*/view \1/p' "$top/README.md"
	sed -n '/^### Settings/,/^##* E/s/^| `\(marketing_automation\.[a-z_]*\)`.*/setting \1/p' "$top/README.md"
	sed -n '/^### Error codes/,/^## /s/^| \(MA[0-9]*\) | \([a-z_]*\) .*/code \1 \2/p' "$top/README.md"
} | sort -u > "$scratch/said.txt"
if ! diff "$scratch/there.txt" "$scratch/said.txt" > "$scratch/difference"; then
	sed -n 's,^< ,missing in README.md: ,p; s,^> ,only in README.md: ,p' "$scratch/difference"
	echo "lint readme: $(grep -c '^[<>]' "$scratch/difference") violations"
	exit 1
fi
echo "lint readme: ok ($(wc -l < "$scratch/there.txt") names, $(wc -l < "$scratch/readme.sql") lines run)"
