/*
 * sender.h
 *		Takes messages out of the outbox, sends them, and records what became
 *		of them.
 *
 * Gives: the parts of the monitor's loop that are about webhooks.
 * Needs: ../http/http.h, ../settings.h, ../worker/unit.h, heartbeats.h, and of
 * the outbox its SQL functions next_claim_at(), claim_messages() and
 * record_attempt().
 *
 * All are called outside of a transaction, and return so: a message is claimed
 * in one, recorded in another, and under way in none.
 */
#ifndef DEPLOYDB_SENDER_H
#define DEPLOYDB_SENDER_H

/*
 * After each tick: has the outbox looked at, and sends the heartbeats, unless
 * the tick failed: whoever waits for them is to notice.
 */
extern void sender_tick(bool committed);

/*
 * Until the time has passed or somebody interrupts: claims, sends, records and
 * waits.  interrupted() tells what the latch alone cannot, as waiting for a lock
 * or a page resets it.  Errors become log lines.
 */
extern void sender_run(long timeout_ms, bool (*interrupted) (void));

/* Are requests under way, whose answers nobody reads meanwhile? */
extern bool sender_has_requests(void);

#endif							/* DEPLOYDB_SENDER_H */
