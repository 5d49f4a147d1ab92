/*
 * statement_scan.c
 *		What the scanner takes for the target of a statement, and that no text
 *		leads it astray.
 *
 * Prints a line for what is wrong, and nothing when all is well.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "writes/statement_scan.h"

typedef struct Example
{
	const char *sql;
	int			cursor;
	const char *schema;
	const char *name;			/* NULL when there is none */
} Example;

static const Example examples[] = {
	{"INSERT INTO t VALUES (1)", 0, "", "t"},
	{"insert into Public.T(a) values (1)", 8, "public", "t"},
	{"  /* a /* nested */ comment */ INSERT -- x\n INTO \"Odd \"\"Name\"\"\" SELECT 1", 0, "", "Odd \"Name\""},
	{"INSERT INTO db.s.t DEFAULT VALUES;", 0, "s", "t"},
	{"INSERT INTO a.b.c.d VALUES (1)", 0, "", NULL},
	{"UPDATE ONLY s . t SET a = 1", 0, "s", "t"},
	{"UPDATE ONLY (t) SET a = 1", 0, "", "t"},
	{"UPDATE t * SET a = ';'", 0, "", "t"},
	{"MERGE INTO ONLY t USING s ON true", 0, "", "t"},
	{"COPY t (a, b) FROM STDIN", 0, "", "t"},
	{"COPY BINARY t FROM STDIN", 0, "", "t"},
	{"COPY t TO STDOUT", 0, "", NULL},
	{"COPY (SELECT 1) TO STDOUT", 0, "", NULL},
	{"COPY t (a,", 0, "", NULL},
	{"DELETE FROM t", 0, "", NULL},
	{"SELECT 'INSERT INTO t'", 0, "", NULL},
	{"TABLE t", 0, "", NULL},
	{"EXPLAIN INSERT INTO t VALUES (1)", 0, "", NULL},
	{"PREPARE p AS INSERT INTO t VALUES (1)", 0, "", NULL},
	{"WITH a AS (SELECT ';)' FROM (SELECT 1) x) INSERT INTO t SELECT * FROM a", 0, "", "t"},
	{"WITH RECURSIVE a (n) AS (VALUES (1)), b AS (INSERT INTO u VALUES (1)) UPDATE t SET x = 1", 0, "", "t"},
	{"WITH a AS (INSERT INTO t VALUES (1)) SELECT 1", 0, "", NULL},
	{"SELECT 1; INSERT INTO t VALUES (nope); INSERT INTO u VALUES (1)", 33, "", "t"},
	{"SELECT 1; INSERT INTO t VALUES (nope); INSERT INTO u VALUES (1)", 60, "", "u"},
	{"SELECT 1; INSERT INTO t VALUES (nope); INSERT INTO u VALUES (1)", 5, "", NULL},
	{"SELECT 1; INSERT INTO t VALUES (nope)", 0, "", NULL},
	{"INSERT INTO t VALUES (1);;; ", 0, "", "t"},
	{"INSERT INTO t VALUES (E'\\';'); SELECT 1", 33, "", NULL},
	{"INSERT INTO t VALUES (E'\\';'); SELECT 1", 24, "", "t"},
	{"INSERT INTO t VALUES ('\\'); UPDATE u SET x = 1", 40, "", "u"},
	{"INSERT INTO t VALUES ($x$;'$x$, $$;$$); UPDATE u SET x = 1", 50, "", "u"},
	{"INSERT INTO t VALUES ($1); UPDATE u SET x = $2", 40, "", "u"},
	{"INSERT INTO t VALUES ('unfinished", 23, "", "t"},
	{"INSERT INTO t VALUES (1) /* unfinished", 26, "", "t"},
	{"INSERT INTO t VALUES ($a$ unfinished", 23, "", "t"},
	{"INSERT INTO \"unfinished", 13, "", NULL},
	{"INSERT INTO U&\"d\\0061t\" VALUES (1)", 0, "", NULL},
	{"INSERT INTO", 0, "", NULL},
	{"INSERT", 7, "", NULL},
	{"", 0, "", NULL},
	{";;", 1, "", NULL},
	{"INSERT INTO t VALUES (1,, 2)", 24, "", "t"},
	{"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; INSERT INTO t VALUES (1); END", 50, "", NULL},
	{"UPDATE t SET x =; UPDATE u SET x = 1", 17, "", "t"},
	{"INSERT INTO t VALUES (1);", 26, "", "t"},
	{"UPDATE u SET x = 1; INSERT INTO t VALUES (1); -- end", 99, "", "t"},
	{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; INSERT INTO t VALUES (1))", 60, "", NULL},
	{"INSERT INTO t VALUES (1)); UPDATE u SET x = 1", 25, "", "t"},
	{"WITH update AS (SELECT 1) INSERT INTO t VALUES (1)", 0, "", "t"},
	{"WITH a AS (SELECT 1) SELECT update t FROM x", 0, "", NULL},
	{"WITH a AS (SELECT 1) SELECT 1 FROM x FOR UPDATE NOWAIT", 0, "", NULL},
	{"WITH a AS MATERIALIZED (SELECT 1), b AS NOT MATERIALIZED (SELECT 2) MERGE INTO t", 0, "", "t"},
	{"WITH a AS (SELECT 1) SEARCH DEPTH FIRST BY b, update SET c CYCLE d, e SET f TO 1 DEFAULT 0 USING g, h AS (SELECT 1) UPDATE t SET x = 1", 0, "", "t"},
	{"WITH a AS (SELECT 1", 0, "", NULL},
	{"WITH a AS", 0, "", NULL},
	{"INSERT INTO (SELECT 1)", 0, "", NULL},
	{"INSERT INTO 1t VALUES (1)", 0, "", NULL},
	{"INSERT INTO \"a\"\"", 0, "", NULL},
	{"INSERT INTO \"\" VALUES (1)", 0, "", NULL},
	{"INSERT INTO t VALUES (E'a' -- goes on\n '\\';'); UPDATE u SET x = 1", 60, "", "u"},
	{"INSERT INTO t VALUES (E'a' /* ends */ '\\'); UPDATE u SET x = 1", 60, "", "u"},
	{"SELECT '\xe5\xad\xa6\xe4\xb9\xa0'; UPDATE \xe5\xad\xa6\xe4\xb9\xa0 SET x = 1", 14, "", "\xe5\xad\xa6\xe4\xb9\xa0"},
	{"INSERT INTO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa VALUES (1)", 0, "",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
	{"INSERT INTO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xe5\xad\xa6 VALUES (1)", 0, "",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
};

static const Example escaped =
{"INSERT INTO t VALUES ('\\';'); SELECT 1", 35, "", NULL};

/* Of the server's other encodings: LATIN1 and EUC_JP cut a name elsewhere. */
static void
check_encodings(void)
{
	static const struct
	{
		int			encoding;
		size_t		length;
	}			expected[] = {{PG_LATIN1, 63}, {PG_EUC_JP, 62}, {PG_UTF8, 61},
	{PG_SQL_ASCII, 63}};

	for (size_t i = 0; i < lengthof(expected); i++)
	{
		StatementTarget target;
		char		sql[128] = "UPDATE \"";
		char	   *p = sql + strlen(sql);

		memcpy(p, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 54);
		p += 54;
		for (int c = 0; c < 8; c++)
			*p++ = (char) 0xe5;
		if (expected[i].encoding == PG_UTF8)
			p[-8] = 'x';
		strcpy(p, "\xe5\xe5\xe5\xe5\" SET x = 1");
		if (!statement_target(sql, 0, expected[i].encoding, true, &target) ||
			strlen(target.name) != expected[i].length)
			printf("a name of %zu bytes in encoding %d\n",
				   strlen(target.name), expected[i].encoding);
	}
}

/* What is given up, and what is just not. */
static void
check_limits(void)
{
	static const struct
	{
		const char *before;
		const char *repeated;
		int			most;
	}			limits[] = {
		{"INSERT INTO t SELECT ", "(", 1024 * 1024 - 21},
		{"INSERT INTO t /*", "/*", 512 * 1024 - 8},
		{"UPDATE t SET x = ", "-", 1024 * 1024 - 17},
		{"UPDATE t --", "x", 1024 * 1024 - 11},
	};
	char	   *sql = malloc(1024 * 1024 + 64);

	for (size_t i = 0; i < lengthof(limits); i++)
		for (int more = 0; more < 2; more++)
		{
			StatementTarget target;
			char	   *p = stpcpy(sql, limits[i].before);

			for (int n = 0; n < limits[i].most + more; n++)
				p = stpcpy(p, limits[i].repeated);
			if (statement_target(sql, 0, PG_UTF8, true, &target) == more)
				printf("%s, then %s %d times: %s\n", limits[i].before,
					   limits[i].repeated, limits[i].most + more,
					   more ? "not given up" : "given up");
		}
	free(sql);
}

static void
check_example(const Example *example, bool standard_strings)
{
	StatementTarget target;
	bool		found = statement_target(example->sql, example->cursor,
										 PG_UTF8, standard_strings, &target);

	if (found != (example->name != NULL) ||
		(found && (strcmp(target.name, example->name) != 0 ||
				   strcmp(target.schema, example->schema) != 0)))
		printf("at %d of %s: %s%s%s\n", example->cursor, example->sql,
			   found ? target.schema : "nothing",
			   found ? "." : "", found ? target.name : "");
}

/* Pieces of statements in any order, cut anywhere. */
static void
check_garbage(unsigned int *seed, bool standard_strings)
{
	static const char *const pieces[] = {"INSERT ", "INTO ", "UPDATE ", "WITH ",
		"COPY ", "FROM ", "t", "\"q", "'", "$$", "$a$", "/*", "*/", "--", "\n",
		"(", ")", ";", ".", "E'", "\\", "begin ", "atomic ", "\xe5", "\xff",
		"only ", "merge ", " ", "U&\"", ",", "1", "a AS (", "search ", "set ", "cycle ",
	"using ", "\"\"", "''", "recursive "};
	static const int encodings[] = {PG_UTF8, PG_SQL_ASCII, PG_LATIN1, PG_EUC_JP,
	PG_EUC_TW, PG_EUC_CN, PG_EUC_KR};
	char		sql[256] = "";
	char	   *exact;
	size_t		length;
	StatementTarget target;

	while (strlen(sql) < 200 && rand_r(seed) % 30 != 0)
	{
		char		byte[] = {(char) (1 + rand_r(seed) % 255), '\0'};

		strcat(sql, rand_r(seed) % 8 == 0 ? byte :
			   pieces[rand_r(seed) % lengthof(pieces)]);
	}

	/* Allocated to the byte, so that a sanitizer sees what is read behind. */
	length = strlen(sql);
	exact = memcpy(malloc(length + 1), sql, length + 1);
	if (statement_target(exact, rand_r(seed) % 3 ? rand_r(seed) % 250 : 0,
						 encodings[rand_r(seed) % lengthof(encodings)],
						 standard_strings, &target) &&
		(strlen(target.name) >= NAMEDATALEN || target.name[0] == '\0'))
		printf("a name of %zu bytes from %s\n", strlen(target.name), sql);
	free(exact);
}

int
main(void)
{
	unsigned int seed = 1;

	for (size_t i = 0; i < lengthof(examples); i++)
		check_example(&examples[i], true);
	check_example(&escaped, false);
	check_encodings();
	check_limits();
	for (int i = 0; i < 300000; i++)
		check_garbage(&seed, i % 2);
	return 0;
}
