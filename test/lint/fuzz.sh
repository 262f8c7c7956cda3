#!/bin/bash
# Each harness of test/fuzz links and takes some hundred inputs: long runs are made by hand, and a source
# that calls something new would leave its harness unlinked until then. The inputs are the same each time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
findings=$(mktemp -d "${TMPDIR:-/tmp}/ma_lint_fuzz.XXXXXX")
trap 'rm -rf "$findings"' EXIT
if ! output=$(RUNS=300 SEED=1 OPTIMIZE=-O0 FINDINGS=$findings bash test/fuzz/run.sh 2>&1); then
	echo "$output"
	echo "lint fuzz: a harness does not link, or has found something"
	exit 1
fi
echo "lint fuzz: ok, $(grep -c '^fuzz ' <<< "$output") harnesses"
