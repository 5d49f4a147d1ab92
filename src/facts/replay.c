/*
 * replay.c
 *		DDL -> facts: replays migrations in a scratch schema.
 *
 * The whole replay is one subtransaction that is rolled back in any case, so
 * that neither the scratch schema nor anything else of it is ever seen by
 * another session, or by the caller's transaction later on.  What may be run
 * is decided by replay_guard.c.
 *
 * Role: every step runs as the same role, the least privileged of the
 * registrants: one that each of them could become anyway.  So each step may
 * change what earlier ones made, and no function or trigger that one
 * registrant wrote ever runs with the rights of another who has more.  Where
 * no registrant is so, the migrations cannot be replayed together.
 *
 * Locking: what the statements take, waiting for each lock at most
 * deploydb.lock_timeout; all released at the rollback.
 * Errors: raised after the rollback; the caller's role, settings, resource
 * owner and memory context are back by then.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/schemacmds.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "own_work.h"
#include "facts/facts.h"
#include "facts/relation_lock.h"
#include "facts/replay.h"
#include "facts/replay_guard.h"
#include "settings.h"

/* Where the replay is, for an error's context. */
typedef struct ReplayPosition
{
	const ReplayStep *step;
	const char *role;			/* set where it is not the registrant */
	int			statement;		/* from 1; 0 while the text is parsed */
	int			location;		/* of the statement, in bytes */
} ReplayPosition;

/* What is outside of the subtransaction and must be put back by hand. */
typedef struct ReplaySaved
{
	bool		event_state;	/* an event trigger state of our own */
	bool		creating_extension;
	Oid			extension;
	void	   *enums;			/* enum values new in this transaction */
} ReplaySaved;

/* Line, from 1, of the first word at or after a byte of a text. */
static int
line_of(const char *text, int location)
{
	const char *p = text;
	const char *end = text + location;
	int			line = 1;

	while (*p != '\0')
	{
		if (p >= end)
		{
			if (p[0] == '-' && p[1] == '-')
			{
				p += strcspn(p, "\n");
				continue;
			}
			if (!isspace((unsigned char) *p))
				break;
		}
		if (*p == '\n')
			line++;
		p++;
	}
	return line;
}

static void
replay_error_callback(void *arg)
{
	ReplayPosition *position = (ReplayPosition *) arg;
	const char *ddl = position->step->ddl;
	int			location = position->location;
	int			cursor = geterrposition();

	/*
	 * The client would take the position for one in its own statement, so it
	 * becomes a line number.
	 */
	if (cursor > 0)
	{
		const char *p = ddl;

		while (--cursor > 0 && *p != '\0')
			p += pg_mblen(p);
		location = p - ddl;
		errposition(0);
	}

	if (position->statement > 0)
		errcontext("replaying migration \"%s\", statement %d, line %d",
				   position->step->migration, position->statement,
				   line_of(ddl, location));
	else
		errcontext("replaying migration \"%s\", line %d",
				   position->step->migration, line_of(ddl, location));
	if (position->role != NULL)
		errcontext("as role \"%s\", the least privileged of those who registered migrations",
				   position->role);
}

/* BEGIN and COMMIT around a migration are nothing to a replay. */
static bool
is_begin_or_commit(RawStmt *raw)
{
	TransactionStmt *statement = (TransactionStmt *) raw->stmt;

	return IsA(statement, TransactionStmt) &&
		(statement->kind == TRANS_STMT_BEGIN ||
		 statement->kind == TRANS_STMT_START ||
		 statement->kind == TRANS_STMT_COMMIT);
}

