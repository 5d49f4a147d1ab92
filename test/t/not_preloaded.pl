# A server that does not preload deploydb: each statement is the first one of
# its session, so nothing has loaded the library before.  A deployment goes from
# its start to its report there; what needs the monitor or the hooks is not
# measured, never an error, and never met.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('plain');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION deploydb');

# in a session of its own
sub sql { return $node->safe_psql('app', "SET client_min_messages = error; $_[0]") }
sub state_of { return sql("SELECT state FROM deploydb.checklist() WHERE item = '$_[0]'") }

is($node->safe_psql('app', 'SELECT deploydb.is_preloaded()'), 'f', 'it is not preloaded');

# Whatever can be asked without arguments

my @asked = split /\n/, sql(q{SELECT format('SELECT count(*) FROM deploydb.%I() AS r', p.proname) FROM pg_proc p
	WHERE p.pronamespace = 'deploydb'::regnamespace AND p.pronargs = p.pronargdefaults AND p.prokind = 'f'
		AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
		AND has_function_privilege('pg_monitor', p.oid, 'EXECUTE')
	UNION ALL
	SELECT format('SELECT count(*) FROM deploydb.%I', c.relname) FROM pg_class c
	WHERE c.relnamespace = 'deploydb'::regnamespace AND c.relkind = 'v'
	ORDER BY 1});
cmp_ok(scalar @asked, '>', 50, 'there is much to ask');
my @unknown = grep { my (undef, undef, $error) = $node->psql('app', $_); $error =~ /unrecognized configuration parameter/ } @asked;
is("@unknown", '', 'no setting is unknown to a session that has not loaded the library');

# A deployment

is(sql("SELECT deploydb.deployment_start('Week 3', migrations => '{insights}')"), '1', 'it starts');
is(sql("SELECT count(*) FROM deploydb.checklist()"), sql('SELECT count(*) FROM deploydb.builtin_checklist_item'), 'each item is there');
like(sql("SELECT deploydb.phase_start('$_'), deploydb.phase_finish('$_')"), qr/\d/, "phase $_") for 'pre_checks', 'code';
sql("SELECT deploydb.backup_start('week 3')");
sql("SELECT deploydb.backup_finish(1, 1000, repeat('a', 64))");
is(state_of('db.backup'), 'met', 'a backup');
is(sql("SELECT bool_and(status = 'ok') FROM deploydb.rehearse_rollback('insights')"), 't', 'the rollback is rehearsed');
is(state_of('db.rollback_script'), 'met', 'and ready');
sql("SELECT deploydb.phase_start('migration')");
sql(q{CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
		migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
		started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
	INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
		SELECT '1', checksum, migration, clock_timestamp(), 1 FROM deploydb.builtin_migrations();
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
});
sql("SELECT deploydb.phase_finish('migration')");
is(sql("SELECT action FROM deploydb.log_entry ORDER BY id DESC LIMIT 1"), 'migration verified', 'without a monitor its end is enough to verify it');
sql("SELECT deploydb.add_webhook('team', 'generic', 'https://receiver.invalid/hook')");
is(state_of($_), 'met', "$_ is met") for 'db.migration_file', 'step2.migrate', 'step2.verify', 'dep.postgresql';
is(state_of($_), 'not_measured', "$_ is not measured") for 'env.sampling', 'env.webhooks', 'step3.alerts', 'post.insight_write',
	'post.alert_engine', 'post.metrics', 'post.no_errors', 'alert.active', 'alert.history', 'alert.webhook';
is(sql("SELECT count(*), string_agg(DISTINCT verdict, ',') FROM deploydb.targets()"), '6|not_measured', 'nor is any target');
is(sql("SELECT string_agg(DISTINCT verdict, ',') FROM deploydb.rollback_advice()"), 'not_measured', 'nor any reason to roll back');
is(sql("SELECT deploydb.go_no_go() ->> 'verdict'"), 'no_go', 'which is no reason to go');
is(sql(q{SELECT count(*) FROM jsonb_array_elements(deploydb.go_no_go() -> 'missing') m WHERE m ->> 'state' = 'not_measured'}), '10', 'but is missing');
sql("SELECT deploydb.attest(item, true, 'looked') FROM deploydb.checklist() WHERE state = 'not_measured' AND section <> 'post.performance'");
is(state_of('post.no_errors'), 'met', 'unless somebody has looked');
sub missing
{
	return sql("SELECT concat_ws(': ', g ->> 'verdict', (SELECT string_agg(m ->> 'item', ' ') FROM jsonb_array_elements(g -> 'missing') m))"
		. " FROM deploydb.go_no_go(stage => '$_[0]') g");
}
sql(q{SELECT deploydb.attest(item, CASE kind WHEN 'attested' THEN true END, 'not here') FROM deploydb.checklist()
	WHERE state NOT IN ('met', 'not_applicable') AND section <> 'post.performance'});
