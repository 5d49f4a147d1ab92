# Backups by the tools themselves: pgBackRest's info and pg_basebackup's
# manifest are imported as they come.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION deploydb; CREATE ROLE ops LOGIN');
$node->safe_psql('postgres', q{SELECT deploydb.grant_access('ops', 'operator')});
my $major = $node->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int / 10000});

sub sql { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") }
sub in_log { return sql(q{SELECT note FROM deploydb.log_entry WHERE action = 'backups imported' ORDER BY id DESC LIMIT 1}) }

# import_backups() as an operator; rows, or the error
sub import_on
{
	my ($where, $tool, $document, $more) = @_;
	my ($rc, $out, $err) = $where->psql('postgres',
		"SELECT backup, status, outcome, detail FROM deploydb.import_backups('$tool', \$document\$$document\$document\$" . ($more // '') . ') ORDER BY id',
		extra_params => [ '-U', 'ops', '-v', 'VERBOSITY=verbose' ], on_error_stop => 0);
	return $rc == 0 && $err eq '' ? $out : $err;
}

# pg_basebackup

my $taken = $node->basedir . '/base';
$node->command_ok([ 'pg_basebackup', '-D', $taken, '-d', $node->connstr('postgres'), '-c', 'fast', '--no-sync' ], 'pg_basebackup');
my $manifest = slurp_file("$taken/backup_manifest");
my ($start, $file) = slurp_file("$taken/backup_label") =~ /^START WAL LOCATION: (\S+) \(file (\w+)\)/m;
my $label = sprintf '%s.%08X', $file, hex($start =~ s{.*/}{}r) % 16777216;

is(import_on($node, 'pg_basebackup', $manifest), "$label|done|added|", 'its manifest is a backup, named as its history file');
my $row = sql('SELECT * FROM deploydb.backup');
is(sql(qq{SELECT concat_ws('|', start_lsn::pg_lsn = '$start', start_wal, stop_wal, timeline, type, method, stop_lsn::pg_lsn <= pg_current_wal_lsn(), unknown)
	FROM deploydb.backup}), "t|$file|$file|1|full|physical|t", 'from where its label says');
my $bytes = 0;
$bytes += $1 while $manifest =~ /"Size": (\d+)/g;
is(sql('SELECT size_raw FROM deploydb.backup'), $bytes, 'as big as its files');
is(sql(q{SELECT finished_at BETWEEN now() - interval '1 hour' AND now() AND started_at <= finished_at FROM deploydb.backup}), 't', 'taken just now');
my ($sum) = $manifest =~ /"Manifest-Checksum": "(\w+)"/;
is(sql('SELECT manifest_checksum FROM deploydb.backup'), $sum, 'with the checksum of its manifest');
is(import_on($node, 'pg_basebackup', $manifest), "$label|done|unchanged|", 'twice');
is(sql('SELECT * FROM deploydb.backup'), $row, 'gives the same row');
is(in_log(), 'pg_basebackup: 1 added', 'and one line in the log');
is(sql('SELECT deploydb.fit_backup()'), '1', 'something to go back to');
like(import_on($node, 'pg_basebackup', $manifest =~ s/"c/"cc/r), qr/22023.*has 8 hexadecimal digits, this one 9/s, 'a checksum of a file that is too long');

SKIP:
{
	skip 'increments are of PostgreSQL 17 and later', 6 if $major < 17;
	$node->append_conf('postgresql.conf', 'summarize_wal = on');
	$node->reload;
	my $full = $node->basedir . '/full';
	$node->command_ok([ 'pg_basebackup', '-D', $full, '-d', $node->connstr('postgres'), '-c', 'fast', '--no-sync' ], 'a full one')
		or skip 'no full backup', 1;
	import_on($node, 'pg_basebackup', slurp_file("$full/backup_manifest"), q{, 'full'});
	my $parent = sql(q{SELECT id FROM deploydb.backup WHERE label = 'full'});
	my $incremental = $node->basedir . '/incremental';
	$node->command_ok([ 'pg_basebackup', '-D', $incremental, '-d', $node->connstr('postgres'), '-c', 'fast', '--no-sync', '-i', "$full/backup_manifest" ],
		'an increment');
	is(import_on($node, 'pg_basebackup', slurp_file("$incremental/backup_manifest"), q{, 'incremental'}),
		'incremental|done|added|what it is based on is not recorded', 'an increment whose base is not said');
	is(sql('SELECT deploydb.fit_backup()'), $parent, 'is nothing to go back to');
	is(import_on($node, 'pg_basebackup', slurp_file("$incremental/backup_manifest"), ", parent_id => $parent"), 'incremental|done|updated|', 'once it is said');
	is(sql('SELECT label FROM deploydb.backup WHERE id = deploydb.fit_backup()'), 'incremental', 'it is');
}

# A standby, and another cluster

my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('for_standby', backup_options => ['-cfast']);
$standby->init_from_backup($node, 'for_standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
like(import_on($standby, 'pg_basebackup', $manifest), qr/25006: this server is a standby.*HINT:  Call it on the primary/s, 'a standby imports nothing');
is($standby->safe_psql('postgres', 'SELECT deploydb.backup_is_fit(1)'), 't', 'and reads all');
$standby->stop;

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', 'CREATE EXTENSION deploydb; CREATE ROLE ops LOGIN');
$other->safe_psql('postgres', q{SELECT deploydb.grant_access('ops', 'operator')});
SKIP:
{
	skip 'before PostgreSQL 17 a manifest does not say of which system it is', 1 if $major < 17;
	like(import_on($other, 'pg_basebackup', $manifest), qr/22023: backup "\S+" cannot be as the document has it.*It is of system \d+, and this one is \d+/s,
		'the manifest of another cluster');
}

# pgBackRest

SKIP:
{
	IPC::Run::run([ 'sh', '-c', 'command -v pgbackrest >/dev/null' ])
		or skip 'pgBackRest is not installed', 1;
	my $dir = $node->basedir . '/pgbackrest';
	mkdir "$dir$_" for '', '/repo', '/lock', '/log';
	append_to_file("$dir/conf", join "\n", '[global]', "repo1-path=$dir/repo", 'repo1-retention-full=1', 'repo1-retention-full-type=count',
		"lock-path=$dir/lock", "log-path=$dir/log", 'log-level-file=off', 'log-level-console=warn', 'start-fast=y', 'archive-timeout=600',
		'[main]', 'pg1-path=' . $node->data_dir, 'pg1-socket-path=' . $node->host, 'pg1-port=' . $node->port, '');
	delete $ENV{$_} for grep { /^PGBACKREST_/ } keys %ENV;
	my @pgbackrest = ('pgbackrest', "--config=$dir/conf", '--stanza=main');
	my ($out, $err);

	my $info = sub {
		my ($json, $error);
		IPC::Run::run([ 'pgbackrest', "--config=$dir/conf", '--output=json', @_, 'info' ], '>', \$json, '2>', \$error) or die $error;
		return $json;
	};

	like(import_on($node, 'pgbackrest', $info->('--stanza=main')), qr/22023: the document has no stanza of this cluster.*stanza "main" \(missing stanza path\)/s,
		'before there is a stanza');
	if (!IPC::Run::run([ @pgbackrest, 'stanza-create' ], '>', \$out, '2>', \$err) && "$out$err" =~ /control version|is this version of PostgreSQL supported/)
	{
		skip "this pgBackRest does not know PostgreSQL $major", 1;
	}
	is($err, '', 'stanza-create');
	$node->append_conf('postgresql.conf', "archive_mode = on\narchive_command = '@pgbackrest archive-push %p'\n");
	$node->restart;

	is(import_on($node, 'pgbackrest', $info->()), '', 'a stanza without backups');
	my $before = sql('SELECT count(*) FROM deploydb.backup');
	command_ok([ @pgbackrest, '--type=full', 'backup' ], 'a full backup');
	sql('CREATE TABLE more AS SELECT generate_series(1, 1000) n');
	command_ok([ @pgbackrest, '--type=incr', '--annotation=release=week 3', 'backup' ], 'an incremental one');
	my $two = $info->();
	my ($full, $incr) = import_on($node, 'pgbackrest', $two) =~ /\A(\d+-\d+F)\|done\|added\|\n(\d+-\d+F_\d+-\d+I)\|done\|added\|\z/;
	ok($full && $incr, 'both are imported') or diag $two;
	is(in_log(), 'pgbackrest: 2 added', 'the log has it');
	is(sql(qq{SELECT concat_ws('|', b.type, b.method, b.annotation, p.label, b.system_identifier = s.system_identifier::text, b.timeline, b.start_lsn::pg_lsn < b.stop_lsn::pg_lsn,
			b.start_wal <= b.stop_wal, b.server_version / 10000, b.location, b.encryption) FROM pg_control_system() s, deploydb.backup b LEFT JOIN deploydb.backup p ON p.id = b.parent_id
		WHERE b.label = '$incr'}), qq/incr|physical|{"release": "week 3"}|$full|t|1|t|t|$major|stanza main, repo 1/, 'with all that pgBackRest says');
	is(sql(q{SELECT count(*) FROM deploydb.backup WHERE tool = 'pgbackrest' AND size_raw > size_stored AND size_stored > 0
		AND finished_at BETWEEN started_at AND now() AND (unknown -> 'info' -> 'delta') IS NOT NULL}), '2', 'sizes and times');
	is(sql('SELECT label FROM deploydb.backup WHERE id = deploydb.fit_backup()'), $incr, 'it is the newest to go back to');
	my $rows = sql('SELECT * FROM deploydb.backup ORDER BY id');
	is(import_on($node, 'pgbackrest', $two), "$full|done|unchanged|\n$incr|done|unchanged|", 'twice');
	is(sql('SELECT * FROM deploydb.backup ORDER BY id'), $rows, 'gives the same rows');
	is(import_on($node, 'pgbackrest', $info->('--stanza=main', "--set=$incr")) =~ /^\Q$incr\E\|done\|updated\|$/, 1, 'a backup in detail');
	is(sql(qq{SELECT jsonb_typeof(unknown -> 'database-ref') FROM deploydb.backup WHERE label = '$incr'}), 'array', 'has more keys, which are kept');
	like(import_on($other, 'pgbackrest', $two), qr/22023: the document has no stanza of this cluster.*stanza "main" \(system \d+\)/s, 'another cluster does not take them');
	like(import_on($node, 'pgbackrest', $two =~ s/"stop":"0\/\w+"/"stop":"FFFF\/0"/r), qr/22023.*and the server is at/s, 'an LSN ahead of the server');

	sql("SELECT deploydb.backup_verified((SELECT id FROM deploydb.backup WHERE label = '$full'), method => 'pgbackrest verify')");
	command_ok([ @pgbackrest, '--type=full', 'backup' ], 'a full backup, after which the first expires');
	my $rest = $info->();
	my ($new) = $rest =~ /"label":"([^"]+)"/;
	is(import_on($node, 'pgbackrest', $rest), "$full|expired|expired|the document has it no more\n$incr|expired|expired|the document has it no more\n$new|done|added|",
		'those that expired are known to have');
	is(sql('SELECT label FROM deploydb.backup WHERE id = deploydb.fit_backup()'), $new, 'the new one is what there is');
	is(sql(q{SELECT verdict || reasons::text FROM deploydb.backup_status() WHERE tool = 'pgbackrest'}),
		'warning{"the newest is not verified","none was ever restored"}', 'the status says what is missing');

	# Restored to where the first timeline was left: the server may be behind
	# backups of that one.
	my $restored = PostgreSQL::Test::Cluster->new('restored');
	mkdir $restored->data_dir, 0700;
	sql('CREATE TABLE later AS SELECT generate_series(1, 200000) n; SELECT pg_switch_wal()');
	command_ok([ @pgbackrest, '--type=full', '--repo1-retention-full=9', 'backup' ], 'a backup that is further than what is restored');
	my $all = $info->();
	command_ok([ @pgbackrest, '--pg1-path=' . $restored->data_dir, "--set=$new", '--type=immediate', '--target-action=promote', 'restore' ], 'a restore');
	$restored->append_conf('postgresql.conf', "archive_mode = off\n" . join('', map { "$_\n" } 'port = ' . $restored->port,
		"unix_socket_directories = '" . $restored->host . "'"));
	$restored->start;
	ok($restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'which is promoted');
	$restored->safe_psql('postgres', 'CHECKPOINT');
	like(import_on($restored, 'pgbackrest', $all), qr/^\Q$new\E\|done\|added\|\n\S+\|done\|added\|$/m, 'takes the backups of the timeline that it left');
	is($restored->safe_psql('postgres', 'SELECT count(*) FROM deploydb.backup WHERE timeline = 1 AND stop_lsn::pg_lsn > pg_current_wal_lsn()'), '1',
		'one of which has gone further than it has');
	$restored->stop;
}

done_testing();
