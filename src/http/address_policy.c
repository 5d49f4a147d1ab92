/*
 * address_policy.c
 *		Where requests may go.
 *
 * Locking: none.  Errors: none; no memory is allocated.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "http/address_policy.h"

/* A name has at most 255 characters, an entry some more. */
#define MAX_ENTRY 300

/* An IPv4 address has 4 bytes, an IPv6 address 16. */
typedef struct Address
{
	int			size;
	unsigned char bytes[16];
} Address;

typedef struct Network
{
	Address		address;
	int			bits;
} Network;

/* What is not public of IPv4, by the registry of special-purpose addresses. */
static const Network special_v4[] = {
	{{4, {0}}, 8},				/* "this network" */
	{{4, {10}}, 8},
	{{4, {100, 64}}, 10},		/* carriers' address translation */
	{{4, {127}}, 8},
	{{4, {169, 254}}, 16},		/* link-local, and clouds' metadata */
	{{4, {172, 16}}, 12},
	{{4, {192, 0, 0}}, 24},
	{{4, {192, 0, 2}}, 24},
	{{4, {192, 88, 99}}, 24},	/* relays of 6to4 */
	{{4, {192, 168}}, 16},
	{{4, {198, 18}}, 15},
	{{4, {198, 51, 100}}, 24},
	{{4, {203, 0, 113}}, 24},
	{{4, {224}}, 3},			/* multicast, reserved, broadcast */
};

/* Of IPv6 this alone is given out ... */
static const Network public_v6 = {{16, {0x20}}, 3};

/* ... but for these. */
static const Network special_v6[] = {
	{{16, {0x20, 0x01}}, 23},	/* protocols, such as Teredo */
	{{16, {0x20, 0x01, 0x0d, 0xb8}}, 32},
	{{16, {0x20, 0x02}}, 16},	/* 6to4 */
	{{16, {0x3f, 0xff}}, 20},
};

/* These hold an IPv4 address, which is what is reached. */
static const Network mapped = {{16, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}}, 96};
static const Network translated = {{16, {0, 0x64, 0xff, 0x9b}}, 96};

static bool
within(const Address *address, const Network *network)
{
	int			whole = network->bits / 8;
	int			rest = network->bits % 8;

	if (address->size != network->address.size ||
		memcmp(address->bytes, network->address.bytes, whole) != 0)
		return false;
	return rest == 0 ||
		((address->bytes[whole] ^ network->address.bytes[whole]) >> (8 - rest)) == 0;
}

static bool
within_any(const Address *address, const Network *networks, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (within(address, &networks[i]))
			return true;
	}
	return false;
}

static Address
last_four_bytes(const Address *address)
{
	Address		result = {4, {0}};

	memcpy(result.bytes, address->bytes + 12, 4);
	return result;
}

static bool
is_public(const Address *address)
{
	Address		inner;

	if (address->size == 4)
		return !within_any(address, special_v4, lengthof(special_v4));
	if (within(address, &translated))
	{
		inner = last_four_bytes(address);
		return is_public(&inner);
	}
	return within(address, &public_v6) &&
		!within_any(address, special_v6, lengthof(special_v6));
}

/* Whether the text is an address; a mapped one becomes that of IPv4. */
static bool
parse_address(const char *text, Address *address)
{
	memset(address, 0, sizeof(*address));
	address->size = 4;
	if (inet_pton(AF_INET, text, address->bytes) == 1)
		return true;
	address->size = 16;
	if (inet_pton(AF_INET6, text, address->bytes) != 1)
		return false;
	if (within(address, &mapped))
		*address = last_four_bytes(address);
	return true;
}

static bool
address_of_socket(const struct sockaddr *socket, Address *address)
{
	memset(address, 0, sizeof(*address));
	if (socket->sa_family == AF_INET)
	{
		struct sockaddr_in in;

		memcpy(&in, socket, sizeof(in));
		address->size = 4;
		memcpy(address->bytes, &in.sin_addr, 4);
		return true;
	}
	if (socket->sa_family == AF_INET6)
	{
		struct sockaddr_in6 in;

		memcpy(&in, socket, sizeof(in));
		address->size = 16;
		memcpy(address->bytes, &in.sin6_addr, 16);
		if (within(address, &mapped))
			*address = last_four_bytes(address);
		return true;
	}
	return false;
}

