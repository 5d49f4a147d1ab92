# Messages of each format as receivers get them: what they look like, their
# signatures, and what becomes of a test message; with Alertmanager where it is
# installed.
use strict;
use warnings;

use lib 'test/lib';
use Cwd qw(abs_path);
use Digest::SHA qw(hmac_sha256_base64);
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use Nginx;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Waiting;
use Time::HiRes ();

my $directory = abs_path(PostgreSQL::Test::Utils::tempdir());
my $receiver = Receiver->new("$directory/received");
my $node = PostgreSQL::Test::Cluster->new('formats');
$node->init(extra => ['--encoding=UTF8', '--locale=C']);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.databases = 'postgres'
deploydb.metrics_collection_interval = '1s'
deploydb.environment = 'staging'
deploydb.webhook_allow = '127.0.0.1'
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION deploydb');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub fire
{
	my ($rule, $status, $severity) = @_;
	$severity //= 'P0';
	my $statement = qq{INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, value, threshold, message, started_at, occurred_at)
		VALUES ('$rule', 'a.metric', '$severity', '$status', CASE '$status' WHEN 'firing' THEN 'new' ELSE 'resolved' END, 0.5, 0.25,
			U&'\\7d22\\5f15 <index> "gone"', now() - interval '1 minute', now())};
	sql("$statement; SELECT deploydb.wake_monitor()");
	return;
}

sub fire_storm
{
	my ($count, $status) = @_;
	sql(qq{INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, message, started_at, occurred_at)
		SELECT 'storm' || n, 'a.metric', 'P2', '$status', CASE '$status' WHEN 'firing' THEN 'new' ELSE 'resolved' END, 'x',
			now() - interval '1 minute', now()
		FROM generate_series(1, $count) n; SELECT deploydb.wake_monitor()});
	return;
}

# ---- each format -----------------------------------------------------------

my $secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
my %webhooks = (
	generic => [ '/ok/generic', $secret ],
	slack => [ '/ok/slack', $secret ],
	teams => ['/status/202?sig=x'],
	dingtalk => [ '/code/0?access_token=x', 'SECx' ],
	feishu => [ '/code/0/feishu', 'feishu' ],
	wecom => ['/code/0?key=x'],
	alertmanager => ['/ok/alertmanager']);
foreach my $format (sort keys %webhooks)
{
	my ($path, $key) = @{ $webhooks{$format} };
	sql(sprintf q{SELECT deploydb.add_webhook('%s', '%1$s', '%s', %s)}, $format, $receiver->url($path), $key ? "'$key'" : 'NULL');
}
fire('lost', 'firing');
wait_until($node, 'postgres', q{SELECT count(*) = 7 FROM deploydb.notification WHERE state = 'delivered'}, 'each format is delivered');

my %got;
foreach my $request ($receiver->requests)
{
	my ($format) = $request->{path} =~ m{/(generic|slack|feishu|alertmanager)$};
	$format ||= { 202 => 'teams', access_token => 'dingtalk', key => 'wecom' }->{ ($request->{path} =~ /(202|access_token|key)/)[0] };
	$request->{json} = eval { JSON::PP->new->utf8->decode($request->{body}) };
	$got{$format} = $request;
}
is(scalar(grep { $_->{json} } values %got), 7, 'as JSON, in UTF-8');
is(scalar(grep { $_->{method} eq 'POST' && $_->{headers} =~ m{content-type: application/json}i } values %got), 7, 'which the header says');
my $text = "\x{7d22}\x{5f15} <index> \"gone\"";
my $generic = $got{generic}{json};
is_deeply([ @$generic{qw(ruleId status severity value threshold message environment database)} ],
	[ 'lost', 'firing', 'P0', 0.5, 0.25, $text, 'staging', 'postgres' ], 'generic');
