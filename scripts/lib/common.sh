# shellcheck shell=bash
#
# common.sh
#		What the scripts of this folder share: packages, a private copy of
#		PostgreSQL to install into, building, throwaway clusters.
#
# Sourced by bash with "set -euo pipefail".  Nothing here writes outside the
# run directory (under ./.deploydb/, or under /tmp where the server's user
# cannot reach the working copy), except installing packages.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# ---- packages --------------------------------------------------------------

# As root, or with a sudo that asks nothing; otherwise false.
privileged()
{
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install()
{
	command -v apt-get >/dev/null && privileged true 2>/dev/null
}

package_installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

package_available() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

# Installs what is missing, or names it and stops.
need_packages()
{
	local package missing=()
	command -v dpkg-query >/dev/null ||
		die "please install what these Debian packages hold, and try again: $*"
	for package; do
		package_installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	can_install || die "please install these packages, and try again: ${missing[*]}"
	say "Installing ${missing[*]}"
	apt_quietly update
	apt_quietly install -y --no-install-recommends "${missing[@]}"
}

# Several of the packages would start a service that nobody asked for.
apt_quietly()
{
	local log status=0 policy=/usr/sbin/policy-rc.d
	log=$(mktemp)
	if [ -e "$policy" ]; then policy=; else forbid_services "$policy"; fi
	privileged env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 || status=$?
	[ -z "$policy" ] || privileged rm -f "$policy"
	[ "$status" = 0 ] || cat "$log" >&2
	rm -f "$log"
	[ "$status" = 0 ] || die "apt-get $1 failed"
}

# forbid_services FILE: as long as this script lives; should it be killed, what
# it leaves forbids nothing.
forbid_services()
{
	printf '#!/bin/sh\n! kill -0 %d 2>/dev/null || exit 101\n' $$ |
		privileged tee "$1" >/dev/null
	privileged chmod 755 "$1"
}

# ---- which PostgreSQL ------------------------------------------------------

# The major asked for, else the newest of which server and headers are
# installed, else the newest that apt offers.
choose_major()
{
	local dir newest=''
	if [ -n "${1:-}" ]; then
		printf '%s\n' "$1"
		return
	fi
	for dir in $(printf '%s\n' /usr/lib/postgresql/*/ | sort -V); do
		[ -x "$dir/bin/postgres" ] && [ -x "$dir/bin/pg_config" ] && newest=$(basename "$dir")
	done
	if [ -z "$newest" ] && command -v apt-cache >/dev/null; then
		refresh_package_lists
		newest=$(apt-cache pkgnames postgresql-server-dev- |
			sed -n 's/^postgresql-server-dev-\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
	fi
	[ -n "$newest" ] || newest=$("${PG_CONFIG:-pg_config}" --version 2>/dev/null | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
	[ -n "$newest" ] || die "found no PostgreSQL; set PG_CONFIG, or give --pg MAJOR"
	printf '%s\n' "$newest"
}

# pg_config of a major; without Debian's layout, the one of the environment.
find_pg_config()
{
	local debian=/usr/lib/postgresql/$1/bin/pg_config
	if [ -n "${PG_CONFIG:-}" ]; then
		printf '%s\n' "$PG_CONFIG"
	elif [ -x "$debian" ]; then
		printf '%s\n' "$debian"
	elif command -v pg_config >/dev/null; then
		command -v pg_config
	else
		die "no pg_config of PostgreSQL $1; set PG_CONFIG"
	fi
}

build_packages()
{
	printf '%s\n' "postgresql-$1" "postgresql-server-dev-$1" gcc make libc6-dev libcurl4-openssl-dev
}

# What ./scripts/test needs; pgTAP is not packaged for every major.
test_packages()
{
	build_packages "$1"
	printf '%s\n' curl libdbd-pg-perl libipc-run-perl perl nginx-light openssl
	if package_installed "postgresql-$1-pgtap" || package_available "postgresql-$1-pgtap"; then
		printf '%s\n' "postgresql-$1-pgtap" libtap-parser-sourcehandler-pgtap-perl
	fi
	# Libraries whose hooks ours must get along with; a pooler; a receiver;
	# promtool; exporters that read what is measured; what takes backups.
	for package in "postgresql-$1-pgaudit" "postgresql-$1-cron" pgbouncer prometheus-alertmanager \
		prometheus prometheus-sql-exporter prometheus-postgres-exporter pgbackrest; do
		if package_installed "$package" || package_available "$package"; then
			printf '%s\n' "$package"
		fi
	done
}

# A bare system knows no packages yet.
refresh_package_lists()
{
	if can_install && [ -z "$(apt-cache pkgnames postgresql-server-dev 2>/dev/null)" ]; then
		apt_quietly update
	fi
}

# need_server MAJOR LISTER: installs the packages that LISTER names.
need_server()
{
	[ -z "${PG_CONFIG:-}" ] || return 0
	refresh_package_lists
	# shellcheck disable=SC2046
	need_packages $("$2" "$1")
}

# ---- the unprivileged user, and the run directory --------------------------

# The server refuses to run as root.
server_user()
{
	if [ "$(id -u)" != 0 ]; then id -un
	elif id postgres >/dev/null 2>&1; then echo postgres
	else echo nobody
	fi
}

# In "/", as that user may not be able to enter the working copy.
as_user()
{
	if [ "$(id -u)" = 0 ]; then runuser -u "$(server_user)" -- env -C / "$@"; else "$@"; fi
}

# make_run_dir NAME: a new directory that belongs to the server's user.
make_run_dir()
{
	local dir
	mkdir -p "$ROOT/.deploydb"
	dir=$(mktemp -d "$ROOT/.deploydb/$1.XXXXXX")
	give_to_user "$dir"
	if ! as_user test -w "$dir"; then
		rmdir "$dir"
		dir=$(mktemp -d "${TMPDIR:-/tmp}/deploydb-$1.XXXXXX")
		give_to_user "$dir"
	fi
	printf '%s\n' "$dir"
}

give_to_user()
{
	chmod 755 "$1"
	[ "$(id -u)" != 0 ] || chown -R "$(server_user)" "$1"
}

# ---- a PostgreSQL of our own -----------------------------------------------

# make_prefix PG_CONFIG DIR: copies the installation under DIR in the same
# relative layout (programs really, as the server finds its files from where
# its program lies; everything else as links) and prints the pg_config there.
# Where that does not relocate, the given one is printed again.
make_prefix()
{
	local given=$1 prefix=$2 dir bindir
	bindir=$("$given" --bindir)
	mkdir -p "$prefix$bindir"
	cp -a "$bindir/." "$prefix$bindir/"
	for dir in "$("$given" --pkglibdir)" "$("$given" --sharedir)"; do
		mkdir -p "$prefix$dir"
		cp -asf "$(readlink -f "$dir")/." "$prefix$dir/"
	done
	dir=$("$given" --includedir-server)
	mkdir -p "$prefix$(dirname "$dir")"
	ln -s "$dir" "$prefix$dir"
	rm -f "$prefix$("$given" --pkglibdir)"/deploydb* \
		"$prefix$("$given" --sharedir)"/extension/deploydb*
	if [ "$("$prefix$bindir/pg_config" --sharedir)" = "$prefix$("$given" --sharedir)" ] &&
		[ "$("$prefix$bindir/pg_config" --pkglibdir)" = "$prefix$("$given" --pkglibdir)" ]; then
		printf '%s\n' "$prefix$bindir/pg_config"
	else
		printf '%s\n' "$given"
	fi
}

# copy_source DIR: the working copy without what is built or thrown away.
copy_source()
{
	mkdir -p "$1"
	tar -C "$ROOT" --exclude=./.git --exclude=./.deploydb --exclude=node_modules \
		--exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude=tmp_check \
		-cf - . | tar -C "$1" --no-same-owner -xf -
}

# build_and_install SOURCE PG_CONFIG LOG
build_and_install()
{
	if ! as_user make -C "$1" -s -j2 PG_CONFIG="$2" with_llvm=no all install >"$3" 2>&1; then
		cat "$3" >&2
		die "the build failed"
	fi
	grep -i 'warning:' "$3" >&2 || true
}

# ---- a cluster to throw away -----------------------------------------------

# start_cluster BINDIR DATADIR SOCKETDIR LOG [PORT]: without a port it listens
# on the socket alone, so there is no port to collide with.
start_cluster()
{
	local bindir=$1 data=$2 socket=$3 log=$4 port=${5:-}
	as_user "$bindir/initdb" -D "$data" -U postgres -A trust --no-sync -E UTF8 --no-locale >"$log.initdb" 2>&1 ||
		{ cat "$log.initdb" >&2; die "initdb failed"; }
	as_user tee -a "$data/postgresql.conf" <"$ROOT/test/cluster.conf" >/dev/null
	as_user tee -a "$data/postgresql.conf" >/dev/null <<-CONF
		unix_socket_directories = '$socket'
		listen_addresses = '${port:+127.0.0.1}'
		port = ${port:-5432}
	CONF
	as_user "$bindir/pg_ctl" -D "$data" -l "$log" -w -s start ||
		{ tail -50 "$log" >&2; die "the server did not start"; }
}

stop_cluster()
{
	[ ! -f "$2/postmaster.pid" ] || as_user "$1/pg_ctl" -D "$2" -m immediate -w -s stop || true
}

# private_server NAME MAJOR: a new run directory RUN with a PostgreSQL of our
# own (PG_CONFIG, BINDIR), the source in BUILD, built and installed, and a
# cluster that PGHOST and PGUSER lead to; all of it is gone at exit.
private_server()
{
	local given
	need_server "$2" test_packages
	given=$(find_pg_config "$2")
	RUN=$(make_run_dir "$1")
	trap clean_up_private_server EXIT
	trap 'exit 1' INT TERM HUP
	unset "${!PG@}"
	export HOME=$RUN LC_ALL=C

	PG_CONFIG=$(make_prefix "$given" "$RUN/pg")
	BINDIR=$("$PG_CONFIG" --bindir)
	BUILD=$RUN/build
	copy_source "$BUILD"
	give_to_user "$RUN"
	build_and_install "$BUILD" "$PG_CONFIG" "$RUN/build.log"

	SOCKET=$(mktemp -d /tmp/deploydb.XXXXXX)
	give_to_user "$SOCKET"
	chmod 700 "$SOCKET"
	start_cluster "$BINDIR" "$RUN/data" "$SOCKET" "$RUN/server.log"
	export PGHOST=$SOCKET PGUSER=postgres
}

# Sets the array PERL_TESTS to the command, as far as "prove", that runs Perl
# tests in BUILD with the private server's programs.
perl_tests()
{
	PGXS_TEST=$(dirname "$("$PG_CONFIG" --pgxs)")/../test
	# shellcheck disable=SC2034
	PERL_TESTS=(env -u PGHOST -C "$BUILD" PERL5LIB="$BUILD/scripts/lib:$PGXS_TEST/perl"
		PATH="$BINDIR:$PATH" PG_CONFIG="$PG_CONFIG" PGPORT=65432
		PG_REGRESS="$PGXS_TEST/regress/pg_regress" TESTDIR="$BUILD"
		TESTDATADIR="$BUILD/tmp_check" TESTLOGDIR="$BUILD/tmp_check/log" prove)
}

clean_up_private_server()
{
	[ -z "${SOCKET:-}" ] || stop_cluster "$BINDIR" "$RUN/data"
	rm -rf --one-file-system "$RUN" ${SOCKET:+"$SOCKET"}
	rmdir "$ROOT/.deploydb" 2>/dev/null || true
}
