/*
 * secret_signs.c
 *		What tells that a text has a webhook's address or key in it.
 *
 * Locking: none.  Errors: none, but for note_path() and signs_of_executed(), which
 * look into the catalogs.  The rest is asked by the log's hook, in any process and
 * at any time, so it takes no memory.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "miscadmin.h"
#include "parser/scansup.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "webhooks/secret_signs.h"

#define SCHEMA "deploydb"

/* That the signs of a prepared statement are those of this text, too. */
#define SIGN_EXECUTE	0x10
#define ANY_SIGN		0xff

/* Looked for by a character of it that is rare in SQL. */
typedef struct Mark
{
	const char *text;
	char		rare;
	bool		whole_word;
	int			sign;
} Mark;

static const Mark marks[] = {
	{"add_webhook", 'k', true, SIGN_FUNCTION},
	{"set_webhook_url", 'k', true, SIGN_FUNCTION},
	{"set_webhook_secret", 'k', true, SIGN_FUNCTION},
	{SCHEMA, 'y', true, SIGN_SCHEMA},
	{"secret", 'c', false, SIGN_SECRET},
	{"://", ':', false, SIGN_VALUE},
	{"whsec_", 'w', false, SIGN_VALUE},
	{"execute", 'x', true, SIGN_EXECUTE}
};

/* The signs whose marks have this character, and where it is in each mark. */
static uint8 signs_with[256];
static size_t place_of_rare[lengthof(marks)];

/* The role whose name was looked up at last, and whether it is the schema's. */
static Oid	known_role = InvalidOid;
static bool known_role_names_schema = false;

/*
 * Start of the statement at whose parsing search_path named the schema: the
 * functions that it calls have another one.
 */
static TimestampTz named_by_path_since = 0;

void
secret_signs_init(void)
{
	for (size_t i = 0; i < lengthof(marks); i++)
	{
		unsigned char rare = (unsigned char) marks[i].rare;

		place_of_rare[i] = strchr(marks[i].text, rare) - marks[i].text;
		signs_with[rare] |= marks[i].sign;
		signs_with[pg_ascii_toupper(rare)] |= marks[i].sign;
	}
}

static bool
is_word(char c)
{
	return IS_HIGHBIT_SET(c) || isalnum((unsigned char) c) || c == '_' || c == '$';
}

static bool
is_marked(const char *text, size_t length, size_t at, const Mark *mark)
{
	size_t		end = at + strlen(mark->text);

	return end <= length &&
		pg_strncasecmp(text + at, mark->text, end - at) == 0 &&
		(!mark->whole_word ||
		 ((at == 0 || !is_word(text[at - 1])) &&
		  (end == length || !is_word(text[end]))));
}

static int	signs_of_named(const char *text, size_t length);

/* Of those that are wanted, in one pass; each message is looked through. */
static int
find_signs(const char *text, size_t length, int wanted)
{
	int			signs = 0;

	for (size_t at = 0; at < length; at++)
	{
		int			possible = signs_with[(unsigned char) text[at]] & wanted & ~signs;

		for (size_t i = 0; possible != 0 && i < lengthof(marks); i++)
		{
			size_t		begin = at - place_of_rare[i];
			size_t		end = begin + strlen(marks[i].text);

			if (!(marks[i].sign & possible) || at < place_of_rare[i] ||
				!is_marked(text, length, begin, &marks[i]))
				continue;
			signs |= marks[i].sign == SIGN_EXECUTE ?
				signs_of_named(text + end, length - end) : marks[i].sign;
		}
	}
	return signs;
}

/* As parse trees tell of their part of the text. */
static int
find_signs_of_part(const char *text, int location, int length, int wanted)
{
	if (location > 0)
		text += location;
	return find_signs(text, location >= 0 && length > 0 ? (size_t) length : strlen(text),
					  wanted);
}

/* Another EXECUTE within it is of no prepared statement. */
static int
signs_of_prepared(const CachedPlanSource *source)
{
	const RawStmt *statement = source->raw_parse_tree;

	return find_signs_of_part(source->query_string,
							  statement ? statement->stmt_location : 0,
							  statement ? statement->stmt_len : 0,
							  ANY_SIGN & ~SIGN_EXECUTE);
}