static void
run_planned(PlannedStmt *plan, const char *source)
{
	DestReceiver *dest = CreateDestReceiver(DestNone);

	PushActiveSnapshot(GetTransactionSnapshot());
	if (plan->utilityStmt != NULL)
		ProcessUtility(plan, source, false, PROCESS_UTILITY_SUBCOMMAND,
					   NULL, NULL, dest, NULL);
	else
	{
		QueryDesc  *query = CreateQueryDesc(plan, source, GetActiveSnapshot(),
											InvalidSnapshot, dest, NULL, NULL, 0);

		ExecutorStart(query, 0);
		compat_executor_run(query);
		ExecutorFinish(query);
		ExecutorEnd(query);
		FreeQueryDesc(query);
	}
	PopActiveSnapshot();
	dest->rDestroy(dest);
}

static void
run_statement(RawStmt *raw, const char *source)
{
	List	   *queries;
	List	   *plans;
	ListCell   *lc;

	PushActiveSnapshot(GetTransactionSnapshot());
	queries = compat_analyze_and_rewrite(raw, source);
	plans = pg_plan_queries(queries, source, 0, NULL);
	PopActiveSnapshot();

	foreach(lc, plans)
	{
		run_planned(lfirst_node(PlannedStmt, lc), source);
		CommandCounterIncrement();
	}
	replay_guard_after_statement();
}

static void
run_step(const ReplayStep *step, const char *role)
{
	ReplayPosition position = {.step = step,.role = role};
	ErrorContextCallback callback = {
		.callback = replay_error_callback,
		.arg = &position,
		.previous = error_context_stack
	};
	MemoryContext oldcontext;
	MemoryContext context;
	List	   *statements;
	ListCell   *lc;

	error_context_stack = &callback;
	statements = pg_parse_query(step->ddl);
	context = AllocSetContextCreate(CurrentMemoryContext,
									"deploydb replayed statement",
									ALLOCSET_DEFAULT_SIZES);
	foreach(lc, statements)
	{
		RawStmt    *raw = lfirst_node(RawStmt, lc);

		CHECK_FOR_INTERRUPTS();
		position.statement++;
		position.location = raw->stmt_location;
		if (is_begin_or_commit(raw))
			continue;

		oldcontext = MemoryContextSwitchTo(context);
		run_statement(raw, step->ddl);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(context);
	}
	error_context_stack = callback.previous;
}

/* Index behind the facts of the object that the fact at "start" is of. */
static int
object_end(const FactSet *set, int start)
{
	int			end = start + 1;

	while (end < set->count &&
		   fact_compare_object(&set->facts[start], &set->facts[end]) == 0)
		end++;
	return end;
}

static bool
same_facts(const Fact *a, const Fact *b, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (fact_compare(&a[i], &b[i]) != 0 ||
			strcmp(a[i].value, b[i].value) != 0)
			return false;
	}
	return true;
}

/* What a step has changed: see replay.h. */
static FactSet *
facts_changed(const FactSet *before, const FactSet *after)
{
	FactSet    *changed = factset_create();
	int			b = 0;
	int			a = 0;

	while (b < before->count || a < after->count)
	{
		int			order;
		int			b_end = b;
		int			a_end = a;

		if (b >= before->count)
			order = 1;
		else if (a >= after->count)
			order = -1;
		else
			order = fact_compare_object(&before->facts[b], &after->facts[a]);

		if (order <= 0)
			b_end = object_end(before, b);
		if (order >= 0)
			a_end = object_end(after, a);

		if (order < 0)
			factset_add(changed, before->facts[b].object_type,
						before->facts[b].object, "exists", "no");
		else if (order > 0 || b_end - b != a_end - a ||
				 !same_facts(&before->facts[b], &after->facts[a], a_end - a))
		{
			for (int i = a; i < a_end; i++)
				factset_add(changed, after->facts[i].object_type,
							after->facts[i].object, after->facts[i].property,
							after->facts[i].value);
		}
		b = b_end;
		a = a_end;
	}
	factset_sort(changed);
	return changed;
}

