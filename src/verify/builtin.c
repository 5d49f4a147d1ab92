/*
 * builtin.c
 *		The migrations that come with deploydb.
 *
 * They are in code, not in a dumped table, so that a restore never clashes
 * with what CREATE EXTENSION makes, and a newer library corrects them.
 *
 * Locking: none.  Errors: none of its own.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "facts/escape.h"

typedef struct BuiltinComment
{
	const char *target;			/* as after COMMENT ON */
	const char *text;			/* UTF-8 */
} BuiltinComment;

typedef struct BuiltinMigration
{
	const char *migration;
	const char *checksum;
	const char *rollback_ddl;
	const char *ddl;			/* ASCII */
	const BuiltinComment *comments; /* up to one without target */
} BuiltinMigration;

static const BuiltinComment decision_insights_comments[] = {
	{"TABLE \"decision_insights\"",
	"AMAS决策洞察表：存储决策的状态快照、难度因素和触发器，用于快速解释性查询"},
	{"COLUMN \"decision_insights\".\"state_snapshot\"",
	"用户状态快照（attention, fatigue, motivation等）"},
	{"COLUMN \"decision_insights\".\"difficulty_factors\"",
	"难度因素分析（认知负荷、遗忘风险等）"},
	{"COLUMN \"decision_insights\".\"feature_vector_hash\"",
	"SHA-256哈希（前16字符），用于状态去重"},
	{NULL, NULL}
};

static const BuiltinMigration builtin_migrations[] = {
	{
		.migration = "20251203071615_add_decision_insights",
		.checksum = "cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203",
		.rollback_ddl = "DROP TABLE IF EXISTS \"decision_insights\";\n",
		.ddl =
		"CREATE TABLE \"decision_insights\" (\n"
		"    \"id\" TEXT PRIMARY KEY,\n"
		"    \"decision_id\" TEXT NOT NULL,\n"
		"    \"user_id\" TEXT NOT NULL,\n"
		"    \"state_snapshot\" JSONB NOT NULL,\n"
		"    \"difficulty_factors\" JSONB NOT NULL,\n"
		"    \"triggers\" TEXT[] DEFAULT ARRAY[]::TEXT[],\n"
		"    \"feature_vector_hash\" TEXT NOT NULL,\n"
		"    \"created_at\" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,\n"
		"    \"updated_at\" TIMESTAMP(3) NOT NULL\n"
		");\n"
		"CREATE UNIQUE INDEX \"decision_insights_decision_id_key\"\n"
		"    ON \"decision_insights\" (\"decision_id\");\n"
		"CREATE INDEX \"decision_insights_user_id_decision_id_idx\"\n"
		"    ON \"decision_insights\" (\"user_id\", \"decision_id\");\n"
		"CREATE INDEX \"decision_insights_feature_vector_hash_idx\"\n"
		"    ON \"decision_insights\" (\"feature_vector_hash\");\n"
		"CREATE INDEX \"decision_insights_created_at_idx\"\n"
		"    ON \"decision_insights\" (\"created_at\");\n",
		.comments = decision_insights_comments
	}
};

/* The DDL in the server's encoding, without what that cannot hold. */
static char *
builtin_ddl(const BuiltinMigration *migration)
{
	StringInfoData ddl;

	initStringInfo(&ddl);
	appendStringInfoString(&ddl, migration->ddl);
	for (const BuiltinComment *c = migration->comments; c->target; c++)
	{
		char	   *comment = utf8_to_server(c->text);

		if (comment != NULL)
			appendStringInfo(&ddl, "COMMENT ON %s IS %s;\n", c->target,
							 quote_literal_cstr(comment));
	}
	return ddl.data;
}

PG_FUNCTION_INFO_V1(deploydb_builtin_migrations);

Datum
deploydb_builtin_migrations(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < lengthof(builtin_migrations); i++)
	{
		const BuiltinMigration *migration = &builtin_migrations[i];
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(migration->migration);
		values[1] = CStringGetTextDatum(builtin_ddl(migration));
		values[2] = CStringGetTextDatum(migration->checksum);
		values[3] = CStringGetTextDatum(migration->rollback_ddl);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
