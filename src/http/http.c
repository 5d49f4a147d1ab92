/*
 * http.c
 *		HTTP requests in the background: the client, and its event loop.
 *
 * libcurl tells which sockets it waits for and until when; wait() puts these
 * sockets into one WaitEventSet with the latch, and hands on what happens.  A
 * set is made for each wait, as events cannot be taken from one.
 *
 * Signals are blocked while libcurl works, so that the threads that it starts
 * to resolve names take none of the process's: the server's handlers must run
 * in its only thread.
 *
 * Locking: none.  Errors: see http.h.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/latch.h"

#include "compat.h"
#include "http/request.h"

#define EVENTS_AT_ONCE 64

/* Connections that are kept open for the next request. */
#define IDLE_CONNECTIONS 16L

/* libcurl's default would let a few name servers that hang delay all others. */
#define RESOLVER_THREADS 256L

typedef struct Socket
{
	curl_socket_t fd;
	uint32		events;			/* WL_SOCKET_* */
} Socket;

struct HttpClient
{
	CURLM	   *multi;

	HttpSettings settings;		/* its texts are ours */

	Socket	   *sockets;
	int			socket_count;
	int			socket_room;

	bool		timer_set;		/* libcurl wants to be called ... */
	double		timer_at;		/* ... at this time, in milliseconds */

	Request    *running;
	Request    *finished;
	Request   **finished_end;
	Request    *handed_out;
};

PG_MODULE_MAGIC;

extern PGDLLEXPORT const HttpInterface *deploydb_http_interface(void);

/* ---- signals ------------------------------------------------------------- */

static void
block_signals(sigset_t *before)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static void
restore_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* ---- what libcurl waits for ---------------------------------------------- */

static Socket *
find_socket(HttpClient *client, curl_socket_t fd)
{
	for (int i = 0; i < client->socket_count; i++)
	{
		if (client->sockets[i].fd == fd)
			return &client->sockets[i];
	}
	return NULL;
}

static Socket *
add_socket(HttpClient *client, curl_socket_t fd)
{
	if (client->socket_count == client->socket_room)
	{
		int			room = client->socket_room ? 2 * client->socket_room : 16;
		Socket	   *bigger = realloc(client->sockets, room * sizeof(Socket));

		if (bigger == NULL)
			return NULL;
		client->sockets = bigger;
		client->socket_room = room;
	}
	client->sockets[client->socket_count].fd = fd;
	return &client->sockets[client->socket_count++];
}

static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *unused)
{
	HttpClient *client = context;
	Socket	   *entry = find_socket(client, fd);

	(void) easy;
	(void) unused;
	if (what == CURL_POLL_REMOVE)
	{
		if (entry)
			*entry = client->sockets[--client->socket_count];
		return 0;
	}
	if (entry == NULL)
		entry = add_socket(client, fd);
	if (entry == NULL)
		return -1;
	entry->events = ((what & CURL_POLL_IN) ? WL_SOCKET_READABLE : 0) |
		((what & CURL_POLL_OUT) ? WL_SOCKET_WRITEABLE : 0);
	return 0;
}

/* By a clock that nobody sets. */
static double
now_in_milliseconds(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MILLISEC(now);
}

static int
set_timer(CURLM *multi, long timeout_ms, void *context)
{
	HttpClient *client = context;

	(void) multi;
	client->timer_set = timeout_ms >= 0;
	client->timer_at = now_in_milliseconds() + (double) timeout_ms;
	return 0;
}

/* Milliseconds until then, rounded up; -1 for never. */
static long
until_timer(HttpClient *client)
{
	double		left;

	if (!client->timer_set)
		return -1;
	left = client->timer_at - now_in_milliseconds();
	return left <= 0 ? 0 : (long) left + 1;
}

/* ---- requests ------------------------------------------------------------ */

static void
finish(HttpClient *client, Request *request)
{
	request->next = NULL;
	*client->finished_end = request;
	client->finished_end = &request->next;
}

static void
unlink_running(HttpClient *client, Request *request)
{
	for (Request **at = &client->running; *at; at = &(*at)->next)
	{
		if (*at == request)
		{
			*at = request->next;
			return;
		}
	}
}

/* Takes what has ended out of libcurl's hands. */
static void
collect_ended(HttpClient *client)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(client->multi, &left)) != NULL)
	{
		CURLcode	code = message->data.result;
		char	   *owner = NULL;
		Request    *request;

		if (message->msg != CURLMSG_DONE ||
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &owner) != CURLE_OK ||
			owner == NULL)
			continue;
		request = (Request *) owner;
		request_end(request, code);
		curl_multi_remove_handle(client->multi, request->easy);
		unlink_running(client, request);
		ReleaseExternalFD();
		finish(client, request);
	}
}

static bool
http_start(HttpClient *client, const HttpRequest *wanted)
{
	sigset_t	before;
	bool		failed = false;
	Request    *request;

	/* The server leaves room for the descriptors that it is told of. */
	if (!AcquireExternalFD())
		return false;
	block_signals(&before);
	request = request_create(&client->settings, wanted, &failed);
	if (request && !failed &&
		curl_multi_add_handle(client->multi, request->easy) != CURLM_OK)
	{
		request_free(request);
		request = NULL;
	}
	if (request && !failed)
	{
		request->next = client->running;
		client->running = request;
	}
	else
	{
		ReleaseExternalFD();
		if (request)
			finish(client, request);
	}
	restore_signals(&before);
	return request != NULL;
}

