/*
 * address_policy.c
 *		Where requests may go: classes of addresses, and the list of what is
 *		allowed.
 *
 * Prints a line for what is wrong, and nothing when all is well.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "http/address_policy.h"

static bool
ask(const char *host, const char *address, int port, bool encrypted, const char *allow)
{
	Destination destination = {
		.host = host,
		.port = port,
		.encrypted = encrypted,
	};
	struct sockaddr_storage storage = {0};
	struct sockaddr_in *in = (struct sockaddr_in *) &storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &storage;

	if (inet_pton(AF_INET, address, &in->sin_addr) == 1)
		in->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1)
		in6->sin6_family = AF_INET6;
	else
		printf("%s is no address\n", address);
	return address_is_allowed(&destination, (struct sockaddr *) &storage, allow);
}

/* An address by HTTPS, with nothing allowed; by HTTP it must be refused. */
static void
expect_public(const char *address, bool expected)
{
	if (ask("host", address, 443, true, "") != expected)
		printf("%s is %s\n", address, expected ? "not public" : "public");
	if (ask("host", address, 80, false, ""))
		printf("%s is allowed without encryption\n", address);
	/* What is allowed by name is allowed wherever it is. */
	if (!ask("host", address, 80, false, "host"))
		printf("%s is refused though its host is allowed\n", address);
}

static void
check_classes(void)
{
	static const char *const public[] = {
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
		"128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
		"192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2606:4700::1111", "2001:200::1", "2001:4860:4860::8888", "2003::1", "3ffe:ffff::1",
		"64:ff9b::101:101", "::ffff:1.1.1.1",
	};
	static const char *const special[] = {
		"0.0.0.0", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.127.255.255",
		"127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.1",
		"192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.0", "198.19.255.255",
		"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:20::1",
		"2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::", "2002:101:101::", "3fff::1", "3fff:fff::1",
		"4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1",
	};

	for (int i = 0; i < lengthof(public); i++)
		expect_public(public[i], true);
	for (int i = 0; i < lengthof(special); i++)
		expect_public(special[i], false);
}

typedef struct Case
{
	const char *allow;
	const char *host;
	const char *address;
	int			port;
	bool		expected;
} Case;

