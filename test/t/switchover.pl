# A switchover and back, cleanly, of a streaming pair: what both servers count
# is counted once, in its period, and each promotion is marked.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $first = PostgreSQL::Test::Cluster->new('first');
$first->init(allows_streaming => 1);
$first->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.monitor = off
});
$first->start;
$first->safe_psql('postgres', 'CREATE EXTENSION deploydb; CREATE TABLE decision_insights (id int PRIMARY KEY)');
$first->backup('base');
my $second = PostgreSQL::Test::Cluster->new('second');
$second->init_from_backup($first, 'base', has_streaming => 1);
$second->start;

# What was written, by whoever was the primary
my %account;
my @kinds = qw(succeeded failed rolled_back rejected rows_written);
my $id = 0;

sub write_some
{
	my ($on, $good) = @_;
	my $sql = '';
	$sql .= 'INSERT INTO decision_insights VALUES (' . ++$id . '), (-' . $id . ");\n" for 1 .. $good;
	$sql .= "INSERT INTO decision_insights VALUES (1);\n" x 2
	  . "INSERT INTO decision_insights VALUES (NULL);\nINSERT INTO decision_insights (nope) VALUES (1);\n"
	  . "BEGIN;\nINSERT INTO decision_insights VALUES (0);\nROLLBACK;\n";
	$on->psql('postgres', $sql, on_error_stop => 0);
	my %written = (succeeded => $good, failed => 3, rolled_back => 1, rejected => 1, rows_written => 2 * $good, 23505 => 2, 23502 => 1, 42703 => 1);
	$account{$_} += $written{$_} foreach keys %written;
	return;
}

sub take_sample { return shift->safe_psql('postgres', 'SELECT deploydb.take_write_sample()') }

