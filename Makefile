# marketing_automation, built with PGXS: `make`, `make install`, `make test`.
#
# Every *.c up to three folders deep in src/ becomes part of the one module, but for rooms: a folder below
# src/ with a Makefile of its own is built, installed and cleaned by that Makefile.
all:

EXTENSION    = marketing_automation
EXTVERSION  := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)
ROOMS       := $(patsubst %/Makefile,%,$(wildcard src/*/Makefile src/*/*/Makefile))

MODULE_big   = $(EXTENSION)
OBJS         = $(patsubst %.c,%.o,$(filter-out $(addsuffix /%,$(ROOMS)),$(sort $(wildcard src/*.c src/*/*.c src/*/*/*.c))))
DATA         = $(wildcard sql/updates/*--*--*.sql)
DATA_built   = sql/$(EXTENSION)--$(EXTVERSION).sql
PG_CPPFLAGS  = -Isrc -DMA_VERSION='"$(EXTVERSION)"'
PG_CFLAGS    = -fvisibility=hidden

include test/targets.mk

PG_CONFIG   ?= pg_config
PGXS        := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifeq ($(wildcard $(PGXS)),)
all install clean:
	@echo "$(PG_CONFIG) gives no PGXS: install postgresql-server-dev-15, or run 'make install-deps'" >&2; exit 1
else
include $(PGXS)

# The server's makefiles track no header dependencies, so each object depends on every header, and
# on a note of server, compiler and flags that changes with them.
$(file >.built_for.new,$(VERSION) $(configure_args) $(CC) $(PG_CPPFLAGS) $(CFLAGS))
$(shell cmp -s .built_for.new .built_for && rm .built_for.new || mv .built_for.new .built_for)
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h src/*/*.h src/*/*/*.h) .built_for

$(DATA_built): $(sort $(wildcard sql/parts/*.sql)) $(EXTENSION).control
	cat $(filter %.sql,$^) > $@.tmp && mv $@.tmp $@

# all, install, uninstall and clean go on into each room.
all install uninstall clean: %: $(addprefix %@,$(ROOMS))
define room_rules
.PHONY: $(foreach goal,all install uninstall clean,$(goal)@$(1))
$(foreach goal,all install uninstall clean,$(goal)@$(1)): %@$(1):
	$$(MAKE) -C $(1) $$* PG_CONFIG='$$(PG_CONFIG)' EXTVERSION='$$(EXTVERSION)'
endef
$(foreach room,$(ROOMS),$(eval $(call room_rules,$(room))))
endif
