#!/bin/bash
# run.sh start | stop | check: the demo, as `make demo` and `make demo-stop` call it.
#
# start builds the tree, installs it into a private copy of PostgreSQL below $home, starts a cluster
# of its own there on a free port of the loopback interface and runs demo.sql in it; then it starts
# marketing-web on another one, and links.sql follows links of mails there. Both stay, so that one can
# look around with psql and a browser, until stop, which ends them by their process ids and removes
# everything, also what a start that was killed has left. A second start begins anew. Nothing of the
# system's PostgreSQL is touched. check kills one start half way, lets another one go to its end and
# stops it, for the tests: every message must have left, every link have had its effect, nothing may stay.
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
	port=$(free_port 54320)
	web_port=$(free_port 8480)
	password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
	cluster
	for file in demo.sql links.sql cdnow_sample.txt; do
		install -m 644 "$here/$file" "$home/$file"
	done
	as_server createdb -h "$home" -p "$port" -U postgres shop
	run_sql demo.sql
	start_web
	run_sql links.sql -v "url=http://127.0.0.1:$web_port"
	trap - EXIT
	cat <<-END

		The shop, its server and its endpoint are there until \`make demo-stop\`:

		    psql postgresql://postgres:$password@127.0.0.1:$port/shop
		    http://127.0.0.1:$web_port answers the links of the mails in $home/data/marketing_automation_spool

		What was run is doc/demo/demo.sql and links.sql.
	END
}

run_sql()
{
	local file=$1
	shift
	as_server psql -X -q -h "$home" -p "$port" -U postgres -d shop -v ON_ERROR_STOP=1 "$@" -f "$file"
}

# marketing-web as a role that may call its one function. Its number is written before it begins, so a
# start that dies at any point leaves nothing that stop cannot find.
start_web()
{
	local tries
	as_server psql -X -q -h "$home" -p "$port" -U postgres -d shop <<-'SQL'
		CREATE ROLE web LOGIN;
		GRANT USAGE ON SCHEMA marketing TO web;
		GRANT EXECUTE ON FUNCTION marketing.web_request(text, text, jsonb, bytea, inet) TO web;
	SQL
	as_server setsid --fork sh -c 'echo $$ > web.pid; exec "$@"' sh \
		marketing-web --database "host=$home port=$port dbname=shop user=web" --listen "127.0.0.1:$web_port" \
		< /dev/null > "$home/web.log" 2>&1
	for tries in $(seq 300); do
		! curl -fsS -o /dev/null "http://127.0.0.1:$web_port/health" 2> /dev/null || return 0
		sleep 0.1
	done
	echo "marketing-web does not answer after $((tries / 10)) s" >&2
	return 1
}

check()
{
	local killed pid web out tries
	home=$(mktemp -d "${TMPDIR:-/tmp}/ma_demo.XXXXXX")/demo
	chmod 755 "$(dirname "$home")"
	start > /dev/null 2>&1 &
	killed=$!
	for tries in $(seq 1200); do
		[ ! -s "$home/web.pid" ] && any_alive "$killed" || break
		sleep 0.1
	done
	kill -KILL "$killed" || echo "the demo has ended after $tries looks, before it could be killed" >&2
	wait "$killed" 2> /dev/null || true
	pid=$(head -n 1 "$home/data/postmaster.pid")
	web=$(cat "$home/web.pid")
	out=$(start)
	pid="$pid $(head -n 1 "$home/data/postmaster.pid")"
	web="$web $(cat "$home/web.pid")"
	stop
	rmdir "$(dirname "$home")"
	# shellcheck disable=SC2086
	if any_alive $pid $web || ! grep -q '^ *thanks .* sent .* 21$' <<< "$out" || ! grep -q '^ *gift .* sent' <<< "$out"; then
		echo "$out"
		echo "the demo has not sent its 21 thanks or not what a click brings, or one of the processes $pid $web is there" >&2
		return 1
	fi
	grep -A 3 '^From COMMIT' <<< "$out"
}

# A start that fails leaves the logs to read, and no process.
failed()
{
	local code=$? log
	for log in server.log web.log; do
		[ ! -f "$home/$log" ] || tail -n 20 "$home/$log" >&2
	done
	end_all
	echo "the demo failed; its files are in $home until make demo-stop" >&2
	exit $code
}

stop()
{
	end_all
	rm -rf "$home"
}

# Ends the endpoint and the server of an earlier start.
end_all()
{
	end_one TERM "$home/web.pid" "$home"
	end_one INT "$home/data/postmaster.pid" "$home/data"
}

# end_one SIGNAL FILE FOLDER: the process whose number is in FILE, if it is the one that works in FOLDER.
end_one()
{
	local pid
	pid=$(head -n 1 "$2" 2>/dev/null || true)
	if [[ $pid =~ ^[0-9]+$ ]] && [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$3")" ]; then
		end_processes "$1" "$pid"
	fi
}

# The first port from $1 on that nobody listens to.
free_port()
{
	local port
	for port in $(seq "$1" $(($1 + 100))); do
		if ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return 0
		fi
	done
	echo "no free port from $1 to $(($1 + 100))" >&2
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