# What there is of it, less what is not known there
sub counts
{
	my ($on, $what, $gaps, %but) = @_;
	my %expected = map { $_ => $account{$_} - ($but{$_} // 0) } keys %account;
	my $expected = join '|', @expected{@kinds};
	is($on->safe_psql('postgres', q{SELECT succeeded, failed, rolled_back, rejected, rows_written, attempts - succeeded - failed - rolled_back - rejected,
			gaps, p99_ms IS NOT NULL FROM deploydb.write_stats('1 hour')}), "$expected|0|$gaps|t", "$what: every attempt once");
	is($on->safe_psql('postgres', q{SELECT sqlstate, attempts FROM deploydb.write_failures('1 hour') ORDER BY 1}),
		join("\n", map { "$_|$expected{$_}" } qw(23502 23505 42703)), 'the failures, too');
	is($on->safe_psql('postgres', q{SELECT sum(succeeded), sum(failed), sum(rolled_back), sum(rejected), sum(rows_written),
			COALESCE(sum(cardinality(marks)), 0), bool_and(p99_ms IS NOT NULL) FROM deploydb.write_history('1 hour')}), "$expected|$gaps|t", 'and the history');
	return;
}

# Since a time
sub since
{
	my ($on, $time) = @_;
	return $on->safe_psql('postgres', "SELECT succeeded, failed, rolled_back, rejected, rows_written FROM deploydb.write_window('$time', NULL) WHERE NOT others");
}

# Durations are kept by sample, all of them by epoch.
my $durations = q{SELECT deploydb.histogram_sum(array_agg(latency)) FROM };

sub sampled
{
	my ($on, $what, @counts) = @_;
	cmp_ok(take_sample($on), '>', 0, "$what: a sample");
	counts($on, $what, @counts);
	is($on->safe_psql('postgres', "$durations deploydb.write_sample"), $on->safe_psql('postgres', "$durations deploydb.write_epoch"), 'each duration once');
	return;
}

# The primary stops, is copied where that is asked for, and comes back as the
# other's standby; returns when its last sample was.
sub switch_over
{
	my ($from, $to, $copy) = @_;
	my $last = $from->safe_psql('postgres', 'SELECT max(at) FROM deploydb.write_sample');
	$from->stop('fast');
	$from->backup_fs_cold($copy) if $copy;
	$to->promote;
	$from->enable_streaming($to);
	$from->start;
	return $last;
}

sub catch_up
{
	my ($primary, $standby) = @_;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# What the monitor measures of the log's lines, as of a minute; nothing where it
# has nothing to compare with
sub errors_per_min
{
	my ($on, $minute) = @_;
	$on->safe_psql('postgres', "SELECT deploydb.collect_metrics(timestamptz '2030-01-01 00:00Z' + interval '$minute minutes')");
	return $on->safe_psql('postgres', q{SELECT value FROM deploydb.metric_latest WHERE metric = 'db.errors.per_min'});
}

sub now { return shift->safe_psql('postgres', 'SELECT clock_timestamp()') }

# There, with all that was counted sampled
write_some($first, 5);
sampled($first, 'the first', 0);
is(errors_per_min($first, 0), '', 'the first reading of its errors');
$first->psql('postgres', "SELECT 1/0;\n" x 300, on_error_stop => 0);
cmp_ok(errors_per_min($first, 1), '>=', 300, 'which are many');
catch_up($first, $second);
counts($second, 'its standby', 0);
my @ends = switch_over($first, $second, 'cold');
my $begin = now($second);
counts($second, 'the second, promoted', 0);
write_some($second, 3);
counts($second, 'written on the second', 0);
is(since($second, $begin), '3|3|1|1|6', 'since its promotion, what is its own');
sampled($second, 'the second', 1);
is(errors_per_min($second, 2), '', 'its errors are no growth of the first\'s');
$second->psql('postgres', 'SELECT 1/0');
my $errors = errors_per_min($second, 3);
ok($errors >= 1 && $errors < 300, 'but of its own');
catch_up($second, $first);
counts($first, 'the first as its standby', 1);

# A copy of the first as it had stopped follows it.
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($first, 'cold', has_streaming => 1);
$copy->start;
is($copy->safe_psql('postgres', 'SELECT succeeded, failed FROM deploydb.write_counters()'), '0|0', 'a copy of the stopped server counts by itself');
is($first->safe_psql('postgres', 'SELECT succeeded, failed FROM deploydb.write_counters()'), '5|3', 'while the server itself goes on');

# and back
push @ends, switch_over($second, $first);
$begin = now($first);
counts($first, 'the first, promoted', 1);
write_some($first, 4);
counts($first, 'written on the first', 1);
is(since($first, $begin), '4|3|1|1|8', 'since its promotion, what is new');
sampled($first, 'the first', 2);
is(errors_per_min($first, 4), '', 'nor are the first\'s of the second\'s');
is($first->safe_psql('postgres', q{SELECT string_agg(at::text, ' ' ORDER BY at), bool_and(kind = 'lost' AND at <= until) FROM deploydb.write_gap}), "@ends|t",
	'each promotion is marked, from the last sample before it on');
is($first->safe_psql('postgres', "SELECT max(until) > '$begin' FROM deploydb.write_gap"), 't', 'over the promotion, though its counters began before');

# There, with something counted after the last sample
my %known = %account;
write_some($first, 2);
my %left = map { $_ => $account{$_} - $known{$_} } keys %account;
switch_over($first, $second);
counts($second, 'what was counted but not sampled is not known', 2, %left);
write_some($second, 1);
sampled($second, 'to the second', 3, %left);
catch_up($second, $first);
counts($first, 'but to the first', 3);
$begin = now($second);
switch_over($second, $first);
write_some($first, 6);
is(since($first, $begin), '8|6|2|2|16', 'which counts it, promoted, as it comes after its last sample');
counts($first, 'it', 3);
sampled($first, 'it', 4);
$begin = now($first);
is(since($first, $begin), '0|0|0|0|0', 'and no more after that');

# A standby for longer than anything is kept
switch_over($first, $second);
write_some($second, 1);
take_sample($second);
$second->safe_psql('postgres', 'SELECT deploydb.purge_writes(clock_timestamp(), 10000)') for 1 .. 2;
$begin = now($second);
switch_over($second, $first);
write_some($first, 7);
is(since($first, $begin), '7|3|1|1|14', 'a primary of long ago does not bring its old counts back');
take_sample($first);
is(since($first, $begin), '7|3|1|1|14', 'sampled, neither');

# The copy is promoted
catch_up($first, $copy);
$begin = now($first);
$first->stop;
$copy->promote;
write_some($copy, 2);
is(since($copy, $begin), '2|3|1|1|4', 'the copy, promoted');
counts($copy, 'it', 1);
cmp_ok(take_sample($copy), '>', 0, 'a sample');
counts($copy, 'it', 2);
unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/, $_->name . ': nothing crashed') foreach $first, $second, $copy;

$_->stop foreach $copy, $second;
done_testing();
