/*
 * message.c
 *		Other people's messages, made fit for one column of a result.
 *
 * Locking: none.  Errors: none.  Memory: the current context.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "verify/message.h"

#define MESSAGE_MAX_CHARS 200

char *
message_clip(const char *text, size_t length)
{
	char	   *result = palloc(length + 1);
	size_t		used = 0;

	/* No server encoding has ASCII bytes within a longer character. */
	for (size_t i = 0; i < length && text[i] != '\n'; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c == '\t')
			result[used++] = ' ';
		else if (c >= 0x20 && c != 0x7f)
			result[used++] = text[i];
	}
	used = (size_t) pg_mbcharcliplen(result, (int) used, MESSAGE_MAX_CHARS);
	result[used] = '\0';
	return result;
}

char *
message_count(int count, const char *noun)
{
	return psprintf("%d %s%s", count, noun, count == 1 ? "" : "s");
}
