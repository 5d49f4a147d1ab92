# Receiver.pm
#		An HTTP server that also misbehaves, for tests of webhooks.
#
# The path of a request tells what is done with it:
#	/ok/...			200
#	/kilobytes/N	200, with an answer of N kB
#	/status/N		the status N
#	/code/N			200, with the code N in the body
#	/seconds/N		429 with "Retry-After: N"
#	/date/N			429 with a Retry-After of the date in N seconds
#	/moved			301 to /ok/moved
#	/flaky/N		503 for the first N requests of an id, then 200
#	/chinese		200, in Chinese
#	/late/MS/...	200, after MS milliseconds in which nobody is answered
#	/late/MS/404/...	404, and what was not found, likewise
#	/hang			no answer
#	/shut			200, once there is no file of the log's name with ".shut"
#	/drip			one byte of an answer each second
#	/garbage		no HTTP
#	/large			100 MB
#	/first/N		N bytes of an answer of 100 MB, and no more
#	/reset			the connection is reset
# Each request is a line of the log: time, method, path, the header webhook-id,
# all headers, and the body, without line ends, separated by tabs.
package Receiver;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time sleep);

my %WAYS = (
	ok => sub { my ($self, $client) = @_; return respond($client, 200, '', 'ok') },
	kilobytes => sub { my ($self, $client, $n) = @_; return respond($client, 200, '', 'x' x (1024 * $n)) },
	status => sub { my ($self, $client, $status) = @_; return respond($client, $status =~ s/\?.*//r, '', "status $status") },
	code => sub {
		my ($self, $client, $code) = @_;
		$code = 0 + ($code =~ /^(\d+)/)[0];
		return respond($client, 200, '', qq({"errcode":$code,"code":$code}));
	},
	seconds => sub { my ($self, $client, $n) = @_; return respond($client, 429, "Retry-After: $n\r\n", 'later') },
	date => sub {
		my ($self, $client, $n) = @_;
		my $date = POSIX::strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time + $n));
		return respond($client, 429, "Retry-After: $date\r\n", 'later');
	},
	moved => sub {
		my ($self, $client) = @_;
		return respond($client, 301, 'Location: ' . $self->url('/ok/moved') . "\r\n", 'moved');
	},
	flaky => sub {
		my ($self, $client, $n, $id) = @_;
		return $self->{seen}{$id}++ < $n ? respond($client, 503, '', 'not yet') : respond($client, 200, '', 'at last');
	},
	chinese => sub { my ($self, $client) = @_; return respond($client, 200, '', "\xe6\x94\xb6\xe5\x88\xb0") },
	late => sub {
		my ($self, $client, $ms) = @_;
		sleep(($ms =~ /^([0-9]+)/)[0] / 1000);
		return $ms =~ m{/404/} ? respond($client, 404, '', "Cannot POST /late/$ms") : respond($client, 200, '', 'ok');
	},
	hang => sub { return 1 },
	shut => sub { my ($self, $client) = @_; return $client->{shut} = 1 },
	drip => sub {
		my ($self, $client) = @_;
		@$client{qw(drip drip_at)} = ("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", time);
		return 1;
	},
	garbage => sub { my ($self, $client) = @_; $client->{socket}->syswrite("\x00\xff\xfe\r\n\r\n" x 100); return 0 },
	large => sub {
		my ($self, $client) = @_;
		$client->{socket}->blocking(1);
		$client->{socket}->print("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
		foreach (1 .. 1600) { $client->{socket}->print("\xff" x 65536) or last }
		return 0;
	},
	first => sub {
		my ($self, $client, $n) = @_;
		$client->{socket}->blocking(1);
		$client->{socket}->print("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", "\xff" x $n);
		return 1;
	},
	reset => sub {
		my ($self, $client) = @_;
		setsockopt $client->{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
		close $client->{socket};
		return 0;
	});

# new(log file [, port]): listens on a port of its own, in a process of its own.
sub new
{
	my ($class, $log, $port) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port // 0, Proto => 'tcp',
		Listen => 200, ReuseAddr => 1) or die "cannot listen: $!";
	my $self = bless { port => $listener->sockport, log => $log, seen => {} }, $class;
	open(my $out, '>', $log) or die "cannot write $log: $!";
	close $out;
	my $pid = fork();
	die "cannot fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		# Nothing of the test's own is to run in this process.
		$SIG{__DIE__} = 'DEFAULT';
		eval { $self->serve($listener); 1 } or print STDERR "receiver: $@";
		POSIX::_exit(1);
	}
	$self->{pid} = $pid;
	return $self;
}

