# pg_dump by the database's owner, and restores: into another cluster, into
# one without the package, as a template copy.
use strict;
use warnings;

use File::Copy;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('source');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE app OWNER app_owner');
$node->safe_psql('app', q{
	CREATE EXTENSION deploydb;
	GRANT ALL ON SCHEMA public TO app_owner;
	SET ROLE app_owner;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
	INSERT INTO decision_insights VALUES ('a', 'a', 'a', '{}', '{}', NULL, 'a', now(), now());
	CREATE TABLE captured (id int PRIMARY KEY);
	CREATE TABLE added (id int);
	RESET ROLE;
	SELECT deploydb.register_migration('20260101_added', 'CREATE TABLE added (id int)');
	SELECT deploydb.import_migration(deploydb.capture_migration('20260102_captured', '{captured}'));
	ALTER TABLE added ADD COLUMN more text NOT NULL;
	SET client_min_messages = error;
	SELECT deploydb_verify_migration();
	SELECT deploydb.accept_deviation('added', 'column', 'added.more', 'exists', 'wanted by support');
	SELECT deploydb_verify_migration();
	SELECT deploydb.set_rule('api_down', parent => 'backup_too_old', labels => '{"team": "web"}');
	SELECT deploydb.set_rule('a_rule', 'app.queue', comparison => '>', threshold => 5, parent => 'api_down');
	SELECT deploydb.silence('api_down', '1 hour', 'moving');
});

my $kept = q{
	SET client_min_messages = error;
	SELECT string_agg(migration || ' ' || built_in, ', ' ORDER BY migration) FROM deploydb.known_migration;
	SELECT migration, object, reason, accepted_by FROM deploydb.acceptance;
	SELECT count(*) FROM deploydb.verification WHERE id <= 6;
	SELECT deploydb_verify_migration();
	SELECT deploydb.migration_fingerprint('insights'), deploydb.migration_fingerprint('added'),
		deploydb.migration_fingerprint('captured');
	SELECT count(*) FROM decision_insights;
	SELECT id, metric, severity, threshold, parent, labels, built_in, changed_at, changed_by FROM deploydb.alert_rule ORDER BY id;
};
my $before = $node->safe_psql('app', $kept);
like($before, qr/^t$/m, 'everything verifies, what is accepted set aside');

# It is told whose it is when its monitor begins.
$node->safe_psql('app', 'SELECT deploydb.start_monitor()');
ok($node->poll_query_until('app', q{SELECT state = 'running' FROM deploydb.worker_status}), 'its monitor runs');
$node->safe_psql('app', 'SELECT deploydb.stop_monitor()');
my $dump = $node->basedir . '/app.sql';
$node->command_ok([ 'pg_dump', '-U', 'app_owner', '-f', $dump, 'app' ],
	'the database\'s owner dumps it, without being superuser');

# Into another cluster
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', 'CREATE ROLE app_owner LOGIN');
$other->safe_psql('postgres', 'CREATE DATABASE app OWNER app_owner');
$other->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'app' ],
	'it is restored into another cluster');
is($other->safe_psql('app', 'SELECT count(*) FROM deploydb.expectation'), '1',
	'what is derived is not in the dump');
is($other->safe_psql('app', $kept), $before,
	'migrations, acceptances, history and fingerprints are the same');
my $last = $other->safe_psql('app', 'SELECT max(id) FROM deploydb.verification');
$other->safe_psql('app', q{
	SET client_min_messages = error;
	ALTER TABLE decision_insights ADD COLUMN more text;
	SELECT deploydb_verify_migration()});
cmp_ok($other->safe_psql('app', 'SELECT max(id) FROM deploydb.verification'), '>', $last,
	'and history goes on where it was');

# As a template
$other->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE app');
is($other->safe_psql('copy', 'SET client_min_messages = error; SELECT deploydb_verify_migration()'),
	't', 'a template copy verifies');

# Into a server that has no such package
$other->safe_psql('postgres', 'CREATE DATABASE bare');
my $without = slurp_file($dump);
$without =~ s/\bEXTENSION (IF NOT EXISTS )?deploydb\b/EXTENSION $1no_such_package/g;
my $bare = $node->basedir . '/bare.sql';
append_to_file($bare, $without);
my ($out, $err) = run_command([ 'psql', '-X', '-q', '-d', $other->connstr('bare'), '-f', $bare ]);
like($err, qr/extension "no_such_package" is not available/, 'without the package there are errors');
is($other->safe_psql('bare', 'SELECT count(*) FROM decision_insights'), '1',
	'and every row of the application');

# What was restored speaks for nobody until it is told to.
$other->append_conf('postgresql.conf', "deploydb.metrics_collection_interval = '1s'");
$other->reload;
is($other->safe_psql('app', q{SELECT deploydb.suspended() IS NULL}), 'f', 'a restored copy is suspended');
$other->safe_psql('app', q{SELECT deploydb.add_webhook('team', 'generic', 'https://192.0.2.1/'); SELECT deploydb.notify('from a copy');
	SELECT deploydb.start_monitor()});
ok($other->poll_query_until('app', q{SELECT state = 'suspended' AND ticks >= 3 FROM deploydb.worker_status}), 'so is its monitor');
my $message = q{SELECT state, attempts FROM deploydb.notification WHERE webhook = 'team'};
is($other->safe_psql('app', $message), 'pending|0', 'which sends nothing');
$other->safe_psql('app', 'SELECT deploydb.adopt(); SELECT deploydb.notify($$from its own$$)');
ok($other->poll_query_until('app', q{SELECT max(attempts) > 0 OR bool_or(state = 'sending') FROM deploydb.notification WHERE webhook = 'team'}),
	'adopted, it sends');

$other->stop;
$node->stop;
done_testing();