/* The role that the replay runs as: see the head of this file. */
static Oid
common_role(List *steps)
{
	List	   *roles = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, steps)
	{
		ReplayStep *step = (ReplayStep *) lfirst(lc);

		if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(step->registrant)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role that registered migration \"%s\" does not exist any more",
							step->migration),
					 errhint("Forget the migration with deploydb.forget_migration() and register it again.")));
		roles = list_append_unique_oid(roles, step->registrant);
	}

	foreach(lc, roles)
	{
		Oid			role = lfirst_oid(lc);
		Oid			other = InvalidOid;

		foreach(lc2, roles)
		{
			if (!has_privs_of_role(lfirst_oid(lc2), role))
				other = lfirst_oid(lc2);
		}
		if (!OidIsValid(other))
			return role;

		/* of two that have not each other's privileges, none will do */
		if (!has_privs_of_role(role, other))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("migrations that were registered by roles \"%s\" and \"%s\" cannot be replayed together",
							GetUserNameFromId(role, false),
							GetUserNameFromId(other, false)),
					 errdetail("They are replayed as a role that each registrant has the privileges of."),
					 errhint("Register all of them as one role.")));
	}
	return InvalidOid;			/* not reached */
}

/* Made by the superuser: a registrant needs no right on the database. */
static Oid
make_scratch_schema(Oid role)
{
	char		name[NAMEDATALEN];
	Oid			schema;

	snprintf(name, sizeof(name), "deploydb_scratch_%d", MyProcPid);
	for (int i = 1; OidIsValid(get_namespace_oid(name, true)); i++)
		snprintf(name, sizeof(name), "deploydb_scratch_%d_%d", MyProcPid, i);

	/*
	 * Owned by the superuser first, so that no default privileges of the role
	 * can keep it out of its own schema.
	 */
	schema = NamespaceCreate(name, BOOTSTRAP_SUPERUSERID, false);
	CommandCounterIncrement();
	if (role != BOOTSTRAP_SUPERUSERID)
	{
		AlterSchemaOwner_oid(schema, role);
		CommandCounterIncrement();
	}
	return schema;
}

static char *
replay_search_path(Oid scratch)
{
	StringInfoData path;
	List	   *schemas = list_make1_oid(PG_CATALOG_NAMESPACE);
	Relation	catalog = table_open(ExtensionRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, ExtensionNameIndexId, true,
										  NULL, 0, NULL);
	HeapTuple	tuple;
	ListCell   *lc;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		schemas = list_append_unique_oid(schemas,
										 ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	initStringInfo(&path);
	appendStringInfoString(&path, quote_identifier(get_namespace_name(scratch)));
	foreach(lc, schemas)
	{
		char	   *name = get_namespace_name(lfirst_oid(lc));

		if (name != NULL)
			appendStringInfo(&path, ", %s", quote_identifier(name));
	}
	appendStringInfoString(&path, ", pg_temp");
	return path.data;
}

static void
pin_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The subtransaction has a nest level of settings of its own, so its rollback
 * puts all of these back, and those that a migration sets.
 */
static void
pin_settings(Oid scratch)
{
	pin_setting("search_path", replay_search_path(scratch));
	pin_setting(COMPAT_NO_EVENT_TRIGGERS);
	pin_setting("default_tablespace", "");
	pin_setting("default_table_access_method", "heap");
	/* bodies may name what only the real database has */
	pin_setting("check_function_bodies", "off");
	/* what a replay has to say is of no interest, unless it fails */
	pin_setting("client_min_messages", "error");
	pin_setting("standard_conforming_strings", "on");
	pin_setting("transform_null_equals", "off");
	/* 0 would mean to wait for ever */
	pin_setting("lock_timeout", psprintf("%d", Max(deploydb_lock_timeout, 1)));
}

static FactSet *
collect_facts(Oid scratch)
{
	FactReport *report = facts_collect(scratch, facts_roots_of_schema(scratch),
									   relation_lock_deadline());

	/* nobody else can see the schema, and a superuser may read it */
	if (report->unknown != NIL)
		elog(ERROR, "could not read the facts of a replayed migration");
	return report->facts;
}

/* Replays the steps, inside the subtransaction. */
static void
replay_steps(List *steps, MemoryContext caller)
{
	Oid			role = common_role(steps);
	char	   *role_name = GetUserNameFromId(role, false);
	int			security = SECURITY_LOCAL_USERID_CHANGE |
		SECURITY_RESTRICTED_OPERATION;
	Oid			user;
	int			user_security;
	Oid			scratch;
	FactSet    *before = factset_create();
	MemoryContext before_context = NULL;
	ListCell   *lc;

	GetUserIdAndSecContext(&user, &user_security);
	security |= user_security;
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security);
	scratch = make_scratch_schema(role);
	pin_settings(scratch);
	replay_guard_begin(scratch);

	foreach(lc, steps)
	{
		ReplayStep *step = (ReplayStep *) lfirst(lc);
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
													  "deploydb replay step",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext oldcontext = MemoryContextSwitchTo(context);
		FactSet    *after;

		SetUserIdAndSecContext(role, security);
		run_step(step, role != step->registrant ? role_name : NULL);

		/*
		 * Enum values of an earlier migration have been committed in real
		 * life, so they may be used by the next one.  That is forbidden for
		 * values new in a transaction since they could get into an index and
		 * outlive its abort; nothing here outlives the rollback.
		 */
		AtEOXact_Enum();

		/* reading catalogs runs nobody's code, so all rights do no harm */
		SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security);
		after = collect_facts(scratch);

		MemoryContextSwitchTo(caller);
		step->facts = facts_changed(before, after);
		if (step->keep_state)
			step->state = facts_changed(factset_create(), after);
		MemoryContextSwitchTo(oldcontext);

		if (before_context != NULL)
			MemoryContextDelete(before_context);
		before = after;
		before_context = context;
	}
}

