#!/bin/bash
# run_tests.sh [TEST...]
#
# Builds the tree, installs it into a private copy of PostgreSQL and runs the tests there: regress
# (test/sql), isolation (test/isolation/specs) and TAP (test/t). The last line of output is
# "N passed, N failed", counting each regress file, each isolation spec and each TAP subtest; the
# exit code is 0 only if tests ran and none failed. Before it the failed tests are named once more,
# so that the end of a long output tells what to look at.
#
# Without arguments all tests run. An argument is a kind (regress, isolation, tap), one test
# (regress/NAME, isolation/NAME, NAME) or a TAP file (t/010_workers.pl).
#
# Each regress file and each spec gets a database of its own, so it creates the extension itself
# and depends on no other file.
#
# Environment: PG_CONFIG  the installation to copy            TAP_JOBS  TAP files at once (1)
#              KEEP=1     leave the scratch directory         VERBOSE   1: all lines of TAP files
#              REGRESS_TIMEOUT, ISOLATION_TIMEOUT, TAP_TIMEOUT   seconds for each kind
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

regress_timeout=${REGRESS_TIMEOUT:-600}
isolation_timeout=${ISOLATION_TIMEOUT:-600}
tap_timeout=${TAP_TIMEOUT:-1500}
passed=0
failed=0
skipped=0
failures=()
regress=()
isolation=()
tap=()

# fail WHAT: says it, counts it and remembers it for the end.
fail()
{
	echo "not ok - $1"
	failures+=("$1")
	failed=$((failed + 1))
}

