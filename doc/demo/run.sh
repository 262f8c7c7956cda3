#!/bin/bash
# run.sh start | stop | check: the demo, as `make demo` and `make demo-stop` call it.
#
# start builds the tree, installs it into a private copy of PostgreSQL below $home, starts a cluster
# of its own there on a free port of the loopback interface and runs demo.sql in it. The server
# stays, so that one can look around with psql, until stop, which ends it by its process id and
# removes everything. A second start begins anew. Nothing of the system's PostgreSQL is touched. check
# starts it twice and stops it, for the tests: every message must have left, and nothing may stay.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
source "$here/../../test/lib/cluster.sh"

home=${MA_DEMO_DIR:-${TMPDIR:-/tmp}/marketing_automation_demo.$(id -u)}

main()
{
	case ${1:-} in
		start) start ;;
		stop) stop ;;
		check) check ;;
		*)
			echo "usage: $0 start | stop | check" >&2
			exit 2
			;;
	esac
}

start()
{
	stop
	server_user_choose
	mkdir -m 700 "$home"
	[ "$(id -u)" -ne 0 ] || chown "$server_user" "$home"
	scratch=$home
	trap failed EXIT
	echo "# building and installing into a private copy of PostgreSQL below $home"
	install_private
	port=$(free_port)
	password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
	cluster
	for file in demo.sql cdnow_sample.txt; do
		install -m 644 "$here/$file" "$home/$file"
	done
	as_server createdb -h "$home" -p "$port" -U postgres shop
	as_server psql -X -q -h "$home" -p "$port" -U postgres -d shop -v ON_ERROR_STOP=1 -f demo.sql
	trap - EXIT
	cat <<-END

		The shop and its server are there until \`make demo-stop\`:

		    psql postgresql://postgres:$password@127.0.0.1:$port/shop

		Messages stand in $home/data/marketing_automation_spool; what was run is doc/demo/demo.sql.
	END
}

check()
{
	local pid out
	home=$(mktemp -d "${TMPDIR:-/tmp}/ma_demo.XXXXXX")/demo
	chmod 755 "$(dirname "$home")"
	start > /dev/null
	out=$(start)
	pid=$(head -n 1 "$home/data/postmaster.pid")
	stop
	rmdir "$(dirname "$home")"
	if any_alive "$pid" || ! grep -q '^ *thanks .* sent .* 21$' <<< "$out"; then
		echo "$out"
		echo "the demo has not sent its 21 thanks, or its server is still there" >&2
		return 1
	fi
	grep -A 3 '^From COMMIT' <<< "$out"
}

# A start that fails leaves the log to read, and no server.
failed()
{
	local code=$?
	[ ! -f "$home/server.log" ] || tail -n 20 "$home/server.log" >&2
	end_server
	echo "the demo failed; its files are in $home until make demo-stop" >&2
	exit $code
}

stop()
{
	end_server
	rm -rf "$home"
}

# Ends the server of an earlier start, if the process with the recorded id is that one.
end_server()
{
	local pid
	pid=$(head -n 1 "$home/data/postmaster.pid" 2>/dev/null || true)
	if [[ $pid =~ ^[0-9]+$ ]] && [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$home/data")" ]; then
		end_processes INT "$pid"
	fi
}

free_port()
{
	local port
	for port in $(seq 54320 54420); do
		if ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return 0
		fi
	done
	echo "no free port from 54320 to 54420" >&2
	return 1
}

# Only the owner of $home reaches the socket; over TCP there is the password.
cluster()
{
	echo "$password" > "$home/password"
	[ "$(id -u)" -ne 0 ] || chown "$server_user" "$home/password"
	as_server initdb -D "$home/data" -U postgres -E UTF8 --locale=C.UTF-8 -N \
		--auth-local=trust --auth-host=scram-sha-256 --pwfile="$home/password" > "$home/initdb.log" 2>&1 || {
		cat "$home/initdb.log"
		return 1
	}
	rm "$home/password"
	cat >> "$home/data/postgresql.conf" <<-END
		shared_preload_libraries = 'marketing_automation'
		listen_addresses = '127.0.0.1'
		port = $port
		unix_socket_directories = '$home'
		shared_buffers = '64MB'
		timezone = 'UTC'
		demo.patience = '${MA_DEMO_PATIENCE:-30 seconds}'
	END
	as_server pg_ctl -D "$home/data" -l "$home/server.log" -w -t 60 start > "$home/start.log" 2>&1
}

main "$@"
