# Nginx.pm
#		nginx as the end of TLS in front of a receiver, with authorities of its
#		own.
package Nginx;

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep);

sub program
{
	my ($found) = grep { -x } '/usr/sbin/nginx', map { "$_/nginx" } split /:/, $ENV{PATH};
	return $found;
}

# Whether there is all that it takes.
sub is_here { return program() && system('openssl version >/dev/null 2>&1') == 0 }

sub run
{
	my ($directory, $command) = @_;
	system("cd '$directory' && $command >>commands.log 2>&1") == 0 or die "failed: $command, see $directory/commands.log";
	return;
}

# new(directory, port to hand on to): ports "good", with a certificate that
# the authority in ca.pem has made for 127.0.0.1, "foreign", with one that
# another authority has, "other", with one for another name, and "expired".
sub new
{
	my ($class, $directory, $to) = @_;
	my $self = bless { directory => $directory, port => {} }, $class;
	run($directory, qq{openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Authority $_" -keyout $_.key -out $_.pem})
	  foreach qw(ca another_ca);
	my %names = (good => 'IP:127.0.0.1,DNS:localhost', foreign => 'IP:127.0.0.1', other => 'DNS:other.example', expired => 'IP:127.0.0.1');
	my $servers = '';
	foreach my $name (sort keys %names)
	{
		open(my $file, '>', "$directory/$name.ext") or die $!;
		print $file "subjectAltName=$names{$name}\n";
		close $file;
		run($directory, qq{openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout $name.key -out $name.csr});
		my $ca = $name eq 'foreign' ? 'another_ca' : 'ca';
		my $sign = "openssl x509 -req -in $name.csr -CA $ca.pem -CAkey $ca.key -set_serial 1 -extfile $name.ext -out $name.pem";
		# Where dates can be given, a number of days must not be negative.
		run($directory, $name eq 'expired'
			? "{ $sign -not_before 20200101000000Z -not_after 20200102000000Z || $sign -days -1; }"
			: "$sign -days 2");
		my $port = $self->{port}{$name} = free_port();
		$servers .= qq{
	server {
		listen 127.0.0.1:$port ssl;
		ssl_certificate $directory/$name.pem;
		ssl_certificate_key $directory/$name.key;
		location / { proxy_pass http://127.0.0.1:$to; proxy_set_header X-Forwarded-Proto \$scheme; }
	}};
	}
	my $temporary = join '', map { "\t${_}_temp_path $directory/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
	open(my $file, '>', "$directory/nginx.conf") or die $!;
	print $file "daemon off;\nmaster_process off;\npid $directory/nginx.pid;\nerror_log $directory/error.log;\n"
	  . "events { }\nhttp {\n\taccess_log $directory/access.log;\n$temporary$servers\n}\n";
	close $file;
	$self->start;
	return $self;
}

sub free_port
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die "no port: $!";
	return $socket->sockport;
}

sub start
{
	my ($self) = @_;
	my $pid = fork();
	die "cannot fork: $!" unless defined $pid;
	exec(program(), '-c', "$self->{directory}/nginx.conf", '-p', $self->{directory}, '-e', "$self->{directory}/error.log")
	  or POSIX::_exit(1)
	  if $pid == 0;
	$self->{pid} = $pid;
	foreach (1 .. 100)
	{
		return if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}{good});
		sleep 0.1;
	}
	die "nginx does not start, see $self->{directory}/error.log";
}

sub url
{
	my ($self, $name, $path) = @_;
	return "https://127.0.0.1:$self->{port}{$name}$path";
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

1;
