/*
 * condition_name.c
 *		Names of SQLSTATEs, from the server's own list.
 *
 * Locking: none.  Errors: a list that is not there or reads otherwise than
 * expected gives no name.
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "compat.h"
#include "writes/condition_name.h"

PG_FUNCTION_INFO_V1(deploydb_condition_name);

/* A line is "sqlstate kind macro name", and some have no name. */
char *
condition_name(const char *sqlstate)
{
	char		path[MAXPGPATH];
	char		line[1024];
	char	   *found = NULL;
	FILE	   *file;

	if (strlen(sqlstate) != 5 || !isalnum((unsigned char) sqlstate[0]))
		return NULL;
	get_share_path(my_exec_path, path);
	strlcat(path, "/errcodes.txt", sizeof(path));
	file = AllocateFile(path, PG_BINARY_R);
	if (file == NULL)
		return NULL;
	while (found == NULL && fgets(line, sizeof(line), file) != NULL)
	{
		char		code[6];
		char		name[65];

		if (sscanf(line, "%5s %*s %*s %64s", code, name) == 2 &&
			strcmp(code, sqlstate) == 0)
			found = pstrdup(name);
	}
	FreeFile(file);
	return found;
}

Datum
deploydb_condition_name(PG_FUNCTION_ARGS)
{
	char	   *name = condition_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}
