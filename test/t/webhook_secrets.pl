# Addresses and keys of webhooks: in no line of the log, in no dump, and for
# nobody but the owner.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('secrets');
$node->init;
$node->append_conf('postgresql.conf', q{
deploydb.monitor = off
log_error_verbosity = verbose
log_parameter_max_length_on_error = -1
log_statement = none
});
my $secret = 's3cr3t';
my $url = "https://hooks.example.org/$secret";
# not itself, nor the one before, which may still be on its way out
my $shown = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%s3cr_t%' AND query NOT LIKE '%s3cr\_t%'};

# Statements that fail, in ways that the server logs with the statement
my @failing = (
	"SELECT deploydb.add_webhook('team', 'slack', 'gopher://$secret')",
	"SELECT deploydb.add_webhook('team', 'no format', '$url')",
	"SELECT deploydb.add_webhook('team', 'generic', '$url', '$secret')",
	"SELECT deploydb.set_webhook_url('nobody', '$url')",
	"SELECT deploydb.set_webhook_secret('nobody', '$secret')",
	"DO \$\$ BEGIN PERFORM deploydb.set_webhook_url('nobody', '$url'); END \$\$",
	"SELECT deploydb.set_webhook_url('nobody', \$1) \\bind '$url' \\g",
	# under other names, and after it worked
	"PREPARE p AS SELECT deploydb.set_webhook_url('nobody', \$1); EXECUTE p('$url')",
	"CREATE FUNCTION pg_temp.f(text) RETURNS boolean LANGUAGE sql AS 'SELECT deploydb.set_webhook_url(''nobody'', \$1)'; SELECT pg_temp.f('$url')",
	"SELECT deploydb.add_webhook('team', 'slack', '$url') AND 1 / floor(random())::integer = 1",
	# arguments in each other's place
	"SELECT deploydb.add_webhook('team', '$url', '$url')",
	"SELECT deploydb.add_webhook('team', 'slack', '$url', NULL, '$secret')",
	"SELECT deploydb.add_webhook('$url', 'slack', '$url')",
	"SELECT deploydb.set_webhook_url('$url', '$url')",
	"SELECT deploydb.set_webhook_secret('team', NULL, '$secret')",
	"SELECT deploydb.notify('x', 'P3', '$url')",
	"SELECT deploydb.notify('x', '$url')",
	"PREPARE n AS SELECT deploydb.notify('x', \$1); EXECUTE n('$url')",
	"CALL deploydb.test_webhook('$url')");
# ... and without a function of ours being called
my @others = (
	"INSERT INTO deploydb.webhook_secret (webhook, url) VALUES ('nobody', '$url')",
	"SELECT deploydb.add_webhook('team', 'slack', '$url', 1, 2, 3, 4)",
	"SELECT deploydb.add_webhook('team', 'slack' '$url')",
	"SELECT deploydb.add_webhook('team', 'slack', '$url'::integer)",
	"DO \$\$ BEGIN PERFORM deploydb.add_webhook('team', 'slack', '$url', 1, 2, 3, 4); END \$\$",
	"EXPLAIN SELECT deploydb.set_webhook_url('team', '$url'), 1 / 0",
	# misspelled, or taken for something else
	"SELECT deploydb.add_web_hook('team', 'slack', '$url')",
	"SELECT DeployDB.set_webhook('team', '$url')",
	"SELECT deploydb.set_secret('team', 'whsec_$secret')",
	"UPDATE deploydb.webhook SET url = '$url' WHERE name = 'team'",
	"SELECT deploydb.drop_webhook('$url'), 1 / 0",
	"SELECT deploydb.set_webhok_secret('team', 'SEC$secret')",
	# what the error itself has in it, or its detail
	"SELECT deploydb.replay('$url')",
	"SELECT deploydb.replay(\$1) \\bind '$url' \\g",
	"SELECT deploydb.replay_since('$url')",
	"SELECT deploydb.set_webhook_secret('team', \"SEC$secret\")",
	"SELECT deploydb.add_webhook('team', 'slack', \"$url\")",
	"SELECT deploydb.add_webhook('team', 'slack', \"$url\".url)",
	"SELECT deploydb.drop_webhook('$url'::regclass::text)",
	"SELECT deploydb.set_webhook_secret('team', $secret '')",
	"SELECT deploydb.set_webhook_secret('team', a.b.c.$secret.d)",
	"INSERT INTO deploydb.webhook_secret VALUES ('team', '', NULL, NULL, '$url')",
	"INSERT INTO deploydb.webhook (name, format) VALUES ('x', '$url')",
	# by a name of its own
	"PREPARE r(text, text) AS INSERT INTO deploydb.webhook (name, format) VALUES (\$1, \$2); EXECUTE r('x', '$url')",
	"EXECUTE p('$secret', '')",
	"SELECT set_webhook_secret('team' '$secret')",
	"CREATE TEMP TABLE keys AS SELECT '$url'::text AS u; CREATE FUNCTION pg_temp.g(u text) RETURNS text LANGUAGE plpgsql AS \$\$"
	  . "BEGIN EXECUTE format('SELECT deploydb.set_webhook_url(%L, %L), 1 / 0', 'nobody', u); END\$\$; SELECT pg_temp.g(u) FROM keys",
	"BEGIN; SELECT 1 / 0; EXECUTE p('$secret'); ROLLBACK");

