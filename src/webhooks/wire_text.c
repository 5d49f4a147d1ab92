/*
 * wire_text.c
 *		Texts as they go over the network: UTF-8, whatever the database's
 *		encoding.
 *
 * Locking: none.  Errors: none of its own.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "webhooks/wire_text.h"

PG_FUNCTION_INFO_V1(deploydb_ascii_text);

/* Converted at once; a conversion needs MAX_CONVERSION_GROWTH times the room. */
#define CHUNK 4096

/* The same encoding before and after: only what is wrong changes. */
static void
append_valid(StringInfo to, const char *from, size_t size, int encoding)
{
	while (size > 0)
	{
		int			length = *from == '\0' ? -1 :
			pg_encoding_verifymbchar(encoding, from, (int) Min(size, 16));

		if (length > 0)
			appendBinaryStringInfo(to, from, length);
		else
			appendStringInfoChar(to, '?');
		length = Max(length, 1);
		from += length;
		size -= length;
	}
}

static void
append_converted(StringInfo to, const char *from, size_t size, Oid conversion,
				 int source, int target)
{
	unsigned char buffer[CHUNK * MAX_CONVERSION_GROWTH + 1];

	while (size > 0)
	{
		int			part = (int) Min(size, CHUNK);
		int			done;

		done = pg_do_encoding_conversion_buf(conversion, source, target,
											 (unsigned char *) unconstify(char *, from), part,
											 buffer, sizeof(buffer), true);
		appendStringInfoString(to, (char *) buffer);
		if (done == 0)
		{
			/* Here is what cannot be converted. */
			appendStringInfoChar(to, '?');
			done = *from == '\0' ? 1 : (int) Min((size_t) pg_encoding_mblen(source, from), size);
		}
		from += done;
		size -= done;
	}
}

static char *
convert(const char *from, size_t size, int source, int target)
{
	StringInfoData result;
	Oid			conversion = InvalidOid;

	initStringInfo(&result);
	if (source == PG_SQL_ASCII || target == PG_SQL_ASCII)
		append_valid(&result, from, size, PG_SQL_ASCII);
	else if (source == target)
		append_valid(&result, from, size, target);
	else
	{
		conversion = FindDefaultConversionProc(source, target);
		if (OidIsValid(conversion))
			append_converted(&result, from, size, conversion, source, target);
	}
	return result.data;
}

char *
text_to_wire(const char *text)
{
	return convert(text, strlen(text), GetDatabaseEncoding(), PG_UTF8);
}

char *
text_from_wire(const char *bytes, size_t size)
{
	char	   *result = convert(bytes, size, PG_UTF8, GetDatabaseEncoding());

	for (char *at = result; *at; at++)
	{
		if (((unsigned char) *at < ' ' && *at != '\n' && *at != '\t') || *at == 0x7f)
			*at = ' ';
	}
	return result;
}

/*
 * By bytes: where one is missing of a character, what functions of text take for
 * that character has the next one in it.
 */
Datum
deploydb_ascii_text(PG_FUNCTION_ARGS)
{
	text	   *result = PG_GETARG_TEXT_P_COPY(0);
	char	   *bytes = VARDATA(result);

	for (size_t i = 0; i < VARSIZE(result) - VARHDRSZ; i++)
	{
		if (IS_HIGHBIT_SET(bytes[i]))
			bytes[i] = '?';
	}
	PG_RETURN_TEXT_P(result);
}