is(missing('before'), 'go', 'what was looked at, and what does not apply, lets one go');
is(missing('after'), 'no_go: sign_off.technical_lead sign_off.dba sign_off.devops', 'and then the three have to sign');
is(sql("SELECT deploydb.sign_off(NULL, 'dba')"), '1', 'signed');
my (undef, undef, $refused) = $node->psql('app', "SELECT deploydb.sign_off(NULL, 'devops')");
like($refused, qr/signs for one role/, 'for one role');
$node->append_conf('postgresql.conf', 'deploydb.distinct_signers = off');
$node->reload;
is(sql("SELECT deploydb.sign_off(NULL, 'devops')"), '2', 'unless a setting allows more');
is(sql("SELECT deploydb.sign_off(NULL, 'technical_lead')"), '3', 'all of them');
is(missing('after'), 'go', 'go');
is(missing('24h'), 'no_go: target.api_p95 target.api_p99 target.error_rate target.insight_write target.alert_evaluation target.active_alerts',
	'the targets are for the day after');
like(sql("SELECT detail FROM deploydb_status() WHERE area = 'deployment'"), qr/^Week 3: open since/, 'the status has it');
is(sql('SELECT deploydb.deployment_finish()'), '1', 'it ends');
is(sql('SELECT bool_and(valid), count(*) FROM deploydb.sign_off_status'), 't|3', 'with good signatures');
like(sql("SELECT deploydb.deployment_report(lang => '$_->[0]')"), $_->[1], "a report: $_->[0]")
	for [ 'en', qr/^- \[x\] met Verify the migration/m ], [ 'zh', qr/^- \[x\] \xe2\x9c\x85 \xe9\xaa\x8c\xe8\xaf\x81\xe8\xbf\x81\xe7\xa7\xbb/m ];
my $report = sql('SELECT deploydb.deployment_report()');
unlike($report, qr/unrecognized/, 'without a part that is missing');
like($report, qr/^- \[x\] DevOps: .*, one may sign for several roles$/m, 'which says that one may sign for several roles');
like($report, qr/^- \[x\] DBA: (?!.*one may sign)/m, 'where that was so');
is(sql('SELECT intact, sealed FROM deploydb.verify_log()'), 't|0', 'a log that nobody seals');

# A monitor can be started without a restart

is(sql('SELECT deploydb.start_monitor()'), 't', 'a monitor starts');
ok($node->poll_query_until('app', 'SELECT intact AND sealed > 0 FROM deploydb.verify_log()'), 'it seals the log');
sql("UPDATE deploydb.deployment SET started_at = started_at - interval '25 hours'");
ok($node->poll_query_until('app', 'SELECT count(*) = 6 FROM deploydb.deployment_target'), 'and notes the targets after a day');
sql('SELECT deploydb.stop_monitor()');
ok($node->poll_query_until('app', q{SELECT state = 'stopped' FROM deploydb.worker_status}), 'it stops');

# Where it was switched off, the statement that switches it on is said

$node->append_conf('postgresql.conf', 'deploydb.monitor = off');
$node->reload;
(undef, undef, $refused) = $node->psql('app', 'SELECT deploydb.start_monitor()');
my ($statements) = $refused =~ /"deploydb.monitor" is off\nHINT:  (.*;) -- and call it again/;
ok($statements, 'a monitor that is switched off does not start');
sql($_) for split /(?<=;) /, $statements;
ok($node->poll_query_until('app', q{SELECT deploydb.setting('monitor') = 'on'}), 'it is switched on');
is(sql('SELECT deploydb.start_monitor()'), 't', 'and starts');

$node->stop;
done_testing();
