#!/bin/bash
# journeys.sh: t/110_journeys_kill.pl at length: ENROLLMENTS (1000000) in a journey of five steps, while processes are
# killed and the server stopped KILLS (500) times, within MINUTES (60). Every step must take effect once. SEED repeats a run.
set -euo pipefail
exec env ENROLLMENTS="${ENROLLMENTS:-1000000}" KILLS="${KILLS:-500}" PG_TEST_TIMEOUT_DEFAULT=600 \
	bash "$(dirname "${BASH_SOURCE[0]}")/../../lib/soak_tap.sh" 110_journeys_kill
