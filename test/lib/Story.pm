# Story.pm
#		What scripts/story.sql needs: settings of the server, and a receiver.
package Story;

use strict;
use warnings;

our $settings = "shared_preload_libraries = 'deploydb'\ndeploydb.webhook_allow = '127.0.0.1'\n";

package Story::Receiver;

use IPC::Run;
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