/* A number that is the whole text; -1 for none. */
static int
parse_number(const char *text, int max)
{
	int			result = 0;

	if (*text == '\0')
		return -1;
	for (; *text; text++)
	{
		if (*text < '0' || *text > '9')
			return -1;
		result = result * 10 + (*text - '0');
		if (result > max)
			return -1;
	}
	return result;
}

/* Without regard to case (ASCII) and to the dot that ends a full name. */
static bool
same_name(const char *a, const char *b)
{
	size_t		la = strlen(a);
	size_t		lb = strlen(b);

	if (la > 1 && a[la - 1] == '.')
		la--;
	if (lb > 1 && b[lb - 1] == '.')
		lb--;
	return la == lb && pg_strncasecmp(a, b, la) == 0;
}

/*
 * Cuts an entry in two: what names the host or network stays, and the port is
 * given back: 0 for any, -1 for one that is none.
 */
static int
cut_port(char **entry)
{
	char	   *text = *entry;
	char	   *end;

	if (text[0] == '[')
	{
		end = strchr(text, ']');
		if (end == NULL)
			return -1;
		*end++ = '\0';
		*entry = text + 1;
		if (*end == '\0')
			return 0;
		if (*end != ':')
			return -1;
	}
	else
	{
		end = strchr(text, ':');
		if (end == NULL || strchr(end + 1, ':') != NULL)
			return 0;			/* no port, or an IPv6 address */
		*end = '\0';
	}
	return parse_number(end + 1, 65535);
}

/*
 * The address is NULL where it isn't known.  What has a slash is a network, or
 * allows nothing.
 */
static bool
entry_allows(char *entry, const Destination *destination, const Address *address)
{
	int			port = cut_port(&entry);
	char	   *bits = strchr(entry, '/');
	Network		network;

	if (port != 0 && port != destination->port)
		return false;
	if (bits)
		*bits++ = '\0';
	if (!parse_address(entry, &network.address))
		return bits == NULL && *entry != '\0' && same_name(entry, destination->host);
	network.bits = network.address.size * 8;
	if (bits)
		network.bits = parse_number(bits, network.bits);
	return network.bits >= 0 && address != NULL && within(address, &network);
}

static bool
list_allows(const char *allow, const Destination *destination,
			const Address *address)
{
	while (*allow)
	{
		char		entry[MAX_ENTRY];
		size_t		size;

		allow += strspn(allow, ", \t\r\n");
		size = strcspn(allow, ", \t\r\n");
		if (size > 0 && size < sizeof(entry))
		{
			memcpy(entry, allow, size);
			entry[size] = '\0';
			if (entry_allows(entry, destination, address))
				return true;
		}
		allow += size;
	}
	return false;
}

bool
address_is_allowed(const Destination *destination,
				   const struct sockaddr *address, const char *allow)
{
	Address		binary;

	if (!address_of_socket(address, &binary))
		return false;
	if (destination->encrypted && is_public(&binary))
		return true;
	return list_allows(allow, destination, &binary);
}

/* Whether the name is one for the machine itself, wherever it is looked up. */
static bool
is_local_name(const char *name)
{
	static const char local[] = "localhost";
	size_t		size = strlen(name);

	if (size > 1 && name[size - 1] == '.')
		size--;
	if (size < strlen(local) ||
		pg_strncasecmp(name + size - strlen(local), local, strlen(local)) != 0)
		return false;
	return size == strlen(local) || name[size - strlen(local) - 1] == '.';
}

bool
destination_is_allowed(const Destination *destination, const char *allow)
{
	char		host[MAX_ENTRY];
	Address		address;
	bool		known;

	strlcpy(host, destination->host, sizeof(host));
	known = parse_address(host, &address);
	if (destination->encrypted &&
		(known ? is_public(&address) : !is_local_name(host)))
		return true;
	return list_allows(allow, destination, known ? &address : NULL);
}
