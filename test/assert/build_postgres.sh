#!/bin/bash
# build_postgres.sh [prefix-parent]
#
# Builds PostgreSQL 15 with --enable-cassert from the Debian source package into
# /var/tmp/pg15-assert-VERSION (or below the given directory) and prints the prefix as the last
# line. Nothing is done when the stamp file of that version is there. Run as root: it installs the
# build tools and reads the package lists into a private directory, so that the machine's own apt
# sources stay as they are. JOBS sets the number of compilers (1).
set -euo pipefail
parent=${1:-/var/tmp}
jobs=${JOBS:-1}
suite=bookworm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
export DEBIAN_FRONTEND=noninteractive

done_before=$(ls -d "$parent"/pg15-assert-*/.stamp 2>/dev/null | sort -V | tail -1 || true)
if [ -n "$done_before" ] && [ -z "${FORCE:-}" ]; then
	dirname "$done_before"
	exit 0
fi

missing=
for package in build-essential bison flex libreadline-dev zlib1g-dev libssl-dev libipc-run-perl \
	dpkg-dev debian-archive-keyring; do
	dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
		missing="$missing $package"
done
if [ -n "$missing" ]; then
	apt-get update -qq
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing
fi

work=$(mktemp -d "$parent/pg15-assert-build.XXXXXX")
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
prefix=$parent/pg15-assert-$version
echo "building postgresql-15 $package_version with assertions for $prefix"

cd "$work"
apt-get "${own[@]}" source -qq "postgresql-15=$package_version"
cd "postgresql-15-$version"
nice -n 19 ./configure -q --prefix="$prefix" --enable-cassert --enable-debug --enable-tap-tests \
	--without-icu --with-openssl CFLAGS="-Og -g"
nice -n 19 make -s -j"$jobs" world-bin
rm -rf "$prefix"
make -s install-world-bin
"$prefix/bin/pg_config" --configure | grep -q enable-cassert
"$prefix/bin/postgres" --version > "$prefix/.stamp"
echo "$prefix"
