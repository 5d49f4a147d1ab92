# What docs/operations.md says about values from elsewhere, and about values for
# others: cron's line pushes one; Debian's exporters read view metric_value,
# as a role that is a member of pg_monitor and nothing else.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use HTTP::Tiny;
use IPC::Run;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Time::HiRes qw(sleep);

my $node = PostgreSQL::Test::Cluster->new('scrape');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.databases = 'vocabulary'
deploydb.metrics_collection_interval = '1s'
});
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE vocabulary');

# What the manual says, in both languages

my %manual = map { $_ => slurp_file("docs/$_") } qw(operations.md operations.zh-CN.md);
my @blocks = $manual{'operations.md'} =~ /^```(?:yaml)?\n((?:jobs|deploydb_metric|CREATE ROLE|# pg_ident\.conf).*?)^```$/msg;
is(scalar @blocks, 4, 'the manual has a role, its way in, and two configurations');
foreach my $block (map { s/^#.*\n//mgr } @blocks)
{
	ok(index($manual{'operations.zh-CN.md'} =~ s/^#.*\n//mgr, $block) >= 0, 'the Chinese one, too');
}
my ($create_role, $way_in, $jobs, $queries) = @blocks;
my ($idents, $hba) = $way_in =~ /^(exporter .*)^(local .*)/ms or die "no lines for pg_hba.conf:\n$way_in";
my ($address) = $jobs =~ /'(postgres:.*)'/;
my $user = getpwuid $<;
$idents =~ s/^exporter postgres /exporter $user /m;

$node->safe_psql('vocabulary', "CREATE EXTENSION deploydb; $create_role");
$node->safe_psql('vocabulary', q{SELECT deploydb.push_metric('http.error_rate.5xx', 0.125)});

# cron's line, by the shell and with as little environment as cron's, as a role
# that may do what the manual grants

my $receiver = Receiver->new(PostgreSQL::Test::Utils::tempdir() . '/requests');
my @answers = ([ '200', $receiver->url('/ok/health'), 1 ], [ '500', $receiver->url('/status/500'), 0 ],
	[ '200 again', $receiver->url('/ok/health'), 1 ], [ 'nobody there', 'http://127.0.0.1:' . free_port() . '/ok/health', 0 ]);
$node->safe_psql('vocabulary', 'CREATE ROLE cron LOGIN');

# Whether it runs, and what cron would send by mail
sub as_cron
{
	my $line = shift;
	my $said = '';
	my $ok = IPC::Run::run([ 'env', '-i', "PATH=$ENV{PATH}", 'PGHOST=' . $node->host, 'PGPORT=' . $node->port, 'PGUSER=cron',
			'/bin/sh', '-c', $line ], '<', \'', '>&', \$said);
	return ($ok, $said);
}

SKIP:
{
	skip 'curl is not installed', 1 unless found('curl');
	foreach my $page (sort keys %manual)
	{
		my ($line) = $manual{$page} =~ /^\* \* \* \* \* (psql .*)$/m or die "no line for cron in $page";
		my ($grant) = $manual{$page} =~ /`(SELECT deploydb\.grant_access\('cron', '\w+'\);)`/ or die "no grant in $page";
		unlike($line, qr/%/, "$page: nothing that cron takes for the end of the line");
		is(($line =~ s{https://api\.example\.org/health}{URL}g), 1, 'it asks one URL');
		my ($ok, $said) = as_cron($line =~ s/URL/$answers[0][1]/r);
		ok(!$ok && $said =~ /permission denied for schema deploydb/, 'not everybody may') or diag($said);
		$node->safe_psql('vocabulary', $grant);
		foreach my $answer (@answers)
		{
			my ($what, $url, $value) = @$answer;
			($ok, $said) = as_cron($line =~ s/URL/$url/r);
			ok($ok, "$page: $what") or diag($said);
			is($said =~ s/^curl: .*\n//r, '', 'nothing for a mail but what curl says');
			is($node->safe_psql('vocabulary', q{SELECT value FROM deploydb.metric_value WHERE metric = 'api.up'}), $value, "api.up is $value");
		}
		$node->safe_psql('vocabulary', 'DROP OWNED BY cron');
	}
	is(join(' ', map { "$_->{method} $_->{path}" } $receiver->requests),
		join(' ', ('GET /ok/health', 'GET /ok/health', 'GET /status/500', 'GET /ok/health') x 2), 'each asked');
}
$receiver->stop;

$node->append_conf('pg_ident.conf', $idents);
append_to_file($node->data_dir . '/pg_hba.new', $hba . "local all $user trust\n");
rename $node->data_dir . '/pg_hba.new', $node->data_dir . '/pg_hba.conf' or die $!;
$node->reload;
ok($node->poll_query_until('vocabulary', q{SELECT count(*) > 0 FROM deploydb.metric_value WHERE metric = 'db.xid_age'}),
	'there are values');

my $socket = $node->host;
my $port = $node->port;
s{\@/}{\@:$port/}, s{/run/postgresql}{$socket} for $address, $jobs;
$jobs =~ s/interval: 30s/interval: 1s/;

sub free_port
{
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die "no port: $!";
	return $listener->sockport;
}

# scrape(PROGRAM, CONFIGURATION, ARGUMENTS, EXPECTED): ARGUMENTS of a file
# and an address; EXPECTED is what a line of ours begins with.
sub scrape
{
	my ($program, $configuration, $arguments, $expected) = @_;
	my ($file, $listen) = (PostgreSQL::Test::Utils::tempdir() . "/$program.yml", '127.0.0.1:' . free_port());
	append_to_file($file, $configuration);
	local $ENV{DATA_SOURCE_NAME} = $address;
	my ($text, $log) = ('', '');
	my $exporter = IPC::Run::start([ $program, $arguments->($file, $listen) ], '>&', \$log);
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$exporter->pump_nb;
		$text = HTTP::Tiny->new(timeout => 5)->get("http://$listen/metrics")->{content};
		last if $text =~ /$expected/ || !$exporter->pumpable;
		sleep 0.1;
	}
	$exporter->kill_kill;
	like($text, qr/^$expected\{[^}]*metric="http\.error_rate\.5xx",series=""[^}]*\} 0\.125$/m, "$program has a value that was pushed")
	  or diag($log);
	like($text, qr/^$expected\{[^}]*metric="db\.xid_age",series=""[^}]*\} [1-9]\d*$/m, 'and one that was measured');
	unlike($text, qr/^$expected\{[^}]*metric="insight\.write\.success_rate"/m, 'and none that there is not');

	SKIP:
	{
		skip 'promtool is not installed', 2 unless found('promtool');
		my $ours = join '', grep { /$expected/ } split /^/m, $text;
		ok(IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$ours, '>&', \my $findings), 'promtool can read it');
		is($findings, '', 'and finds nothing');
	}
	return;
}

sub found
{
	my $program = shift;
	return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

my @exporters = (
	[ 'prometheus-sql-exporter', $jobs, sub { return ('-config.file', $_[0], '-web.listen-address', $_[1]) }, 'sql_deploydb_metric' ],
	[ 'prometheus-postgres-exporter', $queries,
		sub { return ("--extend.query-path=$_[0]", "--web.listen-address=$_[1]") }, 'deploydb_metric_value' ]);
foreach my $exporter (@exporters)
{
	SKIP:
	{
		skip "$exporter->[0] is not installed", 5 unless found($exporter->[0]);
		scrape(@$exporter);
	}
}

$node->stop;
done_testing();
