# deploydb: built by PGXS.
#
#	make && make install			builds and installs
#	make installcheck				tests against a running server; ./scripts/test
#									needs none and runs more
#
# PG_CONFIG names the pg_config of the PostgreSQL to build for.

# The install script's parts, each needing only those before it.
INSTALL_PARTS := $(wildcard $(patsubst %,sql/install/%.sql, \
	migrations verification capture environment access installation \
	period histogram tracking samples rates write_history coverage \
	own_rows metrics changes rules alerts silences formats webhooks outbox alertmanager claims attempts notices \
	log seals problems phases deployments backups backup_status backup_import \
	rollback_script rollback_plan rollback restore rehearsal advice targets \
	checklist checklist_items checklist_phrases checklist_staging checklist_evidence checklist_signals checklist_state \
	sign_offs report collect monitor export bookkeeping_export))

# Lists are set by ":=", as PGXS asks by ifdef whether there is anything.
MODULE_big = deploydb
EXTENSION = deploydb
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" deploydb.control)
DATA := $(wildcard sql/deploydb--*--*.sql) deploydb.conf.sample
DATA_built = deploydb--$(EXTVERSION).sql
SCRIPTS := $(sort $(wildcard scripts/deploydb-*))
OBJS := $(patsubst %.c,%.o,$(filter-out src/http/%,$(sort $(wildcard src/*.c src/*/*.c))))

# The server's headers are not ours to warn about: -isystem wins over PGXS's -I.
PG_CPPFLAGS = -I$(srcdir)/src -DDEPLOYDB_VERSION='"$(EXTVERSION)"' -isystem $(includedir_server)
# Each statement calls the server some times: without a detour by the PLT.
PG_CFLAGS = -fvisibility=hidden -fno-plt -Wall -Wextra

REGRESS := $(patsubst sql/%.sql,%,$(filter-out sql/deploydb--%.sql,$(sort $(wildcard sql/*.sql))))
ISOLATION := $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation
PROVE_TESTS := $(sort $(wildcard test/t/*.pl))
ifneq ($(PROVE_TESTS),)
TAP_TESTS = 1
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS keeps no account of headers; they are few, so each rebuilds all.
$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h src/*/*.h)

deploydb--$(EXTVERSION).sql: $(INSTALL_PARTS)
	cat $^ > $@

# The part that needs libcurl is a module of its own.
all: all-http
install: install-http
uninstall: uninstall-http
clean: clean-http
all-http install-http uninstall-http clean-http:
	$(MAKE) -C src/http PG_CONFIG='$(PG_CONFIG)' $(@:-http=)
install-http: all-http
.PHONY: all-http install-http uninstall-http clean-http

# PGXS installs a script by its name alone, and would remove it with its folder.
uninstall: uninstall-scripts
uninstall-scripts:
	rm -f $(addprefix '$(DESTDIR)$(bindir)'/,$(notdir $(SCRIPTS)))
.PHONY: uninstall-scripts
