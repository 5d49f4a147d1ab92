#!/bin/bash
#
# prisma_status.sh
#		What Prisma's own "migrate status" takes, for the same migration, as a
#		process (median of 5): the question that deploydb_verify_migration()
#		answers more of.  Needs npm.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$HOME/prisma

psql -X -q -d "$PGDATABASE" -f "$here/measure.psql"
verify=$(psql -X -q -A -t -d "$PGDATABASE" -c "SELECT measure('SELECT deploydb_verify_migration()')")

set_up_prisma()
{
	local migration
	command -v npm >/dev/null || return 1
	cp -r "$here/../prisma" "$project"
	cd "$project"
	npm install --ignore-scripts --no-audit --no-fund --loglevel=error >npm.log 2>&1 || return 1
	migration=$(psql -X -A -t -d "$PGDATABASE" -c "SELECT migration FROM deploydb.builtin_migrations()")
	mkdir -p "prisma/migrations/$migration"
	psql -X -A -t -d "$PGDATABASE" -c "SELECT ddl FROM deploydb.builtin_migrations()" \
		>"prisma/migrations/$migration/migration.sql"
	printf 'provider = "postgresql"\n' >prisma/migrations/migration_lock.toml
}

median_of_status()
{
	local start
	for _ in 1 2 3 4 5; do
		start=$(date +%s%N)
		npx prisma migrate status >status.log 2>&1 || { cat status.log >&2; return 1; }
		echo $((($(date +%s%N) - start) / 1000))
	done | sort -n | awk 'NR == 3 { print $1 / 1000 }'
}

status=
if set_up_prisma; then
	export DATABASE_URL="postgresql://postgres@localhost/$PGDATABASE?host=$PGHOST" CHECKPOINT_DISABLE=1
	status=$(median_of_status)
fi
echo "verify, warm|$verify|ms|prisma migrate status|$status"
