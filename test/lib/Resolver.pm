# Resolver.pm
#		A library to be preloaded, which resolves names that no name server knows:
#
#	...never.example		comes to no end
#	...private.example		127.0.0.1
package Resolver;

use strict;
use warnings;

# library(directory): its file, which is made there; undef without a compiler.
sub library
{
	my ($directory) = @_;
	my $library = "$directory/resolver.so";
	open(my $source, '>', "$directory/resolver.c") or die $!;
	print $source <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	int			(*next) (const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		dlsym(RTLD_NEXT, "getaddrinfo");

	if (name && strstr(name, "never.example"))
		sleep(600);
	if (name && strstr(name, "private.example"))
		name = "127.0.0.1";
	return next(name, service, hints, result);
}
C
	close $source;
	return system("gcc -shared -fPIC -o $library $directory/resolver.c -ldl 2>$directory/gcc.log") == 0 ? $library : undef;
}

1;
