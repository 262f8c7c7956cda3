#!/bin/bash
# The C files keep to .clang-format in everything that tool can know of PostgreSQL's style. What it
# cannot is left free: where a line is broken (only that it has at most 100 columns, unless a string
# literal ends it), how far a continued line is indented, and the columns of declarations and
# trailing comments (runs of blanks inside a line count as one). Version 14 is Debian 12's; others format differently.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
format=${CLANG_FORMAT:-clang-format-14}
mapfile -t files < <(find src -name '*.[ch]' | sort)
style=$(mktemp)
trap 'rm -f "$style"' EXIT
sed 's/^ColumnLimit:.*/ColumnLimit: 0/' .clang-format > "$style"

# One blank for a run of blanks after the indentation, none at the head of a continued line; the
# braces of initializers where they are;
# function pointers are "(*name) (" as pgindent writes them.
squeeze()
{
	sed -E 's/([^[:blank:]])[[:blank:]]+/\1 /g; s/(\(\*\w+\))\(/\1 (/g' |
		awk '{ line = $0
			if (before ~ /([,(|&=<>?:+-]|[^*]\/|[^\/]\*)$/ && before !~ /(case .*|default|^[[:blank:]]*\w+):$/)
				sub(/^[[:blank:]]+/, "", line)
			print line
			before = $0; sub(/ *\/\*.*\*\/$/, "", before) }' |
		perl -0pe 's/,?\s*\n\s*\};/};/g; s/,\s*\n\s*\{(?=\S)/, {/g'
}

bad=0
for file in "${files[@]}"; do
	lines=$(diff -u --label "$file" --label "$file, formatted" \
		<(squeeze < "$file") <("$format" --style="file:$style" "$file" | squeeze) || true)
	long=$(expand -t 4 "$file" | awk -v file="$file" \
		'length($0) > 100 && !/"[^"]*"[);,]*$/ {print file ":" NR ": " length($0) " columns; the limit is 100"}')
	if [ -n "$lines$long" ]; then
		bad=$((bad + 1))
		[ -z "$lines" ] || head -n 40 <<< "$lines"
		[ -z "$long" ] || echo "$long"
	fi
done
if [ $bad -gt 0 ]; then
	echo "lint format: $bad of ${#files[@]} files differ"
	exit 1
fi
echo "lint format: ok (${#files[@]} files)"
