/*
 * request.c
 *		One request of a client: its options, its callbacks, its end.
 *
 * Locking: none.  Errors: none, see request.h.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <unistd.h>

#include "http/request.h"

static size_t
take_answer(char *data, size_t one, size_t size, void *context)
{
	Request    *request = context;
	size_t		room = HTTP_MAX_ANSWER - request->answer_size;
	size_t		taken = Min(size, room);
	char	   *bigger;

	(void) one;
	bigger = realloc(request->answer, request->answer_size + taken + 1);
	if (bigger == NULL)
		return 0;
	memcpy(bigger + request->answer_size, data, taken);
	request->answer = bigger;
	request->answer_size += taken;
	request->answer[request->answer_size] = '\0';
	/* Less than size ends the transfer, which is what we want. */
	return taken;
}

/* Keeps a header's value, without blanks around it, as far as there is room. */
static void
keep_value(char *to, size_t room, const char *from, size_t size)
{
	while (size > 0 && (*from == ' ' || *from == '\t'))
		from++, size--;
	while (size > 0 && strchr(" \t\r\n", from[size - 1]) != NULL)
		size--;
	size = Min(size, room - 1);
	memcpy(to, from, size);
	to[size] = '\0';
}

/* Called for each line, those of interim answers (1xx) included. */
static size_t
take_header(char *line, size_t one, size_t size, void *context)
{
	static const char name[] = "Retry-After:";
	Request    *request = context;

	(void) one;
	if (size > 5 && memcmp(line, "HTTP/", 5) == 0)
		request->retry_after[0] = '\0';
	else if (size > strlen(name) && pg_strncasecmp(line, name, strlen(name)) == 0)
		keep_value(request->retry_after, sizeof(request->retry_after),
				   line + strlen(name), size - strlen(name));
	else if (line[0] == '\r' || line[0] == '\n')
	{
		long		status = 0;

		if (curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
			status >= 200)
			request->answered = true;
	}
	return size;
}

/* The one place where an address is connected to. */
static curl_socket_t
open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	Request    *request = context;
	curl_socket_t result;

	(void) purpose;
	/* The proxy was chosen by who sets the server's settings. */
	if (!request->by_proxy &&
		!address_is_allowed(&request->destination, &address->addr, request->allow))
	{
		request->refused = true;
		return CURL_SOCKET_BAD;
	}
	result = socket(address->family, address->socktype | SOCK_CLOEXEC,
					address->protocol);
	if (result != CURL_SOCKET_BAD)
		request->opened = true;
	return result;
}

static int
about_to_ask(void *context, char *remote_ip, char *local_ip, int remote_port,
			 int local_port)
{
	Request    *request = context;

	(void) remote_ip;
	(void) local_ip;
	(void) remote_port;
	(void) local_port;
	request->asked = true;
	return CURL_PREREQFUNC_OK;
}

/* Called before the first message of TLS, where the TLS library has this. */
static CURLcode
about_to_encrypt(CURL *easy, void *ssl_context, void *context)
{
	Request    *request = context;

	(void) easy;
	(void) ssl_context;
	request->encrypting = true;
	return CURLE_OK;
}

/* ---- making one ready ---------------------------------------------------- */

#define SET(option, value) \
	do { \
		CURLcode set_code = curl_easy_setopt(easy, option, value); \
		if (set_code != CURLE_OK) \
			return set_code; \
	} while (0)

static CURLcode
set_callbacks(CURL *easy, Request *request)
{
	SET(CURLOPT_PRIVATE, request);
	SET(CURLOPT_ERRORBUFFER, request->error);
	SET(CURLOPT_WRITEFUNCTION, take_answer);
	SET(CURLOPT_WRITEDATA, request);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, request);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, request);
	SET(CURLOPT_PREREQFUNCTION, about_to_ask);
	SET(CURLOPT_PREREQDATA, request);
	/* Only OpenSSL and some others have it; we can do without. */
	(void) curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, about_to_encrypt);
	(void) curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, request);
	return CURLE_OK;
}

/*
 * How to talk, whomever to.  The proxy is set even where there is none, as
 * otherwise libcurl looks for one in the environment.
 */
static CURLcode
set_transport(CURL *easy, const HttpSettings *settings)
{
	SET(CURLOPT_NOSIGNAL, 1L);
#if CURL_AT_LEAST_VERSION(7, 87, 0)
	/* Else a timeout would wait for a name server that doesn't answer. */
	SET(CURLOPT_QUICK_EXIT, 1L);
#endif
#if CURL_AT_LEAST_VERSION(7, 85, 0)
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	/* One connection a request, so that one that hangs holds no other. */
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_TIMEOUT_MS, (long) settings->timeout_ms);
	SET(CURLOPT_PROXY, settings->proxy);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (settings->ca_file[0])
	{
		/* These authorities, and not the system's besides. */
		SET(CURLOPT_CAINFO, settings->ca_file);
		SET(CURLOPT_CAPATH, NULL);
	}
	return CURLE_OK;
}

static CURLcode
add_header(Request *request, const char *header)
{
	struct curl_slist *list;

	/* It could begin another header, or another request. */
	if (strpbrk(header, "\r\n") != NULL)
	{
		strlcpy(request->error, "A header holds a line break", sizeof(request->error));
		return CURLE_BAD_FUNCTION_ARGUMENT;
	}
	list = curl_slist_append(request->headers, header);
	if (list == NULL)
		return CURLE_OUT_OF_MEMORY;
	request->headers = list;
	return CURLE_OK;
}

