/*
 * http.c
 *		HTTP requests in the background: the client, and its event loop.
 *
 * libcurl tells which sockets it waits for and until when; wait() puts these
 * sockets into one WaitEventSet with the latch, and hands on what happens.  A
 * set is made for each wait, as events cannot be taken from one.
 *
 * Other settings begin another session, with a multi handle of its own, so
 * that no connection is used again that was made under the old ones.  An old
 * session ends with its last request.
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
	struct Session *session;
} Socket;

/* What goes by the same settings. */
typedef struct Session
{
	struct Session *older;
	HttpClient *client;
	CURLM	   *multi;
	HttpSettings settings;		/* its texts are ours */

	bool		timer_set;		/* libcurl wants to be called ... */
	double		timer_at;		/* ... at this time, in milliseconds */

	Request    *running;
} Session;

struct HttpClient
{
	Session    *newest;

	Socket	   *sockets;
	int			socket_count;
	int			socket_room;

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
	Session    *session = context;
	HttpClient *client = session->client;
	Socket	   *entry = find_socket(client, fd);

	(void) easy;
	(void) unused;
	if (what == CURL_POLL_REMOVE)
	{
		if (entry && entry->session == session)
			*entry = client->sockets[--client->socket_count];
		return 0;
	}
	if (entry == NULL)
		entry = add_socket(client, fd);
	if (entry == NULL)
		return -1;
	entry->session = session;
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
	Session    *session = context;

	(void) multi;
	session->timer_set = timeout_ms >= 0;
	session->timer_at = now_in_milliseconds() + (double) timeout_ms;
	return 0;
}

/* Milliseconds until then, rounded up; -1 for never. */
static long
until_timer(Session *session)
{
	double		left;

	if (!session->timer_set)
		return -1;
	left = session->timer_at - now_in_milliseconds();
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
unlink_running(Session *session, Request *request)
{
	for (Request **at = &session->running; *at; at = &(*at)->next)
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
collect_ended(Session *session)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(session->multi, &left)) != NULL)
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
		curl_multi_remove_handle(session->multi, request->easy);
		unlink_running(session, request);
		ReleaseExternalFD();
		finish(session->client, request);
	}
}

static bool
http_start(HttpClient *client, const HttpRequest *wanted)
{
	Session    *session = client->newest;
	sigset_t	before;
	bool		failed = false;
	Request    *request;

	/* The server leaves room for the descriptors that it is told of. */
	if (!AcquireExternalFD())
		return false;
	block_signals(&before);
	request = request_create(&session->settings, wanted, &failed);
	if (request && !failed &&
		curl_multi_add_handle(session->multi, request->easy) != CURLM_OK)
	{
		request_free(request);
		request = NULL;
	}
	if (request && !failed)
	{
		request->next = session->running;
		session->running = request;
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
	result->version = request->version;
	result->status = request->status;
	result->stage = request->stage;
	result->error = request->error;
	result->retry_after = request->retry_after[0] ? request->retry_after : NULL;
	result->answer = request->answer ? request->answer : "";
	result->answer_size = request->answer_size;
	result->milliseconds = request->milliseconds;
	return true;
}

/* ---- sessions ------------------------------------------------------------ */

/* One with nothing under way. */
static void
end_session(Session *session)
{
	HttpClient *client = session->client;

	curl_multi_cleanup(session->multi);
	/* Not all versions of libcurl take back what they close then. */
	for (int i = client->socket_count; i-- > 0;)
	{
		if (client->sockets[i].session == session)
			client->sockets[i] = client->sockets[--client->socket_count];
	}
	free(unconstify(char *, session->settings.proxy));
	free(unconstify(char *, session->settings.ca_file));
	free(unconstify(char *, session->settings.allow));
	free(session);
}

static void
end_old_sessions(HttpClient *client)
{
	Session   **at = &client->newest->older;

	while (*at)
	{
		Session    *session = *at;

		if (session->running)
			at = &session->older;
		else
		{
			*at = session->older;
			end_session(session);
		}
	}
}

static bool
set_up_multi(Session *session)
{
	CURLM	   *multi = session->multi;

	return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, session) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_TIMERDATA, session) == CURLM_OK &&
#if CURL_AT_LEAST_VERSION(8, 20, 0)
		curl_multi_setopt(multi, CURLMOPT_RESOLVE_THREADS_MAX, RESOLVER_THREADS) == CURLM_OK &&
		curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L) == CURLM_OK &&
#endif
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS) == CURLM_OK;
}

static Session *
begin_session(HttpClient *client, const HttpSettings *settings)
{
	Session    *session = calloc(1, sizeof(Session));

	if (session == NULL)
		return NULL;
	session->client = client;
	session->multi = curl_multi_init();
	session->settings.timeout_ms = settings->timeout_ms;
	session->settings.proxy = strdup(settings->proxy);
	session->settings.ca_file = strdup(settings->ca_file);
	session->settings.allow = strdup(settings->allow);
	if (session->multi && session->settings.proxy && session->settings.ca_file &&
		session->settings.allow && set_up_multi(session))
		return session;
	end_session(session);
	return NULL;
}

static bool
same_settings(const HttpSettings *a, const HttpSettings *b)
{
	return a->timeout_ms == b->timeout_ms && strcmp(a->proxy, b->proxy) == 0 &&
		strcmp(a->ca_file, b->ca_file) == 0 && strcmp(a->allow, b->allow) == 0;
}

static bool
http_configure(HttpClient *client, const HttpSettings *settings)
{
	sigset_t	before;
	Session    *session;

	if (client->newest && same_settings(&client->newest->settings, settings))
		return true;
	block_signals(&before);
	session = begin_session(client, settings);
	if (session)
	{
		session->older = client->newest;
		client->newest = session;
		end_old_sessions(client);
	}
	restore_signals(&before);
	return session != NULL;
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
			curl_multi_socket_action(((Session *) events[i].user_data)->multi, events[i].fd,
									 what, &running);
	}
	for (Session *session = client->newest; session; session = session->older)
	{
		if (until_timer(session) == 0)
		{
			/* It is called again for the next time. */
			session->timer_set = false;
			curl_multi_socket_action(session->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		collect_ended(session);
	}
	end_old_sessions(client);
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
							  NULL, client->sockets[i].session);
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
	int			count;

	for (Session *session = client->newest; session; session = session->older)
	{
		long		timer = until_timer(session);

		if (timer >= 0 && (timeout_ms < 0 || timer < timeout_ms))
			timeout_ms = timer;
	}
	/* What could not even begin has ended already. */
	if (client->finished)
		timeout_ms = 0;

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

static HttpClient *
http_create(void)
{
	HttpClient *client = calloc(1, sizeof(HttpClient));

	if (client)
		client->finished_end = &client->finished;
	return client;
}

static const HttpInterface interface = {
	.version = DEPLOYDB_VERSION,
	.create = http_create,
	.configure = http_configure,
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
