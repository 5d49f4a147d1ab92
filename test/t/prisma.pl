# Prisma for real: its command line against a cluster, its verdict beside
# ours.  Skipped where npm is missing or its packages cannot be had.
use strict;
use warnings;

use File::Copy;
use File::Path qw(make_path);
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $migration = '20251203071615_add_decision_insights';
my $project = PostgreSQL::Test::Utils::tempdir . '/prisma';
$ENV{CHECKPOINT_DISABLE} = 1;
$ENV{NO_COLOR} = 1;
$ENV{HOME} = PostgreSQL::Test::Utils::tempdir
  unless defined $ENV{HOME} && -w $ENV{HOME};

sub in_project
{
	my @command = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(\@command, '>', \$out, '2>', \$err, init => sub { chdir $project });
	return ($ok, "$out\n$err");
}

plan skip_all => 'npm is not installed' if system('npm --version >/dev/null 2>&1') != 0;
make_path("$project/prisma/migrations");
copy("test/prisma/$_", "$project/$_")
  for qw(package.json prisma.config.ts writes.ts prisma/schema.prisma);
my ($installed, $log) = in_project(qw(npm install --ignore-scripts --no-audit --no-fund --loglevel=error));
plan skip_all => 'Prisma\'s packages cannot be installed' unless $installed;

my $node = PostgreSQL::Test::Cluster->new('prisma');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.webhook_timeout = '60s'
deploydb.webhook_allow = '127.0.0.1'
});
$node->start;

# Each chapter has a database of its own.
my $database;

sub chapter
{
	$database = shift;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING UTF8");
	$node->safe_psql($database, 'CREATE EXTENSION deploydb');
	$ENV{DATABASE_URL} = sprintf('postgresql://%s@localhost:%d/%s?host=%s',
		scalar getpwuid($<),
		$node->port, $database, $node->host);
	remove_migrations();
}

sub remove_migrations
{
	File::Path::remove_tree("$project/prisma/migrations");
	make_path("$project/prisma/migrations");
	append_to_file("$project/prisma/migrations/migration_lock.toml", qq{provider = "postgresql"\n});
}

sub write_migration
{
	my ($name, $sql) = @_;
	my $directory = "$project/prisma/migrations/$name";
	make_path($directory);
	unlink "$directory/migration.sql";
	append_to_file("$directory/migration.sql", $sql);
}

sub prisma { return in_project('npx', 'prisma', 'migrate', @_); }

sub verdict
{
	my $name = shift // 'insights';
	return $node->safe_psql($database, qq{
		SET client_min_messages = error;
		SELECT coalesce(deploydb_verify_migration('$name')::text, 'unknown')});
}

sub ledger
{
	my $name = shift // 'insights';
	return $node->safe_psql($database, qq{
		SELECT concat_ws(' ', state, checksum) FROM deploydb.ledger('$name')});
}

sub register
{
	my ($name, $sql) = @_;
	my $hex = unpack 'H*', $sql;
	return $node->safe_psql($database,
		"SELECT deploydb.register_migration('$name', convert_from('\\x$hex', 'UTF8')) > 0");
}

chapter('story');
my $ddl = "-- our own text of the migration\n"
  . $node->safe_psql($database, 'SELECT ddl FROM deploydb.builtin_migrations()') . "\n";

# A clean deployment
write_migration($migration, $ddl);
my ($ok, $said) = prisma('deploy');
ok($ok, 'Prisma deploys') or diag $said;
is(verdict(), 'true', 'clean: ours verifies');
is(ledger(), 'applied different', 'clean: applied; our own text has another checksum than the application\'s');
is(register($migration, $ddl), 't', 'clean: the folder\'s bytes are registered');
is(ledger(), 'applied exact', 'clean: its checksum is exact');
is(verdict(), 'true', 'clean: and it verifies');
is($node->safe_psql($database, 'SELECT status FROM deploydb.migration_report()'), 'ok',
	'clean: with no deviation');
