# A message's way to a real HTTP server: headers, TLS, what is tried again and
# what isn't, crashes of the monitor, memory; and that nobody else has libcurl.
use strict;
use warnings;

use lib 'test/lib';
use IO::Select;
use IO::Socket::INET;
use Nginx;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Resolver;
use Test::More;
use Waiting;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");
my $resolver = Resolver::library($directory);
my $messages = $ENV{DEPLOYDB_MESSAGES} || 5000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
restart_after_crash = on
log_statement = none
deploydb.databases = 'postgres, latin'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
{
	# The environment's proxy is nobody's business: nothing listens there.
	local @ENV{qw(http_proxy https_proxy all_proxy)} = ('http://127.0.0.1:1') x 3;
	local $ENV{LD_PRELOAD} = $resolver if $resolver;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION deploydb');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub add_webhook
{
	my ($name, $url) = @_;
	sql("SELECT deploydb.add_webhook('$name', 'generic', '$url')");
	return;
}

sub notify
{
	my ($name, $message) = @_;
	sql("SELECT deploydb.notify('$message', 'P1', '$name')");
	return;
}

# Of the newest message to a webhook.
sub newest
{
	my ($name, $condition) = @_;
	return "SELECT COALESCE((SELECT $condition FROM deploydb.notification WHERE webhook = '$name' ORDER BY id DESC LIMIT 1), false)";
}

# Set, and known to the monitor.
sub setting
{
	my ($name, $value) = @_;
	sql("ALTER SYSTEM SET deploydb.$name = '$value'");
	$node->reload;
	my $ticks = sql('SELECT ticks FROM deploydb.worker_status WHERE database = current_database()');
	$node->poll_query_until('postgres', "SELECT ticks > $ticks + 1 FROM deploydb.worker_status WHERE database = current_database()");
	return;
}

sub monitor_pid { return sql(q{SELECT pid FROM deploydb.worker_status WHERE database = current_database()}) }
sub maps_curl { return slurp_file("/proc/$_[0]/maps") =~ /libcurl/ }

$node->poll_query_until('postgres', q{SELECT ticks > 0 FROM deploydb.worker_status WHERE database = current_database()});
my $pid = monitor_pid();

# Who has libcurl
SKIP:
{
	skip 'there is no /proc here', 3 unless -r "/proc/$pid/maps";
	ok(!maps_curl($pid), 'a monitor with nothing to send has not loaded libcurl');
	unlike(sql(q{SELECT deploydb.url_origin('https://a/b'); SELECT pg_read_file('/proc/self/maps')}),
		qr/libcurl/, 'nor has a session that uses deploydb');
	add_webhook('ok', $receiver->url('/ok/secret-path'));
	notify('ok', 'first');
	$node->poll_query_until('postgres', newest('ok', q{state = 'delivered'}));
	ok(maps_curl($pid), 'but one that has sent');
}

# What arrives
notify('ok', 'the second');
wait_until($node, 'postgres', newest('ok', q{state = 'delivered' AND attempts = 1}), 'a message is delivered at once');
my ($request) = grep { $_->{body} =~ /the second/ } $receiver->requests;
is($request->{method}, 'POST', 'by POST');
is($request->{path}, '/ok/secret-path', 'to its path');
like($request->{headers}, qr{(^|\|)Content-Type: application/json}i, 'as JSON');
like($request->{headers}, qr{(^|\|)User-Agent: deploydb/\d}i, 'says who sends');
unlike($request->{headers}, qr{Expect:}i, 'and waits for nothing before its body');
isnt($request->{id}, '', 'with an id');

# Tried again, under the same id, and not
add_webhook('flaky', $receiver->url('/flaky/2'));
notify('flaky', 'flaky');
wait_until($node, 'postgres', newest('flaky', q{state = 'delivered' AND attempts = 3}), 'after two errors of the server it is delivered');
my %ids = map { $_->{id} => 1 } grep { $_->{path} eq '/flaky/2' } $receiver->requests;
is(keys %ids, 1, 'under one id');

foreach my $path ('/status/404', '/status/410', '/moved')
{
	(my $name = $path) =~ tr{/}{}d;
	add_webhook($name, $receiver->url($path));
	notify($name, $name);
	wait_until($node, 'postgres', newest($name, q{state = 'dead' AND attempts = 1}), "$path is a dead letter at once");
}
is((grep { $_->{path} eq '/ok/moved' } $receiver->requests), 0, 'a redirect is not followed');

foreach my $path ('/seconds/3600', '/date/3600')
{
	(my $name = $path) =~ tr{/}{}d;
	add_webhook($name, $receiver->url($path));
	notify($name, $name);
	wait_until($node, 'postgres', newest($name, q{state = 'pending' AND last_status = 429
			AND next_attempt_at > now() + interval '50 minutes'}), "$path is kept to");
}

# What answers with more than is kept, and what isn't even text
add_webhook('large', $receiver->url('/large'));
notify('large', 'large');
wait_until($node, 'postgres', newest('large', q{state = 'delivered'}), 'an answer of 100 MB is cut');
add_webhook('first', $receiver->url('/first/' . (64 * 1024 + 1)));
notify('first', 'first');
wait_until($node, 'postgres', newest('first', q{state = 'delivered'}), 'of an answer there are more than 64 KiB');
cmp_ok(sql(q{SELECT last_ms FROM deploydb.notification WHERE webhook = 'first'}), '<', 10000, 'and none of the rest is waited for');

# The address policy
setting('webhook_allow', '');
add_webhook('refused', $receiver->url('/ok/refused'));
notify('refused', 'refused');
wait_until($node, 'postgres', q{SELECT last_stage = 'policy' FROM deploydb.webhook_state WHERE webhook = 'refused'},
	'an address that is not allowed is not connected to');
is((grep { $_->{path} eq '/ok/refused' } $receiver->requests), 0, 'nothing has come there');
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16) or die "cannot listen: $!";
my $no_library = 'no C compiler makes a resolver';
my @names = ('localhost', 'team.private.example');
foreach my $name (@names)
{
	SKIP:
	{
		skip $no_library, 2 if $name ne 'localhost' && !$resolver;
		foreach my $scheme ('http', 'https')
		{
			add_webhook("$scheme $name", "$scheme://$name:" . $listener->sockport);
			like(sql("CALL deploydb.test_webhook('$scheme $name')"), qr/^dead\|\|policy\|.*needs an entry in deploydb\.webhook_allow/,
				"$scheme://$name leads to an address that is not allowed");
		}
	}
}
ok(!IO::Select->new($listener)->can_read(0), 'nobody has connected there');
close $listener;
setting('webhook_allow', 'localhost:' . $receiver->port);
add_webhook($_, $receiver->url("/ok/$_") =~ s/127\.0\.0\.1/$_/r) foreach @names;
notify('localhost', 'by name');
wait_until($node, 'postgres', newest('localhost', q{state = 'delivered'}), 'one that is allowed by its name, after a reload, is');
SKIP:
{
	skip $no_library, 1 unless $resolver;
	like(sql("CALL deploydb.test_webhook('$names[1]')"), qr/^dead\|\|policy\|/, 'by that name alone');
}
setting('webhook_allow', '127.0.0.1');
foreach my $name (@names)
{
	SKIP:
	{
		skip $no_library, 1 if $name ne 'localhost' && !$resolver;
		like(sql("CALL deploydb.test_webhook('$name')"), qr/^delivered\|200\|http\|/, "$name leads to an address that is allowed");
	}
}

