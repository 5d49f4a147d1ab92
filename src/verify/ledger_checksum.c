/*
 * ledger_checksum.c
 *		How a checksum in Prisma's ledger compares with a registered text.
 *
 * Prisma keeps the SHA-256 of the bytes of migration.sql, and takes LF and
 * CRLF for the same.  What was registered may in addition lack its last
 * newline, which psql's backquotes strip.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"

#include "facts/escape.h"
#include "verify/ledger.h"

typedef enum LineEnds
{
	LINES_AS_THEY_ARE,
	LINES_CRLF,
	LINES_LF
} LineEnds;

static char *
sha256_hex(const char *bytes, size_t length)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *hex = palloc(PG_SHA256_DIGEST_LENGTH * 2 + 1);
	bool		done;

	done = hash != NULL &&
		pg_cryptohash_init(hash) >= 0 &&
		pg_cryptohash_update(hash, (const uint8 *) bytes, length) >= 0 &&
		pg_cryptohash_final(hash, digest, sizeof(digest)) >= 0;
	pg_cryptohash_free(hash);
	if (!done)
		elog(ERROR, "could not compute SHA-256");

	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		snprintf(hex + i * 2, 3, "%02x", digest[i]);
	return hex;
}

/*
 * The ledger's checksum against a whole one.  Early versions of Prisma wrote
 * each byte without its leading zero, so that the result is shorter.
 */
static bool
same_checksum(const char *actual, const char *hex)
{
	StringInfoData unpadded;
	bool		same;

	if (pg_strcasecmp(actual, hex) == 0)
		return true;
	if (strlen(hex) != PG_SHA256_DIGEST_LENGTH * 2 ||
		strlen(actual) >= PG_SHA256_DIGEST_LENGTH * 2)
		return false;

	initStringInfo(&unpadded);
	for (const char *p = hex; *p; p += 2)
	{
		if (p[0] != '0')
			appendStringInfoChar(&unpadded, p[0]);
		appendStringInfoChar(&unpadded, p[1]);
	}
	same = pg_strcasecmp(actual, unpadded.data) == 0;
	pfree(unpadded.data);
	return same;
}

/* Does the text, with these line ends and this last newline, have the checksum? */
static bool
text_has_checksum(const char *text, size_t length, const char *last_newline,
				  LineEnds ends, const char *actual)
{
	StringInfoData bytes;
	char	   *hex;
	bool		same;

	initStringInfo(&bytes);
	for (size_t i = 0; i < length; i++)
	{
		bool		crlf = text[i] == '\r' && i + 1 < length && text[i + 1] == '\n';

		if (ends == LINES_AS_THEY_ARE || (text[i] != '\n' && !crlf))
			appendStringInfoCharMacro(&bytes, text[i]);
		else
		{
			appendStringInfoString(&bytes, ends == LINES_CRLF ? "\r\n" : "\n");
			if (crlf)
				i++;
		}
	}
	appendStringInfoString(&bytes, last_newline);

	hex = sha256_hex(bytes.data, (size_t) bytes.len);
	same = same_checksum(actual, hex);
	pfree(hex);
	pfree(bytes.data);
	return same;
}

const char *
ledger_checksum_verdict(const char *actual, const char *expected,
						const char *ddl)
{
	static const struct
	{
		LineEnds	ends;
		const char *last_newline;
		const char *verdict;
	}			variants[] = {
		{LINES_AS_THEY_ARE, "\n", "exact"},
		{LINES_AS_THEY_ARE, "", "exact"},
		{LINES_AS_THEY_ARE, "\r\n", "exact"},
		{LINES_AS_THEY_ARE, "\n\n", "exact"},
		{LINES_CRLF, "\r\n", "crlf"},
		{LINES_CRLF, "", "crlf"},
		{LINES_CRLF, "\r\n\r\n", "crlf"},
		{LINES_LF, "\n", "lf"},
		{LINES_LF, "", "lf"},
		{LINES_LF, "\n\n", "lf"}
	};
	const char *text;
	size_t		length;

	if (actual == NULL || actual[0] == '\0' ||
		(expected == NULL && ddl == NULL))
		return "unknown";
	if (expected != NULL && same_checksum(actual, expected))
		return "exact";
	if (ddl == NULL)
		return "different";

	text = server_to_utf8(ddl);
	if (text == NULL)
		text = ddl;
	length = strlen(text);
	if (length > 0 && text[length - 1] == '\n')
		length--;
	if (length > 0 && text[length - 1] == '\r')
		length--;

	for (size_t i = 0; i < lengthof(variants); i++)
	{
		if (text_has_checksum(text, length, variants[i].last_newline,
							  variants[i].ends, actual))
			return variants[i].verdict;
	}
	return "different";
}
