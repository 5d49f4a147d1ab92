# Receiver.pm
#		An HTTP server that also misbehaves, for tests of webhooks.
#
# The path of a request tells what is done with it:
#	/ok...			200
#	/status/N		the status N, with a Retry-After header from the query
#	/hang			no answer
#	/drip			one byte of an answer each second
#	/garbage		no HTTP
#	/large			100 MB
#	/reset			the connection is reset
# Each request is a line of the log: time, method, path, the header webhook-id,
# and the body without its line ends, separated by tabs.
package Receiver;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time sleep);

# new(log file, PEM file for TLS): listens on a port of its own, in a process
# of its own.
sub new
{
	my ($class, $log, $pem) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp',
		Listen => 200, ReuseAddr => 1) or die "cannot listen: $!";
	my $self = bless { port => $listener->sockport, log => $log, pem => $pem }, $class;
	open(my $out, '>', $log) or die "cannot write $log: $!";
	close $out;
	my $pid = fork();
	die "cannot fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		# Nothing of the test's own is to run in this process.
		local $SIG{__DIE__} = 'DEFAULT';
		local $SIG{TERM} = sub { POSIX::_exit(0) };
		eval { $self->serve($listener); 1 } or print STDERR "receiver: $@";
		require POSIX;
		POSIX::_exit(1);
	}
	$self->{pid} = $pid;
	return $self;
}

sub port { return $_[0]{port} }

sub url
{
	my ($self, $path) = @_;
	return ($self->{pem} ? 'https' : 'http') . "://127.0.0.1:$self->{port}$path";
}

# The requests so far: hashes of time, method, path, id, body.
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
	require POSIX;
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
				my $client = $self->accept_client($listener) or next;
				$select->add($client->{socket});
				$clients{ $client->{socket} } = $client;
				next;
			}
			my $client = $clients{$socket};
			next if $self->read_client($client);
			$select->remove($socket);
			delete $clients{$socket};
		}
		foreach my $client (values %clients)
		{
			next unless ($client->{drip_at} || 1e12) <= time;
			$client->{drip_at} = time + 1;
			$client->{socket}->syswrite(substr $client->{drip}, 0, 1, '');
		}
	}
	return;
}

sub accept_client
{
	my ($self, $listener) = @_;
	my $socket = $listener->accept or return;
	if ($self->{pem})
	{
		require IO::Socket::SSL;
		$socket = IO::Socket::SSL->start_SSL($socket, SSL_server => 1, SSL_cert_file => $self->{pem},
			SSL_key_file => $self->{pem}) or return;
	}
	$socket->blocking(0);
	return { socket => $socket, data => '' };
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
	my ($method, $path, $rest) = $header =~ m{^(\S+) (\S+) HTTP/1\.1\r\n(.*)}s;
	my ($id) = $header =~ /^webhook-id: *(\S+)/mi;
	(my $headers = $rest || '') =~ s/\r\n/|/g;
	$body =~ tr/\r\n\t/   /;
	$self->{out}->print(join("\t", time, $method, $path, $id || '', $headers, $body), "\n");

	my $socket = $client->{socket};
	if ($path =~ m{^/ok}) { return respond($socket, 200, '', 'ok') }
	if ($path =~ m{^/status/(\d+)(?:\?(.*))?$})
	{
		my ($status, $after) = ($1, $2);
		$after =~ s/\+/ /g if $after;
		my $extra = $after ? "Retry-After: $after\r\n" : '';
		$extra .= "Location: http://127.0.0.1:$self->{port}/ok/redirected\r\n" if $status =~ /^3/;
		return respond($socket, $status, $extra, "status $status");
	}
	if ($path eq '/hang') { return 1 }
	if ($path eq '/drip')
	{
		@$client{qw(drip drip_at)} = ("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" . 'x' x 5000, time);
		return 1;
	}
	if ($path eq '/garbage') { $socket->syswrite("\x00\xff\xfegarbage\r\n\r\n" x 20); return 0 }
	if ($path eq '/large')
	{
		$socket->blocking(1);
		$socket->print("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
		foreach (1 .. 1600) { $socket->print("\xff" x 65536) or last }
		return 0;
	}
	if ($path eq '/reset')
	{
		setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
		close $socket;
		return 0;
	}
	return respond($socket, 404, '', 'no such path');
}

sub respond
{
	my ($socket, $status, $extra, $body) = @_;
	$socket->syswrite("HTTP/1.1 $status Status\r\nContent-Type: text/plain\r\n${extra}Content-Length: "
		  . length($body) . "\r\n\r\n$body");
	return 1;
}

1;