# Whoever calls it runs nothing that lies in wait on his search_path.
sql(q{CREATE SCHEMA evil;
	CREATE FUNCTION evil.runs(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
	CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (evil.runs(VALUE::pg_catalog.text))});
like(sql(q{SET search_path = evil, pg_catalog; CALL deploydb.test_webhook('localhost')}), qr/^delivered\|200\|http\|/, 'nothing of a search_path runs');
sql('DROP SCHEMA evil CASCADE');

# A proxy
sql("ALTER SYSTEM SET deploydb.webhook_allow = 'proxied.example'");
setting('webhook_proxy', $receiver->url(''));
add_webhook('proxied', 'http://proxied.example/ok/proxied');
add_webhook('refused by proxy', 'http://127.0.0.1/ok/proxied');
notify($_, $_) foreach 'proxied', 'refused by proxy';
wait_until($node, 'postgres', newest('proxied', q{state = 'delivered'}), 'a proxy is used');
cmp_ok(scalar(grep { $_->{path} eq 'http://proxied.example/ok/proxied' } $receiver->requests), '>=', 1, 'and resolves the name');
wait_until($node, 'postgres', q{SELECT last_stage = 'policy' FROM deploydb.webhook_state WHERE webhook = 'refused by proxy'},
	'what is not allowed is not asked of it either');
sql("ALTER SYSTEM SET deploydb.webhook_allow = '127.0.0.1'");
setting('webhook_proxy', '');

# The address is changed while it is sent to
add_webhook('moving', $receiver->url('/late/3000/404/s3cr3tpath'));
notify('moving', 'moving');
foreach (1 .. 600) { last if grep { $_->{path} =~ /s3cr3tpath/ } $receiver->requests; select undef, undef, undef, 0.1 }
sql(q{SELECT deploydb.set_webhook_url('moving', '} . $receiver->url('/ok/moved') . q{')});
wait_until($node, 'postgres', newest('moving', q{state IN ('delivered', 'dead')}), 'then it is sent to the new one');
is(sql(q{SELECT state, attempts, last_error FROM deploydb.notification WHERE webhook = 'moving' ORDER BY id LIMIT 1}), 'delivered|2|', 'without a failure');
is(sql(q{SELECT failures FROM deploydb.webhook_state WHERE webhook = 'moving'}), 0, 'of the webhook');
sql(q{SELECT deploydb.drop_webhook('moving')});

# A heartbeat
sub beats { return grep { $_->{path} eq '/ok/beat' } $receiver->requests }
sql(q{SELECT deploydb.add_webhook('beat', 'heartbeat', '} . $receiver->url('/ok/beat') . q{')});
foreach (1 .. 600) { last if beats() > 2; select undef, undef, undef, 0.1 }
cmp_ok(scalar beats(), '>', 2, 'a heartbeat is sent at each tick');
is((beats())[0]{method}, 'GET', 'by GET');

# What became of it is noted where that changes, and not each time.
sub beat_is
{
	my ($state, $status) = @_;
	wait_until($node, 'postgres', qq{SELECT state = '$state' AND concat_ws(' ', last_status, last_error) ~ '^$status' FROM deploydb.webhook_health WHERE name = 'beat'}, "$state: $status");
	return;
}
beat_is('ok', 200);
my $noted = q{SELECT xmin FROM deploydb.webhook_state WHERE webhook = 'beat'};
my ($row, $beats) = (sql($noted), scalar beats());
foreach (1 .. 600) { last if beats() > $beats + 2; select undef, undef, undef, 0.1 }
is(sql($noted), $row, 'once');
sql(q{SELECT deploydb.set_webhook_url('beat', '} . $receiver->url('/status/503') . q{')});
beat_is('failing', 503);
sql(q{SELECT deploydb.set_webhook_url('beat', '} . $receiver->url('/ok/beat') . q{')});
beat_is('ok', 200);
sql(q{SELECT deploydb.set_webhook_url('beat', 'http://[::1]/secret-path')});
beat_is('failing', 'policy: .*not allowed');
sql(q{SELECT deploydb.drop_webhook('beat')});

# None is sent while ticks fail; messages are. What is counted is not rolled back.
sub beats_of_failing { return grep { $_->{path} eq '/ok/failing' } $receiver->requests }
sql(q{CREATE SEQUENCE failures;
	CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.failures'); RAISE 'broken'; END $$;
	CREATE TRIGGER breaks BEFORE UPDATE OF ticks ON deploydb.monitor_state FOR EACH ROW EXECUTE FUNCTION breaks()});
wait_until($node, 'postgres', 'SELECT is_called FROM failures', 'ticks fail');
sql(q{SELECT deploydb.add_webhook('failing', 'heartbeat', '} . $receiver->url('/ok/failing') . q{')});
my $failures = sql('SELECT last_value FROM failures');
add_webhook('meanwhile', $receiver->url('/ok/meanwhile'));
notify('meanwhile', 'meanwhile');
wait_until($node, 'postgres', newest('meanwhile', q{state = 'delivered'}), 'and messages are sent');
# each fails twice, the second time part by part
wait_until($node, 'postgres', "SELECT last_value >= $failures + 6 FROM failures", 'more than two ticks have failed');
is(scalar beats_of_failing(), 0, 'without a heartbeat');
sql('DROP FUNCTION breaks CASCADE; DROP SEQUENCE failures');
foreach (1 .. 600) { last if beats_of_failing(); select undef, undef, undef, 0.1 }
cmp_ok(scalar beats_of_failing(), '>', 0, 'which comes once a tick goes well');
sql(q{SELECT deploydb.drop_webhook('failing'), deploydb.drop_webhook('meanwhile')});

# A database of another encoding
$node->safe_psql('postgres', q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
$node->safe_psql('latin', 'CREATE EXTENSION deploydb');
$node->safe_psql('latin', q{SELECT deploydb.add_webhook('latin', 'generic', '} . $receiver->url('/chinese') . q{');
	SELECT deploydb.notify('caf' || chr(233), 'P1', 'latin')});
ok($node->poll_query_until('latin', q{SELECT state = 'delivered' FROM deploydb.notification}),
	'what cannot be converted hinders no record');
like((grep { $_->{path} eq '/chinese' } $receiver->requests)[0]{body}, qr/caf(\xc3\xa9|\\u00e9)/, 'messages go out in UTF-8');
$node->safe_psql('postgres', 'DROP DATABASE latin');

# TLS
SKIP:
{
	skip 'nginx or openssl is missing', 4 unless Nginx::is_here();
	mkdir "$directory/nginx";
	my $nginx = Nginx->new("$directory/nginx", $receiver->port);
	add_webhook('unknown', $nginx->url('good', '/ok/unknown'));
	notify('unknown', 'unknown');
	wait_until($node, 'postgres', q{SELECT last_stage = 'tls' FROM deploydb.webhook_state WHERE webhook = 'unknown'},
		'a server with a certificate of an unknown authority is told nothing');
	setting('ca_file', "$directory/nginx/ca.pem");
	add_webhook($_, $nginx->url($_, "/ok/$_")) foreach qw(good other expired);
	notify($_, $_) foreach qw(good other expired);
	wait_until($node, 'postgres', newest('good', q{state = 'delivered'}), 'one with a good certificate is');
	wait_until($node, 'postgres', q{SELECT count(*) = 2 FROM deploydb.webhook_state WHERE webhook IN ('other', 'expired') AND last_stage = 'tls'},
		'one with a certificate for another name, or of yesterday, is not');
	is((grep { $_->{path} =~ m{/ok/(other|expired)} } $receiver->requests), 0, 'nothing has come there');
	$nginx->stop;
	sql("SELECT deploydb.drop_webhook(n) FROM unnest('{unknown,good,other,expired}'::text[]) n");
}

# The monitor dies between claim and record
add_webhook('hang', $receiver->url('/hang'));
# others that keep failing meanwhile would be told to it, and take all its share
sql(q{UPDATE deploydb.webhook SET min_severity = 'P0' WHERE name = 'hang'});
notify('hang', 'hang');
# an alert may come, too
sub hung { return grep { $_->{path} eq '/hang' && $_->{body} =~ /"hang"/ } $receiver->requests }
foreach (1 .. 600) { last if hung(); select undef, undef, undef, 0.1 }
is(sql(newest('hang', q{state = 'sending'})), 't', 'while it is under way, the attempt is committed');
# but for a tick's, which may be under way, too
wait_until($node, 'postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'deploydb monitor'
		AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL))
	AND EXISTS (SELECT FROM deploydb.notification WHERE webhook = 'hang' AND state = 'sending')}, 'and no transaction is open');
