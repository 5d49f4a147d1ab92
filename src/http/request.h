/*
 * request.h
 *		One request of a client.
 *
 * Gives: a libcurl handle that has been made ready, and what became of it.
 * Needs: http.h, address_policy.h.
 *
 * For the files of this folder alone.  libcurl calls us back in the middle of
 * its work, so nothing here raises an error, and memory is malloc's.
 */
#ifndef DEPLOYDB_REQUEST_H
#define DEPLOYDB_REQUEST_H

#include "postgres.h"

#include <curl/curl.h>

#include "http/address_policy.h"
#include "http/http.h"

typedef struct Request
{
	struct Request *next;		/* in the list that its client has it in */
	int64		id;
	int64		version;
	CURL	   *easy;
	struct curl_slist *headers;

	/* what the callbacks go by */
	char	   *allow;
	char	   *host;
	Destination destination;
	bool		by_proxy;

	/* what the callbacks have seen */
	bool		refused;		/* an address, by the policy */
	bool		opened;			/* a socket */
	bool		encrypting;		/* connected, and about to begin with TLS */
	bool		asked;			/* connected, and about to send the request */
	bool		answered;		/* the answer's header is whole */
	char		retry_after[64];
	char	   *answer;
	size_t		answer_size;

	char		error[CURL_ERROR_SIZE];

	/* once it has ended */
	int			status;
	const char *stage;
	double		milliseconds;
} Request;

/*
 * Makes a request ready to be added to a multi handle.  NULL when out of
 * memory; with *failed set, it has ended already, and says why.
 */
extern Request *request_create(const HttpSettings *settings,
							   const HttpRequest *wanted, bool *failed);

/* libcurl is done with it. */
extern void request_end(Request *request, CURLcode code);

extern void request_free(Request *request);

#endif							/* DEPLOYDB_REQUEST_H */
