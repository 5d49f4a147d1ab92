/*
 * deviation.h
 *		One row of a report: something expected against what is there.
 *
 * Gives: the structure that comparison fills, severity and fix complete, and
 * reports show.
 */
#ifndef DEPLOYDB_DEVIATION_H
#define DEPLOYDB_DEVIATION_H

#include "postgres.h"

typedef enum DeviationStatus
{
	DEVIATION_OK,
	DEVIATION_MISSING,
	DEVIATION_DIFFERENT,
	DEVIATION_UNEXPECTED,
	DEVIATION_ACCEPTED,
	DEVIATION_BUILDING,
	DEVIATION_UNKNOWN,
	DEVIATION_STALE
} DeviationStatus;

typedef enum DeviationSeverity
{
	SEVERITY_INFO,
	SEVERITY_WARNING,
	SEVERITY_ERROR
} DeviationSeverity;

/* Property of a row about a whole object; expected and actual "yes" or "no". */
#define PROPERTY_EXISTS "exists"

typedef struct Deviation
{
	const char *migration;
	DeviationStatus status;
	DeviationSeverity severity;
	const char *object_type;
	const char *object;
	const char *property;
	const char *expected;		/* NULL where nothing was expected */
	const char *actual;			/* NULL where nothing is there */
	const char *fix;			/* one statement, or NULL */
	const char *advice;			/* words, or NULL */
} Deviation;

#endif							/* DEPLOYDB_DEVIATION_H */
