/*
 * hide_statement.h
 *		Statements that carry a webhook's address or key stay out of the log,
 *		of pg_stat_activity and of pg_stat_statements.
 *
 * Gives: hide_statement_init(), which _PG_init calls once, preloaded or not.
 * Needs: secret_signs.h.
 *
 * A line of the log about an error in such a statement comes without the
 * statement, its context and its parameters; one that quotes it, as an error of
 * syntax does, does not come at all; log_statement and its kin, pgaudit too, log
 * that there was one.  So does pg_stat_activity, in other words.
 */
#ifndef DEPLOYDB_HIDE_STATEMENT_H
#define DEPLOYDB_HIDE_STATEMENT_H

extern void hide_statement_init(void);

#endif							/* DEPLOYDB_HIDE_STATEMENT_H */
