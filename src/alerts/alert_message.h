/*
 * alert_message.h
 *		What people read of an event, in the language of deploydb.language.
 *
 * Gives: alert_message(), and placeholders in the messages of rules: {rule},
 * {metric}, {series}, {severity}, {value}, {threshold}, {value%},
 * {threshold%}, {value_time} and {threshold_time} (seconds, in words), {slope} (a
 * minute) and {note}.
 * Needs: evaluation, settings.
 */
#ifndef DEPLOYDB_ALERT_MESSAGE_H
#define DEPLOYDB_ALERT_MESSAGE_H

#include "alerts/evaluation.h"

typedef struct AlertText
{
	const char *rule;
	const char *metric;
	const char *series;			/* "" where there is but one */
	const char *note;			/* of the sample; "" for none */
	const char *template_en;	/* NULL for none */
	const char *template_zh;	/* likewise */
	const Condition *condition; /* NULL where the rule is no more */
} AlertText;

/* In the current context. */
extern char *alert_message(const AlertText *text, const AlertEvent *event,
						   TimestampTz now);

#endif							/* DEPLOYDB_ALERT_MESSAGE_H */
