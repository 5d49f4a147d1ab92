/*
 * http.h
 *		HTTP requests in the background of a process that waits for a latch.
 *
 * Gives: an interface, as a struct of functions.  It lies in a module of its
 * own, deploydb_http, which alone is linked with libcurl: who needs it loads
 * it by load_external_function() and asks HTTP_INTERFACE_FUNCTION for it.
 * Needs: address_policy.h.
 *
 * No function raises an error but wait(), and that only as WaitLatch() does.
 * Nothing given to a function is kept: texts are copied.  Memory is malloc's,
 * not that of a memory context.
 */
#ifndef DEPLOYDB_HTTP_H
#define DEPLOYDB_HTTP_H

#include "postgres.h"

#define HTTP_LIBRARY "$libdir/deploydb_http"
#define HTTP_INTERFACE_FUNCTION "deploydb_http_interface"

/* Of an answer, no more than this is kept; what follows is not even read. */
#define HTTP_MAX_ANSWER (64 * 1024)

typedef struct HttpClient HttpClient;

/* "" stands for none: no proxy, the system's authorities, nothing allowed. */
typedef struct HttpSettings
{
	int			timeout_ms;		/* for all of a request */
	const char *proxy;
	const char *ca_file;
	const char *allow;			/* see address_policy.h */
} HttpSettings;

typedef struct HttpRequest
{
	int64		id;				/* the caller's, comes back with the result */
	int64		version;		/* likewise */
	const char *method;
	const char *url;
	const char *const *headers; /* "Name: value" */
	int			header_count;
	const char *body;
} HttpRequest;

/*
 * What became of a request.  The status is 0 as long as the header of an answer
 * has not come whole.  The stage is the last one reached: "dns", "tcp", "tls",
 * "http", or "policy" where an address was refused.  The error, "" for none,
 * names the URL's host at most.
 */
typedef struct HttpResult
{
	int64		id;
	int64		version;
	int			status;
	const char *stage;
	const char *error;
	const char *retry_after;	/* as the header had it, or NULL */
	const char *answer;			/* may hold any byte */
	size_t		answer_size;
	double		milliseconds;
} HttpResult;

typedef struct HttpInterface
{
	const char *version;		/* must be the caller's DEPLOYDB_VERSION */

	/*
	 * For as long as the process lives, and to be configured first.  NULL
	 * when out of memory.
	 */
	HttpClient *(*create) (void);

	/*
	 * Sets what is started from now on; what is under way keeps its own.
	 * False when out of memory: then nothing has changed.
	 */
	bool		(*configure) (HttpClient *client, const HttpSettings *settings);

	/*
	 * False when it could not be begun, out of memory or of file descriptors:
	 * then there is no result.  Whatever else is wrong becomes the result.
	 */
	bool		(*start) (HttpClient *client, const HttpRequest *request);

	/*
	 * Waits for MyLatch, for the time to pass (-1 for no limit), for the
	 * postmaster's death, and for the requests, which it carries on.  True
	 * when the latch is set; it stays so.
	 */
	bool		(*wait) (HttpClient *client, long timeout_ms,
						 uint32 wait_event);

	/*
	 * The next result, which lives as long as no other is asked for; false
	 * when there is none.
	 */
	bool		(*next_result) (HttpClient *client, HttpResult *result);
} HttpInterface;

typedef const HttpInterface *(*HttpInterfaceFunction) (void);

#endif							/* DEPLOYDB_HTTP_H */
