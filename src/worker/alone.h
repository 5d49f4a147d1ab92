/*
 * alone.h
 *		A monitor without a launcher, as deploydb is not preloaded.
 *
 * Gives: what a monitor does itself where no hook and no launcher tells it to
 * make room, or that its database is gone.
 */
#ifndef DEPLOYDB_ALONE_H
#define DEPLOYDB_ALONE_H

/* How often to ask alone_in_the_way(): DROP DATABASE waits for five seconds. */
#define ALONE_LOOK_MS 1000

/* Before the monitor connects: without its database it ends for good. */
extern void alone_begin(void);

/* In a transaction: whether somebody drops, renames, moves or copies the database. */
extern bool alone_in_the_way(void);

#endif							/* DEPLOYDB_ALONE_H */
