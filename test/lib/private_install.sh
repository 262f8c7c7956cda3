#!/bin/bash
# private_install.sh DIR [make arguments]
#
# Makes a relocated copy of the PostgreSQL installation of $PG_CONFIG under DIR and installs the
# extension of this source tree into the copy, so that tests never write to the system's
# directories. Every path of the installation keeps its name below DIR (DIR/usr/lib/...), as with
# DESTDIR; PostgreSQL's programs find their library and share directories relative to themselves,
# which is why programs are copied and everything else is a farm of symbolic links.
#
# DIR/bin is a link to the programs: use PG_CONFIG=DIR/bin/pg_config, or put DIR/bin on PATH.
# A second run with the same DIR installs only the extension again.
set -euo pipefail
umask 022

if [ $# -lt 1 ]; then
	echo "usage: $0 DIR [make arguments]" >&2
	exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
shift
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
extension=$(basename "$(ls "$top"/*.control)" .control)

base=${PG_CONFIG:-pg_config}
if ! pgxs=$("$base" --pgxs 2>/dev/null) || [ ! -f "$pgxs" ]; then
	echo "private_install: $base gives no PGXS: run test/lib/install_packages.sh first" >&2
	exit 1
fi
bindir=$("$base" --bindir)
pkglibdir=$("$base" --pkglibdir)
sharedir=$("$base" --sharedir)
libdir=$("$base" --libdir)
includedir=$("$base" --includedir)
stamp="$bindir $("$base" --version)"

# Links DIR/PATH to PATH as one link; where DIR/PATH is a folder already, only its missing files.
link_whole()
{
	if [ -e "$dir$1" ]; then
		find "$1" -maxdepth 1 -mindepth 1 ! -type d -exec ln -sf -t "$dir$1" {} +
		return
	fi
	mkdir -p "$(dirname "$dir$1")"
	ln -s "$1" "$dir$1"
}

# Copies the tree PATH to DIR/PATH with a link for each file.
link_each()
{
	mkdir -p "$dir$1"
	cp -as "$1/." "$dir$1/"
}

if [ "$(cat "$dir/.stamp" 2>/dev/null)" != "$stamp" ]; then
	mkdir -p "$dir$bindir"
	cp -aL "$bindir/." "$dir$bindir/"
	link_each "$pkglibdir"
	case $sharedir/ in "$pkglibdir"/*) ;; *) link_each "$sharedir" ;; esac
	link_whole "$includedir"
	link_whole "$libdir"

	# A system-wide copy of the extension must not show through, nor be written through a link.
	rm -rf "${dir:?}$pkglibdir/$extension"*.so "$dir$pkglibdir/bitcode/$extension"* \
		"$dir$sharedir/extension/$extension"[.-]*

	[ -e "$dir/bin" ] || ln -s "$dir$bindir" "$dir/bin"
	for what in bindir pkglibdir sharedir; do
		if [ "$("$dir/bin/pg_config" --$what)" != "$dir${!what}" ]; then
			echo "private_install: the copied pg_config reports a $what outside of $dir" >&2
			exit 1
		fi
	done
	echo "$stamp" > "$dir/.stamp"
fi

# Bitcode serves the inlining of JIT only; making it takes as long as all the rest.
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -C "$top" --no-print-directory install \
	PG_CONFIG="$dir/bin/pg_config" with_llvm=no "$@"
echo "PG_CONFIG=$dir/bin/pg_config"
