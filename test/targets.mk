# Rules for tests, lints and measurements, included by the Makefile. They work before the
# PostgreSQL packages are there: `make test` installs what is missing and starts make again.

# make test TESTS="regress isolation tap", "t/010_workers.pl", "regress/segments", "iso_claim"
TESTS          ?=
NO_INSTALLCHECK = 1
EXTRA_CLEAN     = $(wildcard sql/$(EXTENSION)--*.sql sql/*.tmp) .built_for test/results

# The demo: a shop with real data in a private cluster, see doc/demo.
demo: install-deps
	@exec env PG_CONFIG='$(PG_CONFIG)' bash doc/demo/run.sh start

demo-stop:
	@exec bash doc/demo/run.sh stop

.PHONY: demo demo-stop install-deps test installcheck lint format-check bench soak mutants valgrind fuzz

install-deps:
	bash test/lib/install_packages.sh

test: install-deps
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/lib/run_tests.sh $(TESTS)

# The regress files against a running server that already has the extension installed.
installcheck:
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/lib/installcheck.sh $(TESTS)

lint: install-deps
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/lint/run.sh $(LINTS)

format-check: install-deps
	@bash test/lint/run.sh format

bench: install-deps
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/bench/run.sh $(BENCH)

soak: install-deps
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/bench/run.sh soak $(BENCH)

# Breaks the flush in one place at a time and demands that the audit finds it.
mutants: install-deps
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/mutants/run $(MUTANTS)

# Parsers and writers of text under libFuzzer, outside the server; RUNS= of each.
fuzz: install-deps
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/fuzz/run.sh $(FUZZ)

# Tests with the servers under valgrind: hours, and a server built for it the first time.
valgrind: install-deps
	@exec bash test/valgrind/run.sh $(TESTS)
