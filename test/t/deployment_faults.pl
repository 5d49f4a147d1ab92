# Deployments: who may do what, crashes, what the monitor does of itself, a
# standby and its promotion, dumps, and encodings that have no UTF-8.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";

use Crash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('deployment');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
restart_after_crash = on
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE ROLE app_owner LOGIN;
	CREATE ROLE ops LOGIN;
	CREATE ROLE ops2 LOGIN;
	CREATE ROLE lead LOGIN;
	CREATE ROLE dba LOGIN;
	CREATE ROLE reader LOGIN IN ROLE pg_monitor;
	CREATE ROLE nobody LOGIN});
$node->safe_psql('postgres', 'CREATE DATABASE app OWNER app_owner');
$node->safe_psql('app', q{
	CREATE EXTENSION deploydb;
	GRANT ALL ON SCHEMA public TO app_owner;
	SELECT deploydb.grant_access(r, 'operator') FROM unnest('{ops,ops2}'::text[]) r;
	SELECT deploydb.grant_access(r, 'signer') FROM unnest('{lead,dba,ops}'::text[]) r;
	SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/hook');
	SELECT deploydb.register_migration('20260101_later', 'CREATE TABLE "Later ""one""" (id int)')});
my $build = q{
	CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
		finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
		rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
		applied_steps_count integer NOT NULL DEFAULT 0);
	INSERT INTO _prisma_migrations VALUES ('1', 'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203', now(),
		'20251203071615_add_decision_insights', NULL, NULL, now(), 1);
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
};

sub sql { return $node->safe_psql('app', "SET client_min_messages = error; $_[0]") }

