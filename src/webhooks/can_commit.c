/*
 * can_commit.c
 *		Whether a procedure can commit, as the one that sends a test message
 *		must.
 *
 * Locking: none.  Errors: none.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(deploydb_can_commit);

Datum
deploydb_can_commit(PG_FUNCTION_ARGS pg_attribute_unused())
{
	PG_RETURN_BOOL(SPI_inside_nonatomic_context());
}
