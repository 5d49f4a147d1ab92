# scripts/deploydb-dump and scripts/deploydb-restore-test: what is dumped is
# what was counted, passwords are seen nowhere, and what went wrong is told.
# DEPLOYDB_INTERRUPTS is how often each of them is interrupted in its work; soak
# does it a hundred times.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $password = q{p@ss wo'rd\\x%3D/?&=};
my $database = q{it's "数据" x=1};
my $interrupts = $ENV{DEPLOYDB_INTERRUPTS} || 16;
my $odd = q{"Odd ""T"" 's 数"};
my $folder = PostgreSQL::Test::Utils::tempdir . "/it's \"dumps\"";
my $programs = PostgreSQL::Test::Utils::tempdir . '/programs';
my $seen = "$programs/seen";
my $scratch = PostgreSQL::Test::Utils::tempdir . '/scratch';
mkdir $_ or die "$_: $!" for $folder, $programs, $scratch;

# Role dumper needs its password.  Its making is not logged, everything else is.
my $node = PostgreSQL::Test::Cluster->new('source');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'\nlog_statement = all\nmax_prepared_transactions = 1\n");
my $hba = $node->data_dir . '/pg_hba.conf';
my $rest = slurp_file($hba);
unlink $hba or die "$hba: $!";
append_to_file($hba, "local all dumper scram-sha-256\n$rest");
$node->start;
sub quoted { return "'" . (shift =~ s/'/''/gr) . "'" }
sub encoded { return shift =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger }
$node->safe_psql('postgres', 'SET log_statement = none; ' . "\n" . 'CREATE ROLE dumper SUPERUSER LOGIN PASSWORD E' . (quoted($password) =~ s/\\/\\\\/gr));
$node->safe_psql('postgres', 'CREATE ROLE app_owner; CREATE DATABASE ' . '"' . ($database =~ s/"/""/gr) . '"' . q{ TEMPLATE template0 ENCODING UTF8});
sub sql { return $node->safe_psql($database, shift) }
sql(qq{
	CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \\gexec
	INSERT INTO decision_insights SELECT n, n, n, '{}', '{}', NULL, 'a', now(), now() FROM generate_series(1, 50) n;
	CREATE SCHEMA "S 's";
	CREATE TABLE "S 's".$odd (id int, "c ""x" text) PARTITION BY LIST (id);
	CREATE TABLE "S 's"."part|1" PARTITION OF "S 's".$odd FOR VALUES IN (1);
	CREATE TABLE "S 's"."part
2" PARTITION OF "S 's".$odd DEFAULT;
	INSERT INTO "S 's".$odd SELECT n % 2, '学' || n FROM generate_series(1, 20) n;
	CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS id;
	CREATE TABLE empty (id int);
	ALTER TABLE empty OWNER TO app_owner;
	SET client_min_messages = error;
	CREATE SUBSCRIPTION elsewhere CONNECTION 'dbname=nowhere' PUBLICATION none WITH (connect = false);
	ALTER SUBSCRIPTION elsewhere SET (slot_name = 'a_slot')});
$node->poll_query_until($database, 'SELECT count(*) > 0 FROM deploydb.installation') or die 'no monitor';

# Programs that come first on the PATH
sub program
{
	my ($name, $text) = @_;
	unlink "$programs/$name";
	append_to_file("$programs/$name", "#!/bin/bash\n$text");
	chmod 0755, "$programs/$name" or die "$name: $!";
	return;
}

my $bindir = $node->config_data('--bindir');
my $record = qq{tr '\\0' '\\n' <"/proc/\$\$/cmdline" >>"$seen"\n};
my $real = qq{exec $bindir/pg_dump "\$@"\n};
my $version = qq{[ "\$1" != --version ] || exec $bindir/pg_dump --version\n};
my $psql = qq{${record}exec $bindir/psql "\$@"\n};
program('psql', $psql);
program('pg_dump', $record . $real);
program('date', qq{[[ \$1 == +backup_* ]] || exec /bin/date "\$@"\necho "\$NAME"\n});
$ENV{PATH} = "$programs:$ENV{PATH}";

my $uri = 'postgresql://dumper:' . encoded($password) . '@/' . encoded($database) . '?schema=public&host='
  . encoded($node->host) . '&port=' . $node->port;
my $conninfo = $node->connstr($database) . " user = dumper password='" . ($password =~ s/(['\\])/\\$1/gr) . "'";

sub run_script
{
	my ($name, @arguments) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGAPPNAME};
	IPC::Run::run([ "scripts/deploydb-$name", @arguments ], '>', \$out, '2>', \$err);
	note("$out$err");
	return ($? >> 8, $out, $err);
}

# Each dump has a name of its own; the row that it left, last
my $dumps = 0;
sub dump_script
{
	local $ENV{NAME} = sprintf 'backup_20260101_%06d', ++$dumps;
	my @result = run_script('dump', '--dir', $folder, @_);
	return (@result, "$folder/$ENV{NAME}");
}
sub last_backup
{
	my $columns = shift;
	return sql("SELECT concat_ws('|', $columns) FROM deploydb.backup b ORDER BY id DESC LIMIT 1");
}
sub files { return join ' ', map { s{.*/}{}r } sort glob quotemeta($folder) . '/*' }
sub copies { return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_database WHERE datname LIKE 'deploydb_restore_test%'}) }

# What is written between the snapshot and pg_dump, which is asked for its version
# first, is neither counted nor dumped
program('pg_dump', $record . qq{$bindir/psql -X -q -d "\$ELSEWHERE" -c "INSERT INTO decision_insights VALUES ('late', 'late', 'late', '{}', '{}', NULL, 'a', now(), now()) ON CONFLICT DO NOTHING" || exit 9\n$real});
$ENV{ELSEWHERE} = $node->connstr($database);
my ($status, $out, $err, $file);
{
	local $ENV{DATABASE_URL} = $uri;
	($status, $out, $err, $file) = dump_script();
}
is($status, 0, 'a dump');
is($err, '', 'without a word on stderr that is no terminal');
like($out, qr/^started     backup_20260101_000001\.sql: backup 1\ncounted     5 tables, 71 rows; 5 tables hashed\ndone        \Q$file\E\.sql: \d+ bytes \(.*\), SHA-256 [0-9a-f]{64}$/,
	'tells what it does');
is(sql('SELECT count(*) FROM decision_insights'), 51, 'a row was written meanwhile');
is(last_backup(q{status, rows ->> 'public.decision_insights', content_hash ? 'public.decision_insights', size_stored, checksum, location, relations IS NULL, tool_version}),
	join('|', 'done', 50, 't', -s "$file.sql", sha256_hex(slurp_file("$file.sql", 0)), "$file.sql", 't',
		$node->safe_psql('postgres', q{SELECT split_part(current_setting('server_version'), ' ', 1)})),
	'which is not in what is recorded');
is(sprintf('%o', (stat "$file.sql")[2] & 07777), '600', 'the file is its owner\'s alone');
program('pg_dump', $record . $real);
($status, $out, $err) = run_script('restore-test', '-d', $conninfo);
is($status, 0, 'it is restored');
like($out, qr/^verified    backup_20260101_000001: sha256sum, .*^restored    5 tables, 71 rows; 5 tables hashed\n +This is a copy .* it sends nothing.*^tested      backup_20260101_000001: restored in [0-9.]+ s, and all that is recorded is there$/ms,
	'with the rows and contents of the snapshot, and sends nothing');
is(sql(q{SELECT concat_ws('|', b.status, v.ok, t.ok, t.rows = b.rows, t.content_hash = b.content_hash, t.seconds > 0)
	FROM deploydb.backup b, deploydb.backup_verification v, deploydb.restore_test t WHERE b.id = v.backup AND b.id = t.backup}),
	'restore_tested|t|t|t|t|t', 'which is recorded');
is(sql('SELECT deploydb.fit_backup()'), 1, 'something to go back to');
is(copies(), 0, 'the copy is gone, whose monitor was on, and whose subscription had a slot');

# Another format, from a connection string, and back from another place
($status, $out, $err, $file) = dump_script('-d', $conninfo, '--hash', 'never', '--', '-Fc', '-Z', '1');
is($status, 0, 'a dump in another format');
is(last_backup(q{status, location, content_hash IS NULL, rows ->> 'public.decision_insights'}), "done|$file.dump|t|51", 'its contents are not hashed');
rename "$file.dump", "$file.moved" or die $!;
($status, $out, $err) = run_script('restore-test', '-d', $uri);
is($status, 2, 'a file that is not where it was');
like($err, qr/cannot read \Q$file\E\.dump\n.*--file/, 'is named, and what to do');
($status, $out, $err) = run_script('restore-test', '-d', $uri, '--file', "$file.moved", '2');
is($status, 0, 'and found elsewhere');
($status, $out, $err) = run_script('restore-test', '-d', $uri, '--file', "$file.moved", '1');
is($status, 1, 'but another backup\'s file');
like($err, qr/is not backup 1: it has \d+ bytes, recorded are \d+/, 'is refused');
is(sql('SELECT status FROM deploydb.backup WHERE id = 1'), 'restore_tested', 'which says nothing of the backup');

# On another server, where there are no such roles
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
($status) = run_script('restore-test', '-d', $conninfo, '--file', "$file.moved", '--target-server', $other->connstr('postgres'), '2');
is($status, 0, 'restored on another server');
($status, $out, $err) = run_script('restore-test', '-d', $conninfo, '--target-server', $other->connstr('postgres'), '1');
is($status, 2, 'a plain dump needs its roles there');
like($err, qr/role "app_owner" does not exist.*cannot be restored on this server/s, 'which is told');
is(sql('SELECT status FROM deploydb.backup WHERE id = 1'), 'restore_tested', 'and says nothing of the dump');
is($other->safe_psql('postgres', 'SELECT count(*) FROM pg_database'), 3, 'nothing stays there');
is(copies(), 0, 'and nothing here');
$other->stop;

# Some tables, partitions included
($status, $out, $err, $file) = dump_script('-d', $uri, '--table', "\"S 's\".$odd", '--table', 'empty');
is($status, 0, 'a dump of some tables');
is(last_backup(q{relations = ARRAY['"S ''s"."part|1"', E'"S ''s"."part\n2"', '"S ''s"."Odd ""T"" ''s 数"', 'public.empty']}), 't', 'names them') or
  diag(last_backup('relations'));
is(last_backup(q{(SELECT string_agg(value, ' ' ORDER BY value) FROM jsonb_each_text(rows))}), '0 10 10', 'and their rows');
isnt(sql('SELECT deploydb.fit_backup()'), 3, 'it is not one of everything');
($status) = run_script('restore-test', '-d', $uri);
is($status, 0, 'they are restored');
for my $case ([ '--table', 'no_such', qr/table no_such does not exist/ ], [ '--table', 'a.b.c.d', qr/too many dotted names/ ],
	[ '--', '-t', 'empty', qr/Give --table/ ], [ '--', '-s', qr/option -s/ ], [ '--', '--sect=data', qr/option --sect=data/ ],
	[ '--', '-Fd', qr/format d/ ], [ '--', '-C', qr/option -C/ ], [ '--hash', 'maybe', qr/auto, always or never/ ],
	[ '--dir', "$folder/none", qr/cannot enter/ ], [ '-d', $node->connstr('no_such'), qr/"no_such" does not exist/ ],
	[ '-d', $node->connstr('postgres'), qr/CREATE EXTENSION deploydb/ ], [ '-d', "$conninfo sslpassword=x", qr/service file/ ],
	[ '-d', 'postgresql:///x?ssl%70assword=x', qr/service file/ ], [ '-d', "$conninfo 'x", qr/cannot read the connection string/ ])
{
	my $message = pop @$case;
	($status, $out, $err) = dump_script('-d', $uri, @$case);
	is($status, 2, "refused: $case->[-1]");
	like($err, $message, 'with the reason');
	is($out, '', 'and nothing was started');
}
is(sql('SELECT count(*) FROM deploydb.backup'), 3, 'nor recorded');

# By an operator
$node->safe_psql($database, q{CREATE ROLE backup_operator LOGIN IN ROLE pg_read_all_data; SELECT deploydb.grant_access('backup_operator', 'operator')});
($status) = dump_script('-d', $node->connstr($database) . ' user=backup_operator');
is($status, 0, 'an operator who reads everything dumps it');
is(last_backup('id, status, recorded_by'), '4|done|backup_operator', 'and is recorded');
($status, $out, $err) = run_script('restore-test', '-d', $node->connstr($database) . ' user=backup_operator');
is($status, 2, 'but cannot make a database');
like($err, qr/permission denied to create database/, 'as it is told');
($status) = run_script('restore-test', '-d', $uri);
is($status, 0, 'a superuser restores it');

# An old pg_dump
program('pg_dump', "echo 'pg_dump (PostgreSQL) 9.6'\n");
($status, $out, $err) = dump_script('-d', $uri);
is($status, 2, 'a pg_dump older than the server');
like($err, qr/^deploydb-dump: pg_dump is older than the server: it is of PostgreSQL 9\.6, the server of \d+\n +HINT:  Install the client programs of PostgreSQL \d+/,
	'is refused, with what to do');
is(sql('SELECT count(*) FROM deploydb.backup'), 4, 'nothing is recorded');

# One that fails, and one that is interrupted
my $files = files();
program('pg_dump', $version . qq{for last; do [ "\$option" != -f ] || echo half >"\$last"; option=\$last; done\necho "pg_dump: error: no it's \\\\ space" >&2\nexit 3\n});
($status, $out, $err) = dump_script('-d', $uri);
is($status, 1, 'a pg_dump that fails');
like($err, qr/^failed      pg_dump ended with 3: pg_dump: error: no it's \\ space$/, 'is told');
is(last_backup('status, error'), q{failed|pg_dump ended with 3: pg_dump: error: no it's \ space}, 'and recorded');
is(files(), $files, 'no file is left');

sub wait_for
{
	my $what = shift;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $what->();
		usleep(100_000);
	}
	return 0;
}
program('pg_dump', $version . qq{echo \$\$ >"$programs/pid.new"\nmv "$programs/pid.new" "$programs/pid"\nexec sleep 3600\n});
for my $signal ('INT', 'TERM')
{
	unlink "$programs/pid";
	local $ENV{NAME} = "backup_interrupted_$signal";
	my $run = IPC::Run::start([ 'scripts/deploydb-dump', '-d', $uri, '--dir', $folder ], '>', \$out, '2>', \$err);
	ok(wait_for(sub { $run->pump_nb; return -s "$programs/pid" }), 'pg_dump runs');
	$run->signal($signal);
	$run->finish;
	is($run->full_result >> 8, 1, "SIG$signal ends it");
	is(last_backup('status, error'), "failed|interrupted by SIG$signal", 'which is recorded');
	my ($pid) = split /\n/, slurp_file("$programs/pid");
	ok(!kill(0, $pid), 'pg_dump does not go on');
	is(files(), $files, 'and no file is left');
}
program('pg_dump', $record . $real);

# The copy is dropped whatever happens
($status) = dump_script('-d', $uri, '--', '-Fc');
is($status, 0, 'an archive');
my $archive = last_backup('id');
$files = files();
program('pg_restore', qq{[ "\$1" != --version ] || exec $bindir/pg_restore --version\necho \$\$ >"$programs/pid.new"\nmv "$programs/pid.new" "$programs/pid"\nexec sleep 3600\n});
unlink "$programs/pid";
{
	my $run = IPC::Run::start([ 'scripts/deploydb-restore-test', '-d', $uri, $archive ], '>', \$out, '2>', \$err);
	ok(wait_for(sub { $run->pump_nb; return -s "$programs/pid" }), 'pg_restore runs');
	is(copies(), 1, 'into a copy');
	$run->signal('TERM');
	$run->finish;
	is($run->full_result >> 8, 2, 'SIGTERM ends it');
	my ($pid) = split /\n/, slurp_file("$programs/pid");
	ok(!kill(0, $pid), 'pg_restore does not go on');
	is(copies(), 0, 'the copy is gone');
	is(last_backup('status, (SELECT count(*) FROM deploydb.restore_test WHERE backup = b.id)'), 'verified|0', 'and nothing is said of the restore');
}
unlink "$programs/pg_restore" or die $!;

# Even one that is still being made, by a server that does not notice that its psql
# is gone: the signal is for all of the script's processes, as at a shutdown
program('psql', qq{echo \$\$ >"$programs/pid"\n$psql});
$node->safe_psql('postgres', q{BEGIN; COMMENT ON DATABASE template0 IS 'locked'; PREPARE TRANSACTION 'lock'});
{
	my $creating = q{FROM pg_stat_activity WHERE query LIKE '%CREATE DATABASE deploydb_restore_test%' AND pid <> pg_backend_pid() AND state = 'active'};
	my $run = IPC::Run::start([ 'scripts/deploydb-restore-test', '-d', $uri, $archive ], '>', \$out, '2>', \$err);
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $creating AND wait_event_type = 'Lock'"), 'CREATE DATABASE runs');
	my ($pid) = split /\n/, slurp_file("$programs/pid");
	$run->signal('TERM');
	kill 'TERM', $pid;
	$run->finish;
	is($run->full_result >> 8, 2, 'SIGTERM ends it');
	$node->safe_psql('postgres', q{COMMIT PREPARED 'lock'});
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 $creating"), 'and CREATE DATABASE');
	is(copies(), 0, 'no copy is made');
}

# Interrupted once the counts have come, each time a little later, and before the end:
# bash 5.2 may lose a signal in the parser of a command substitution, or give up
my $interrupt = q{usleep $ENV{DELAY}; kill INT => $ARGV[0]};
my $now = "$programs/interrupt";
sub scratch { return join ' ', glob "$scratch/*" }

program('psql', qq{exec $bindir/psql "\$@" > >(exec perl -MTime::HiRes=usleep -e '
	while (sysread STDIN, my \$answer, 65536) { syswrite STDOUT, \$answer; if (\$answer =~ /"rows"/) { $interrupt } }' \$PPID)\n});
program('pg_dump', $version . qq{echo \$\$ >"$programs/pid.new"\nmv "$programs/pid.new" "$programs/pid"\nexec sleep 30\n});
for my $n (1 .. $interrupts)
{
	local @ENV{qw(DELAY TMPDIR)} = (int(10_000 * $n / $interrupts), $scratch);
	($status) = dump_script('-d', $uri);
	my ($pid) = split /\n/, slurp_file("$programs/pid");
	is(join('|', $status, last_backup('status, error'), kill(0, $pid), files(), scratch()),
		"1|failed|interrupted by SIGINT|0|$files|", "a dump interrupted after $ENV{DELAY} µs");
}

program('psql', qq{while [ -e "$now" ]; do sleep 0.01; done
$bindir/psql "\$@" >"$programs/answer"
status=\$?
cat "$programs/answer"
if grep -aq '"rows"' "$programs/answer"; then
	>"$now"
	perl -MTime::HiRes=usleep -e '$interrupt; unlink \$ARGV[1]' \$PPID "$now" >&- 2>&- &
fi
exit \$status\n});
program('pg_dump', $record . $real);
for my $n (1 .. $interrupts)
{
	local @ENV{qw(DELAY TMPDIR)} = (int(10_000 * $n / $interrupts), $scratch);
	($status) = run_script('restore-test', '-d', $uri, $archive);
	is(join('|', $status, copies(), scratch()), '2|0|', "a restore interrupted after $ENV{DELAY} µs");
}
program('psql', $psql);

# Nothing is overwritten
append_to_file("$folder/backup_20260101_" . sprintf('%06d', $dumps + 1) . '.sql', "precious\n");
($status, $out, $err, $file) = dump_script('-d', $uri);
is($status, 2, 'a file of that name');
like($err, qr/exists already/, 'is not overwritten');
is(slurp_file("$file.sql"), "precious\n", 'but kept');

# A dump that cannot be recorded in the end
program('pg_dump', $version . qq{$bindir/psql -X -q -d "\$ELSEWHERE" -c "SELECT deploydb.backup_fail()" >/dev/null\n$real});
($status, $out, $err, $file) = dump_script('-d', $uri);
is($status, 1, 'the record was closed meanwhile');
like($err, qr/^failed      backup \d+ is not running.*stays as \Q$file\E\.sql\.partial/s, 'is told');
ok(-s "$file.sql.partial" && !-e "$file.sql", 'the dump is kept, under no name of a good one');
program('pg_dump', $record . $real);

# What is not as it was dumped
sub damaged
{
	my ($what, $change, $adapted, $expected, $message, $record, @options) = @_;
	my ($rc, $stdout, $stderr, $dump) = dump_script('-d', $uri, '--', @options);
	my ($id) = $stdout =~ /backup (\d+)/;
	$dump = (glob quotemeta($dump) . '*')[0];
	my $bytes = $change->(slurp_file($dump));
	unlink $dump or die "$dump: $!";
	append_to_file($dump, $bytes);
	sql(qq{UPDATE deploydb.backup SET size_stored = } . length($bytes) . qq{, checksum = '} . sha256_hex($bytes) . qq{' WHERE id = $id}) if $adapted;
	($rc, $stdout, $stderr) = run_script('restore-test', '-d', $uri);
	is($rc, $expected, $what);
	like($stderr, $message, 'is told');
	is(sql("SELECT concat_ws('|', status, (SELECT ok FROM deploydb.backup_verification WHERE backup = b.id), (SELECT ok FROM deploydb.restore_test WHERE backup = b.id))
		FROM deploydb.backup b WHERE id = $id"), $record, 'and recorded');
	is(copies(), 0, 'no copy stays');
	sql("SELECT deploydb.backup_expire($id)");
	return;
}
damaged('one other byte', sub { return shift =~ s/decision_insights/decision_insightz/r }, 0, 1, qr/^corrupt     backup_\w+: its sha256 is \w+, recorded is \w+$/, 'corrupt|f');
damaged('a missing end', sub { return substr shift, 0, -100 }, 0, 1, qr/^corrupt     .*: it has \d+ bytes, recorded are \d+$/, 'corrupt|f');
damaged('a missing row', sub { return shift =~ s/^late\t.*\n//mr }, 1, 1, qr/^corrupt     .*: .*public\.decision_insights has 50, expected 51/m, 'corrupt|t|f');
damaged('another content', sub { return shift =~ s/^late\tlate/late\tlike/mr }, 1, 1, qr/^corrupt     .*: public\.decision_insights has [-0-9:]+, expected/m, 'corrupt|t|f');
damaged('a statement that fails', sub { return shift =~ s/^COPY public\.empty/SELECT 1 \/ 0;\n$&/mr }, 1, 1, qr/^corrupt     .*: its restore fails with SQLSTATE 22012 in line \d+$/m, 'corrupt|t|f');
damaged('an archive cut short', sub { return substr shift, 0, -2000 }, 1, 1, qr/^corrupt     .*: (it cannot be read: pg_restore|its restore fails)/m, 'corrupt|t|f', '-Fc');
damaged('another database', sub { return "\\connect postgres\n" . shift }, 1, 2, qr/connects to a database of its own/, 'verified|t');
($status, $out, $err) = run_script('restore-test', '-d', $uri, '999');
is($status, 2, 'no such backup');
like($err, qr/no dump 999 is recorded\n +HINT:  deploydb-dump makes one;/, 'is told');
for my $script ('dump', 'restore-test')
{
	($status, $out, $err) = run_script($script, '-d', $uri =~ s/(port=\d+).*/$1&dbname=template1/r);
	is($status, 2, "$script: a database without deploydb");
	like($err, qr/^deploydb-$script: deploydb is not installed in this database\n +HINT:  .*-d/, 'is told');
	($status, $out, $err) = run_script($script, $uri);
	is($status, 2, "$script: a connection without -d");
	like($err, qr/^deploydb-$script: an argument .*\n +HINT:  .* is named by -d, /, 'is told');
	unlike($err, qr/\Q$uri\E/, 'and not shown, as it may have a password');
}
($status, $out, $err) = run_script('restore-test', '-d', $uri, sql(q{SELECT max(id) FROM deploydb.backup WHERE status = 'failed'}));
is($status, 2, 'one that has failed');
like($err, qr/^deploydb-restore-test: backup \d+ is failed$/, 'is told, too');

# From a standby, recorded on the primary
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
(my $there = $uri) =~ s/port=\d+.*/'port=' . $standby->port/e;
$there =~ s/host=[^&]*/'host=' . encoded($standby->host)/e;
my $count = sql('SELECT count(*) FROM deploydb.backup');
($status, $out, $err) = dump_script('-d', $there);
is($status, 2, 'a standby records nothing');
like($err, qr/is a standby.*--record-to/s, 'and says what to do');
($status, $out, $err) = dump_script('-d', $there, '--record-to', $there);
like($err, qr/the server of --record-to is a standby, too/, 'the primary has to be named');
($status, $out, $err) = dump_script('-d', $there, '--record-to', $node->connstr('postgres'));
like($err, qr/--record-to leads to another database/, 'and the database');
is(sql('SELECT count(*) FROM deploydb.backup'), $count, 'nothing is recorded');
($status, $out, $err, $file) = dump_script('-d', $there, '--record-to', $conninfo);
is($status, 0, 'a dump of a standby');
like($out, qr/^counted     4 tables, 71 rows/m, 'which has no rows in unlogged tables');
is(last_backup(q{status, annotation ->> 'standby', rows ? 'public.unlogged', start_lsn::pg_lsn <= stop_lsn::pg_lsn}), 'done|true|f|t', 'is recorded on the primary');
program('pg_dump', $version . "echo 'pg_dump: error: canceling statement due to conflict with recovery' >&2\nexit 1\n");
($status) = dump_script('-d', $there, '--record-to', $conninfo);
is($status, 1, 'one that fails');
is(last_backup('status, error'), 'failed|pg_dump ended with 1: pg_dump: error: canceling statement due to conflict with recovery', 'is recorded there, too');
($status) = run_script('restore-test', '-d', $conninfo);
is($status, 0, 'the good one is restored');
$standby->stop;

# One is not called many
program('pg_dump', $record . $real);
($status, $out) = dump_script('-d', $uri, '--table', 'unlogged');
like($out, qr/^counted     1 table, 1 row; 1 table hashed$/m, 'one table with one row');
($status, $out) = run_script('restore-test', '-d', $uri);
like($out, qr/^restored    1 table, 1 row; 1 table hashed$/m, 'is restored');

# The password
my $arguments = slurp_file($seen);
like($arguments, qr/--snapshot=/, 'what was passed on is known');
my @forms = ($password, encoded($password), quoted($password), $password =~ s/(['\\])/\\$1/gr);
my $log = slurp_file($node->logfile);
my $rows = sql(q{SELECT string_agg(b::text, ' ') FROM deploydb.backup b})
  . sql(q{SELECT string_agg(l::text, ' ') FROM deploydb.log_entry l});
like($log, qr/statement: .*backup_finish/s, 'statements are logged');
for my $form (@forms)
{
	is(index($arguments, $form), -1, 'no password was passed on');
	is(index($log, $form), -1, 'nor logged');
	is(index($rows, $form), -1, 'nor recorded');
}

# Beside psql, where they are installed
$ENV{PATH} =~ s/^[^:]*://;
for my $script ('deploydb-dump', 'deploydb-restore-test')
{
	command_checks_all([ "$bindir/$script", '--help' ], 0, [qr/^$script \[OPTION…\].*Needs psql/s], [qr/^$/], "$script --help");
	command_checks_all([ $script, '--what' ], 2, [qr/^$/], [qr/^$script \[OPTION…\]/], 'what is not known');
}

$node->stop;
done_testing();
