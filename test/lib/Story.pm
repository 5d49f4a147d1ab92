# Story.pm
#		What scripts/story.sql and scripts/deployment.sql need: settings of the
#		server, databases, and a receiver.
package Story;

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;

our $settings = "shared_preload_libraries = 'deploydb'\ndeploydb.webhook_allow = '127.0.0.1'\n";

# Tells scripts/deployment.sql; whether it came to its end, what was shown, and the
# folder with what it leaves.
sub deployment
{
	my ($node, $user, $receiver, @options) = @_;
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => $user, PGCLIENTENCODING => 'UTF8');
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my $shown = '';
	my $psql = sub {
		my ($database, $text, @more) = @_;
		return IPC::Run::run([ 'psql', '-X', '-q', @more, '-d', $database ], '<', \$text, '>>&', \$shown);
	};

	foreach my $database ('staging', 'production')
	{
		$psql->('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING UTF8");
		$psql->($database, slurp_file('scripts/lib/prisma.sql'));
	}
	my $ok = $psql->('production', slurp_file('scripts/deployment.sql'), @options,
		'-v', "folder=$folder", '-v', 'receiver=' . $receiver->url);
	return ($ok, $shown, $folder);
}

package Story::Receiver;

use PostgreSQL::Test::Utils;

sub new
{
	my $class = shift;
	my $directory = PostgreSQL::Test::Utils::tempdir();
	my $file = "$directory/port";
	my $self = bless { input => '', log => "$directory/received" }, $class;

	$self->{process} = IPC::Run::start([ 'perl', 'scripts/lib/receiver.pl', $file ],
		'<', \$self->{input}, '>', $self->{log});
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if -f $file;
		select undef, undef, undef, 0.1;
	}
	($self->{port}) = slurp_file($file) =~ /([0-9]+)/;
	return $self;
}

sub url { return "http://127.0.0.1:$_[0]{port}/team" }

# What it showed
sub stop
{
	my $self = shift;

	$self->{process}->finish;
	return slurp_file($self->{log});
}

1;