sub port { return $_[0]{port} }

sub url
{
	my ($self, $path) = @_;
	return "http://127.0.0.1:$self->{port}$path";
}

# The requests so far: hashes of time, method, path, id, headers, body.
sub requests
{
	my ($self) = @_;
	open(my $in, '<', $self->{log}) or die "cannot read $self->{log}: $!";
	my @requests;
	while (my $line = <$in>)
	{
		last unless chomp $line;
		my %request;
		@request{qw(time method path id headers body)} = split /\t/, $line, 6;
		push @requests, \%request;
	}
	return @requests;
}

sub stop
{
	my ($self) = @_;
	return unless $self->{pid};
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{pid};
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local $?;
	$self->stop;
	return;
}

# ---- the process that answers ----------------------------------------------

sub serve
{
	my ($self, $listener) = @_;
	$SIG{PIPE} = 'IGNORE';
	open($self->{out}, '>>', $self->{log}) or die "cannot write: $!";
	$self->{out}->autoflush(1);
	my $select = IO::Select->new($listener);
	my %clients;
	while (1)
	{
		foreach my $socket ($select->can_read(0.2))
		{
			if ($socket == $listener)
			{
				my $accepted = $listener->accept or next;
				$accepted->blocking(0);
				$select->add($accepted);
				$clients{$accepted} = { socket => $accepted, data => '' };
				next;
			}
			my $client = $clients{$socket};
			next if $self->read_client($client);
			$select->remove($socket);
			delete $clients{$socket};
		}
		foreach my $client (values %clients)
		{
			if ($client->{shut} && !-e "$self->{log}.shut")
			{
				respond($client, 200, '', 'ok');
				$client->{shut} = 0;
			}
			next unless ($client->{drip_at} || 1e12) <= time;
			$client->{drip_at} = time + 1;
			$client->{socket}->syswrite(substr $client->{drip}, 0, 1, '');
		}
	}
	return;
}

# False when the client is to be forgotten.
sub read_client
{
	my ($self, $client) = @_;
	my $socket = $client->{socket};
	my $got = $socket->sysread($client->{data}, 65536, length $client->{data});
	return 0 if defined $got && $got == 0;
	while ($client->{data} =~ /^(.*?)\r\n\r\n/s)
	{
		my ($header, $start) = ($1, $+[0]);
		my ($length) = $header =~ /^Content-Length: *(\d+)/mi;
		$length ||= 0;
		last if length($client->{data}) < $start + $length;
		my $body = substr $client->{data}, $start, $length;
		substr($client->{data}, 0, $start + $length) = '';
		$self->answer($client, $header, $body) or return 0;
	}
	return 1;
}

sub answer
{
	my ($self, $client, $header, $body) = @_;
	my ($method, $path, $rest) = $header =~ m{^(\S+) (\S+) HTTP/1\.[01]\r\n(.*)}s;
	my ($id) = $header =~ /^webhook-id: *(\S+)/mi;
	(my $headers = $rest || '') =~ s/\r\n/|/g;
	$body =~ tr/\r\n\t/   /;
	$self->{out}->print(join("\t", time, $method, $path, $id || '', $headers, $body), "\n");

	# To a proxy, the path is a whole URL.
	my ($first, $argument) = $path =~ m{^(?:http://[^/]*)?/([a-z]+)(?:/(\S*))?$};
	my $way = $first && $WAYS{$first} or return respond($client, 404, '', 'no such path');
	return $way->($self, $client, $argument, $id);
}

sub respond
{
	my ($client, $status, $extra, $body) = @_;
	$client->{socket}->syswrite("HTTP/1.1 $status Status\r\nContent-Type: text/plain\r\n${extra}Content-Length: "
		  . length($body) . "\r\n\r\n$body");
	return 1;
}

1;