static CURLcode
set_message(CURL *easy, Request *request, const HttpRequest *wanted)
{
	CURLcode	code;

	SET(CURLOPT_URL, wanted->url);
	if (strcmp(wanted->method, "GET") == 0)
		SET(CURLOPT_HTTPGET, 1L);
	else
	{
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(wanted->body));
		SET(CURLOPT_COPYPOSTFIELDS, wanted->body);
		SET(CURLOPT_CUSTOMREQUEST, wanted->method);
	}
	/* With "Expect: 100-continue", a large body would wait for an answer. */
	code = add_header(request, "Expect:");
	for (int i = 0; code == CURLE_OK && i < wanted->header_count; i++)
		code = add_header(request, wanted->headers[i]);
	if (code != CURLE_OK)
		return code;
	SET(CURLOPT_HTTPHEADER, request->headers);
	SET(CURLOPT_USERAGENT, "deploydb/" DEPLOYDB_VERSION);
	return CURLE_OK;
}

/* The text without the brackets of an IPv6 address. */
static char *
copy_host(const char *host)
{
	size_t		size = strlen(host);

	if (size >= 2 && host[0] == '[' && host[size - 1] == ']')
		return strndup(host + 1, size - 2);
	return strdup(host);
}

/* Reads the URL as libcurl will; false for one that is not of HTTP. */
static bool
read_destination(const char *url, Request *request)
{
	CURLU	   *parsed = curl_url();
	char	   *scheme = NULL;
	char	   *host = NULL;
	char	   *port = NULL;
	bool		result;

	result = parsed != NULL &&
		curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		(request->host = copy_host(host)) != NULL;
	if (result)
	{
		request->destination.host = request->host;
		request->destination.port = (int) strtol(port, NULL, 10);
		request->destination.encrypted = strcmp(scheme, "https") == 0;
		result = request->destination.encrypted || strcmp(scheme, "http") == 0;
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(parsed);
	return result;
}

static CURLcode
prepare(Request *request, const HttpSettings *settings, const HttpRequest *wanted)
{
	CURL	   *easy = request->easy;
	CURLcode	code;

	request->allow = strdup(settings->allow);
	if (request->allow == NULL)
		return CURLE_OUT_OF_MEMORY;
	code = set_callbacks(easy, request);
	if (code == CURLE_OK)
		code = set_transport(easy, settings);
	if (code == CURLE_OK)
		code = set_message(easy, request, wanted);
	if (code != CURLE_OK)
		return code;

	if (!read_destination(wanted->url, request))
		return CURLE_URL_MALFORMAT;
	request->by_proxy = settings->proxy[0] != '\0';
	if (request->by_proxy &&
		!destination_is_allowed(&request->destination, request->allow))
	{
		request->refused = true;
		return CURLE_COULDNT_CONNECT;
	}
	return CURLE_OK;
}

Request *
request_create(const HttpSettings *settings, const HttpRequest *wanted, bool *failed)
{
	Request    *request = calloc(1, sizeof(Request));
	CURLcode	code;

	if (request == NULL)
		return NULL;
	request->id = wanted->id;
	request->version = wanted->version;
	request->easy = curl_easy_init();
	if (request->easy == NULL)
	{
		free(request);
		return NULL;
	}
	code = prepare(request, settings, wanted);
	*failed = code != CURLE_OK;
	if (*failed)
	{
		request_end(request, code);
		/* To try it again would make it no better. */
		request->stage = "policy";
	}
	return request;
}

/* ---- its end ------------------------------------------------------------- */

static const char *
last_stage(Request *request)
{
	if (request->refused && !request->opened)
		return "policy";
	if (request->asked || request->answered)
		return "http";
	if (!request->opened)
		return "dns";
	return request->encrypting ? "tls" : "tcp";
}

/*
 * libcurl's own words where it has some.  They name hosts, addresses and
 * certificates, but not what follows the host in the URL, which may be a
 * secret; this makes sure of it, whatever a later version says.
 */
static void
set_error(Request *request, CURLcode code)
{
	char	   *url = NULL;
	const char *rest;

	if (request->refused && !request->opened)
	{
		snprintf(request->error, sizeof(request->error),
				 "%s is not allowed: it needs an entry in deploydb.webhook_allow",
				 request->destination.encrypted ? "The address" : "HTTP without encryption to this address");
		return;
	}
	if (request->error[0] == '\0')
		strlcpy(request->error, curl_easy_strerror(code), sizeof(request->error));
	if (curl_easy_getinfo(request->easy, CURLINFO_EFFECTIVE_URL, &url) != CURLE_OK || url == NULL)
		return;
	rest = strstr(url, "://");
	rest = strpbrk(rest ? rest + 3 : url, "/?#");
	if (rest && rest[1] && strstr(request->error, rest) != NULL)
		strlcpy(request->error, curl_easy_strerror(code), sizeof(request->error));
}

void
request_end(Request *request, CURLcode code)
{
	long		status = 0;
	curl_off_t	microseconds = 0;

	request->stage = last_stage(request);
	if (request->answered &&
		curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK)
		request->status = (int) status;
	if (curl_easy_getinfo(request->easy, CURLINFO_TOTAL_TIME_T, &microseconds) == CURLE_OK)
		request->milliseconds = (double) microseconds / 1000;

	/* We ended it ourselves, having got all that we keep. */
	if (code == CURLE_WRITE_ERROR && request->answer_size == HTTP_MAX_ANSWER)
		code = CURLE_OK;
	if (code == CURLE_OK)
		request->error[0] = '\0';
	else
		set_error(request, code);
}

void
request_free(Request *request)
{
	curl_easy_cleanup(request->easy);
	curl_slist_free_all(request->headers);
	free(request->allow);
	free(request->host);
	free(request->answer);
	free(request);
}
