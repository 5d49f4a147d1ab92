# receiver.pl FILE: an HTTP server on a port of its own on 127.0.0.1, which it
# writes to FILE.  It shows the text of each message that arrives, in the format
# of Slack, and when; it ends when its standard input does.
use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(strftime);
use Time::HiRes qw(time);

my ($file) = @ARGV;
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 16)
  or die "cannot listen: $!\n";
open my $port, '>', "$file.new" or die "cannot write $file.new: $!\n";
print $port $listener->sockport, "\n";
close $port;
rename "$file.new", $file or die "cannot rename $file.new: $!\n";
binmode STDOUT, ':encoding(UTF-8)';
$| = 1;

my $select = IO::Select->new($listener, \*STDIN);
my %read;
while (my @ready = $select->can_read)
{
	foreach my $handle (@ready)
	{
		if ($handle == \*STDIN)
		{
			exit 0 if !sysread(STDIN, my $ignored, 4096);
		}
		elsif ($handle == $listener)
		{
			$select->add($listener->accept // next);
		}
		elsif (!$handle->sysread($read{$handle}, 65536, length($read{$handle} // '')))
		{
			delete $read{$handle};
			$select->remove($handle);
			close $handle;
		}
		else
		{
			answer($handle);
		}
	}
}

sub answer
{
	my $client = shift;

	while ($read{$client} =~ /\A(.*?)\r\n\r\n/s)
	{
		my $head = $1;
		my $start = length($head) + 4;
		my ($length) = $head =~ /^content-length:\s*([0-9]+)/im;
		$length //= 0;
		return if length($read{$client}) < $start + $length;
		show(substr $read{$client}, $start, $length);
		$read{$client} = substr $read{$client}, $start + $length;
		print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
	}
}

sub show
{
	my $text = eval { decode_json($_[0])->{text} } // $_[0];
	my $now = time;
	my $at = strftime('%H:%M:%S', localtime $now) . sprintf('.%03d', ($now - int $now) * 1000);

	print "    $at  $_\n" foreach split /\n/, $text;
}
