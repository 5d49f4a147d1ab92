MODULE_big = deploydb
EXTENSION = deploydb
DATA = $(wildcard sql/deploydb--*.sql)
OBJS = $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c))
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -fvisibility=hidden -Wall -Wextra

REGRESS = $(patsubst sql/%.sql,%,$(filter-out sql/deploydb--%.sql,$(sort $(wildcard sql/*.sql))))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
