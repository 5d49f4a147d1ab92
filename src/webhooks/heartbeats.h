/*
 * heartbeats.h
 *		Webhooks that are called after each tick, so that somebody outside
 *		notices a server that is dead.
 *
 * Gives: their requests, and what became of them, for sender.c to send.
 * Needs: ../http/http.h, wire_text.h; of the outbox's SQL functions heartbeats()
 * and record_heartbeat().
 *
 * A heartbeat is sent once and never again: the next one comes with the next
 * tick.  One that is under way is not sent a second time.
 */
#ifndef DEPLOYDB_HEARTBEATS_H
#define DEPLOYDB_HEARTBEATS_H

#include "nodes/pg_list.h"

#include "http/http.h"

/*
 * Within a transaction: records what became of the last ones, and gives those
 * to be sent, as HttpRequests in that memory context.
 */
extern List *heartbeats_to_send(MemoryContext context);

/* Is it a heartbeat's, or a message's? */
extern bool is_heartbeat(int64 id);

/* Its request has begun; and ended. */
extern void heartbeat_begins(int64 id);
extern void heartbeat_ends(const HttpResult *result);

#endif							/* DEPLOYDB_HEARTBEATS_H */
