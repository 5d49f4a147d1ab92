# A real pg_upgrade from an older major: what is registered comes along, what
# was derived is derived again, and what was captured is stale.  Skipped where
# no older PostgreSQL is installed beside this one with its headers.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($here) = (run_command([ 'pg_config', '--version' ]))[0] =~ /PostgreSQL (\d+)/;
my ($old_major) = sort { $b <=> $a } grep { $_ < $here && -e "/usr/lib/postgresql/$_/bin/initdb" }
  map { m{/(\d+)/bin/pg_config$} } glob '/usr/lib/postgresql/*/bin/pg_config';
plan skip_all => 'no older PostgreSQL is installed with its headers' unless $old_major;

# deploydb for the older major, in a copy of that server
my $directory = PostgreSQL::Test::Utils::tempdir;
my ($prefix, $log) = run_command([ 'bash', '-c', q{
	. scripts/lib/common.sh
	prefix=$(make_prefix "$1" "$2/pg")
	copy_source "$2/build"
	build_and_install "$2/build" "$prefix" "$2/build.log" >&2
	echo "$prefix"}, 'build', "/usr/lib/postgresql/$old_major/bin/pg_config", $directory ]);
ok($prefix && -e $prefix, "deploydb is built for PostgreSQL $old_major") or BAIL_OUT($log);
(my $old_bin = $prefix) =~ s{/pg_config$}{};

my @checksums = $here >= 18 ? (extra => ['--no-data-checksums']) : ();
my $old = PostgreSQL::Test::Cluster->new('old', install_path => dirname_of($old_bin));
$old->init($old_major >= 18 ? @checksums : ());
$old->start;

sub dirname_of { my $path = shift; $path =~ s{/[^/]+$}{}; return $path; }

$old->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
	CREATE TABLE added (id int PRIMARY KEY);
	CREATE TABLE captured (id int PRIMARY KEY);
	SELECT deploydb.register_migration('20260101_added', 'CREATE TABLE added (id int PRIMARY KEY)');
	SELECT deploydb.import_migration(deploydb.capture_migration('20260102_captured', '{captured}'));
	SELECT deploydb_verify_migration();
});
my $dump = "$directory/old.sql";
command_ok([ 'pg_dump', '-d', $old->connstr('postgres'), '-f', $dump ], 'the older server is dumped');
my $fingerprint = $old->safe_psql('postgres', q{SELECT deploydb.migration_fingerprint('insights')});
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(@checksums);
my $new_bin = $new->config_data('--bindir');
chdir $directory or die;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $old_bin, '-B', $new_bin, '-s', $new->host, '-p', $old->port, '-P', $new->port ],
	"pg_upgrade from $old_major to $here");
$new->start;

is($new->safe_psql('postgres', q{
		SET client_min_messages = error;
		SELECT deploydb_verify_migration('insights'), deploydb_verify_migration('added'),
			deploydb_verify_migration('captured') IS NULL}), 't|t|t',
	'derived again; captured on another major: not known');
is($new->safe_psql('postgres', q{SELECT status FROM deploydb.migration_report('captured')}), 'stale',
	'and said to be stale');
my $now = $new->safe_psql('postgres', q{SELECT deploydb.migration_fingerprint('insights')});
isnt($now =~ s/:[0-9a-f]+$//r, $fingerprint =~ s/:[0-9a-f]+$//r, 'fingerprints name their major');
is($new->safe_psql('postgres', q{
		SELECT deploydb.import_migration(deploydb.capture_migration('20260102_captured', '{captured}')) > 0;
		SELECT deploydb_verify_migration()}), "t\nt", 'captured again, everything verifies');
is($new->safe_psql('postgres', 'SELECT count(*) > 2 FROM deploydb.verification_history'), 't', 'history came along');

# A dump of the older one, restored here
$new->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$new->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'restored' ],
	"a dump of $old_major is restored on $here");
is($new->safe_psql('restored', q{
		SET client_min_messages = error;
		SELECT deploydb_verify_migration('insights'), deploydb_verify_migration('added'),
			deploydb_verify_migration('captured') IS NULL}), 't|t|t', 'and says the same');

$new->stop;
done_testing();