# What a role is told
sub told
{
	my ($role, $sql, $on) = @_;
	my ($rc, $out, $err) = ($on // $node)->psql('app', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ], on_error_stop => 0);
	return "$out$err";
}

# what is read may be long, and speak of errors
sub complaint { return told(@_) =~ /(^psql:.*ERROR:.*)/m ? $1 : '' }

sub lines { return sql("SELECT string_agg(action, ', ' ORDER BY id) FROM (SELECT * FROM deploydb.log_entry ORDER BY id DESC LIMIT $_[0]) l") }

my @operating = ("deployment_start('v')", "deployment_finish('aborted')", "phase_start('code')", "phase_finish('code')", "log_line('a')",
	"log_issue('a', 'P1')", "resolve_issue(1, 'a')", "set_contact('dba', 'a', 'b')");
my @signing = ("sign_off(NULL, 'dba')", "revoke_sign_off(NULL, 'dba', 'why')");
my @reading = ('open_deployment()', 'current_deployment()', 'deployment_or_error(NULL)', 'timetable()', 'targets()', 'sign_off_status', 'go_no_go()',
	'verify_log()', 'broken_seals()', 'status_of_deployment()', 'signed_state(1)', 'deployment_report()', 'checklist()', 'log_entry', 'log_seal',
	'deployment', 'deployment_phase', 'deployment_target', 'problem', 'contact', 'sign_off');

# Rights

like(told('ops', q{SELECT deploydb.deployment_start('Week 3', '"quoted"', migrations => '{add_decision_insights,later}')}), qr/^1$/, 'a deployment');
for my $call (@operating)
{
	like(told($_, "SELECT deploydb.$call"), qr/42501: permission denied/, "$_ cannot call $call") for 'reader', 'lead', 'app_owner', 'nobody';
}
for my $call (@signing)
{
	like(told($_, "SELECT deploydb.$call"), qr/42501: permission denied/, "$_ cannot call $call") for 'reader', 'ops2', 'app_owner', 'nobody';
}
for my $call (@reading)
{
	is(complaint($_, "SELECT * FROM deploydb.$call"), '', "$_ reads $call") for 'reader', 'lead', 'app_owner';
	like(told('nobody', "SELECT * FROM deploydb.$call"), qr/42501: permission denied/, "nobody does not read $call");
}
for my $table (grep { !/\(|status/ } @reading)
{
	like(told($_, "DELETE FROM deploydb.$table"), qr/42501: permission denied/, "$_ deletes nothing from $table") for 'ops', 'lead', 'app_owner';
	like(told($_, "INSERT INTO deploydb.$table OVERRIDING SYSTEM VALUE SELECT * FROM deploydb.$table"), qr/42501: permission denied/, "$_ forges no row of $table")
		for 'ops', 'lead', 'app_owner';
}
sql('GRANT ops2 TO ops');
like(told('ops', "SET ROLE ops2; SELECT deploydb.log_line('as another')"), qr/^\d+$/m, 'in another role');
is(sql("SELECT who FROM deploydb.log_entry WHERE action = 'as another'"), 'ops', 'it is still known who did it');
is(sql("SELECT started_by || ' ' || owner FROM deploydb.deployment"), 'ops ops', 'who started it is, too');

# What the monitor does of itself

like(told('ops', "SELECT deploydb.phase_start('code')"), qr/WARNING:.*the code comes before its migration/, 'code that comes first');
is(sql("SELECT note FROM deploydb.log_entry WHERE action = 'code before migration'"), '20251203071615_add_decision_insights, 20260101_later',
	'the log names what is missing');
sql("SET ROLE app_owner; $build");
is(sql('SELECT verified_at IS NULL FROM deploydb.deployment'), 't', 'one of two migrations is not enough');
sql('SET ROLE app_owner; CREATE TABLE "Later ""one""" (id int)');
ok($node->poll_query_until('app', 'SELECT verified_at IS NOT NULL FROM deploydb.deployment'), 'the monitor notes that all migrations are there');
is(lines(1), 'migration verified', 'in the log');
is(sql("SELECT count(*) FROM deploydb.outbox WHERE body::jsonb ->> 'message' = 'Deployment Week 3 - \"quoted\": its migrations are verified.'"), '1', 'and tells it');
sub sealed { return $node->poll_query_until('app', 'SELECT intact AND unsealed = 0 FROM deploydb.verify_log()') }
# the same where no monitor is; another transaction can hold it up for a moment
sub seal { return $node->poll_query_until($_[0], 'SELECT intact AND unsealed = 0 FROM deploydb.seal_log(), deploydb.verify_log()') }
ok(sealed(), 'it seals the log');
is(sql('SELECT count(*) FROM deploydb.log_seal WHERE cardinality(entries) = 0'), '0', 'and makes no seal of nothing');

# Crashes: of the session that acts, before its commit and after

for my $call ("deploydb.sign_off(NULL, 'technical_lead')", "deploydb.log_line('lost')", "deploydb.deployment_finish('succeeded')")
{
	for my $end ('', '; COMMIT')
	{
		my $session = $node->background_psql('app', on_error_stop => 0);
		my $pid = $session->query('SELECT pg_backend_pid()');
		my $count = sql('SELECT count(*) FROM deploydb.log_entry');
		$session->query("BEGIN; SELECT $call$end");
		kill 'KILL', $pid;
		$session->{run}->finish;
		Crash::wait_until_restarted($node, $pid);
		is(sql("SELECT count(*) - $count FROM deploydb.log_entry"), $end eq '' ? 0 : 1, "$call$end: the log of what was committed");
	}
}
is(sql("SELECT count(*) || ' ' || bool_and(valid) FROM deploydb.sign_off_status"), '1 true', 'one signature');
is(sql("SELECT outcome || (SELECT count(*) FROM deploydb.checklist_result WHERE item = 'code.tests') FROM deploydb.deployment"),
	'succeeded1', 'finished, with its checklist');
is(sql('SELECT count(*) FROM deploydb.silence WHERE until > clock_timestamp()'), '0', 'and drift is told');
ok(sealed(), 'the log is sealed on');
like(told('ops', "SELECT deploydb.deployment_finish('succeeded')"), qr/55000: no deployment is open/, 'it cannot be finished again');

# After 24 hours, though it is finished

$node->stop;
$node->append_conf('postgresql.conf', "deploydb.monitor = off");
$node->start;
is(sql("SELECT actual IS NULL AND verdict = 'not_measured' FROM deploydb.targets() WHERE metric = 'active_alerts'"), 'f', 'a monitor that has just ticked knows what fires');
sql("UPDATE deploydb.monitor_state SET last_tick_at = last_tick_at - interval '1 hour'");
is(sql("SELECT samples, actual IS NULL, verdict FROM deploydb.targets() WHERE metric = 'active_alerts'"), '0|t|not_measured',
	'one that has stopped does not');
sql("UPDATE deploydb.deployment SET started_at = started_at - interval '25 hours'");
$node->append_conf('postgresql.conf', "deploydb.monitor = on");
$node->restart;
ok($node->poll_query_until('app', 'SELECT count(*) = 6 FROM deploydb.deployment_target'), 'after 24 hours the targets are kept');
is(lines(1), 'targets after 24 hours', 'in the log');
is(sql("SELECT count(*) FROM deploydb.outbox WHERE body::jsonb ->> 'message' LIKE 'Deployment Week 3 - \"quoted\" after 24 hours: %'"), '1', 'and told, once');
is(sql("SELECT deploydb.current_stage(1)"), '24h', 'the stage');

# A standby

like(told('dba', "SELECT deploydb.sign_off(1, 'dba', 'seen', '王')"), qr/^\d+$/, 'signed');
like(told('ops', "SELECT deploydb.log_issue('slow', 'P2', 'all') + deploydb.set_contact('devops', '\"O''Neil\"', '#ops')::int"), qr/^2$/, 'a problem and a contact');
ok(sealed(), 'sealed');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('deployment_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
for my $call (@reading)
{
	is(complaint('reader', "SELECT * FROM deploydb.$call", $standby), '', "a standby reads $call");
}
for my $call (@operating, @signing)
{
	my $answer = told('ops', "SELECT deploydb.$call", $standby);
	like($answer, qr/25006: this server is a standby/, "and refuses $call");
	like($answer, qr/Call it on the primary: .*, port @{[$node->port]}\./, "$call: the primary is named");
}
is($standby->safe_psql('app', 'SELECT role, state, valid FROM deploydb.sign_off_status ORDER BY id'),
	sql('SELECT role, state, valid FROM deploydb.sign_off_status ORDER BY id'), 'signatures are as good there');
my $newest = sql('SELECT max(id) FROM deploydb.log_entry');
$standby->promote;
cmp_ok($standby->safe_psql('app', "SELECT deploydb.log_line('promoted')"), '>', $newest, 'after promotion the log goes on');
ok($standby->poll_query_until('app', 'SELECT intact AND unsealed = 0 FROM deploydb.verify_log()'), 'and is sealed on');
$standby->stop;

# Dumped by the owner, and restored: every row, and every sequence

my $dump = $node->basedir . '/deployments.sql';
$node->command_ok([ 'pg_dump', '-U', 'app_owner', '-f', $dump, 'app' ], 'the owner dumps it');
$node->safe_psql('postgres', 'CREATE DATABASE copy OWNER app_owner TEMPLATE template0');
$node->append_conf('postgresql.conf', "deploydb.monitor = off");
$node->restart;
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'copy' ], 'it is restored');
for my $table ('log_entry', 'log_seal', 'deployment', 'deployment_phase', 'deployment_target', 'problem', 'contact', 'sign_off',
	'checklist_result', 'attestation', 'checklist_item')
{
	my $rows = "SET timezone = 'UTC'; SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM deploydb.$table t";
	is($node->safe_psql('copy', $rows), sql($rows), "all rows of $table");
}
for my $query ('SELECT role, state, valid FROM deploydb.sign_off_status ORDER BY id', 'SELECT * FROM deploydb.verify_log()',
	'SELECT deploydb.signed_state(1)', 'SELECT deploydb.current_deployment(), deploydb.open_deployment() IS NULL')
{
	is($node->safe_psql('copy', $query), sql($query), "the same: $query");
}
for my $case ([ "deployment_start('next')", 'deployment' ], [ "log_line('x')", 'log_entry' ], [ "log_issue('x', 'P3')", 'problem' ],
	[ "sign_off(NULL, 'dba')", 'sign_off' ])
{
	is($node->safe_psql('copy', "SET client_min_messages = error;
		SELECT deploydb.$case->[0] > newest FROM (SELECT max(id) AS newest FROM deploydb.$case->[1]) n"), 't', "$case->[1]: ids go on");
}
ok(seal('copy'), 'the log is sealed on');
like(told('postgres', 'UPDATE deploydb.log_entry SET note = 1'), qr/55000: cannot update table "deploydb.log_entry"/, 'lines are only added');

# The owner of the application's tables gets nobody's rights but those of who looks into them

sql(q{GRANT SELECT ON decision_insights TO ops; GRANT ALL ON SCHEMA public TO app_owner; SET ROLE app_owner;
	CREATE FUNCTION trap(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'trapped %', current_user; RETURN 1; END$$;
	CREATE INDEX ON decision_insights (public.trap(1))});
told('ops', "SELECT deploydb.deployment_start('trap', migrations => '{add_decision_insights}'), deploydb.phase_start('migration')");
my $finished = told('ops', 'SELECT deploydb.deployment_finish()');
like($finished, qr/trapped ops/, 'the end of a deployment looks into the tables');
unlike($finished, qr/trapped (?!ops)/, 'with the rights of whoever ends it');
sql('DROP FUNCTION trap CASCADE');

# Bytes that are no text in UTF-8, and a dump restored in another encoding

for my $encoding ('SQL_ASCII', 'WIN1252')
{
	my $database = lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $database ENCODING '$encoding' TEMPLATE template0");
	local $ENV{PGCLIENTENCODING} = $encoding;
	is($node->safe_psql($database, q{
			SET client_min_messages = error;
			CREATE EXTENSION deploydb;
			SELECT deploydb.deployment_start(E'v\x81', migrations => '{}');
			SELECT deploydb.log_line('a', 'ok', E'\x81');
			SELECT deploydb.sign_off(NULL, 'dba', E'\x81');
			SELECT valid FROM deploydb.sign_off_status}), "1\n2\n1\nt", "$encoding: signed");
	ok(seal($database), "$encoding: sealed");
}
# The report is in the checklist's Chinese where the encoding has it
for my $case ([ 'EUC_CN', "\xe9\x83\xa8\xe7\xbd\xb2\xe7\x89\x88\xe6\x9c\xac" ], [ 'LATIN1', 'Version' ], [ 'SQL_ASCII', 'Version' ])
{
	my ($encoding, $word) = @$case;
	my $database = 'report_' . lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $database ENCODING '$encoding' TEMPLATE template0");
	my $report = $node->safe_psql($database, q{
		SET client_encoding = 'UTF8';
		CREATE EXTENSION deploydb;
		SELECT deploydb.deployment_start('v1', migrations => '{insights}') \g /dev/null
		SELECT deploydb.attest('code.tests', true, 'CI') \g /dev/null
		SELECT deploydb.deployment_finish() \g /dev/null
		SELECT deploydb.deployment_report(lang => 'zh')});
	like($report, qr/^\*\*$word\*\*: v1$/m, "$encoding: the report");
	like($report, qr/^- \[x\] met .* \(code\.tests\)$/m, "$encoding: with its items");
	unlike($report, qr/not measured: /, "$encoding: and all of its parts");
}
$node->safe_psql('postgres', "CREATE DATABASE $_ ENCODING '$_' TEMPLATE template0") for 'latin1', 'utf8';
$node->safe_psql('latin1', q{CREATE EXTENSION deploydb; SET client_encoding = latin1; SELECT deploydb.log_line('a', 'ok', E'caf\xe9')});
ok(seal('latin1'), 'LATIN1: sealed');
$node->command_ok([ 'pg_dump', '-f', $dump, 'latin1' ], 'dumped');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'utf8' ], 'and restored in UTF8');
is($node->safe_psql('utf8', 'SELECT intact, sealed, note = U&\'caf\00e9\' FROM deploydb.verify_log(), deploydb.log_entry'), 't|1|t', 'it is as it was sealed');

$node->stop;
done_testing();
