#!/bin/bash
# build_postgres.sh [prefix-parent]
#
# Builds PostgreSQL 15 with --enable-cassert from the Debian source package into
# /var/tmp/pg15-assert-VERSION (or below the given directory) and prints the prefix as the last
# line. Nothing is done when the stamp file of that version is there. Run as root: it installs the
# build tools and reads the package lists into a private directory, so that the machine's own apt
# sources stay as they are. JOBS sets the number of compilers (1).
#
# KIND=valgrind builds pg15-valgrind-VERSION instead: its memory contexts tell valgrind which bytes
# are handed out, and PostgreSQL's own list of harmless reports comes with it (share/valgrind.supp).
set -euo pipefail
parent=${1:-/var/tmp}
kind=${KIND:-assert}
case $kind in
	assert) cflags="-Og -g" tools= ;;
	valgrind) cflags="-O1 -g -DUSE_VALGRIND" tools=valgrind ;;
	*)
		echo "build_postgres: KIND is assert or valgrind" >&2
		exit 2
		;;
esac
jobs=${JOBS:-1}
suite=bookworm
# The mirror this machine's own apt uses, unless DEBIAN_MIRROR names another.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" | sed -n 1p)}
export DEBIAN_FRONTEND=noninteractive

done_before=$(ls -d "$parent"/pg15-$kind-*/.stamp 2>/dev/null | sort -V | tail -1 || true)
if [ -n "$done_before" ] && [ -z "${FORCE:-}" ]; then
	dirname "$done_before"
	exit 0
fi

missing=
for package in build-essential bison flex libreadline-dev zlib1g-dev libssl-dev libicu-dev libxml2-dev pkg-config libipc-run-perl \
	dpkg-dev debian-archive-keyring $tools; do
	dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
		missing="$missing $package"
done
if [ -n "$missing" ]; then
	apt-get update -qq
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing
fi

work=$(mktemp -d "$parent/pg15-$kind-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
	> "$work/sources.list"
own=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
	-o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root -o "Dir::Cache=$work/cache")
mkdir -p "$work/cache/archives/partial"
apt-get "${own[@]}" update -qq

# The newest version of the main archive; the security archive does not keep old sources.
package_version=$(apt-cache "${own[@]}" madison postgresql-15 |
	awk -F'|' '/Sources/ {gsub(/ /, "", $2); print $2}' | sort -V | tail -1)
version=${package_version%%-*}
prefix=$parent/pg15-$kind-$version
echo "building postgresql-15 $package_version for $prefix"

# Upstream's source without Debian's patches: one of them names /usr/lib/postgresql/15/lib as the
# library directory whatever the prefix is, and an install would overwrite the system's server.
cd "$work"
apt-get "${own[@]}" source -qq --download-only "postgresql-15=$package_version"
dpkg-source --skip-patches -x ./*.dsc source >/dev/null
cd source
nice -n 19 ./configure -q --prefix="$prefix" --enable-cassert --enable-debug --enable-tap-tests \
	--with-icu --with-libxml --with-openssl CFLAGS="$cflags"
nice -n 19 make -s -j"$jobs" world-bin

# Installed into a staging directory first; a file outside of the prefix stops it there.
make -s install-world-bin DESTDIR="$work/stage"
outside=$(find "$work/stage" ! -type d -not -path "$work/stage$prefix/*")
if [ -n "$outside" ]; then
	echo "build_postgres: these would be installed outside of $prefix:" >&2
	head -n 5 <<< "$outside" >&2
	exit 1
fi
rm -rf "$prefix"
mv "$work/stage$prefix" "$prefix"
if "$prefix/bin/pg_config" | grep -E '^[A-Z-]*(DIR|PGXS)[A-Z-]* = ' | grep -vF " = $prefix/"; then
	echo "build_postgres: pg_config names the directories above outside of $prefix" >&2
	exit 1
fi
"$prefix/bin/pg_config" --configure | grep -q enable-cassert
cp src/tools/valgrind.supp "$prefix/share/"
"$prefix/bin/postgres" --version > "$prefix/.stamp"
echo "$prefix"