/*
 * The text goes on after EXECUTE.  That is asked of what has not been parsed,
 * too, as it is wrong or the transaction has failed.  Nothing is prepared by the
 * name where it is not the SQL command.
 */
static int
signs_of_named(const char *text, size_t length)
{
	char		name[NAMEDATALEN] = "";
	size_t		used = 0;
	bool		quoted;
	PreparedStatement *prepared;

	for (; length > 0 && scanner_isspace(*text); length--)
		text++;
	quoted = length > 0 && *text == '"';
	if (quoted)
		text++, length--;
	while (used < Min(length, NAMEDATALEN - 1) &&
		   (quoted ? text[used] != '"' : is_word(text[used])))
	{
		name[used] = quoted ? text[used] : pg_tolower((unsigned char) text[used]);
		used++;
	}
	prepared = FetchPreparedStatement(name, false);
	return prepared ? signs_of_prepared(prepared->plansource) : 0;
}

int
signs_of(const char *text)
{
	return text != NULL ? find_signs(text, strlen(text), ANY_SIGN) : 0;
}

/*
 * Of the client's message, all of which others see while any statement of it
 * runs.  Looked for once in each, as it may have thousands of statements, or of
 * lines to be logged.
 */
int
signs_of_message(void)
{
	static const char *message = NULL;
	static TimestampTz came = 0;
	static int	signs = 0;

	if (message != debug_query_string ||
		came != GetCurrentStatementStartTimestamp())
		signs = signs_of(debug_query_string);
	message = debug_query_string;
	came = GetCurrentStatementStartTimestamp();
	return signs;
}

/*
 * Of the statement itself: its text may be one of thousands, in a string that a
 * function executes or in that function's body.
 */
int
signs_of_statement(const char *text, int location, int length)
{
	if (text == NULL)
		return 0;
	if (text == debug_query_string)
		return signs_of_message();
	return find_signs_of_part(text, location, length, ANY_SIGN);
}

/*
 * Also of one that the message itself has prepared.  It fails where search_path
 * has been changed since, and has the schema's name no longer.
 */
int
signs_of_executed(const char *name)
{
	PreparedStatement *prepared = FetchPreparedStatement(name, false);
	Oid			schema = get_namespace_oid(SCHEMA, true);

	if (prepared == NULL)
		return 0;
	return signs_of_prepared(prepared->plansource) |
		(prepared->plansource->search_path != NULL &&
		 list_member_oid(prepared->plansource->search_path->schemas, schema) ? SIGN_SCHEMA : 0);
}

/* What "$user" stands for in search_path. */
static bool
role_names_schema(void)
{
	Oid			role;
	int			unused;
	const char *name;

	GetUserIdAndSecContext(&role, &unused);
	if (role == known_role)
		return known_role_names_schema;
	name = GetConfigOption("role", true, false);
	if (name == NULL || strcmp(name, "none") == 0)
		name = GetConfigOption("session_authorization", true, false);
	return name != NULL && strcmp(name, SCHEMA) == 0;
}

/* Asked at each parsing, so what most paths lack is looked for first. */
bool
path_names_schema(void)
{
	const char *path = namespace_search_path ? namespace_search_path : "";

	return (strpbrk(path, "dD") != NULL &&
			find_signs(path, strlen(path), SIGN_SCHEMA)) ||
		(strstr(path, "$user") != NULL && role_names_schema()) ||
		(named_by_path_since != 0 &&
		 named_by_path_since == GetCurrentStatementStartTimestamp());
}

void
note_path(void)
{
	/* a ROLLBACK is parsed in a transaction that has failed */
	if (IsTransactionState() && GetUserId() != known_role)
	{
		char	   *name = GetUserNameFromId(GetUserId(), true);

		known_role_names_schema = name != NULL && strcmp(name, SCHEMA) == 0;
		known_role = GetUserId();
	}
	if (path_names_schema())
		named_by_path_since = GetCurrentStatementStartTimestamp();
}

bool
tells_by_itself(int signs)
{
	return (signs & SIGN_FUNCTION) ||
		((signs & SIGN_SCHEMA) && (signs & (SIGN_SECRET | SIGN_VALUE)));
}

bool
tells(int signs)
{
	return tells_by_itself(signs) ||
		((signs & (SIGN_SECRET | SIGN_VALUE)) && path_names_schema());
}
