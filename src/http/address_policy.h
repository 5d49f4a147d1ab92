/*
 * address_policy.h
 *		Where requests may go.
 *
 * Gives: whether an address may be connected to.
 * Needs: nothing of the other modules.
 *
 * HTTPS may go to public addresses.  Plain HTTP, and addresses that are
 * private, link-local, loopback or otherwise not public, need an entry in the
 * list of what is allowed: names of hosts, addresses and networks, separated
 * by commas, each alone or followed by ":port"; an IPv6 address with a port
 * stands in brackets.  "hooks.internal, 10.1.0.0/16:8080, [fd00::7]:443".
 * An entry that is none of these allows nothing.
 *
 * Errors: none.
 */
#ifndef DEPLOYDB_ADDRESS_POLICY_H
#define DEPLOYDB_ADDRESS_POLICY_H

#include "postgres.h"

#include <sys/socket.h>

/* What a URL names. */
typedef struct Destination
{
	const char *host;			/* a name or an address, as the URL has it */
	int			port;
	bool		encrypted;
} Destination;

/* May it be connected to at this address, which its host was resolved to? */
extern bool address_is_allowed(const Destination *destination,
							   const struct sockaddr *address,
							   const char *allow);

/*
 * May it be asked for through a proxy, which resolves its host where we cannot
 * see?  An address is judged as such, a name by itself.
 */
extern bool destination_is_allowed(const Destination *destination,
								   const char *allow);

#endif							/* DEPLOYDB_ADDRESS_POLICY_H */