main()
{
	select_tests "$@"
	scratch_begin
	trap finish EXIT

	echo "# building and installing into a private copy of PostgreSQL"
	install_private
	copy_tests
	pg_regress=$(as_server sh -c 'dirname "$("$PG_CONFIG" --pgxs)"')/../test/regress/pg_regress
	isolation_regress=$(dirname "$pg_regress")/../isolation/pg_isolation_regress

	if [ ${#regress[@]} -gt 0 ]; then
		run_kind regress "$regress_timeout" "$pg_regress" "$scratch/test" "${regress[@]}"
	fi
	if [ ${#isolation[@]} -gt 0 ]; then
		run_kind isolation "$isolation_timeout" "$isolation_regress" "$scratch/test/isolation" \
			"${isolation[@]}"
	fi
	if [ ${#tap[@]} -gt 0 ]; then
		run_tap
	fi
	completed=yes
}

# Sorts the arguments into the three lists; an argument that names nothing is an error.
select_tests()
{
	local all_regress all_isolation all_tap word
	all_regress=$(cd "$top" && ls test/sql/*.sql 2>/dev/null | sed 's,.*/,,; s,\.sql$,,' || true)
	all_isolation=$(cd "$top" && ls test/isolation/specs/*.spec 2>/dev/null |
		sed 's,.*/,,; s,\.spec$,,' || true)
	all_tap=$(cd "$top" && ls test/t/*.pl 2>/dev/null | sed 's,.*/,,' || true)

	[ $# -gt 0 ] || set -- regress isolation tap
	for word in "$@"; do
		case $word in
			regress) mapfile -t -O ${#regress[@]} regress < <(printf '%s' "$all_regress") ;;
			isolation) mapfile -t -O ${#isolation[@]} isolation < <(printf '%s' "$all_isolation") ;;
			tap) mapfile -t -O ${#tap[@]} tap < <(printf '%s' "$all_tap") ;;
			*)
				local name=${word##*/} found=
				name=${name%.sql}
				name=${name%.spec}
				case $word in isolation/* | *.pl) ;; *)
					grep -qxF "$name" <<< "$all_regress" && regress+=("$name") && found=yes ;;
				esac
				case $word in regress/* | *.pl) ;; *)
					grep -qxF "$name" <<< "$all_isolation" && isolation+=("$name") && found=yes ;;
				esac
				grep -qxF "${name%.pl}.pl" <<< "$all_tap" && tap+=("${name%.pl}.pl") && found=yes
				if [ -z "$found" ]; then
					echo "run_tests: no test is called \"$word\""
					echo "0 passed, 1 failed"
					exit 2
				fi
				;;
		esac
	done
}

# The server's user may not read or write the source tree: it works on a copy of the tests.
copy_tests()
{
	mkdir -p "$scratch/test/expected"
	cp -RL "$top/test/." "$scratch/test/"
	cp "$top/doc/fcm_token.py" "$scratch/test/lib/"
	# What t/160_journey_schema.pl and t/161_broadcast_schema.pl compare.
	mkdir -p "$scratch/test/schema/tree/doc" "$scratch/test/schema/tree/src/journeys" \
		"$scratch/test/schema/tree/src/broadcasts"
	cp "$top/doc/journey.schema.json" "$top/doc/broadcast.schema.json" "$scratch/test/schema/tree/doc/"
	cp "$top/src/broadcasts/read.c" "$scratch/test/schema/tree/src/broadcasts/"
	cp "$top/README.md" "$scratch/test/schema/tree/"
	cp -RL "$top/src/journeys/parse" "$scratch/test/schema/tree/src/journeys/"
	ln -s ../.. "$scratch/test/schema/tree/test"
	[ ! -d "$top/expected" ] || cp -RL "$top/expected/." "$scratch/test/expected/"
	[ "$(id -u)" -ne 0 ] || chown -R "$server_user" "$scratch/test"
	chmod -R u+rwX,go+rX "$scratch/test"
}

# run_kind KIND TIMEOUT PROGRAM INPUTDIR TEST...: one cluster, one database a test.
run_kind()
{
	local kind=$1 limit=$2 program=$3 input=$4 test left deadline out start
	shift 4
	echo "# $kind: $# tests"
	deadline=$((SECONDS + limit))
	if ! cluster_start "$kind"; then
		fail "$kind: the cluster did not start"
		failed=$((failed + $# - 1))
		return
	fi
	for test in "$@"; do
		out=$scratch/$kind/out/$test
		as_server mkdir -p "$out"
		left=$((deadline - SECONDS))
		start=$(date +%s%N)
		if [ $left -le 0 ]; then
			fail "$kind/$test: not run, the $limit s for this kind are over"
		elif bounded "$left" "$program" --inputdir="$input" --outputdir="$out" \
			--bindir="$scratch/pg/bin" --host="$scratch/$kind" --port=5432 --user=postgres \
			--dlpath="$out" --dbname="${kind}_$test" "$test" > "$out/log" 2>&1; then
			echo "ok - $kind/$test ($((($(date +%s%N) - start) / 1000000)) ms)"
			passed=$((passed + 1))
		else
			fail "$kind/$test"
			if [ -s "$out/regression.diffs" ]; then
				head -n 200 "$out/regression.diffs"
			else
				tail -n 40 "$out/log"
			fi
		fi
	done
	if ! cluster_stop "$kind"; then
		fail "$kind: the cluster did not stop"
	fi
	if grep -aE 'PANIC|TRAP:|was terminated by signal' "$scratch/$kind/server.log"; then
		fail "$kind: the server's log has the lines above"
	fi
}

# A real mail server for the files that ask for one; without root there is none, and they skip.
start_mail_server()
{
	local ports
	if [ "$(id -u)" -ne 0 ] || ! (cd "$top/test/t" && grep -lq MA_MAIL_DIR "${tap[@]}"); then
		return
	fi
	mapfile -t ports < <(python3 -c '
import socket
taken = [socket.socket() for _ in range(2)]
for one in taken:
    one.bind(("127.0.0.1", 0))
    print(one.getsockname()[1])')
	bash "$top/test/mail/server.sh" start "$scratch/mail" "${ports[@]}"
	export MA_MAIL_DIR=$scratch/mail MA_MAIL_SMTP=${ports[0]} MA_MAIL_IMAP=${ports[1]}
}

run_tap()
{
	local counts=$scratch/tap/counts code=0 p f s
	echo "# tap: ${#tap[@]} files"
	as_server mkdir -p "$scratch/tap/tmp_check"
	start_mail_server
	bounded "$tap_timeout" env TESTDIR="$scratch/tap" TESTDATADIR="$scratch/tap/tmp_check" \
		TESTLOGDIR="$scratch/tap/tmp_check/log" TMPDIR="$scratch/tap" \
		PG_TEST_PORT_DIR="$scratch/tap/ports" PG_REGRESS="$pg_regress" \
		MA_TEST_DIR="$scratch/test" \
		MA_TAP_LIB="$(dirname "$pg_regress")/../perl:$scratch/test/lib" \
		perl "$scratch/test/lib/tap_run.pl" "$counts" "${tap[@]/#/$scratch/test/t/}" || code=$?
	p=0 f=0 s=0
	[ ! -s "$counts" ] || read -r p f s < "$counts"
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
	if [ $code -ge 124 ] || { [ $code -ne 0 ] && [ "$f" -eq 0 ]; }; then
		fail "tap: the run was cut off (exit code $code, $tap_timeout s allowed)"
	fi
	[ $code -eq 0 ] || show_tap_logs
}

# The end of the logs of the files that did not pass, and the crashes of their servers.
show_tap_logs()
{
	local logs=$scratch/tap/tmp_check/log name log server
	# what stands before each line of a log where tests write the time
	local stamp='^(\[[0-9:.]+\]\([0-9.]+s\) )?'
	for name in "${tap[@]%.pl}"; do
		log=$logs/regress_log_$name
		# a good log has a plan and no failed test
		if [ ! -f "$log" ] || { grep -qE "${stamp}1\.\." "$log" && ! grep -qE "${stamp}not ok" "$log"; }; then
			continue
		fi
		echo "--- last lines of $(basename "$log")"
		tail -n 60 "$log"
		for server in "$logs/$name"_*.log; do
			if [ -f "$server" ] && grep -qaE 'PANIC|TRAP:|was terminated by signal' "$server"; then
				echo "--- crash lines of $(basename "$server")"
				grep -aE -B 5 'PANIC|TRAP:|was terminated by signal' "$server" | tail -n 40
			fi
		done
		mapfile -t -O ${#failures[@]} failures < <(grep -E "${stamp}not ok" "$log" | sed "s,^,t/$name: ," ||
			echo "t/$name: did not come to its end")
	done
}

# The summary comes last, after everything has been ended and removed.
finish()
{
	local code=$?
	trap '' INT TERM HUP
	if [ "${completed:-}" != yes ]; then
		fail "the run did not come to its end (exit code $code)"
	fi
	[ ! -d "$scratch/mail" ] || bash "$top/test/mail/server.sh" stop "$scratch/mail"
	sweep
	[ -n "${KEEP:-}" ] && echo "# kept: $scratch" || rm -rf "$scratch"
	[ $skipped -eq 0 ] || echo "# $skipped TAP tests skipped"
	[ ${#failures[@]} -eq 0 ] || printf '# failed: %s\n' "${failures[@]}"
	echo "$passed passed, $failed failed"
	[ $failed -eq 0 ] && [ $passed -gt 0 ]
	exit $?
}

main "$@"
