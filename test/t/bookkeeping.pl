# The bookkeeping outlives its database: exported from a standby, imported on
# another server, by its owner alone, and into other encodings.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('first');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	CREATE ROLE ops LOGIN;
	CREATE ROLE reader LOGIN IN ROLE pg_monitor;
	CREATE ROLE dba LOGIN;
	SELECT deploydb.grant_access('ops', 'operator');
	SELECT deploydb.grant_access('dba', 'signer');
	SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/s3cr3t', secret => 'whsec_czNjcjN0czNjcjN0czNjcjN0czNjcjN0')});
sub as { return $_[3]->safe_psql($_[2] // 'postgres', "SET client_min_messages = error; $_[1]", extra_params => [ '-U', $_[0] ]) }
sub first { return as('ops', $_[0], 'postgres', $node) }
first(q{SELECT deploydb.deployment_start('v1', '第三周', migrations => '{add_decision_insights}')});
first(q{SELECT deploydb.backup_start('nightly')});
first(q{SELECT deploydb.backup_finish(size_stored => 4711, rows => '{"public.t": 3}')});
first(q{SELECT deploydb.backup_verified(1)});
first(q{SELECT deploydb.attest('code.review', true, '两人')});
as('dba', q{SELECT deploydb.sign_off(NULL, 'dba')}, 'postgres', $node);
first(q{SELECT deploydb.deployment_finish('aborted', 'tried')});
ok($node->poll_query_until('postgres', 'SELECT intact AND unsealed = 0 FROM deploydb.seal_log(), deploydb.verify_log()'), 'the log is sealed');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('taken', backup_options => ['-cfast']);
$standby->init_from_backup($node, 'taken', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
my $document = as('reader', 'SELECT deploydb.export_bookkeeping()', 'postgres', $standby);
my $tables = as('reader', "SELECT deploydb.export_bookkeeping() -> 'tables'", 'postgres', $node);
like($document, qr/"hash": "[0-9a-f]{64}".*第三周/, 'a standby exports');
unlike($document, qr{s3cr3t|czNjcjN0}, 'no secret');
my $import = "SELECT count(*) || ' ' || sum(added) FROM deploydb.import_bookkeeping(\$document\$$document\$document\$)";
my ($rc, $out, $err) = $standby->psql('postgres', $import, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/25006: this server is a standby/, 'and imports nothing');
$standby->stop;
$node->stop;

# Another server, with other habits, whose monitor runs

my $other = PostgreSQL::Test::Cluster->new('second');
$other->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$other->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
TimeZone = 'Asia/Shanghai'
DateStyle = 'German'
extra_float_digits = 0
});
$other->start;
$other->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	CREATE ROLE ops LOGIN;
	SELECT deploydb.grant_access('ops', 'operator');
	GRANT pg_monitor TO ops});
($rc, $out, $err) = $other->psql('postgres', $import, extra_params => [ '-U', 'ops', '-v', 'VERBOSITY=verbose' ]);
like($err, qr/42501: permission denied for function import_bookkeeping/, 'operators do not import');
is($other->safe_psql('postgres', "SELECT sum(jsonb_array_length(value)) FROM jsonb_each(deploydb.export_bookkeeping() -> 'tables')"), '0', 'nothing is there');
like($other->safe_psql('postgres', $import), qr/^\d+ [1-9]\d*$/, 'the owner does');
is($other->safe_psql('postgres', "SELECT string_agg(t.key, ' ') FROM deploydb.export_bookkeeping() e, jsonb_each(\$document\$$tables\$document\$) t
	WHERE t.key !~ '^log_' AND e -> 'tables' -> t.key IS DISTINCT FROM t.value"), '', 'as it was');
ok($other->poll_query_until('postgres', 'SELECT intact AND unsealed = 0 FROM deploydb.verify_log()'), 'the monitor seals what was imported, and the seals of before hold');
is($other->safe_psql('postgres', 'SELECT action FROM deploydb.log_entry ORDER BY id DESC LIMIT 1'), 'bookkeeping imported', 'the log says where it came from');
is($other->safe_psql('postgres', "SELECT signed_by FROM deploydb.sign_off"), 'dba', 'who signed stays who signed, though there is no such role');
is($other->safe_psql('postgres', 'SELECT count(*) FROM deploydb.backup WHERE deploydb.backup_is_fit(id)') . $other->safe_psql('postgres', 'SELECT deploydb.fit_backup() IS NULL'), '0t',
	'a backup of the other system is nothing to go back to');
like($other->safe_psql('postgres', 'SELECT verdict || reasons::text FROM deploydb.backup_status()'), qr/^error.*none is finished and good/, 'which the status says');
like($other->safe_psql('postgres', $import), qr/^\d+ 0$/, 'twice adds nothing');
is(as('ops', "SELECT deploydb.backup_start('next')", 'postgres', $other), '2', 'what comes next has a new id');

# Other encodings

for my $encoding ('SQL_ASCII', 'LATIN1')
{
	my $database = lc $encoding;
	$other->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	$other->safe_psql($database, 'CREATE EXTENSION deploydb');
	local $ENV{PGCLIENTENCODING} = 'UTF8';
	($rc, $out, $err) = $other->psql($database, $import);
	if ($encoding eq 'SQL_ASCII')
	{
		like($out, qr/^\d+ [1-9]/, "$encoding: imported");
		is($other->safe_psql($database, "SELECT title FROM deploydb.deployment"), '第三周', 'the same bytes');
		is($other->safe_psql($database, 'SELECT intact FROM deploydb.verify_log()'), 't', 'and the same hashes');
	}
	else
	{
		like($err, qr/has no equivalent in encoding "LATIN1"/, "$encoding: what it cannot hold is refused");
		is($other->safe_psql($database, 'SELECT count(*) FROM deploydb.log_entry'), '0', 'and nothing imported');
	}
}

# Two at once: one adds, the other finds all there

$other->safe_psql('postgres', 'CREATE DATABASE twice TEMPLATE template0');
$other->safe_psql('twice', 'CREATE EXTENSION deploydb');
my $one = $other->background_psql('twice', on_error_stop => 0);
$one->query_safe("BEGIN ISOLATION LEVEL READ COMMITTED; $import");
my $two = $other->background_psql('twice', on_error_stop => 0);
$two->query_until(qr/waits/, "\\echo waits\nBEGIN ISOLATION LEVEL READ COMMITTED;\n$import;\n\\echo has it\n");
ok($other->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)}), 'a second import waits for the first');
$one->query_safe('COMMIT');
$two->query_until(qr/has it/, '');
$two->query_safe('COMMIT');
is($other->safe_psql('twice', "SELECT count(*) FROM deploydb.log_entry WHERE action = 'bookkeeping imported'"), '1', 'and has nothing to add');
$two->quit;
$one->quit;

done_testing();
