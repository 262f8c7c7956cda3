#!/bin/bash
# Each mutant of test/mutants must still find the place that it breaks: they run only by hand and in
# long runs, and a mutant that does not apply any more proves nothing.
set -euo pipefail
PYTHONDONTWRITEBYTECODE=1 python3 test/mutants/mutate.py check .
