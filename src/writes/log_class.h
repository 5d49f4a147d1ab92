/*
 * log_class.h
 *		Classes of SQLSTATEs that the log's lines are told apart by.
 *
 * Gives: the class of an SQLSTATE, and its name.
 * Needs: nothing of the other modules.
 *
 * Anybody can raise an SQLSTATE of any class: those that are not the server's own
 * are one class, so that there is room for all.
 * Errors: none.
 */
#ifndef DEPLOYDB_LOG_CLASS_H
#define DEPLOYDB_LOG_CLASS_H

#include "postgres.h"

#define LOG_CLASSES 45

/* Below LOG_CLASSES. */
extern int	log_class(int sqlstate);

/* Two characters, or "other". */
extern const char *log_class_name(int class);

#endif							/* DEPLOYDB_LOG_CLASS_H */
