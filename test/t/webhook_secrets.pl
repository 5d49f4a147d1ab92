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
	"SELECT deploydb.add_webhook('team', 'slack', '$url') AND 1 / floor(random())::integer = 1");
# ... and without a function of ours being called
my @others = (
	"INSERT INTO deploydb.webhook_secret (webhook, url) VALUES ('nobody', '$url')",
	"SELECT deploydb.add_webhook('team', 'slack', '$url', 1, 2, 3, 4)",
	"SELECT deploydb.add_webhook('team', 'slack' '$url')");

for my $preloaded (0, 1)
{
	my $how = $preloaded ? 'preloaded' : 'not preloaded';
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'") if $preloaded;
	$node->start;
	$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS deploydb; CREATE EXTENSION deploydb');
	my $begun = -s $node->logfile;
	for my $statement (@failing, $preloaded ? @others : ())
	{
		next if $statement =~ /\\bind/ && $node->pg_version < 16;
		my ($rc) = $node->psql('postgres', $statement);
		isnt($rc, 0, "$how: $statement fails");
	}
	$node->psql('postgres', 'SELECT 1/0 AS marker');
	my $last = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%} . $secret . q{%' AND pid <> pg_backend_pid()});
	is($last, 0, "$how: no session shows it");
	my $log = slurp_file($node->logfile, $begun);
	like($log, qr/STATEMENT:  SELECT 1\/0 AS marker/, "$how: other statements are logged");
	unlike($log, qr/\Q$secret\E/, "$how: the log has neither address nor key");
	$node->stop;
}

# What works is logged only where somebody wants that, and then without it.
$node->append_conf('postgresql.conf', "session_preload_libraries = 'auto_explain'\nauto_explain.log_min_duration = 0\nlog_statement = all\nlog_min_duration_statement = 0");
$node->start;
my $begun = -s $node->logfile;
my $session = $node->background_psql('postgres');
$session->query_safe("SELECT deploydb.add_webhook('second', 'slack', '$url')");
is($node->safe_psql('postgres', q{SELECT query FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()}),
	'deploydb: address or secret of a webhook', 'no other session sees it');
$session->query_safe("SELECT deploydb.set_webhook_url('second', '$url')");
$session->query_safe("SELECT deploydb.drop_webhook('second'), 'marker'");
$session->quit;
my $log = slurp_file($node->logfile, $begun);
like($log, qr/statement: SELECT deploydb.drop_webhook\('second'\), 'marker'/, 'other statements are logged');
like($log, qr/LOG: .*statement: \n/, 'that there was one is logged');
unlike($log, qr/\Q$secret\E/, 'log_statement and auto_explain do not show it');
$node->append_conf('postgresql.conf', "session_preload_libraries = ''\nlog_statement = none\nlog_min_duration_statement = -1");
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
