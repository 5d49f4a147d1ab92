# A pooler in transaction mode, prepared statements, plans that outlive the
# extension that they were made for, and a lock that outlives who took it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'PgBouncer is not installed' unless $pgbouncer;

my $node = PostgreSQL::Test::Cluster->new('pooler');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'\ndeploydb.metrics_collection_interval = '1s'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
});

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $directory = PostgreSQL::Test::Utils::tempdir;
append_to_file("$directory/users.txt", sprintf(qq{"%s" ""\n}, scalar getpwuid($<)));
append_to_file("$directory/pgbouncer.ini", sprintf(q{
[databases]
postgres = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s/users.txt
pool_mode = transaction
default_pool_size = 2
logfile = %s/pgbouncer.log
}, $node->host, $node->port, $port, $directory, $directory));
my $pooler = IPC::Run::start([ $pgbouncer, "$directory/pgbouncer.ini" ], '>', \my $out, '2>', \my $err);
my $pooled = "host=127.0.0.1 port=$port dbname=postgres user=" . getpwuid($<);
my $up = 0;
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$up = run_log([ 'psql', '-X', '-c', 'SELECT 1', $pooled ]) and last;
	select undef, undef, undef, 0.1;
}
ok($up, 'the pooler is up');

my $script = "$directory/verify.sql";
append_to_file($script, q{
SELECT 1 / (deploydb_verify_migration()::int);
BEGIN;
SELECT 1 / (deploydb_verify_migration()::int);
SELECT count(*) FROM deploydb.migration_report();
COMMIT;
});
command_ok([ 'pgbench', '-n', '-c', 8, '-t', 25, '-f', $script, $pooled ],
	'eight clients verify over two connections');
command_ok([ 'pgbench', '-n', '-M', 'prepared', '-c', 2, '-t', 25, '-f', $script,
		'-h', $node->host, '-p', $node->port, 'postgres' ], 'as prepared statements');

# Prisma's lock, kept by the pooler's session after Prisma has gone, delays what
# is to be told of drift by nothing; it is known to be in Prisma's way.
command_ok([ 'psql', '-X', '-c', 'SELECT pg_advisory_lock(72707369)', $pooled ], 'Prisma takes its lock');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 72707369 AND granted}), '1',
	'which the pooler keeps');
$node->safe_psql('postgres', q{CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
		finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
		started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
	INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, started_at)
	VALUES ('1', 'c', '20251203071615_add_decision_insights', now(), now()),
		('2', 'c', '20990101_given_up', NULL, now() - interval '11 minutes');
	DROP INDEX decision_insights_user_id_decision_id_idx});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM deploydb.alert_event WHERE rule = 'migration_drift' AND status = 'firing'}),
	'drift is told of, though an old row is unfinished');
is($node->safe_psql('postgres', q{SELECT note FROM deploydb.metric_latest WHERE metric = 'migration.deviations'}) =~ s/ is missing.*//rs,
	'index decision_insights_user_id_decision_id_idx', 'as what it is');
is($node->safe_psql('postgres', q{SELECT count(*) FROM deploydb.ledger() WHERE state = 'lock_left_behind'}), '1', 'the lock that was left behind is known');
$node->safe_psql('postgres', q{DROP TABLE _prisma_migrations;
	CREATE INDEX decision_insights_user_id_decision_id_idx ON decision_insights (user_id, decision_id)});
$pooler->signal('INT');
$pooler->finish;

# One session that keeps its plans, while another makes the extension anew
my $session = $node->background_psql('postgres', on_error_stop => 0);
is($session->query('SELECT deploydb_verify_migration()'), 't', 'a session has its plans');
$node->safe_psql('postgres', 'DROP EXTENSION deploydb; CREATE EXTENSION deploydb');
is($session->query('SELECT deploydb_verify_migration()'), 't', 'the extension was made anew');
$session->query('DISCARD ALL');
is($session->query('SELECT deploydb_verify_migration()'), 't', 'after DISCARD ALL');
$node->safe_psql('postgres', 'DROP EXTENSION deploydb');
$session->query('SELECT deploydb_verify_migration()');
$node->safe_psql('postgres', 'CREATE EXTENSION deploydb');
is($session->query('SELECT deploydb_verify_migration()'), 't', 'it was gone for a while');
$session->quit;

$node->stop;
done_testing();