for my $variant ([ 'no last newline', sub { s/\n\z//r }, 'exact' ], [ 'CRLF', sub { s/\n/\r\n/gr }, 'lf' ])
{
	my ($what, $change, $expected) = @$variant;
	local $_ = $ddl;
	register($migration, $change->());
	is(ledger(), "applied $expected", "clean: registered with $what");
}
register($migration, $ddl);

# An edited file: Prisma says nothing
write_migration($migration, "-- edited\n$ddl");
($ok, $said) = prisma('deploy');
ok($ok && $said =~ /No pending migrations/, 'edited: Prisma does not see it') or diag $said;
register($migration, "-- edited\n$ddl");
is(ledger(), 'applied different', 'edited: the checksum tells');
is(verdict(), 'true', 'edited: the table is as expected');
write_migration($migration, $ddl);
register($migration, $ddl);

# A dropped table
$node->safe_psql($database, 'DROP TABLE decision_insights');
($ok, $said) = prisma('status');
ok($ok && $said =~ /up to date/, 'dropped: Prisma says up to date') or diag $said;
is(verdict(), 'false', 'dropped: ours does not');

# The story: an old table, a failed deployment, a claim
chapter('claimed');
write_migration($migration, $ddl);
$node->safe_psql($database, q{
	CREATE TABLE decision_insights (id text PRIMARY KEY, decision_id text UNIQUE, user_id text,
		state_snapshot jsonb, difficulty_factors jsonb, triggers text, feature_vector_hash text,
		created_at timestamp)});
# Prisma refuses a database that has tables and no ledger; it has one by now.
$node->safe_psql($database, q{
	CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
		finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
		rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
		applied_steps_count integer NOT NULL DEFAULT 0)});
($ok, $said) = prisma('deploy');
ok(!$ok && $said =~ /already exists/, 'story: the deployment fails') or diag $said;
is(ledger(), 'failed different', 'story: which the ledger has');
($ok, $said) = prisma('deploy');
ok(!$ok && $said =~ /P3009/, 'story: and refuses the next one') or diag $said;
($ok, $said) = prisma('resolve', '--applied', $migration);
ok($ok, 'story: somebody says that it is applied') or diag $said;
($ok, $said) = prisma('status');
ok($ok && $said =~ /up to date/, 'story: Prisma says up to date') or diag $said;
is(ledger(), 'claimed different', 'story: ours says claimed');
is(verdict(), 'false', 'story: and that it is not there');
is($node->safe_psql($database, q{
		SELECT count(*) FILTER (WHERE severity = 'error'), count(*) FILTER (WHERE object_type = 'ledger')
		FROM deploydb.migration_report()}), '14|2', 'story: each thing that is wrong has a row');
$node->safe_psql($database, q{SELECT fix FROM deploydb.migration_report() WHERE fix IS NOT NULL \gexec});
is(verdict(), 'true', 'story: the fixes mend it');
($ok, $said) = prisma('deploy');
ok($ok, 'story: and Prisma goes on') or diag $said;

# While a deployment is running: it waits for a lock that this test holds
chapter('running');
write_migration($migration, $ddl);
write_migration('20260101000000_waits', "SELECT pg_advisory_xact_lock(4711);\nCREATE TABLE waits (id int);\n");
register('20260101000000_waits', "SELECT 1; CREATE TABLE waits (id int);");
my $blocker = $node->background_psql($database, on_error_stop => 0);
$blocker->query('SELECT pg_advisory_lock(4711)');
my ($out, $err) = ('', '');
my $deploy = IPC::Run::start([ 'npx', 'prisma', 'migrate', 'deploy' ], '>', \$out, '2>', \$err,
	init => sub { chdir $project });
ok($node->poll_query_until($database, q{
		SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted)}),
	'running: Prisma is at it');
is($node->safe_psql($database, q{
		SELECT state, note ~ '\d+' FROM deploydb.ledger('waits')}), 'running|t',
	'running: ours says so, and who');
is($node->safe_psql($database, q{
		SELECT status FROM deploydb.migration_report('waits')
		WHERE object_type = 'ledger' AND property = 'state'}),
	'building', 'running: the report as well');
$blocker->query('SELECT pg_advisory_unlock(4711)');
ok($deploy->finish, 'running: it ends') or diag "$out\n$err";
$blocker->quit;
is(ledger('waits'), 'applied different', 'running: and is applied then');
is(verdict('waits'), 'true', 'running: and verifies');

# Deployed, rolled back, deployed again, restored
chapter('rollback');
write_migration($migration, $ddl);
register($migration, $ddl);
$node->safe_psql($database, sprintf('SELECT deploydb.register_migration(%s, ddl, NULL, %s) FROM deploydb.known_migration WHERE migration = %1$s',
	"'$migration'", q{'DROP TABLE "decision_insights"'}));

sub roll_back
{
	my $name = shift // 'insights';
	return $node->safe_psql($database, qq{
		SET client_min_messages = error;
		SELECT deploydb.rollback_migration((deploydb.plan_rollback('$name') ->> 'id')::bigint, 'a test')});
}

sub insights { return $node->safe_psql($database, 'SELECT string_agg(id, $$,$$ ORDER BY id) FROM decision_insights'); }

sub insert_insight
{
	my $id = shift;
	return $node->safe_psql($database, qq{INSERT INTO decision_insights VALUES ('$id', '$id', 'u', '{}', '{}', NULL, 'h', now(), now())});
}

($ok, $said) = prisma('deploy');
ok($ok, 'rollback: deployed') or diag $said;
insert_insight('first');
is(roll_back(), '1', 'rollback: rolled back');
is(ledger() =~ /^(\w+)/ && $1, 'rolled_back', 'rollback: which the ledger has');
($ok, $said) = prisma('deploy');
ok($ok && $said =~ /$migration/, 'rollback: Prisma deploys it again') or diag $said;
is(verdict(), 'true', 'rollback: and it verifies');
insert_insight('second');
is($node->safe_psql($database, q{
		SET client_min_messages = error;
		SELECT r ->> 'ledger', r -> 'kept_apart' -> 'rows' FROM deploydb.restore_rolled_back(1) r}),
	'applied again since|{"public.decision_insights": 1}', 'rollback: the first is restored, the second kept apart');
is(insights(), 'first', 'rollback: with its rows');
is(verdict(), 'true', 'rollback: which verifies, too');
($ok, $said) = prisma('deploy');
ok($ok && $said =~ /No pending migrations/, 'rollback: and for Prisma all is as it should be') or diag $said;

# One that fails half way, is rolled back, mended and deployed
write_migration('20260101000000_fails', "CREATE TABLE half (id int);\nSELECT 1 / 0;\n");
$node->safe_psql($database, q{SELECT deploydb.register_migration('20260101000000_fails', 'CREATE TABLE half (id int)', NULL, 'DROP TABLE half')});
($ok, $said) = prisma('deploy');
ok(!$ok, 'failed: Prisma says so') or diag $said;
($ok, $said) = prisma('deploy');
ok(!$ok && $said =~ /P3009/, 'failed: and refuses the next one') or diag $said;
$node->safe_psql($database, 'CREATE TABLE half ()');
is(roll_back('fails'), '3', 'failed: it is rolled back, with the half that is there');
is(ledger('fails') =~ /^(\w+)/ && $1, 'rolled_back', 'failed: which the ledger has');
write_migration('20260101000000_fails', "CREATE TABLE half (id int);\n");
($ok, $said) = prisma('deploy');
ok($ok, 'failed: mended, it is deployed') or diag $said;
is(verdict('fails'), 'true', 'failed: and verifies');

# Upserts by Prisma's client, with transactions that fail, races, and errors that
# are swallowed in JavaScript: its own account and the server's counters are
# equal, and so many writes were sent.
chapter('client');
$node->safe_psql($database, $node->safe_psql($database, 'SELECT ddl FROM deploydb.builtin_migrations()'));
my ($generated, $generating) = in_project(qw(npx prisma generate));
ok($generated, 'Prisma makes its client') or diag($generating);
$node->safe_psql($database, "ALTER DATABASE $database SET log_statement = 'all'");
my $start = -s $node->logfile;
(my $ran, $said) = in_project(qw(npx jiti writes.ts));
ok($ran, 'and the client writes') or diag($said);
my ($account) = $said =~ /^(\d+(?:\|\d+){4})$/m;
is($node->safe_psql($database, q{SELECT succeeded, failed, rolled_back, rejected, swallowed FROM deploydb.write_stats()}),
	$account, 'the counters are the client\'s account');
my $log_of_client = slurp_file($node->logfile, $start);
my ($what, %sent) = ('without a mark');
while ($log_of_client =~ /LOG:  (?:statement|execute [^:]*): (?:SELECT 'mark: ([^']*)'|([A-Z]+)\b(.*))/g)
{
	if (defined $1) { $what = $1 }
	else { push @{ $sent{$what} }, index($3, 'ON CONFLICT') < 0 ? $2 : 'UPSERT' }
}
my $insert = 'BEGIN SELECT INSERT SELECT COMMIT';
my $update = 'BEGIN SELECT UPDATE SELECT COMMIT';
my %expected = ('new' => $insert, 'there' => $update, 'two keys' => "$insert $update",
	'nothing to update' => "$insert BEGIN SELECT SELECT SELECT COMMIT",
	'conflict' => 'BEGIN SELECT INSERT ROLLBACK',
	'batch' => 'BEGIN SELECT INSERT SELECT SELECT INSERT ROLLBACK',
	'swallowed' => 'BEGIN SELECT UPDATE SELECT SELECT INSERT COMMIT');
is("@{ $sent{$_} // [] }", $expected{$_}, "an upsert of two statements: $_") foreach sort keys %expected;
is($node->safe_psql($database, 'SELECT attempts - rejected FROM deploydb.write_stats()'),
	scalar(grep { /^(?:INSERT|UPDATE|UPSERT)$/ } map { @$_ } values %sent), 'and as many writes were executed');

# Its shadow database comes and goes, with deploydb in the template, while
# receivers hang.  The stock engine cannot read a schema through this adapter,
# which it says once the migrations were run there.
chapter('shadow');
write_migration($migration, $ddl);
$node->safe_psql('template1', 'CREATE EXTENSION deploydb');
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64) or die "cannot listen: $!";
my $url = 'http://127.0.0.1:' . $silent->sockport;
$node->safe_psql($database, qq{
	ALTER DATABASE $database SET log_statement = 'ddl';
	SELECT deploydb.add_webhook('silent' || n, 'generic', '$url/' || n) FROM generate_series(1, 20) n;
	SELECT deploydb.notify('anybody?')});
my $hanging = q{SELECT count(*) = 20 FROM deploydb.notification WHERE state = 'sending'};
ok($node->poll_query_until($database, $hanging), 'shadow: twenty messages hang');
my $mark = -s $node->logfile;
(undef, $said) = prisma(qw(diff --from-migrations prisma/migrations --to-schema-datamodel prisma/schema.prisma --script));
like(slurp_file($node->logfile, $mark), qr/CREATE DATABASE "(prisma_migrate_shadow_db_[^"]*)".*DROP DATABASE "\g{1}"/s, 'shadow: made, and dropped')
	or diag $said;
is($node->safe_psql($database, q{SELECT count(*) FROM pg_database WHERE datname ~ 'shadow_db'}), '0', 'shadow: it is gone');
unlike(slurp_file($node->logfile, $mark), qr/being accessed by other users/, 'shadow: nobody was in the way');
is($node->safe_psql($database, $hanging), 't', 'shadow: the messages still hang');

$node->stop;
done_testing();