for my $preloaded (0, 1)
{
	my $how = $preloaded ? 'preloaded' : 'not preloaded';
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'") if $preloaded;
	$node->start;
	$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS deploydb; CREATE EXTENSION deploydb');
	my $begun = -s $node->logfile;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	for my $statement (@failing, $preloaded ? @others : ())
	{
		next if $statement =~ /\\bind/ && $node->pg_version < 16;
		$session->{stderr} = '';
		$session->query($statement =~ /\\g$/ ? $statement : "$statement;");
		like($session->{stderr}, qr/ERROR/, "$how: $statement fails");
		is($node->safe_psql('postgres', $shown),
			0, '... and its session does not show it');
	}
	$session->quit;
	# an application's own
	$node->psql('postgres', $_) foreach 'SELECT 1/0 AS marker', q{SELECT 1/0, 'https://example.org/'},
	  q{SELECT 'seven'::integer AS webhook_secret}, 'SELECT webhook_secret FROM tenant were id = 7',
	  q{INSERT INTO jobs valuess ('add_webhook')}, q{SELECT 1/0, 'https://example.org/' AS my_deploydb_link};
	# by the search_path
	$node->psql('postgres', "SET search_path = deploydb; SELECT set_webhook_url('nobody', '$url')");
	if ($preloaded)
	{
		my $by_path = $node->background_psql('postgres', on_error_stop => 0);
		$by_path->query($_) foreach 'SET search_path = deploydb;', "SELECT add_web_hook('team', 'slack', '$url');", "INSERT INTO webhook_secret (url) VALUES ('$url');",
		  "SELECT notify('$url', 'P9');";
		$by_path->quit;
		# what is an application's own is written, and told to its client whole
		my $beside = $node->background_psql('postgres', on_error_stop => 0);
		$beside->query($_) foreach 'SET search_path = public, deploydb;', 'CREATE TEMP TABLE page (url text PRIMARY KEY);',
		  q{DO $$BEGIN RAISE WARNING 'calling https://app.example/'; END$$;}, q{INSERT INTO page VALUES ('https://app.example/'), ('https://app.example/');};
		like($beside->{stderr}, qr{DETAIL:  Key \(url\)=\(https://app\.example/\) already exists}, 'the client has the detail');
		$beside->query('SET client_min_messages = error;');
		$beside->query(q{DO $$BEGIN FOR i IN 1 .. 10 LOOP RAISE WARNING '%', i USING DETAIL = 'http' || '://' || repeat('x', 1000000); END LOOP; END$$;});
		cmp_ok($beside->query(q{SELECT total_bytes FROM pg_backend_memory_contexts WHERE name = 'ErrorContext';}), '<', 1000000, 'what is not shown takes no memory');
		$beside->quit;
		# a transaction that fails under another role ends like any other
		$node->safe_psql('postgres', q{CREATE ROLE tenant; CREATE FUNCTION fails() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN RETURN 1 / 0; END$$;
			ALTER FUNCTION fails() OWNER TO tenant});
		my $roles = $node->background_psql('postgres', on_error_stop => 0);
		$roles->query($_) foreach 'BEGIN; SET LOCAL ROLE tenant; SELECT current_user;', 'SELECT 1 / 0;', 'ROLLBACK;',
		  'BEGIN; SAVEPOINT a; SET LOCAL ROLE tenant; SELECT current_user;', 'SELECT 1 / 0;', 'ROLLBACK TO a;', 'COMMIT;', 'BEGIN; SELECT fails();', 'ROLLBACK;';
		is($roles->query('SELECT current_user'), $node->safe_psql('postgres', 'SELECT current_user'), 'what fails under another role can be rolled back');
		$roles->quit;
		# by a role of that name, too
		$node->safe_psql('postgres', 'CREATE ROLE deploydb SUPERUSER LOGIN');
		$node->psql('postgres', $_, extra_params => [ '-U', 'deploydb' ])
		  foreach "SELECT set_webhook_url('nobody', '$url'), 1 / 0", "SELECT set_webhook_secret('nobody', '$secret', 1, 2)",
		  "SELECT add_web_hook('team', 'slack', '$url')", "INSERT INTO webhook_secret (url) VALUES ('$url')";
		$node->psql('postgres', "SET ROLE deploydb; SELECT add_web_hook('team', 'slack', '$url')");
		$node->psql('postgres', "SELECT 1/0, 'https://example.org/' AS of_another_role");
	}
	my $log = slurp_file($node->logfile, $begun);
	like($log, qr/STATEMENT:  SELECT 1\/0 AS marker/, "$how: other statements are logged");
	like($log, qr{STATEMENT:  SELECT 1/0, 'https://example.org/'}, '... also with an address that is not for deploydb');
	like($log, qr/ERROR: .*invalid input syntax for type integer: "seven".*\n(?:.*\n)?.*STATEMENT:  SELECT 'seven'::integer AS webhook_secret/, '... or a secret of their own');
	like($log, qr/ERROR: .*syntax error at or near "id".*\n(?:.*\n)?.*STATEMENT:  SELECT webhook_secret FROM tenant were/, '... also where they are misspelled');
	like($log, qr/syntax error at or near "valuess"/, '... or name a function of that name');
	like($log, qr/STATEMENT:  .* AS my_deploydb_link/, '... or have its name in another one');
	like($log, qr/STATEMENT:  .* AS of_another_role/, '... or are of a role of another name') if $preloaded;
	like($log, qr{WARNING: .*calling https://app\.example/}, '... or raise an address') if $preloaded;
	like($log, qr/duplicate key.*page_pkey.*\n.*DETAIL:  It is not shown/, '... or have one in the detail, which is not') if $preloaded;
	unlike($log, qr/\Q$secret\E/, "$how: the log has neither address nor key");
	$node->stop;
}

# What works is logged only where somebody wants that, and then without it, also
# what happens within, or by another name; and nobody keeps its text.
my @working = (
	"SELECT deploydb.set_webhook_url('second', '$url')",
	"DO \$\$ BEGIN PERFORM deploydb.set_webhook_url('second', '$url'); END \$\$",
	"PREPARE p AS SELECT deploydb.set_webhook_url('second', '$url')",
	'EXECUTE p',
	"PREPARE q(text) AS SELECT deploydb.set_webhook_url('second', \$1)",
	"EXECUTE q('$url')",
	"EXPLAIN (ANALYZE) EXECUTE q('$url')",
	"CREATE TEMP TABLE executed AS EXECUTE q('$url')",
	"PREPARE h AS SELECT 1",
	"EXECUTE h\\; EXECUTE q('$url')",
	"SELECT deploydb.looks_secret(\$1) \\bind '$url' \\g",
	"EXPLAIN (VERBOSE) SELECT deploydb.set_webhook_url('second', '$url')",
	"EXPLAIN (ANALYZE, VERBOSE) SELECT deploydb.set_webhook_url('second', '$url')",
	"CREATE TEMP TABLE made AS SELECT deploydb.set_webhook_url('second', '$url')",
	"BEGIN; DECLARE c CURSOR FOR SELECT deploydb.set_webhook_url('second', '$url')",
	'FETCH c; COMMIT');
my $has_statements = -e $node->config_data('--sharedir') . '/extension/pg_stat_statements.control';
$node->append_conf('postgresql.conf', q{
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_verbose = on
auto_explain.log_nested_statements = on
log_statement = all
log_min_duration_statement = 0
wal_level = replica
archive_mode = on
archive_command = 'echo s3://deploydb/%f >/dev/null; exit 1'
});
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb, pg_stat_statements'
pg_stat_statements.track = all
}) if $has_statements;
$node->start;
my $begun = -s $node->logfile;
my $session = $node->background_psql('postgres');
$session->query_safe("SELECT deploydb.add_webhook('second', 'slack', '$url')");
is($node->safe_psql('postgres', q{SELECT query FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()}),
	'deploydb: address or secret of a webhook', 'no other session sees it');
foreach my $statement (@working)
{
	next if $statement =~ /\\bind/ && $node->pg_version < 16;
	$session->query_safe($statement =~ /\\g$/ ? $statement : "$statement;");
	is($node->safe_psql('postgres', $shown),
		0, "no other session sees: $statement") unless $statement =~ /\\bind/;
}
SKIP:
{
	skip 'pg_stat_statements is not installed', 2 unless $has_statements;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%s3cr_t%' AND query NOT LIKE '%s3cr\_t%'}),
		0, 'pg_stat_statements does not keep it');
	cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%set_webhook_url%'}), '>', 0, 'but that there was one');
}
$session->query_safe("SELECT deploydb.drop_webhook('second'), 'marker'");
$session->quit;
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->poll_query_until('postgres', 'SELECT failed_count > 0 FROM pg_stat_archiver') or die 'it is archived';
my $log = slurp_file($node->logfile, $begun);
like($log, qr/statement: SELECT deploydb.drop_webhook\('second'\), 'marker'/, 'other statements are logged');
like($log, qr/LOG: .*statement: \n/, 'that there was one is logged');
unlike($log, qr/\Q$secret\E/, 'log_statement and auto_explain do not show it');
like($log, qr/The failed archive command was: echo s3:/, 'what other processes log is left alone');

# auto_explain logs at Sync, when the message is done; and what a deadlock or a
# crash was about is in lines of others
$node->append_conf('postgresql.conf', "log_statement = none\nlog_min_duration_statement = -1\narchive_mode = off\ndeadlock_timeout = 10ms\nrestart_after_crash = on");
$node->restart;
$begun = -s $node->logfile;
$node->safe_psql('postgres', "SELECT deploydb.add_webhook(n, 'slack', '$url') FROM unnest('{first,second}'::text[]) n;"
	. q{CREATE FUNCTION register(url text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM 1; RETURN deploydb.set_webhook_url('first', url); END$$});
my $script = PostgreSQL::Test::Utils::tempdir() . '/register.sql';
append_to_file($script, "SELECT register('$url');\nBEGIN;\nSELECT register('$url');\nCOMMIT;\n");
$node->command_ok([ 'pgbench', '-n', '-t', '1', '-M', $_, '-f', $script, '-d', $node->connstr('postgres') ], "by a function of one's own, $_") foreach qw(simple extended prepared);
# by its name, by search_path and by the name of the role
foreach my $by ([ 'postgres', '', 'deploydb.webhook_secret' ], [ 'postgres', 'SET search_path = deploydb;', 'webhook_secret' ],
	[ 'deploydb', '', 'webhook_secret' ])
{
	my ($role, $first, $table) = @$by;
	my ($one, $other) = map { $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', $role ]) } 1 .. 2;
	my $change = sub { "UPDATE $table SET url = '$url/' WHERE webhook = '$_[0]';" };
	$one->query("$first BEGIN; " . $change->('first'));
	$other->query("$first BEGIN; " . $change->('second'));
	$one->query_until(qr/waits/, "\\echo waits\n" . $change->('second') . "\n");
	$other->query($change->('first'));
	$_->quit foreach $one, $other;
}
my $pid;
foreach my $table ('deploydb.webhook_secret', 'webhook_secret')
{
	my $victim = $node->background_psql('postgres', on_error_stop => 0);
	$pid = $victim->query('SELECT pg_backend_pid()');
	$victim->query('SET search_path = deploydb') if $table eq 'webhook_secret';
	$victim->query_until(qr/sleeps/, "\\echo sleeps\nUPDATE $table SET url = '$url' WHERE pg_sleep(600) IS NULL;\n");
	$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid") or die 'it sleeps';
	kill 'KILL', $pid;
	$victim->{run}->finish;
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'the server is back';
}
$log = slurp_file($node->logfile, $begun);
like($log, qr/duration: .* plan:$/m, 'plans are logged, without their statements');
is(scalar(() = $log =~ /ERROR: .*deadlock detected/g), 3, 'deadlocks are logged');
like($log, qr/PID $pid\) was terminated by signal 9/, 'a crash is logged');
unlike($log, qr/\Q$secret\E/, 'also without the statements of others');
$node->safe_psql('postgres', q{SELECT deploydb.drop_webhook(n) FROM unnest('{first,second}'::text[]) n});
$node->append_conf('postgresql.conf', "session_preload_libraries = ''");

# Nor what audits each statement, of people or of the monitor
SKIP:
{
	skip 'pgaudit is not installed', 4 unless -e $node->config_data('--sharedir') . '/extension/pgaudit.control';
	$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb, pgaudit'
pgaudit.log = 'all'
pgaudit.log_parameter = on
deploydb.monitor = on
deploydb.metrics_collection_interval = 1000
deploydb.webhook_allow = '127.0.0.1'
});
	$node->restart;
	$begun = -s $node->logfile;
	$node->safe_psql('postgres', $_)
	  foreach "SELECT deploydb.add_webhook('audited', 'generic', 'http://127.0.0.1:1/$secret')",
	  "SELECT deploydb.set_webhook_secret('audited', 'whsec_' || repeat('$secret$secret', 4))",
	  "SELECT deploydb.add_webhook('robot', 'dingtalk', 'http://127.0.0.1:1/$secret', 'SEC$secret')",
	  qq{SELECT deploydb.set_webhook_url('audited', 'http://127.0.0.1:1/$secret') AS "set"},
	  "DO \$\$ BEGIN PERFORM deploydb.set_webhook_url('audited', 'http://127.0.0.1:1/$secret'); END \$\$",
	  "SELECT deploydb.notify('hello')";
	ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM deploydb.webhook_health WHERE name IN ('audited', 'robot') AND failures > 0"), 'the monitor cannot send');
	$node->safe_psql('postgres', "SELECT deploydb.drop_webhook('audited'), deploydb.drop_webhook('robot')");
	$log = slurp_file($node->logfile, $begun);
	like($log, qr/AUDIT: SESSION,[0-9,]+READ,SELECT,,\n/, 'that there was a statement is audited');
	like($log, qr/AUDIT: SESSION,[0-9,]+WRITE,DELETE,,,"?DELETE FROM deploydb\.webhook w/, 'other statements are audited whole');
	unlike($log, qr/\Q$secret\E/, 'pgaudit does not show it');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'\ndeploydb.monitor = off");
}
$node->restart;
$node->safe_psql('postgres', "SELECT deploydb.add_webhook('team', 'generic', '$url', 'whsec_' || encode(convert_to('$secret' || repeat('x', 20), 'UTF8'), 'base64'))");
$node->safe_psql('postgres', "SELECT deploydb.notify('hello')");
my $dump = $node->data_dir . '/../dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'a dump');
my $dumped = slurp_file($dump);
like($dumped, qr/^team\tgeneric\tP3\t/m, 'the dump has the webhook');
unlike($dumped, qr/\Q$secret\E|whsec_|hooks\.example\.org/, 'but neither address nor key');
unlike($dumped, qr/COPY deploydb\.(outbox|webhook_secret|webhook_state)/, 'nor any message');

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('other'), '-f', $dump ], 'restored');
is($node->safe_psql('other', 'SELECT name, state FROM deploydb.webhook_health'), 'team|no address', 'and has to be given an address');
is($node->safe_psql('other', "SELECT deploydb.set_webhook_url('team', '$url')"), 't', 'which it takes');

