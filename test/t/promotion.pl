# A streaming pair: the standby sends nothing; promoted, it delivers what the
# dead primary left, whatever had become of it there, under the same ids.
use strict;
use warnings;

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");
append_to_file("$directory/received.shut", '');
my $closed = PostgreSQL::Test::Cluster::get_free_port();

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1h'
deploydb.webhook_timeout = '60s'
deploydb.webhook_allow = '127.0.0.1'
});
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION deploydb');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $outbox = q{SELECT string_agg(concat_ws(' ', webhook, state, attempts), ', ' ORDER BY id) FROM deploydb.notification};

# On the primary: sent to who does not answer, tried at who is not there, and an
# event, of which it may have no message yet.
my ($hangs, $refuses) = ($receiver->url('/shut'), "http://127.0.0.1:$closed/ok");
$primary->poll_query_until('postgres', 'SELECT last_tick_at >= started_at FROM deploydb.worker_status');
$primary->safe_psql('postgres', qq{SELECT deploydb.add_webhook('hangs', 'generic', '$hangs'), deploydb.add_webhook('refuses', 'generic', '$refuses');
	SELECT deploydb.notify('message ' || n, webhook => CASE WHEN n < 4 THEN 'hangs' ELSE 'refuses' END) FROM generate_series(1, 4) n});
ok($primary->poll_query_until('postgres', q{SELECT count(*) FILTER (WHERE webhook = 'hangs' AND state = 'sending') = 3
		AND count(*) FILTER (WHERE webhook = 'refuses' AND attempts > 0) = 1 FROM deploydb.notification}),
	'three messages hang, one was tried in vain');
foreach (1 .. 600) { last if $receiver->requests >= 3; select undef, undef, undef, 0.1 }
$primary->safe_psql('postgres', q{INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, message, started_at, occurred_at)
	VALUES ('r', 'm', 'P0', 'firing', 'new', 'just happened', now(), now())});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'deploydb'}), '0', 'on the standby nothing runs');
is($standby->safe_psql('postgres', 'SELECT state, backlog >= 4 FROM deploydb.worker_status'), 'standby|t', 'but it knows what is to be sent');
like($standby->safe_psql('postgres', $outbox), qr/hangs sending 1/, 'and what is under way');

# It dies
$primary->stop('immediate');
my $before = $standby->safe_psql('postgres', $outbox);
my @first = $receiver->requests;
unlink "$directory/received.shut";
my $back = Receiver->new("$directory/back", $closed);
$standby->promote;
ok($standby->poll_query_until('postgres', q{SELECT count(event) = 2 AND bool_and(state = 'delivered') FROM deploydb.notification}),
	'promoted, it delivers all of them, and messages of the event') or diag($standby->safe_psql('postgres', $outbox));
note("$before; then ", $standby->safe_psql('postgres', $outbox));

sub ids
{
	my %requests = map { $_->{id} => 1 } @_;
	return join ' ', sort keys %requests;
}
my $sent = q{SELECT string_agg(message_id, ' ' ORDER BY message_id COLLATE "C") FROM deploydb.notification WHERE webhook =};
my @again = $receiver->requests;
splice @again, 0, @first;
is(ids(@again), $standby->safe_psql('postgres', "$sent 'hangs'"), 'each, though it had been sent');
is(ids(@first), $standby->safe_psql('postgres', "$sent 'hangs' AND attempts = 2"), 'under the id that the primary sent');
is(ids($back->requests), $standby->safe_psql('postgres', "$sent 'refuses'"), 'the other receiver has its own, too');
is(scalar(@again) + $back->requests, $standby->safe_psql('postgres', 'SELECT count(*) FROM deploydb.notification'), 'each once');
is($standby->safe_psql('postgres', 'SELECT state, restarts FROM deploydb.worker_status'), 'running|1', 'the monitor counts it as a restart');

# A copy of all its files is it, as far as anybody can tell: without a monitor
# nothing is sent, and without the addresses nothing is with one.
$standby->backup('copy');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($standby, 'copy');
$copy->append_conf('postgresql.conf', 'deploydb.monitor = off');
$copy->start;
my $sent_before = $receiver->requests + $back->requests;
is($copy->safe_psql('postgres', 'SELECT deploydb.suspended() IS NULL AND deploydb.notify(\'of the copy\') = 2'), 't', 'a physical copy is not suspended');
$copy->safe_psql('postgres', 'DELETE FROM deploydb.webhook_secret');
$copy->append_conf('postgresql.conf', 'deploydb.monitor = on');
$copy->reload;
ok($copy->poll_query_until('postgres', q{SELECT state = 'running' AND last_tick_at >= started_at FROM deploydb.worker_status}), 'its monitor ticks');
is($copy->safe_psql('postgres', q{SELECT DISTINCT h.state, n.state, n.attempts FROM deploydb.webhook_health h
	JOIN deploydb.notification n ON n.webhook = h.name WHERE n.state <> 'delivered'}), 'no address|pending|0', 'but what it has to say waits for an address');
is($receiver->requests + $back->requests, $sent_before, 'and nobody hears of it');
$copy->stop;

unlike(slurp_file($standby->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

$standby->stop;
done_testing();