static bool
http_next_result(HttpClient *client, HttpResult *result)
{
	Request    *request = client->finished;

	if (client->handed_out)
	{
		request_free(client->handed_out);
		client->handed_out = NULL;
	}
	if (request == NULL)
		return false;
	client->finished = request->next;
	if (client->finished == NULL)
		client->finished_end = &client->finished;
	client->handed_out = request;

	result->id = request->id;
	result->status = request->status;
	result->stage = request->stage;
	result->error = request->error;
	result->retry_after = request->retry_after[0] ? request->retry_after : NULL;
	result->answer = request->answer ? request->answer : "";
	result->answer_size = request->answer_size;
	result->milliseconds = request->milliseconds;
	return true;
}

/* ---- the event loop's turn ----------------------------------------------- */

static void
handle_events(HttpClient *client, const WaitEvent *events, int count)
{
	sigset_t	before;
	int			running;

	block_signals(&before);
	for (int i = 0; i < count; i++)
	{
		int			what = 0;

		if (events[i].events & WL_SOCKET_READABLE)
			what |= CURL_CSELECT_IN;
		if (events[i].events & WL_SOCKET_WRITEABLE)
			what |= CURL_CSELECT_OUT;
		if (what)
			curl_multi_socket_action(client->multi, events[i].fd, what, &running);
	}
	if (until_timer(client) == 0)
	{
		/* It is called again for the next time. */
		client->timer_set = false;
		curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	collect_ended(client);
	restore_signals(&before);
}

/* How many events there are; leaks nothing on an error. */
static int
wait_for_events(HttpClient *client, long timeout_ms, WaitEvent *events,
				uint32 wait_event)
{
	WaitEventSet *set = compat_create_wait_event_set(client->socket_count + 2);
	volatile int count = 0;

	PG_TRY();
	{
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		for (int i = 0; i < client->socket_count; i++)
			AddWaitEventToSet(set, client->sockets[i].events, client->sockets[i].fd,
							  NULL, NULL);
		count = WaitEventSetWait(set, timeout_ms, events, EVENTS_AT_ONCE, wait_event);
	}
	PG_FINALLY();
	{
		FreeWaitEventSet(set);
	}
	PG_END_TRY();
	return count;
}

static bool
http_wait(HttpClient *client, long timeout_ms, uint32 wait_event)
{
	WaitEvent	events[EVENTS_AT_ONCE];
	long		timer = until_timer(client);
	int			count;

	/* What could not even begin has ended already. */
	if (client->finished)
		timeout_ms = 0;
	else if (timer >= 0 && (timeout_ms < 0 || timer < timeout_ms))
		timeout_ms = timer;

	count = wait_for_events(client, timeout_ms, events, wait_event);
	handle_events(client, events, count);
	for (int i = 0; i < count; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			return true;
	}
	return false;
}

/* ---- the client ---------------------------------------------------------- */

static void
free_requests(Request *list)
{
	while (list)
	{
		Request    *next = list->next;

		request_free(list);
		list = next;
	}
}

static void
http_destroy(HttpClient *client)
{
	sigset_t	before;

	block_signals(&before);
	for (Request *request = client->running; request; request = request->next)
	{
		curl_multi_remove_handle(client->multi, request->easy);
		ReleaseExternalFD();
	}
	free_requests(client->running);
	free_requests(client->finished);
	free_requests(client->handed_out);
	curl_multi_cleanup(client->multi);
	restore_signals(&before);
	free(client->sockets);
	free(unconstify(char *, client->settings.proxy));
	free(unconstify(char *, client->settings.ca_file));
	free(unconstify(char *, client->settings.allow));
	free(client);
}

static bool
set_up_multi(HttpClient *client)
{
	CURLM	   *multi = client->multi;

	return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client) == CURLM_OK &&
#if CURL_AT_LEAST_VERSION(8, 20, 0)
		curl_multi_setopt(multi, CURLMOPT_RESOLVE_THREADS_MAX, RESOLVER_THREADS) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L) == CURLM_OK &&
#endif
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS) == CURLM_OK;
}

static HttpClient *
http_create(const HttpSettings *settings)
{
	HttpClient *client = calloc(1, sizeof(HttpClient));

	if (client == NULL)
		return NULL;
	client->multi = curl_multi_init();
	if (client->multi == NULL)
	{
		free(client);
		return NULL;
	}
	client->finished_end = &client->finished;
	client->settings.timeout_ms = settings->timeout_ms;
	client->settings.proxy = strdup(settings->proxy);
	client->settings.ca_file = strdup(settings->ca_file);
	client->settings.allow = strdup(settings->allow);
	if (client->settings.proxy && client->settings.ca_file && client->settings.allow &&
		set_up_multi(client))
		return client;
	http_destroy(client);
	return NULL;
}

static const HttpInterface interface = {
	.version = DEPLOYDB_VERSION,
	.create = http_create,
	.destroy = http_destroy,
	.start = http_start,
	.wait = http_wait,
	.next_result = http_next_result,
};

/* NULL when libcurl cannot be used. */
const HttpInterface *
deploydb_http_interface(void)
{
	static bool ready = false;

	if (!ready)
		ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	return ready ? &interface : NULL;
}
