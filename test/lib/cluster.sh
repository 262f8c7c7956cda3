# shellcheck shell=bash
# cluster.sh: shell functions for the scripts that need a scratch directory and private clusters.
# Source it, then call scratch_begin first.
#
# As root everything of PostgreSQL runs as the user postgres (nobody without one), since initdb
# refuses root. Whatever a script starts is found again at its end: servers by the postmaster.pid
# files below the scratch directory, other processes by the mark MA_TEST_RUN in their environment;
# both are ended by process id.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Sets $server_user, who runs the servers.
server_user_choose()
{
	server_user=$(id -un)
	if [ "$(id -u)" -eq 0 ]; then
		server_user=postgres
		id postgres >/dev/null 2>&1 || server_user=nobody
	fi
}

# Makes $scratch, owned by the user that runs the servers, and cleans up at exit.
scratch_begin()
{
	server_user_choose
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/ma_test.XXXXXX")
	chmod 755 "$scratch"
	[ "$(id -u)" -ne 0 ] || chown "$server_user" "$scratch"
	export MA_TEST_RUN=$scratch
	trap scratch_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

scratch_end()
{
	local code=$?
	trap '' INT TERM HUP
	sweep
	if [ -n "${KEEP:-}" ]; then
		echo "kept: $scratch"
	else
		rm -rf "$scratch"
	fi
	exit $code
}

# Runs a command as the server's user in the scratch directory, with a clean PostgreSQL
# environment (but for limits of time) and the private programs first on PATH.
as_server()
{
	local drop=()
	if [ "$(id -u)" -eq 0 ]; then
		drop=(setpriv "--reuid=$server_user" "--regid=$(id -g "$server_user")" --init-groups)
	fi
	(
		cd "$scratch" || exit 1
		for name in $(compgen -e | grep '^PG' | grep -vx 'PGCTLTIMEOUT\|PGISOLATIONTIMEOUT\|PG_TEST_TIMEOUT_DEFAULT' || true); do
			unset "$name"
		done
		exec env --default-signal=INT,QUIT HOME="$scratch" USER="$server_user" LOGNAME="$server_user" LC_ALL=C TZ=UTC \
			PATH="$scratch/pg/bin:$PATH" PG_CONFIG="$scratch/pg/bin/pg_config" \
			"${drop[@]}" "$@"
	)
}

# bounded SECONDS COMMAND...: as_server with a limit; a signal to this shell is acted on at once,
# since bash only delays traps for commands in the foreground.
bounded()
{
	local limit=$1
	shift
	as_server timeout -k 10 "$limit" "$@" < /dev/null &
	wait $!
}

# Builds the tree and installs it below $scratch/pg; $PG_CONFIG names the installation to copy. The
# script $SERVER_WRAPPER, if set, takes the place of the server program, which becomes postgres.real.
install_private()
{
	bash "$top/test/lib/private_install.sh" "$scratch/pg" -s -j2 "$@" > "$scratch/install.log" 2>&1 || {
		tail -n 100 "$scratch/install.log"
		return 1
	}
	if [ -n "${SERVER_WRAPPER:-}" ]; then
		mv "$scratch/pg/bin/postgres" "$scratch/pg/bin/postgres.real"
		install -m 755 "$SERVER_WRAPPER" "$scratch/pg/bin/postgres"
	fi
}

# cluster_start NAME: a cluster with test/postgresql.conf at $scratch/NAME/data, whose socket
# directory is $scratch/NAME; settings may follow, one an argument.
cluster_start()
{
	local home=$scratch/$1
	shift
	as_server mkdir -p "$home"
	as_server initdb -D "$home/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 -N \
		> "$home/initdb.log" 2>&1 || {
		cat "$home/initdb.log"
		return 1
	}
	{
		cat "$top/test/postgresql.conf"
		echo "unix_socket_directories = '$home'"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >> "$home/data/postgresql.conf"
	as_server pg_ctl -D "$home/data" -l "$home/server.log" -w -t "${PGCTLTIMEOUT:-60}" start > "$home/start.log" 2>&1 || {
		cat "$home/start.log" "$home/server.log"
		return 1
	}
}

cluster_stop()
{
	as_server pg_ctl -D "$scratch/$1/data" -m fast -w -t "${PGCTLTIMEOUT:-60}" stop > "$scratch/$1/stop.log" 2>&1
}

# True while any of the given processes lives.
any_alive()
{
	local pid
	for pid in "$@"; do
		if [ -e "/proc/$pid" ] && ! grep -qs '^State:.Z' "/proc/$pid/status"; then
			return 0
		fi
	done
	return 1
}

# Ends the processes with the given ids: servers by SIGQUIT (immediate shutdown), others by SIGTERM,
# after ten seconds by SIGKILL. The sleep is between two looks whether they are gone.
end_processes()
{
	local signal=$1 tries
	shift
	[ $# -gt 0 ] || return 0
	kill -s "$signal" "$@" 2>/dev/null || true
	for tries in $(seq 100); do
		any_alive "$@" || return 0
		sleep 0.1
	done
	echo "ended hard after $((tries / 10)) s: $*"
	kill -s KILL "$@" 2>/dev/null || true
}

# Ends everything that this run has started and that still lives.
sweep()
{
	local file pid servers=() others=()
	while read -r file; do
		pid=$(head -n 1 "$file" 2>/dev/null || true)
		[[ $pid =~ ^[0-9]+$ ]] && [ "$(readlink "/proc/$pid/cwd")" = "$(dirname "$file")" ] &&
			servers+=("$pid")
	done < <(find "$scratch" -name postmaster.pid -not -path "$scratch/pg/*" 2>/dev/null)
	end_processes QUIT "${servers[@]}"

	for file in /proc/[0-9]*/environ; do
		pid=${file#/proc/}
		pid=${pid%/environ}
		[ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] &&
			grep -qzsxF "MA_TEST_RUN=$scratch" "$file" 2>/dev/null && others+=("$pid")
	done
	end_processes TERM "${others[@]}"
}