kill 'KILL', monitor_pid();
# no query meanwhile: psql may end before its input is written
foreach (1 .. 600) { last if hung() > 1; select undef, undef, undef, 0.1 }
my @hung = hung();
cmp_ok(scalar @hung, '>', 1, 'after a crash it is sent again');
is($hung[1]{id}, $hung[0]{id}, 'under the same id');
sql(q{SELECT deploydb.drop_webhook('hang')});

# Memory
$node->poll_query_until('postgres', q{SELECT ticks > 0 FROM deploydb.worker_status WHERE database = current_database()});
$pid = monitor_pid();
sub send_many
{
	my ($count) = @_;
	sql("SELECT count(deploydb.notify('message ' || n, 'P3', 'ok')) FROM generate_series(1, $count) n");
	return $node->poll_query_until('postgres',
		q{SELECT NOT EXISTS (SELECT FROM deploydb.notification WHERE webhook = 'ok' AND state <> 'delivered')});
}
ok(send_many(500), 'many messages are delivered');

# The monitor's own memory in bytes, between two ticks: the least of some looks
sub own_memory
{
	my @looks;
	foreach (1 .. 15)
	{
		push @looks, (slurp_file("/proc/$pid/status") =~ /RssAnon:\s*(\d+) kB/)[0] * 1024;
		select undef, undef, undef, 0.1;
	}
	return (sort { $a <=> $b } @looks)[0];
}

# What a message leaves behind, in bytes: the median of rounds of a thousand, as
# what a tick does for the first time takes memory, too, but not each time.
sub left_behind
{
	my @left;
	my $before = own_memory();
	foreach (1 .. $messages / 1000)
	{
		send_many(1000) or return 'inf';
		my $after = own_memory();
		push @left, ($after - $before) / 1000;
		$before = $after;
	}
	note("bytes that a message left: @left");
	return (sort { $a <=> $b } @left)[ @left / 2 ];
}
SKIP:
{
	skip 'there is no /proc here', 1 unless -r "/proc/$pid/status";
	my $left;
	# an answer that were kept would be seen
	sql(q{SELECT deploydb.set_webhook_url('ok', '} . $receiver->url('/kilobytes/4') . q{')});
	foreach (1 .. 3) { last if ($left = left_behind()) < 100 }
	cmp_ok($left, '<', 100, "$messages messages leave no memory behind");
}

my $log = slurp_file($node->logfile);
unlike($log, qr/secret-path/, 'the log has no path of a URL');
$node->stop('fast');
done_testing();
