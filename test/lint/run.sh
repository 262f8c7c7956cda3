#!/bin/bash
# run.sh [NAME...]
#
# Runs every lint of this folder, or the named ones (layers, catalog, ...); builds first, since some
# look at the built objects. Fails if one of them does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$here/../.."
[ $# -gt 0 ] || set -- layers sizes errors headers words links mutants fuzz exports libraries catalog readme

failed=
case " $* " in *' exports '* | *' libraries '*)
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s -j2 all PG_CONFIG="${PG_CONFIG:-pg_config}" ||
		failed=" build" ;;
esac
for name in "$@"; do
	if [ -f "$here/$name.py" ]; then
		PYTHONDONTWRITEBYTECODE=1 python3 "$here/$name.py" || failed="$failed $name"
	else
		bash "$here/$name.sh" || failed="$failed $name"
	fi
done
if [ -n "$failed" ]; then
	echo "lint: failed:$failed"
	exit 1
fi
echo "lint: all $# ok"
