# The manual is right: the reference has every function, view, table and
# setting as the catalogs have them, the operations page every rule, and the
# examples of the reference and of both READMEs run as they are written and give
# what they show.
#
# Run is each block that is fenced as "sql".  A statement ends in ";" or in a
# meta-command of psql's; what follows, up to the next statement, is its
# output, in which "…" stands for anything.  Without output only errors count.
# <!-- sql: … --> runs, too, and is not shown.  A block after <!-- story --> is
# a part of what scripts/story.sql and scripts/deployment.sql print, on the same
# terms.
#
# Some sections of the reference are in Chinese, too, and must stay the same.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Story;
use Test::More;

# The name is the cluster_name that a capture shows.  No monitor sends what the
# examples queue; the story has one.
my $node = PostgreSQL::Test::Cluster->new('staging');
$node->init;
$node->append_conf('postgresql.conf', "TimeZone = 'UTC'\nshared_preload_libraries = 'deploydb'\ndeploydb.databases = 'none'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION deploydb; CREATE ROLE dba SUPERUSER LOGIN');

# What psql shows in a terminal, warnings in their place
sub psql
{
	my ($database, $sql, @options) = @_;
	local $ENV{PGCLIENTENCODING} = 'UTF8';
	my $shown = '';
	IPC::Run::run([ 'psql', '-X', '-q', '-P', 'footer=off', @options,
			'-d', $node->connstr($database) . ' user=dba' ],
		'<', \$sql, '>&', \$shown);
	$shown =~ s/[ \t]+$//mg;
	$shown =~ s/\n+\z/\n/;
	return $shown;
}

sub monitor
{
	my $database = shift;
	$node->append_conf('postgresql.conf', $Story::settings . "deploydb.databases = '$database'\n");
	$node->reload;
	return;
}

sub rows
{
	return map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres', shift);
}

# "…" is anything, everything else itself
sub pattern
{
	my $text = shift;
	$text =~ s/[ \t]+$//mg;
	$text =~ s/\n+\z/\n/;
	return join '.*?', map { quotemeta } split /…/, $text, -1;
}

# The reference against the catalogs

my $reference = slurp_file('docs/reference.md');
my %section;
for my $part (split /^(?=##)/m, $reference)
{
	$section{$1} = $part if $part =~ /^### (?:view |table )?(\w+)/;
}

my @functions = rows(q{
	SELECT p.oid, p.proname, p.proname || '('
		|| regexp_replace(regexp_replace(replace(pg_get_function_arguments(p.oid),
			'timestamp with time zone', 'timestamptz'), '::(double precision|\w+)(\[\])?', '', 'g'), '(, )?OUT \w+ (double precision|\w+)', '', 'g')
		|| ') → ' || CASE WHEN pg_get_function_result(p.oid) ~ '^TABLE|record' THEN 'table'
			ELSE replace(replace(pg_get_function_result(p.oid), 'SETOF', 'setof'),
				'timestamp with time zone', 'timestamptz') END
	FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
		JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e'
	WHERE e.extname = 'deploydb' ORDER BY p.proname});
cmp_ok(scalar @functions, '>', 30, 'there are functions to look for');
for my $function (@functions)
{
	my ($oid, $name, $signature) = @$function;
	ok(index($reference, "`$signature`") >= 0, "the reference has $signature");
	next if !exists $section{$name} || $signature !~ /table$/;
	my $columns = $node->safe_psql('postgres', qq{
		SELECT string_agg(a.name || ' ' || replace(format_type(a.type, NULL),
			'timestamp with time zone', 'timestamptz'), ', ')
		FROM pg_proc p, unnest(p.proargnames, p.proargmodes, p.proallargtypes) AS a (name, mode, type)
		WHERE p.oid = $oid AND a.mode IN ('t', 'o')});
	my @missing = grep { $section{$name} !~ /^\| \Q$_\E \|/m } split /, /, $columns;
	is("@missing", '', "and each column of $name()");
}

for my $relation (rows(q{
	SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, c.relname,
		string_agg(a.attname, ' ' ORDER BY a.attnum)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE n.nspname = 'deploydb' AND c.relkind IN ('r', 'v') GROUP BY c.oid ORDER BY 1, 2}))
{
	my ($kind, $name, $columns) = @$relation;
	my ($row) = $reference =~ /^(\| $kind \Q$name\E \|.*)$/m;
	my @missing = grep { ($row // '') !~ /\b$_\b/ } split / /, $columns;
	is("@missing", '', "the reference has $kind $name with its columns");
}

for my $setting (rows(q{
	SELECT name, vartype || COALESCE(', ' || unit, '') || COALESCE(', ' || min_val || ' to ' || max_val, ''),
		COALESCE(NULLIF(boot_val, ''), 'empty'), CASE context WHEN 'user' THEN 'anybody' WHEN 'sighup' THEN 'reload' ELSE context END
	FROM pg_settings WHERE name LIKE 'deploydb.%' ORDER BY 1}))
{
	my $row = join ' | ', @$setting;
	ok(index($reference, "| $row |") >= 0, "the reference has $row");
}

# The Chinese twin of some sections

# What is not translated: headings, signatures, blocks, names in tables; and
# below each heading the SQLSTATEs, whose order is the language's.
sub untranslated
{
	my $text = shift;
	$text =~ s/^\|.*\n(?=\|---)//mg;
	my @found = $text =~ /^(### [\w-]+\n`[^`]*`)|(`\w+\([^`]* → [^`]*`)|^(```.*?^```)$|^\| ([!-{}~][ -{}~]*) \|/smg;
	for my $part (split /^(?=### [\w-]+$)/m, $text)
	{
		my %sqlstate = map { $_ => 1 } $part =~ /\b(\d[\dA-Z]{4}|ZD\d{3})\b/g;
		push @found, join ' ', sort keys %sqlstate;
	}
	return [ grep { defined } @found ];
}

my (undef, $twin) = split /^(?=## )/m, slurp_file('docs/bookkeeping.zh-CN.md'), 2;
is_deeply(untranslated($twin),
	untranslated(join '', grep { /^## (?:Backups|Deployment|Checklist|Rollback|Bookkeeping)$/m } split /^(?=## )/m, $reference),
	'docs/bookkeeping.zh-CN.md has what these sections of the reference have');

# The examples

# Both halves of a block: pairs of a statement and what is shown for it
sub statements
{
	my @pairs;
	my $open = 0;
	for my $line (split /^/, shift)
	{
		if ($open || $line =~ /^(?:[A-Z]{3,} |\\)/)
		{
			push @pairs, [ '', '' ] if !$open;
			$pairs[-1][0] .= $line;
			$open = $line !~ /^\\|;\s*(?:--.*)?$|\\g\w+\s*$/;
		}
		else
		{
			$pairs[-1][1] .= $line;
		}
	}

	# A variable is set for the statement that uses it.
	for (my $i = $#pairs - 1; $i >= 0; $i--)
	{
		next if $pairs[$i][0] !~ /^\\set/;
		$pairs[ $i + 1 ][0] = $pairs[$i][0] . $pairs[ $i + 1 ][0];
		splice @pairs, $i, 1;
	}
	return @pairs;
}

sub check_statement
{
	my ($file, $database, $statement, $output) = @_;
	my $shown = psql($database, $statement);
	my ($first) = $statement =~ /^(.*)$/m;
	if ($output =~ /\S/)
	{
		my $expected = pattern($output);
		like($shown, qr/\A$expected\z/s, "$file: $first");
	}
	else
	{
		unlike($shown, qr/^ERROR:/m, "$file: $first");
	}
	return;
}

# Each rule's runbook is a section of the operations page, of whatever language
$node->safe_psql('postgres', 'CREATE DATABASE operations');
$node->safe_psql('operations', q{CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec});
for my $file ('docs/operations.md', 'docs/operations.zh-CN.md')
{
	my %sections = slurp_file($file) =~ /^### (\w+)\n\n(.*?)(?=^##|\z)/msg;
	my @rules = rows(q{SELECT split_part(runbook, '#', 2), severity, metric = 'insight.write.burn' FROM deploydb.builtin_rule});
	is_deeply([ sort keys %sections ], [ sort map { $_->[0] } @rules ], "$file has a section for each rule");
	foreach my $rule (@rules)
	{
		my ($id, $severity, $several) = @$rule;
		# that of the burn rates is what their pair of windows says
		like($sections{$id}, $several eq 't' ? qr/^P0.*P3/ : qr/^$severity\W.{20}/, "$file: $id is $severity");
		my @looks = $sections{$id} =~ /`(SELECT [^`]*;)`/g;
		isnt("@looks", '', "$file: where to look at $id");
		check_statement($file, 'operations', $_, '') foreach @looks;
	}

	# of one value again and again there are few samples
	my ($look) = $sections{api_down} =~ /`(SELECT [^`]*;)`/;
	$node->safe_psql('operations', "SELECT deploydb.push_metric('api.up', 1, now() - interval '4 minutes'); SELECT deploydb.push_metric('api.up', 1)");
	is($node->safe_psql('operations', $look =~ s/^/SELECT age < interval '2 minutes' FROM (/r =~ s/;$/) look/r), 't', "$file: whether cron pushes");
}

# The deployment is of a database of its own.
$node->append_conf('postgresql.conf', "deploydb.metrics_collection_interval = '1s'");
monitor('production');
my $team = Story::Receiver->new;
my (undef, $deployment) = Story::deployment($node, 'dba', $team);
$deployment =~ s/[ \t]+$//mg;
$deployment .= $team->stop;
monitor('none');

for my $file ('docs/reference.md', 'README.md', 'README.zh-CN.md')
{
	my $database = 'vocabulary';
	my $examples = 0;
	my $story = '';
	my $text = slurp_file($file);
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING UTF8");
	if ($text =~ /^<!-- story -->/m)
	{
		my $receiver = Story::Receiver->new;
		monitor($database);
		$story = psql($database, slurp_file('scripts/story.sql'), '-P', 'footer=on', '-v', 'receiver=' . $receiver->url);
		$story .= $receiver->stop . $deployment;
	}
	while ($text =~ /^(?:<!-- sql: (.*?) -->|(<!-- story -->\n)?```(\w*)\n(.*?)^```)$/smg)
	{
		my ($setup, $of_story, $language, $block) = ($1, $2, $3, $4);
		if (defined $setup)
		{
			is(psql($database, "SET client_min_messages = error;\n$setup", '-t', '-o', '/dev/null'),
				'', "$file: what an example needs");
		}
		elsif ($of_story)
		{
			my $expected = pattern($block);
			like($story, qr/$expected/s, "$file: a part of the story");
			$examples++;
		}
		elsif ($language eq 'sql')
		{
			check_statement($file, $database, @$_) for statements($block);
			$examples++;
		}
	}
	cmp_ok($examples, '>', 5, "$file has examples");
	$node->safe_psql('postgres', "DROP DATABASE $database");
	monitor('none');
}

$node->stop;
done_testing();
