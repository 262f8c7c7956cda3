#!/bin/bash
# delivery.sh: t/131_smtp_kill.pl at length: MESSAGES (100000) through a mail server that writes down what it takes,
# while the worker is killed KILLS (500) times, with `hold` and then with `resend`. None may be lost, and with `hold`
# none may come twice.
set -euo pipefail
exec env MESSAGES="${MESSAGES:-100000}" KILLS="${KILLS:-500}" CONNECTIONS="${CONNECTIONS:-20}" \
	bash "$(dirname "${BASH_SOURCE[0]}")/../../lib/soak_tap.sh" 131_smtp_kill