(my $escaped = $text) =~ s/<index>/&lt;index&gt;/;
my @lines = split /\n/, $got{slack}{json}{text};
is(scalar @lines, 3, 'slack: three lines');
like($lines[0], qr/^:rotating_light: \[P0\] lost \(staging, postgres/, 'slack: the first');
is($lines[2], $escaped, 'slack: the last');
is($got{teams}{json}{attachments}[0]{contentType}, 'application/vnd.microsoft.card.adaptive', 'teams');
like($got{dingtalk}{json}{markdown}{text}, qr/\x{7d22}\x{5f15} < index>/, 'dingtalk');
like($got{feishu}{json}{content}{text}, qr/\x{7d22}\x{5f15} < index>/, 'feishu');
like($got{wecom}{json}{markdown}{content}, qr/\x{7d22}\x{5f15} < index>/, 'wecom');
is($got{alertmanager}{json}[0]{labels}{alertname}, 'lost', 'alertmanager');

# Signatures, computed by another program
sub header { my ($request, $name) = @_; return ($request->{headers} =~ /(?:^|\|)\Q$name\E: ([^|]*)/i)[0] }
sub padded { my $digest = shift; return $digest . '=' x (-length($digest) % 4) }
foreach my $request (@got{qw(generic slack)})
{
	my $signed = join '.', $request->{id}, header($request, 'webhook-timestamp'), $request->{body};
	is(header($request, 'webhook-signature'), 'v1,' . padded(hmac_sha256_base64($signed, decode_base64(substr $secret, 6))),
		"the signature of $request->{path}");
}
{
	my ($time, $sign) = $got{dingtalk}{path} =~ /&timestamp=(\d{13})&sign=(\S+)$/;
	$sign =~ s/%([0-9A-F]{2})/chr hex $1/ge;
	is($sign, padded(hmac_sha256_base64("$time\nSECx", 'SECx')), 'the signature of dingtalk');
	my $feishu = $got{feishu}{json};
	is($feishu->{sign}, padded(hmac_sha256_base64('', "$feishu->{timestamp}\nfeishu")), 'the signature of feishu');
}
is(scalar(grep { !defined header($_, 'webhook-signature') } @got{qw(teams dingtalk feishu wecom alertmanager)}), 5, 'no others');

# Answers of 200 that are none
sql(sprintf q{SELECT deploydb.set_webhook_url('%s', '%s')}, @$_)
  for [ 'dingtalk', $receiver->url('/code/310000') ], [ 'feishu', $receiver->url('/code/19021') ], [ 'wecom', $receiver->url('/code/45009') ],
  [ 'slack', $receiver->url('/code/0') ];
fire('lost', 'resolved');
wait_until($node, 'postgres', q{SELECT string_agg(webhook || ' ' || state, ', ' ORDER BY webhook) = 'dingtalk dead, feishu dead, slack dead, wecom pending'
	FROM deploydb.notification WHERE status = 'resolved' AND last_error LIKE 'status 200, but the answer is: _"errcode"%'},
	'the body decides');

# ---- encodings -------------------------------------------------------------

my %texts = (
	UTF8 => q{U&'\7d22\5f15'},
	EUC_CN => q{U&'\7d22\5f15'},
	LATIN1 => q{E'caf\xe9'},
	SQL_ASCII => q{E'caf\xe9'});
foreach my $encoding (sort keys %texts)
{
	# bytes that are no text, or half a character, elsewhere
	my $database = lc($encoding) . "_\xe5\xba\x93";
	sql(qq{CREATE DATABASE "$database" TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'});
	is($node->safe_psql($database, qq{SET client_encoding = '$encoding'; SET client_min_messages = error;
			CREATE EXTENSION deploydb;
			SELECT deploydb.add_webhook(f, f, 'https://example.org/') FROM unnest('{generic,slack,teams,dingtalk,feishu,wecom,alertmanager}'::text[]) f \\g /dev/null
			SELECT deploydb.notify($texts{$encoding}) \\g /dev/null
			SET deploydb.language = zh;
			SELECT deploydb.notify($texts{$encoding}) \\g /dev/null
			SELECT count(*) FILTER (WHERE body <> ''), string_agg(DISTINCT state, ' ') FROM deploydb.outbox}),
		'14|pending', "each format in $encoding");
}

# ---- test messages ---------------------------------------------------------

sub test_webhook
{
	my ($url, $expected, $what) = @_;
	sql("SELECT deploydb.add_webhook('tested', 'generic', '$url', min_severity => 'P0')");
	is(sql(q{CALL deploydb.test_webhook('tested')}) =~ s/^([^|]*\|[^|]*\|[^|]*)\|[0-9.]+(\||$).*/$1/sr, $expected, "a test: $what");
	sql(q{SELECT deploydb.drop_webhook('tested')});
	return;
}
my $free = do { my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $!; $s->sockport };
test_webhook($receiver->url('/ok/test'), 'delivered|200|http', 'it arrives');
is(scalar(grep { $_->{path} eq '/ok/test' } $receiver->requests), 1, 'there it is');
sql(q{CREATE ROLE operator LOGIN; SELECT deploydb.grant_access('operator', 'operator')});
is(sql(q{SET SESSION AUTHORIZATION operator; CALL deploydb.test_webhook('generic')}) =~ s/\|[0-9.]+\|$//r, 'delivered|200|http', 'an operator may');
is(sql(q{SET SESSION AUTHORIZATION operator; SELECT deploydb.notify('x', 'P3', 'generic')}), 1, 'and may notify');
{
	my $queued = 'SELECT count(*) FROM deploydb.outbox';
	my $before = sql($queued);
	like(($node->psql('postgres', q{BEGIN; CALL deploydb.test_webhook('generic')}))[2], qr/ERROR:  test_webhook\(\) cannot run within a transaction$/m,
		'not in a transaction block');
	is(sql($queued), $before, 'which leaves nothing');
}
test_webhook($receiver->url('/status/404'), 'dead|404|http', 'it is refused');
test_webhook($receiver->url('/status/503'), 'dead|503|http', 'it is not tried again');
test_webhook($receiver->url('/hang'), 'dead||http', 'nobody answers');
test_webhook("http://127.0.0.1:$free/", 'dead||tcp', 'nobody listens');
test_webhook('https://nothing.invalid/', 'dead||dns', 'no such host');
test_webhook('http://[::1]/', 'dead||policy', 'an address that is not allowed');
SKIP:
{
	skip 'there is no nginx here', 1 unless Nginx::is_here();
	my $nginx = Nginx->new($directory, $receiver->port);
	test_webhook("https://127.0.0.1:$nginx->{port}{good}/ok/tls", 'dead||tls', 'an authority that nobody knows');
}
{
	# One that is left alone is tested all the same, and works again after it.
	sql(sprintf q{SELECT deploydb.add_webhook('broken', 'generic', '%s', min_severity => 'P0')}, $receiver->url('/status/404'));
	foreach my $n (1 .. 5)
	{
		sql(q{SELECT deploydb.notify('x', 'P0', 'broken')});
		$node->poll_query_until('postgres', qq{SELECT count(*) = $n FROM deploydb.notification WHERE webhook = 'broken' AND state = 'dead'});
	}
	wait_until($node, 'postgres', q{SELECT state = 'open' FROM deploydb.webhook_health WHERE name = 'broken'}, 'one that keeps failing');
	wait_until($node, 'postgres', q{SELECT count(*) > 0 FROM deploydb.outbox WHERE webhook = 'generic' AND state = 'delivered' AND body LIKE '%broken keeps failing%'},
		'which another one tells');
	sql(sprintf q{UPDATE deploydb.webhook_secret SET url = '%s' WHERE webhook = 'broken'}, $receiver->url('/ok/mended'));
	like(sql(q{CALL deploydb.test_webhook('broken')}), qr/^delivered\|200\|http\|/, 'a test goes to it');
	is(sql(q{SELECT state FROM deploydb.webhook_health WHERE name = 'broken'}), 'ok', 'and ends that');
	sql(q{SELECT deploydb.drop_webhook(name) FROM unnest('{dingtalk,feishu,slack}'::text[]) name});
	is(sql(q{SELECT deploydb.replay_since(now() - interval '1 hour')}), 5, 'its dead letters are replayed');
	wait_until($node, 'postgres', q{SELECT count(*) = 5 FROM deploydb.notification WHERE webhook = 'broken' AND kind = 'notice' AND state = 'delivered'},
		'and arrive');
}

# ---- Alertmanager ----------------------------------------------------------

SKIP:
{
	my ($program) = grep { -x } map { ("$_/prometheus-alertmanager", "$_/alertmanager") } split /:/, $ENV{PATH};
	skip 'there is no Alertmanager here', 14 unless $program;
	my $port = do { my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $!; $s->sockport };
	open(my $file, '>', "$directory/alertmanager.yml") or die $!;
	print $file "route:\n  receiver: none\nreceivers:\n- name: none\n";
	close $file;
	my $start = sub {
		my $started = fork();
		die "cannot fork: $!" unless defined $started;
		if ($started == 0)
		{
			open(STDOUT, '>', "$directory/alertmanager.log") and open(STDERR, '>&', \*STDOUT);
			no warnings 'exec';
			exec $program, "--config.file=$directory/alertmanager.yml", "--storage.path=$directory/alertmanager",
			  "--web.listen-address=127.0.0.1:$port", '--cluster.listen-address=';
			POSIX::_exit(1);
		}
		return $started;
	};
	my $pid = $start->();
	my $alerts = sub {
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or return;
		print $socket "GET /api/v2/alerts HTTP/1.0\r\nHost: localhost\r\n\r\n";
		local $/;
		my ($body) = <$socket> =~ /\r\n\r\n(.*)/s;
		return JSON::PP->new->utf8->decode($body);
	};
	my $wait_for = sub {
		my ($condition, $what) = @_;
		my $found;
		foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
		{
			my $got = $alerts->();
			last if $got && ($found = $condition->(@$got));
			Time::HiRes::sleep(0.1);
		}
		ok($found, $what) or diag(slurp_file("$directory/alertmanager.log"));
	};
	$wait_for->(sub { return 1 }, 'Alertmanager runs');
	sql(qq{SELECT deploydb.drop_webhook('alertmanager'), deploydb.add_webhook('am', 'alertmanager', 'http://127.0.0.1:$port/api/v2/alerts')});
	fire('to_alertmanager', 'firing');
	my $is_there = sub {
		return grep { $_->{labels}{alertname} eq 'to_alertmanager' && $_->{annotations}{description} eq $text
				&& $_->{labels}{environment} eq 'staging' && $_->{status}{state} eq 'active' } @_;
	};
	$wait_for->($is_there, 'it has the alert');
	sql(q{SELECT deploydb.notify('one', 'P3', 'am'), deploydb.notify('two', 'P3', 'am')});
	$wait_for->(sub { return 2 == grep { $_->{annotations}{description} =~ /^(one|two)$/ } @_ }, 'and two notices');
	fire('to_alertmanager', 'resolved');
	$wait_for->(sub { return !$is_there->(@_) }, 'until it is resolved');
	is(sql(q{SELECT count(*) FROM deploydb.notification WHERE webhook = 'am' AND state <> 'delivered'}), 0, 'all of them arrived');

	# a severity that rises, which is a label
	my $worse = sub { return join ' ', sort map { $_->{labels}{severity} } grep { $_->{labels}{alertname} eq 'worse' } @_ };
	fire('worse', 'firing', 'P1');
	$wait_for->(sub { return $worse->(@_) eq 'P1' }, 'it has an alert');
	fire('worse', 'firing', 'P0');
	$wait_for->(sub { return $worse->(@_) eq 'P0' }, 'which is worse now, and no other one beside');
	fire('worse', 'resolved', 'P0');
	$wait_for->(sub { return $worse->(@_) eq '' }, 'until it is resolved');

	# one that starts again knows nothing, and is told by and by
	sql(q{SELECT deploydb.add_metric('queue', 'SELECT 20', 'jobs', 'Jobs that wait'),
		deploydb.set_rule('queue', 'queue', severity => 'P1', comparison => '>', threshold => 10, consecutive_periods => 1)});
	my $queue = sub { return grep { $_->{labels}{alertname} eq 'queue' } @_ };
	$wait_for->($queue, 'a rule fires');
	wait_until($node, 'postgres', q{SELECT count(*) = 1 FROM deploydb.notification WHERE webhook = 'am' AND topic = 'queue/' AND state = 'delivered'}, 'which it was told');
	sql(q{SELECT deploydb.acknowledge('queue', 'we are on it')});
	kill 'KILL', $pid;
	waitpid $pid, 0;
	$pid = $start->();
	$wait_for->(sub { return !$queue->(@_) }, 'another Alertmanager');
	sql(q{UPDATE deploydb.outbox SET ends_at = ends_at - interval '31 minutes' WHERE topic = 'queue/'});
	$wait_for->($queue, 'is told of it, though it is acknowledged');
	sql(q{SELECT deploydb.set_rule('queue', threshold => 30)});
	$wait_for->(sub { return !$queue->(@_) }, 'until it ends');

	# more than the rate allows
	my $count_storm = sub { return scalar grep { $_->{labels}{alertname} =~ /^storm/ } @_ };
	fire_storm(40, 'firing');
	$wait_for->(sub { return $count_storm->(@_) == 40 }, 'a storm');
	fire_storm(40, 'resolved');
	$wait_for->(sub { return $count_storm->(@_) == 0 }, 'each of which is resolved');
	is(scalar(grep { $_->{labels}{alertname} eq 'deploydb_digest' } @{ $alerts->() }), 0, 'with no alert about that');
	wait_until($node, 'postgres', q{SELECT count(*) = 80 FROM deploydb.notification WHERE webhook = 'am' AND topic ~ '^storm' AND state = 'delivered'}, 'all of that arrived');
	kill 'KILL', $pid;
	waitpid $pid, 0;
}

$node->stop;
$receiver->stop;
done_testing();
