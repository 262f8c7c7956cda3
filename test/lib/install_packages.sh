#!/bin/bash
# install_packages.sh
#
# Installs the Debian packages named in packages.txt here and in any folder of src/ and test/, as
# root or through sudo. Packages that are there already are left as they are, so without network a
# complete machine passes.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

if ! command -v dpkg-query >/dev/null; then
	echo "install_packages: not a Debian system, taking the needed packages as present"
	exit 0
fi

mapfile -t wanted < <(find "$top/src" "$top/test" -name packages.txt -exec sed 's/#.*//; /^ *$/d' {} + 2>/dev/null |
	sort -u)
missing=()
for package in "${wanted[@]}"; do
	state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "install_packages: installing ${missing[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "install_packages: needs root or sudo to install: ${missing[*]}" >&2
		exit 1
	fi
	root=(sudo)
fi
apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
	-o Acquire::Retries=3)
"${apt[@]}" update </dev/null
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null
