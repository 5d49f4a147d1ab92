/*
 * signature.c
 *		Keyed hashes for the signatures of messages.
 *
 * Locking: none.  Errors: the server's, where its library fails.
 */
#include "postgres.h"

#include "common/hmac.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(deploydb_hmac_sha256);

/* In hexadecimal digits. */
Datum
deploydb_hmac_sha256(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	bytea	   *data = PG_GETARG_BYTEA_PP(1);
	uint8		hash[PG_SHA256_DIGEST_LENGTH];
	char		digits[2 * PG_SHA256_DIGEST_LENGTH];
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	bool		done;

	if (context == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	done = pg_hmac_init(context, (uint8 *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)) == 0 &&
		pg_hmac_update(context, (uint8 *) VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)) == 0 &&
		pg_hmac_final(context, hash, sizeof(hash)) == 0;
	pg_hmac_free(context);
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not compute a signature")));
	hex_encode((const char *) hash, sizeof(hash), digits);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(digits, sizeof(digits)));
}
