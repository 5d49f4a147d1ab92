/*
 * deparse.c
 *		Settings under which expressions are turned into text.
 *
 * Locking: none.  Errors: see deparse.h.
 *
 * Only what differs from the wanted value is set: most sessions have most of
 * it already, and a setting costs more than a look.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "facts/deparse.h"

typedef struct PinnedSetting
{
	const char *name;
	const char *value;
} PinnedSetting;

static const PinnedSetting pinned[] = {
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "1"},
	{"quote_all_identifiers", "off"},
	{"standard_conforming_strings", "on"},
};

static void
pin(const char *name, const char *value)
{
	const char *current = GetConfigOption(name, false, false);

	if (current == NULL || strcmp(current, value) != 0)
		(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

int
deparse_begin(Oid schema)
{
	int			nest_level = NewGUCNestLevel();
	char	   *name;
	StringInfoData path;

	/* First, as it decides how quote_identifier() writes the schema's name. */
	for (size_t i = 0; i < lengthof(pinned); i++)
		pin(pinned[i].name, pinned[i].value);

	name = get_namespace_name(schema);
	initStringInfo(&path);
	if (name != NULL)
		appendStringInfo(&path, "%s, ", quote_identifier(name));
	appendStringInfoString(&path, "pg_catalog, pg_temp");
	pin("search_path", path.data);
	pfree(path.data);

	return nest_level;
}

void
deparse_end(int nest_level)
{
	AtEOXact_GUC(true, nest_level);
}
