# shellcheck shell=bash
#
# deploydb-common.sh
#		What deploydb-dump and deploydb-restore-test share: connections whose
#		passwords nobody sees, and SQL that takes any text.
#
# Sourced by bash.  A password goes from the connection string to the environment
# of psql and pg_dump, as everybody can see what a process was started with.

set -u
export LC_ALL=C

say() { printf '%s\n' "$*"; }

# "1 table", "2 tables"
counted()
{
	printf '%s %s' "$1" "$2"
	[ "$1" = 1 ] || printf s
}

# say_counts WORD TABLES ROWS HASHED
say_counts()
{
	printf '%-12s' "$1"
	counted "$2" table
	printf ', '
	counted "$3" row
	printf '; '
	counted "$4" table
	printf ' hashed\n'
}

# Nothing was tried, or could be.
die()
{
	printf '%s: %s\n' "${0##*/}" "$1" >&2
	[ $# -eq 1 ] || printf '            HINT:  %s\n' "${@:2}" >&2
	exit 2
}

need_programs()
{
	local program
	for program; do
		command -v "$program" >/dev/null || die "$program is not installed, or not on the PATH"
	done
}

# ---- connections -----------------------------------------------------------

# connection NAME STRING: sets the array NAME to the options that lead psql
# and pg_dump there, and NAME_password to the password that STRING had.
connection()
{
	local -n _options=$1 _password=$1_password
	_options=()
	_password=
	case $2 in
		'') ;;
		postgres://* | postgresql://*) read_uri "$2" ;;
		*=*) read_conninfo "$2" ;;
		*) _options=(-d "$2") ;;
	esac
}

# What else is secret can go by neither argument nor environment.
refuse_secret()
{
	case $1 in
		sslpassword | oauth_client_secret | scram_client_key | scram_server_key)
			die "$1 in a connection string would be seen by everybody" \
				"Put it into a service file (pg_service.conf), and give service=NAME."
			;;
	esac
}

# As libpq reads it; what only Prisma knows is left out.
read_uri()
{
	local rest=${1#*://} user query='' parameter name kept=()
	if [[ ${rest%%/*} == *@* ]]; then
		user=${rest%%@*}
		rest=${rest#*@}
		[[ $user != *:* ]] || _password=$(decode "${user#*:}")
		rest=${user%%:*}@$rest
	fi
	if [[ $rest == *\?* ]]; then
		IFS='&' read -r -d '' -a kept < <(printf '%s\0' "${rest#*\?}")
		rest=${rest%%\?*}
		for parameter in "${kept[@]}"; do
			name=$(decode "${parameter%%=*}")
			refuse_secret "$name"
			case $name in
				password) _password=$(decode "${parameter#*=}") ;;
				schema | connection_limit | pool_timeout | socket_timeout | pgbouncer | statement_cache_size | sslaccept | sslidentity) ;;
				*) query+=${query:+&}$parameter ;;
			esac
		done
	fi
	_options=(-d "${1%%://*}://$rest${query:+?$query}")
}

# decode TEXT: with %XX as what they stand for
decode()
{
	local text=${1//\\/\\\\}
	printf '%b' "${text//%/\\x}"
}

# KEYWORD = VALUE …, as libpq reads it
read_conninfo()
{
	local rest=$1 kept='' name value
	local pattern="^[[:space:]]*([^=[:space:]]+)[[:space:]]*=[[:space:]]*('([^'\\]|\\\\.)*'|([^'[:space:]\\]|\\\\.)([^[:space:]\\]|\\\\.)*)?"
	while [[ $rest =~ $pattern ]]; do
		name=${BASH_REMATCH[1]}
		value=${BASH_REMATCH[2]}
		rest=${rest:${#BASH_REMATCH[0]}}
		refuse_secret "$name"
		if [ "$name" = password ]; then
			[[ $value != \'* ]] || value=${value:1:-1}
			_password=$(printf '%s' "$value" | sed 's/\\\(.\)/\1/g')
		else
			kept+=${kept:+ }$name=${value:-\'\'}
		fi
	done
	[[ $rest =~ ^[[:space:]]*$ ]] || die "cannot read the connection string: KEYWORD=VALUE is expected"
	[ -z "$kept" ] || _options=(-d "$kept")
}

# in_database NAME DATABASE: the connection NAME leads to another database; the
# last of several is what counts for libpq.
in_database()
{
	local -n _changed=$1
	case ${_changed[1]-} in
		postgres://*\?* | postgresql://*\?*) _changed[1]+="&dbname=$2" ;;
		postgres://* | postgresql://*) _changed[1]+="?dbname=$2" ;;
		*=*) _changed[1]+=" dbname=$2" ;;
		*) _changed=(-d "$2") ;;
	esac
}

# at NAME PROGRAM ARGUMENT…: in a subshell, which becomes that program
at()
{
	local -n _secret=$1_password _where=$1
	[ -z "$_secret" ] || export PGPASSWORD=$_secret
	exec "$2" -w "${_where[@]}" "${@:3}"
}

# psql_at NAME [OPTION…]: in a subshell; runs what comes in, and ends each row of
# what comes out with a zero byte
psql_at()
{
	export PGCLIENTENCODING=UTF8
	at "$1" psql -X -q -A -t -0 -v ON_ERROR_STOP=1 "${@:2}" -f -
}

sql() { (psql_at "$1"); }

# ---- programs that take long ------------------------------------------------

# in_background COMMAND…: there, as bash answers a signal only once a program in
# the foreground has ended
in_background()
{
	"$@" <&0 &
	wait "$!"
}

# All that runs in the background but a session, which is asked to end
end_children()
{
	local pid left=()
	for pid in $(jobs -p); do
		[ "$pid" = "${session:-}" ] || left+=("$pid")
	done
	[ ${#left[@]} -gt 0 ] || return 0
	kill -TERM "${left[@]}" 2>/dev/null
	wait "${left[@]}" 2>/dev/null
}

# ---- SQL -------------------------------------------------------------------

# literal NAME TEXT: sets the variable NAME to the text as SQL has it, whatever is
# in it
literal()
{
	local _quote=\' _backslash=\\ _text
	_text=${2//"$_backslash"/"$_backslash$_backslash"}
	printf -v "$1" "E'%s'" "${_text//"$_quote"/"$_quote$_quote"}"
}

# The server's message, what belongs to it indented below.
explain()
{
	sed -e 's/^psql:[^ ]*: //' -e '1s/^\(ERROR\|FATAL\):  //' -e '2,$s/^/            /' "$1"
}

# give_up FILE: as the server says there
give_up()
{
	trap '' HUP INT TERM
	die "$(explain "$1")"
}

# last_error FILE: the last line of a program's messages that says what is wrong
last_error()
{
	{ grep -aE 'error:|ERROR:|FATAL:' "$1" || tail -n 1 "$1"; } | tail -n 1 | cut -c 1-1000
}

major_of() { printf '%s\n' "$1" | sed -n 's/^[^0-9]*\([0-9]\{1,\}\).*/\1/p' | head -n 1; }

# version_of PROGRAM: its version, such as 15.20
version_of() { "$1" --version | sed -n '1s/^[^)]*) \([^ ]*\).*/\1/p'; }