/* Takes away what would see the replay, or be seen by it. */
static void
save_state(ReplaySaved *saved)
{
	Size		size = EstimateUncommittedEnumsSpace();

	saved->enums = palloc(size);
	SerializeUncommittedEnums(saved->enums, size);
	saved->creating_extension = creating_extension;
	saved->extension = CurrentExtensionObject;

	/*
	 * With a state of its own, what the replay does and drops is not in the
	 * lists that the outer command's event triggers read.
	 */
	saved->event_state = EventTriggerBeginCompleteQuery();

	/* what is rolled back must not become a member of the extension */
	creating_extension = false;
	CurrentExtensionObject = InvalidOid;
}

static void
restore_state(ReplaySaved *saved)
{
	creating_extension = saved->creating_extension;
	CurrentExtensionObject = saved->extension;
	AtEOXact_Enum();
	RestoreUncommittedEnums(saved->enums);
	if (saved->event_state)
		EventTriggerEndCompleteQuery();
}

void
replay_migrations(List *steps)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext context;
	ErrorData  *volatile error = NULL;
	ReplaySaved saved;

	if (replay_guard_active())
		replay_refuse("a registration of another migration",
					  "A replay is going on already.", NULL);
	if (steps == NIL)
		return;

	context = AllocSetContextCreate(caller, "deploydb replay",
									ALLOCSET_DEFAULT_SIZES);
	BeginInternalSubTransaction(NULL);
	own_work_level++;
	MemoryContextSwitchTo(context);
	save_state(&saved);

	PG_TRY();
	{
		replay_steps(steps, caller);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	replay_guard_end();
	RollbackAndReleaseCurrentSubTransaction();
	own_work_level--;
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	restore_state(&saved);
	MemoryContextDelete(context);

	if (error != NULL)
	{
		if (error->sqlerrcode == ERRCODE_UNSAFE_NEW_ENUM_VALUE_USAGE)
			error->hint = "Use the new value in a migration of its own, or run this one on a copy of the database, call deploydb.capture_migration() there and give its result to deploydb.import_migration() here.";
		ReThrowError(error);
	}
}
