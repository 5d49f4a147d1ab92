# A whole deployment as CI drives it, by lines of psql: the checklist, its
# report in both languages, a standby, and a restored copy.  The reference
# checklist (test/checklist.md) is gone through line by line.
use strict;
use warnings;
use utf8;

use Encode;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('production');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.app_role = 'app'
deploydb.slow_query_threshold = -1
cluster_name = 'main'
TimeZone = 'UTC'
});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE owner LOGIN; CREATE ROLE ci LOGIN; CREATE ROLE reader LOGIN IN ROLE pg_monitor, pg_read_all_data');
$node->safe_psql('postgres', "CREATE DATABASE $_ OWNER owner ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0") for 'app', 'staging';
$node->safe_psql($_, "CREATE EXTENSION deploydb; SELECT deploydb.grant_access('ci', 'operator')") for 'app', 'staging';

# What a line of psql prints, and what it complains of
sub line_of
{
	my ($role, $sql, %options) = @_;
	my ($out, $err) = ('', '');
	my $status = IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1',
			'-d', ($options{node} // $node)->connstr($options{database} // 'app') . " user=$role",
			map { ('-v', $_) } @{ $options{set} // [] } ], '<', \Encode::encode_utf8($sql), '>', \$out, '2>', \$err);
	chomp $out;
	return wantarray ? ($status, Encode::decode_utf8($out), Encode::decode_utf8($err)) : Encode::decode_utf8($out);
}

sub state_of
{
	my $item = shift;
	return scalar line_of('ci', "SELECT state FROM deploydb.checklist() WHERE item = '$item'");
}

# Prisma, as far as the database sees it
my $ddl = $node->safe_psql('app', 'SELECT ddl FROM deploydb.builtin_migrations()');
sub migrate
{
	my $database = shift;
	$node->safe_psql($database, q{CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
		finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
		started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
		INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ('1',
		'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203', '20251203071615_add_decision_insights')},
		extra_params => [ '-U', 'owner' ]);
	$node->safe_psql($database, $ddl, extra_params => [ '-U', 'owner' ]);
	$node->safe_psql($database, q{UPDATE _prisma_migrations SET finished_at = clock_timestamp(), applied_steps_count = 1;
		GRANT SELECT, INSERT, UPDATE ON decision_insights TO app; GRANT SELECT ON _prisma_migrations, decision_insights TO ci},
		extra_params => [ '-U', 'owner' ]);
	return;
}

# Before

my $version = qq{Week 3 | `x` <script>alert(1)</script> **b** [l](http://e)};
like(line_of('ci', "SELECT deploydb.deployment_start(:'version', E'two\\nlines', '2025-12-03', 'Lead | Ops', '{insights}', 'abc123',"
		. " '{\"dashboard\": \"https://grafana.example/d/1?a=1&b=2\", \"no\": \"https://x/<b>\"}')", set => ["version=$version"]), qr/^\d+$/, 'CI opens a deployment');
my $hostile = qq{a | b\n# no heading\n```\n<img src=x onerror=alert(1)>};
is(line_of('ci', "SELECT deploydb.add_checklist_item('team.hostile', E'team | \\n## sec', :'title', :'title', command => :'title')",
		set => ["title=$hostile"]), 't', 'an item of the team');

migrate('staging');
my $evidence = line_of('ci', "SELECT deploydb.staging_evidence('{insights}')", database => 'staging');
is(line_of('ci', "SELECT deploydb.import_staging(:'document')", set => ["document=$evidence"]), '1', 'staging is imported');
is(state_of('db.staging'), 'met', 'and verified');
is(state_of('db.migration_file'), 'met', 'the file is known');

my @pushed = split /\n/, line_of('ci', "SELECT item FROM deploydb.checklist() WHERE kind <> 'evaluated' AND due IS NOT NULL");
cmp_ok(scalar @pushed, '>', 15, 'there are items for CI and people');
is(scalar(grep { line_of('ci', "SELECT deploydb.attest('$_', true, 'CI job 17') > 0") eq 't' } @pushed), scalar @pushed,
	'each is attested by one line of psql');
line_of('ci', "SELECT deploydb.attest('env.webhooks', NULL, 'the chat is enough'); SELECT deploydb.attest('alert.webhook', NULL, 'the chat is enough')");

# The migration, and the application's first writes

line_of('ci', "SELECT deploydb.phase_start('pre_checks'); SELECT deploydb.phase_finish('pre_checks'); SELECT deploydb.phase_start('migration')");
migrate('app');
is(line_of('ci', 'SELECT deploydb_verify_migration()'), 't', 'the migration is there');
line_of('ci', "SELECT deploydb.phase_finish('migration'); SELECT deploydb.phase_start('code'); SELECT deploydb.phase_finish('code');"
	. "SELECT deploydb.phase_start('health'); SELECT deploydb.phase_finish('health')");
is(state_of($_), 'met', "$_ is met") for 'db.staging', 'step2.migrate', 'step2.verify';
is(state_of('post.insight_write'), 'waiting', 'nothing is written yet');
line_of('owner', q{INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
	VALUES ('0', 'd0', 'u1', '{"a": 1}', '{"length": 1, "accuracy": 1, "frequency": 1, "forgetting": 1}', '0123456789abcdef', now())});
is(state_of('post.insight_write'), 'waiting', 'nor is it by what others write');
line_of('app', q{INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
	VALUES ('1', 'd1', 'u1', '{"a": 1}', '{"length": 1, "accuracy": 1, "frequency": 1, "forgetting": 1}', '0123456789abcdef', now())});
is(state_of('post.insight_write'), 'met', 'an insight is written by the application');
is(state_of('post.insight_read'), 'met', 'and read back');
ok($node->poll_query_until('app', "SELECT deploydb.monitor_silent() IS NULL"), 'the monitor ticks');
is(state_of($_), 'met', "$_ is met") for 'env.sampling', 'step3.alerts', 'post.alert_engine', 'post.metrics', 'alert.active';
$node->safe_psql('app', q{SET client_min_messages = error; SELECT deploydb.set_rule('nothing', metric => 'no.such', comparison => '>', threshold => 1)});
is(scalar line_of('ci', q{SELECT state, evidence FROM deploydb.checklist() WHERE item = 'post.alert_engine'}),
	'unmet|rule nothing cannot be evaluated: metric no.such does not exist', 'until a rule has no metric');
$node->safe_psql('app', q{SELECT deploydb.set_rule('nothing', enabled => false)});
is(state_of('post.alert_engine'), 'met', 'unless it is disabled');
is(state_of('post.no_errors'), 'met', 'there are no new errors');
line_of('app', 'SELECT 1 / 0');
is(state_of('post.no_errors'), 'unmet', 'until there are');
like(line_of('ci', "SELECT evidence FROM deploydb.checklist() WHERE item = 'post.no_errors'"), qr/22/, 'whose class is named');
line_of('ci', "SELECT deploydb.log_line('hostile | line', 'ok', :'note')", set => ["note=$hostile"]);
line_of('ci', "SELECT deploydb.log_issue(:'note', 'P2', :'note'), deploydb.set_contact('dba', 'D | BA', :'note')", set => ["note=$hostile"]);
line_of('ci', "SELECT deploydb.log_issue('down', 'P1', 'all')");
is(state_of('code.bugs'), 'unmet', 'an open problem of severity P1');
line_of('ci', "SELECT deploydb.resolve_issue(max(id), 'up again') FROM deploydb.problem");
is(state_of('code.bugs'), 'met', 'until it is solved');
my ($status, $out, $error) = line_of('ci', "SELECT deploydb.deployment_finish('succeeded')");
like($out, qr/^\d+$/, 'CI closes it');
like($error, qr/^WARNING:  deployment 1 is finished as succeeded, though it is no_go\nDETAIL:  Missing: .*\bsign_off\.technical_lead, sign_off\.dba, sign_off\.devops\.\n/,
	'and hears what is missing');
like($error, qr/^HINT:  SELECT jsonb_pretty\(deploydb\.go_no_go\(stage => 'after'\)\);$/m, 'and where to look');

($status, $out, $error) = line_of('reader', "SELECT deploydb.attest('code.tests', true)");
ok(!$status && $error =~ /permission denied/, 'a reader attests nothing');

for my $signer ('technical_lead', 'dba', 'devops')
{
	$node->safe_psql('app', "CREATE ROLE $signer LOGIN IN ROLE pg_read_all_data; SELECT deploydb.grant_access('$signer', 'signer')");
	like(line_of($signer, "SELECT deploydb.sign_off(NULL, '$signer', 'seen | all', 'Person <$signer>')"), qr/^\d+$/, "$signer signs");
}

# The report

my %report = map { $_ => scalar line_of('ci', "SELECT deploydb.deployment_report(lang => '$_')") } 'en', 'zh';
for my $lang ('en', 'zh')
{
	my (@headings, $columns, $fence, $broken);
	for my $line (split /\n/, $report{$lang})
	{
		if ($line =~ /^(`{3,})/ && (!defined $fence || $1 eq $fence))
		{
			$fence = defined $fence ? undef : $1;
			next;
		}
		next if defined $fence;
		push @headings, $line if $line =~ /^#/;
		$broken //= $line if $line =~ /(?<!\\)`|<(?!br|https:\/\/\S+>$)/;
		my $cells = () = $line =~ /(?<!\\)\|/g;
		$columns = undef if $cells == 0;
		$columns //= $cells if $line =~ /^\|/;
		$broken //= $line if $cells != ($columns // 0);
	}
	is($broken, undef, "$lang: what people wrote breaks no line, no table and no block");
	is($fence, undef, "$lang: every block ends");
	ok(!(grep { $_ eq '# no heading' } @headings), "$lang: and makes no heading");
	like($report{$lang}, qr/\Q$_\E/, "$lang: $_") for 'CREATE TABLE "decision_insights"', 'DROP TABLE',
		'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203', '- dashboard: <https://grafana.example/d/1?a=1&b=2>', '- no: https://x/&lt;b>', 'UTC', 'CI job 17', 'abc123';
}
like($report{en}, qr/^- \[x\] technical lead: Person &lt;technical_lead>/m, 'the signatures are in it');
like($report{en}, qr/^- \[x\] met All tests pass \(code\.tests\)/m, 'English');
like($report{zh}, qr/^- \[x\] ✅ 所有测试通过 \(code\.tests\)/m, 'Chinese');
(my $prose = $report{en}) =~ s/^(`{3,})sql\n.*?^\1$//gms;
is($prose =~ /([^\x00-\x7f]+)/ ? $1 : undef, undef, 'English is English, but for the SQL');
is(line_of('ci', 'SHOW deploydb.language'), 'en', 'the language is left as it was');
($status, $out, $error) = line_of('ci', "SELECT deploydb.deployment_report(lang => 'fr')");
like($error, qr/unrecognized language: "fr"/, 'there are two languages');

like($report{en}, qr/\| deployment finished \|.*succeeded, though no\\?_go: \d+ items missing/, 'its log has that something was missing');

# The reference checklist: every heading, checkbox, row and command, and how long
# a step takes, has its place in the report, in the section of its name.

# A heading without what decorates it
sub heading
{
	my $text = shift;
	$text =~ s/^#+\s*|^\*\*|\*\*:$//g;
	$text =~ s/^[^\p{L}\p{N}]+//;
	$text =~ s/^\d+\. //;
	$text =~ s/ \((?:Pre-|Post-)?Deployment\)$//;
	return $text;
}

# What the checklist asks for: [section, kind, text]
sub asked
{
	my ($fence, $section, @asked);
	for my $line (split /\n/, shift)
	{
		if ($line =~ /^```(\w*)/)
		{
			$fence = defined $fence ? undef : $1;
		}
		elsif (defined $fence)
		{
			next if $line =~ /^\s*$|^# |^-- /;
			$line =~ s/\s+# .*//;
			push @asked, [ $fence eq 'sql' ? 'Rollback脚本' : $section, 'command', $line ];
		}
		elsif ($line =~ /^##|^\*\*部署完成签字\*\*:$/)
		{
			$section = heading($line);
			push @asked, [ $section, 'heading', $section ];
		}
		elsif ($line =~ /^- (?:\[ \] )?(.*)/)
		{
			my $text = $1;
			$text =~ s/^(?:✅|⏸️) //;
			# what is of that deployment alone
			$text =~ s/ \(1.*\)$| \(`.*|（2个.*）|: _+.*//;
			push @asked, [ $section, 'item', $text ] if $section;
		}
		elsif ($line =~ /^\|/)
		{
			my (undef, @cells) = split /\s*\|\s*/, $line;
			next if $cells[0] =~ /^-+$|^\[如有\]$/;
			$_ = '' for grep { /^\[.*\]$/ } @cells;
			s/\*\*//g, s/^~// for @cells;
			# the server counts these itself
			$_ = '' for grep { /^应用日志$/ } @cells;
			push @asked, [ $section, 'row', join '|', grep { $_ ne '' } @cells ];
		}
		elsif ($line =~ /^\*\*时间估计\*\*/)
		{
			push @asked, [ $section, 'time', $line ];
		}
	}
	return @asked;
}

# What of it is not in the report, and the lines of the report that have the rest
sub look_up
{
	my ($asked, @lines) = @_;
	my ($fence, $section, @places, @missing, %used);
	for my $n (0 .. $#lines)
	{
		my $line = $lines[$n];
		$fence = defined $fence ? undef : $1, next if $line =~ /^(`{3,})/ && (!defined $fence || $1 eq $fence);
		$section = heading($line), push @places, [ $n, $section, 'heading', $section ] if !defined $fence && $line =~ /^##/;
		next if !defined $section || !defined $fence && $line =~ /^##/;
		my $kind = defined $fence ? 'command' : $line =~ /^- \[/ ? 'item' : $line =~ /^\|/ ? 'row' : 'time';
		$line =~ s/&lt;/</g;
		push @places, [ $n, $section, $kind, $line ];
	}
	for my $want (@$asked)
	{
		my ($there) = grep {
			my (undef, $section, $kind, $line) = @$_;
			!$used{ $_->[0] } && $section eq $want->[0] && $kind eq $want->[1] && (
				$kind eq 'item' ? $line =~ /^- \[.\] (?:\S+ )?(?:不适用 |未测量 )?\Q$want->[2]\E(?: \(|:)/
				: $kind eq 'row' ? !(grep { (my $cell = $_) =~ s/[` ]//g; (my $row = $line) =~ s/ //g; index($row, $cell) < 0 } split /\|/, $want->[2])
				: $line eq $want->[2]) } @places;
		$used{ $there->[0] } = 1 if $there;
		push @missing, join ': ', @$want if !$there;
	}
	return (\@missing, [ sort { $a <=> $b } keys %used ]);
}

my @asked = asked(Encode::decode_utf8(slurp_file('test/checklist.md')));
my %kinds;
$kinds{ $_->[1] }++ for @asked;
is_deeply(\%kinds, { heading => 28, item => 28, command => 55, row => 27, time => 5 }, 'the checklist has so many headings, checkboxes, commands, rows and times');
my @lines = split /\n/, $report{zh};
my ($missing, $used) = look_up(\@asked, @lines);
is(Encode::encode_utf8(join "\n", @$missing), '', 'each has its place in the report');
# none of these lines could be left out unnoticed
my @unnoticed = grep { my $n = $_; my ($m) = look_up(\@asked, @lines[ grep { $_ != $n } 0 .. $#lines ]); !@$m } @$used;
is(Encode::encode_utf8(join "\n", @lines[@unnoticed]), '', 'and would be missed');

# and each item of deploydb is in it, under its key
my @keys = split /\n/, line_of('ci', 'SELECT key FROM deploydb.builtin_checklist_item ORDER BY place');
is(join(' ', grep { my $key = $_; (grep { /^- \[.\] .* \(\Q$key\E\)$/ } @lines) != 1 } map { s/_(?![[:alnum:]])/\\_/gr } @keys), '', 'each item is there once');

# A migration that is not there; and only who calls the end a success is told what is missing

$node->safe_psql('postgres', 'CREATE DATABASE undone TEMPLATE template0');
$node->safe_psql('undone', "CREATE EXTENSION deploydb; SELECT deploydb.grant_access('ci', 'operator')");
line_of('ci', "SELECT deploydb.deployment_start('v', migrations => '{insights}'), deploydb.phase_start('migration')", database => 'undone');
($status, $out, $error) = line_of('ci', "SELECT deploydb.phase_finish('migration') IS NOT NULL", database => 'undone');
is($out, 't', 'a migration ends that is not there');
like($error, qr/^WARNING:  the migration is done, but not verified\nDETAIL:  Not verified: 20251203071615_add_decision_insights\.\nHINT:  Without its table .*deploydb_verify_migration/,
	'with a warning');
line_of('ci', "SELECT deploydb.deployment_finish('aborted')", database => 'undone');
for my $outcome ('rolled_back', 'aborted')
{
	line_of('ci', "SELECT deploydb.deployment_start('v', migrations => '{insights}')", database => 'undone');
	($status, $out, $error) = line_of('ci', "SELECT deploydb.phase_start('migration'), deploydb.phase_finish('migration', 'failed')", database => 'undone');
	is($error, '', 'a migration that failed is not asked for');
	($status, $out, $error) = line_of('ci', "SELECT deploydb.deployment_finish('$outcome')", database => 'undone');
	is($error, '', "$outcome: without a warning");
}

# On a standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is(line_of('reader', "SELECT count(*) FROM deploydb.checklist()", node => $standby),
	line_of('reader', "SELECT count(*) FROM deploydb.checklist()"), 'a standby reads the checklist');
is(line_of('reader', "SELECT evidence FROM deploydb.evaluate_item('post.no_errors', 'evidence_of_errors', NULL, 1, '{}', now(), now())", node => $standby),
	'the primary counts, and this is a standby', 'what is counted elsewhere is not measured');
like(line_of('reader', "SELECT deploydb.deployment_report(lang => 'zh')", node => $standby), qr/所有测试通过/, 'and the report');
($status, $out, $error) = line_of('ci', "SELECT deploydb.attest('code.tests', true)", node => $standby);
like($error, qr/Call it on the primary: .*port @{[$node->port]}/, 'nothing is attested there, and the primary is named');
$standby->stop;

# A restored copy

my $dump = $node->basedir . '/app.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'app' ], 'the database is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy OWNER owner TEMPLATE template0');
$node->command_ok([ 'pg_restore', '-d', 'copy', $dump ], 'and restored');
is(line_of('postgres', 'SELECT deploydb.checklist_hash(1)', database => 'copy'), line_of('postgres', 'SELECT deploydb.checklist_hash(1)'),
	'items and attestations are the same');
is(line_of('postgres', "INSERT INTO deploydb.attestation (deployment, item) VALUES (1, 'x') RETURNING id > (SELECT max(id) FROM deploydb.attestation)", database => 'copy'),
	't', 'and ids go on');
$node->stop;
done_testing();
