/*
 * escape.c
 *		Text that an encoding may not be able to hold.
 *
 * Locking: none.  Errors: none for text that is valid in its own encoding;
 * what cannot be converted is escaped.  Memory: the current context.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "facts/escape.h"

static bool
is_ascii(const char *text)
{
	for (; *text; text++)
	{
		if (IS_HIGHBIT_SET(*text))
			return false;
	}
	return true;
}

/* Converts all of the text, or returns NULL. */
static char *
convert_whole(const char *text, int from, int to)
{
	int			length = strlen(text);
	Oid			proc;
	char	   *result;
	int			converted;

	if (from == to)
		return pstrdup(text);
	proc = FindDefaultConversionProc(from, to);
	if (!OidIsValid(proc))
		return NULL;
	result = palloc((Size) length * MAX_CONVERSION_GROWTH + 1);
	converted = pg_do_encoding_conversion_buf(proc, from, to,
											  (unsigned char *) unconstify(char *, text), length,
											  (unsigned char *) result,
											  length * MAX_CONVERSION_GROWTH + 1,
											  true);
	return converted == length ? result : NULL;
}

char *
server_to_utf8(const char *text)
{
	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		return convert_whole(text, GetDatabaseEncoding(), PG_UTF8);
	if (pg_verify_mbstr(PG_UTF8, text, strlen(text), true))
		return pstrdup(text);
	return NULL;
}

char *
utf8_to_server(const char *utf8)
{
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return pstrdup(utf8);
	return convert_whole(utf8, PG_UTF8, GetDatabaseEncoding());
}

char *
comment_escape(const char *text)
{
	char	   *utf8 = server_to_utf8(text);
	StringInfoData out;

	initStringInfo(&out);
	for (const unsigned char *p = (const unsigned char *) (utf8 ? utf8 : text); *p;)
	{
		if (*p == '\\')
			appendStringInfoString(&out, "\\\\");
		else if (!IS_HIGHBIT_SET(*p))
			appendStringInfoChar(&out, *p);
		else if (utf8 == NULL)
			appendStringInfo(&out, "\\x%02x", *p);
		else
		{
			uint32		c = (uint32) utf8_to_unicode(p);

			appendStringInfo(&out, c > 0xffff ? "\\U%08x" : "\\u%04x", c);
			p += pg_utf_mblen(p);
			continue;
		}
		p++;
	}
	return out.data;
}

/* Value of so many hex digits, or -1. */
static int64
hex_value(const char *digits, int count)
{
	int64		value = 0;

	for (int i = 0; i < count; i++)
	{
		const char *hex = "0123456789abcdef";
		const char *at = digits[i] ? strchr(hex, digits[i]) : NULL;

		if (at == NULL)
			return -1;
		value = value * 16 + (at - hex);
	}
	return value;
}

char *
comment_unescape(const char *value, bool *lossless)
{
	StringInfoData utf8;
	char	   *text;

	initStringInfo(&utf8);
	for (const char *p = value; *p;)
	{
		int			digits = 0;
		int64		code;

		if (p[0] == '\\')
			digits = p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : p[1] == 'x' ? 2 : 0;
		code = digits > 0 ? hex_value(p + 2, digits) : -1;
		if (code > 0 && digits == 2)
			appendStringInfoChar(&utf8, (char) code);
		else if (code > 0 && code <= 0x10ffff)
		{
			unsigned char bytes[8];

			unicode_to_utf8((pg_wchar) code, bytes);
			appendBinaryStringInfo(&utf8, (char *) bytes, pg_utf_mblen(bytes));
		}
		else
		{
			if (p[0] == '\\' && p[1] == '\\')
				p++;
			appendStringInfoChar(&utf8, *p++);
			continue;
		}
		p += 2 + digits;
	}

	text = utf8_to_server(utf8.data);
	if (lossless)
		*lossless = (text != NULL);
	return text ? text : pstrdup(value);
}

const char *
text_for_client(const char *text)
{
	int			client = pg_get_client_encoding();
	int			server = GetDatabaseEncoding();

	if (text == NULL || client == server || server == PG_SQL_ASCII ||
		client == PG_SQL_ASCII || is_ascii(text))
		return text;
	if (convert_whole(text, server, client) != NULL)
		return text;
	return comment_escape(text);
}