/* Without encryption. */
static void
check_list(void)
{
	static const Case cases[] = {
		{"hooks.internal", "hooks.internal", "10.0.0.1", 80, true},
		{"hooks.internal", "HOOKS.Internal", "10.0.0.1", 80, true},
		{"hooks.internal.", "hooks.internal", "10.0.0.1", 80, true},
		{"hooks.internal", "hooks.internal.", "10.0.0.1", 80, true},
		{"hooks.internal", "x.hooks.internal", "10.0.0.1", 80, false},
		{"hooks.internal", "hooks.interna", "10.0.0.1", 80, false},
		{"hooks.internal", "hooks.internal.evil", "10.0.0.1", 80, false},
		{"hooks.internal:8080", "hooks.internal", "10.0.0.1", 8080, true},
		{"hooks.internal:8080", "hooks.internal", "10.0.0.1", 80, false},
		{"a, b,hooks.internal ,c", "hooks.internal", "10.0.0.1", 80, true},
		{" ,,, ", "", "10.0.0.1", 80, false},
		{"", "", "10.0.0.1", 80, false},
		{":80", "", "10.0.0.1", 80, false},
		{"10.0.0.1", "h", "10.0.0.1", 80, true},
		{"10.0.0.1", "h", "10.0.0.2", 80, false},
		{"10.0.0.1:81", "h", "10.0.0.1", 81, true},
		{"10.0.0.1:81", "h", "10.0.0.1", 80, false},
		{"10.0.0.0/8", "h", "10.255.0.1", 80, true},
		{"10.0.0.0/8", "h", "11.0.0.0", 80, false},
		{"10.1.128.0/17:8080", "h", "10.1.200.1", 8080, true},
		{"10.1.128.0/17:8080", "h", "10.1.127.1", 8080, false},
		{"10.0.0.0/33", "h", "10.0.0.1", 80, false},
		{"10.0.0.0/", "h", "10.0.0.0", 80, false},
		{"10.0.0.0/-1", "h", "10.0.0.0", 80, false},
		{"10.0.0.0/8x", "h", "10.0.0.0", 80, false},
		{"10.0.0.1:", "h", "10.0.0.1", 80, false},
		{"10.0.0.1:65536", "h", "10.0.0.1", 80, false},
		{"10.0.0.1:99999999999999999999", "h", "10.0.0.1", 80, false},
		{"0.0.0.0/0", "h", "127.0.0.1", 80, true},
		{"0.0.0.0/0", "h", "::1", 80, false},
		{"::/0", "h", "::1", 80, true},
		{"127.0.0.1", "h", "::ffff:127.0.0.1", 80, true},
		{"::ffff:127.0.0.1", "h", "127.0.0.1", 80, true},
		{"::1", "h", "::1", 80, true},
		{"[::1]", "h", "::1", 80, true},
		{"[::1]:8080", "h", "::1", 8080, true},
		{"[::1]:8080", "h", "::1", 80, false},
		{"[::1", "h", "::1", 80, false},
		{"[::1]8080", "h", "::1", 8080, false},
		{"fd00::/8", "h", "fd12::1", 80, true},
		{"fd00::/8", "h", "fc12::1", 80, false},
		{"[fd00::/8]:443", "h", "fd12::1", 443, true},
		{"fd00::/129", "h", "fd00::", 80, false},
		/* a name that is the address's text, as a URL may have it */
		{"10.0.0.1", "10.0.0.1", "10.0.0.1", 80, true},
		{"10.0.0.1", "10.0.0.1", "10.0.0.2", 80, false},
		/* what is no network is no such name, either */
		{"127.0.0.1/33", "127.0.0.1", "127.0.0.1", 80, false},
		{"127.0.0.1/", "127.0.0.1", "127.0.0.1", 80, false},
		{"[::1/129]", "::1", "::1", 80, false},
		{"hooks.internal/8", "hooks.internal", "10.0.0.1", 80, false},
		{"hooks.internal/", "hooks.internal", "10.0.0.1", 80, false},
	};
	char		many[2000];

	for (int i = 0; i < lengthof(cases); i++)
	{
		if (ask(cases[i].host, cases[i].address, cases[i].port, false, cases[i].allow) != cases[i].expected)
			printf("\"%s\" %s %s (%s) port %d\n", cases[i].allow,
				   cases[i].expected ? "refuses" : "allows", cases[i].host, cases[i].address, cases[i].port);
	}

	/* An entry too long for any name is passed over. */
	memset(many, 'a', sizeof(many));
	strcpy(many + sizeof(many) - 10, ",10.0.0.1");
	if (!ask("h", "10.0.0.1", 80, false, many))
		printf("what follows a long entry is not read\n");
}

/* Where a proxy resolves the name. */
static void
check_destinations(void)
{
	static const struct
	{
		const char *host;
		bool		encrypted;
		const char *allow;
		bool		expected;
	}			cases[] = {
		{"hooks.slack.com", true, "", true},
		{"hooks.slack.com", false, "", false},
		{"hooks.slack.com", false, "hooks.slack.com", true},
		{"1.1.1.1", true, "", true},
		{"10.0.0.1", true, "", false},
		{"10.0.0.1", true, "10.0.0.0/8", true},
		{"::1", true, "", false},
		{"fd00::1", true, "fd00::/8", true},
		{"localhost", true, "", false},
		{"LOCALHOST.", true, "", false},
		{"a.localhost", true, "", false},
		{"notlocalhost", true, "", true},
		{"localhost", true, "localhost", true},
	};

	for (int i = 0; i < lengthof(cases); i++)
	{
		Destination destination = {
			.host = cases[i].host,
			.port = 443,
			.encrypted = cases[i].encrypted,
		};

		if (destination_is_allowed(&destination, cases[i].allow) != cases[i].expected)
			printf("%s%s through a proxy is %s with \"%s\"\n", cases[i].encrypted ? "https://" : "http://",
				   cases[i].host, cases[i].expected ? "refused" : "allowed", cases[i].allow);
	}
}

int
main(void)
{
	struct sockaddr local = {.sa_family = AF_UNIX};
	Destination destination = {
		.host = "h",
		.port = 80,
		.encrypted = true,
	};

	check_classes();
	check_list();
	check_destinations();
	if (address_is_allowed(&destination, &local, "h"))
		printf("a local socket is allowed\n");
	return 0;
}
