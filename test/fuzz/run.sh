#!/bin/bash
# run.sh [TARGET ...]
#
# Fuzzes what reads the texts of users and of strangers and what writes mails, outside the server, with libFuzzer under
# AddressSanitizer and UndefinedBehaviorSanitizer: template, html, mime, address, token, request, smtp. RUNS inputs each
# (default 1000000), no longer than SECONDS_EACH (default 0, no limit), by chance, or from SEED the same ones each time. Inputs that are
# worth keeping are in CORPUS/TARGET (default: a scratch directory), what was found in FINDINGS (default
# /tmp/ma_fuzz_findings), to be run again with
#   RUNS=0 test/fuzz/run.sh TARGET=FILE
# OPTIMIZE is the compiler's level (default -O2); the lint (test/lint/fuzz.sh) takes -O0 and a few inputs.
#
# Leaks are not looked for: in the server memory goes with its context.
#
# What links: the sources below as they are, shim.c for what they call of the server's memory, errors
# and encodings, and libpgcommon and libpgport for the rest. Rendering needs jsonb and numeric and so the
# server itself: test/valgrind runs it there.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
pg_config=${PG_CONFIG:-pg_config}
runs=${RUNS:-1000000}
seconds=${SECONDS_EACH:-0}
findings=${FINDINGS:-/tmp/ma_fuzz_findings}
scratch=$(mktemp -d /tmp/ma_fuzz.XXXXXX)
trap 'rm -rf "$scratch"' EXIT

content=$top/src/content
declare -A sources=(
	[template]="liquid/lexer liquid/scan liquid/expression liquid/parser liquid/tags liquid/loop_tags liquid/context"
	[html]="mime/html_text links sms"
	[mime]="mime/mime mime/encode mime/address"
	[address]="mime/address mime/encode ../contacts/people/address"
	[token]="../base/base64url ../consent/token ../delivery/feedback/track ../delivery/send/message_key"
	[request]="../web/server/request"
	[smtp]="../delivery/net/smtp_dialogue ../delivery/net/smtp_reply"
)
# Of what is short by nature long inputs are only slow.
declare -A lengths=([address]=400 [token]=200 [request]=2000 [smtp]=1000)
flags="-g ${OPTIMIZE:--O2} -fno-omit-frame-pointer -fno-strict-aliasing -fwrapv -w -D_GNU_SOURCE"
flags="$flags -I$top/src -I$top/test/fuzz -I$("$pg_config" --includedir-server) -DMA_VERSION=\"fuzz\""
sanitizers="-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -fno-sanitize=alignment"
libdir=$("$pg_config" --pkglibdir)/..
failed=0

[ $# -gt 0 ] || set -- template html mime address token request smtp
mkdir -p "$findings"
for target; do
	file=
	case $target in *=*) file=${target#*=}; target=${target%%=*} ;; esac
	list=
	for name in ${sources[$target]}; do list="$list $content/$name.c"; done
	# shellcheck disable=SC2086
	clang-14 $flags $sanitizers -o "$scratch/$target" "$top/test/fuzz/$target.c" "$top/test/fuzz/shim.c" "$top/test/fuzz/absent.c" \
		$list -L"$libdir/lib" -L"$("$pg_config" --libdir)" -L"$libdir" -lpgcommon -lpgport -lm
	if [ -n "$file" ]; then
		"$scratch/$target" "$file"
		continue
	fi
	corpus=${CORPUS:-$scratch/corpus}/$target
	mkdir -p "$corpus"
	if ! ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 nice "$scratch/$target" -runs="$runs" -seed="${SEED:-0}" -max_total_time="$seconds" -max_len="${lengths[$target]:-4096}" -timeout=60 -rss_limit_mb=4096 -detect_leaks=0 -print_final_stats=1 \
		-dict="$top/test/fuzz/words.dict" -artifact_prefix="$findings/$target-" "$corpus" \
		"$top/test/fuzz/seeds/$target" > "$scratch/log" 2>&1; then
		failed=1
		tail -60 "$scratch/log"
	fi
	echo "fuzz $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/log" | tail -1) runs, $(
		grep -o 'cov: [0-9]*' "$scratch/log" | tail -1), $(
		find "$findings" -name "$target-*" -newer "$scratch/$target" | wc -l) findings"
done
exit $failed