$node->safe_psql('postgres', 'CREATE ROLE reader LOGIN; GRANT pg_monitor TO reader');
$node->safe_psql('postgres', 'CREATE ROLE dumper; GRANT pg_read_all_data TO dumper');
is($node->safe_psql('postgres', 'SET ROLE dumper; SELECT count(*) FROM deploydb.webhook_secret'), 0, 'nor does one who reads all data');
for my $query ('SELECT * FROM deploydb.webhook_secret', 'SELECT deploydb.claim_messages(1)', 'SELECT * FROM deploydb.heartbeats()',
	"SELECT deploydb.add_webhook('x', 'slack', 'https://example.org/')", "SELECT deploydb.notify('x')")
{
	my ($rc, undef, $stderr) = $node->psql('postgres', "SET ROLE reader; $query");
	like($stderr, qr/permission denied/, "a reader may not $query");
}
my $seen = $node->safe_psql('postgres', 'SET ROLE reader; SELECT * FROM deploydb.webhook_health; SELECT * FROM deploydb.notification; TABLE deploydb.outbox; TABLE deploydb.webhook_state');
like($seen, qr{https://hooks\.example\.org}, 'a reader sees the host');
unlike($seen, qr/\Q$secret\E/, 'and no more of the address');

$node->stop;
done_testing();
