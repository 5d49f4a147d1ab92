/*
 * statement_scan.c
 *		Which table a statement's text is aimed at.
 *
 * Every server encoding keeps ASCII bytes for ASCII characters, so the text is
 * read by bytes; only the cursor and cut names need its characters.
 *
 * Locking: none.  Errors: none.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "writes/statement_scan.h"

/* Longer texts are not looked at: the log hook must be quick. */
#define SCAN_LIMIT (1024 * 1024)

typedef enum TokenKind
{
	TOKEN_END,
	TOKEN_WORD,
	TOKEN_QUOTED_NAME,
	TOKEN_STRING,
	TOKEN_OTHER
} TokenKind;

typedef struct Token
{
	TokenKind	kind;
	const char *start;
	const char *end;
} Token;

typedef struct Scan
{
	const char *at;
	const char *end;
	int			encoding;
	bool		standard_strings;
} Scan;

static bool
is_word_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '_' || c == '$' || IS_HIGHBIT_SET(c);
}

static bool
ahead(const Scan *scan, const char *what)
{
	size_t		length = strlen(what);

	return (size_t) (scan->end - scan->at) >= length &&
		memcmp(scan->at, what, length) == 0;
}

static void
skip_comment(Scan *scan)
{
	int			depth = 0;

	do
	{
		if (ahead(scan, "/*"))
		{
			depth++;
			scan->at += 2;
		}
		else if (ahead(scan, "*/"))
		{
			depth--;
			scan->at += 2;
		}
		else
			scan->at++;
	} while (depth > 0 && scan->at < scan->end);
}

/* Blanks and comments that end with their line; true where a line ended. */
static bool
skip_lines(Scan *scan)
{
	bool		line_ended = false;

	while (scan->at < scan->end)
	{
		if (*scan->at == '\n' || *scan->at == '\r')
			line_ended = true;
		else if (ahead(scan, "--"))
		{
			while (scan->at < scan->end && *scan->at != '\n' && *scan->at != '\r')
				scan->at++;
			continue;
		}
		else if (strchr(" \t\f\v", *scan->at) == NULL)
			break;
		scan->at++;
	}
	return line_ended;
}

static void
skip_blanks(Scan *scan)
{
	skip_lines(scan);
	while (ahead(scan, "/*"))
	{
		skip_comment(scan);
		skip_lines(scan);
	}
}

/*
 * From the opening quote to behind the closing one, or to the end; then
 * false.
 */
static bool
skip_quoted(Scan *scan, bool escapes)
{
	char		quote = *scan->at++;

	while (scan->at < scan->end)
	{
		char		c = *scan->at++;

		if (c == '\\' && escapes && scan->at < scan->end)
			scan->at++;
		else if (c == quote)
		{
			if (scan->at >= scan->end || *scan->at != quote)
				return true;
			scan->at++;
		}
	}
	return false;
}

/*
 * A string that goes on in another line keeps its escapes.  One without them
 * may as well be two.
 */
static void
skip_escape_string(Scan *scan)
{
	Scan		next = *scan;

	do
	{
		scan->at = next.at;
		skip_quoted(scan, true);
		next = *scan;
	} while (skip_lines(&next) && ahead(&next, "'"));
}

/* At a '$': behind a dollar-quoted string, or false when it opens none. */
static bool
skip_dollar_quoted(Scan *scan)
{
	const char *tag = scan->at;
	const char *p = tag + 1;
	size_t		length;

	if (p < scan->end && *p >= '0' && *p <= '9')
		return false;
	while (p < scan->end && *p != '$' && is_word_byte(*p))
		p++;
	if (p >= scan->end || *p != '$')
		return false;
	length = p + 1 - tag;
	for (p = tag + length; p + length <= scan->end; p++)
		if (*p == '$' && memcmp(p, tag, length) == 0)
		{
			scan->at = p + length;
			return true;
		}
	scan->at = scan->end;
	return true;
}

static Token
next_token(Scan *scan)
{
	Token		token;
	char		c;

	skip_blanks(scan);
	token.start = scan->at;
	token.kind = TOKEN_OTHER;
	if (scan->at >= scan->end)
		token.kind = TOKEN_END;
	else if ((c = *scan->at) == '\'')
	{
		token.kind = TOKEN_STRING;
		skip_quoted(scan, !scan->standard_strings);
	}
	else if (c == '"')
	{
		if (skip_quoted(scan, false))
			token.kind = TOKEN_QUOTED_NAME;
	}
	else if (c == '$' && skip_dollar_quoted(scan))
		token.kind = TOKEN_STRING;
	else if (is_word_byte(c) && c != '$')
	{
		token.kind = TOKEN_WORD;
		while (scan->at < scan->end && is_word_byte(*scan->at))
			scan->at++;
		if (scan->at - token.start == 1 && (c == 'e' || c == 'E') &&
			scan->at < scan->end && *scan->at == '\'')
		{
			token.kind = TOKEN_STRING;
			skip_escape_string(scan);
		}
	}
	else
		scan->at++;
	token.end = scan->at;
	return token;
}

static bool
is_word(const Token *token, const char *word)
{
	size_t		length = strlen(word);

	return token->kind == TOKEN_WORD &&
		(size_t) (token->end - token->start) == length &&
		pg_strncasecmp(token->start, word, length) == 0;
}

static bool
is_char(const Token *token, char c)
{
	return token->kind == TOKEN_OTHER && *token->start == c;
}

/* As the server reads a name: folded or not, and cut to its length. */
static bool
read_name(const Scan *scan, const Token *token, char *name)
{
	bool		quoted = (token->kind == TOKEN_QUOTED_NAME);
	const char *p = token->start;
	const char *end = token->end;
	int			length = 0;

	if (quoted)
	{
		p++;
		end--;
	}
	else if (token->kind != TOKEN_WORD || (*p >= '0' && *p <= '9'))
		return false;
	while (p < end)
	{
		int			bytes = Min(pg_encoding_mblen(scan->encoding, p), end - p);

		if (length + bytes >= NAMEDATALEN)
			break;
		if (!quoted && *p >= 'A' && *p <= 'Z')
			name[length] = *p - 'A' + 'a';
		else
			memcpy(name + length, p, bytes);
		length += bytes;
		p += bytes;
		if (quoted && p[-1] == '"')
			p++;				/* the second of two */
	}
	name[length] = '\0';
	return length > 0;
}

/* [[catalog.]schema.]name; the token behind it is left in *token. */
static bool
read_target(Scan *scan, Token *token, StatementTarget *target)
{
	target->schema[0] = '\0';
	for (int parts = 1; parts <= 3; parts++)
	{
		if (!read_name(scan, token, target->name))
			return false;
		*token = next_token(scan);
		if (is_char(token, '&'))	/* U&"…" */
			return false;
		if (!is_char(token, '.'))
			return true;
		strlcpy(target->schema, target->name, NAMEDATALEN);
		*token = next_token(scan);
	}
	return false;
}

/* Behind the parenthesis that closes the one in *token. */
static void
skip_parentheses(Scan *scan, Token *token)
{
	int			depth = 0;

	do
	{
		if (is_char(token, '('))
			depth++;
		else if (is_char(token, ')'))
			depth--;
		*token = next_token(scan);
	} while (depth > 0 && token->kind != TOKEN_END);
}

/* Behind a word, and behind the name that follows it. */
static void
skip_word_and_name(Scan *scan, Token *token, const char *word)
{
	while (token->kind != TOKEN_END && !is_word(token, word))
		*token = next_token(scan);
	(void) next_token(scan);
	*token = next_token(scan);
}

/*
 * Behind the WITH in *token and its list, or to where that is none: the words
 * that begin a write may be names, too.
 */
static void
skip_with(Scan *scan, Token *token)
{
	*token = next_token(scan);
	if (is_word(token, "recursive"))
		*token = next_token(scan);
	for (;;)
	{
		*token = next_token(scan);
		if (is_char(token, '('))
			skip_parentheses(scan, token);
		if (!is_word(token, "as"))
			return;
		*token = next_token(scan);
		if (is_word(token, "not"))
			*token = next_token(scan);
		if (is_word(token, "materialized"))
			*token = next_token(scan);
		if (!is_char(token, '('))
			return;
		skip_parentheses(scan, token);
		if (is_word(token, "search"))
			skip_word_and_name(scan, token, "set");
		if (is_word(token, "cycle"))
			skip_word_and_name(scan, token, "using");
		if (!is_char(token, ','))
			return;
		*token = next_token(scan);
	}
}

/* INSERT INTO, UPDATE or MERGE INTO, whose first word is in *token. */
static bool
read_write(Scan *scan, Token *token, StatementTarget *target)
{
	bool		into = !is_word(token, "update");

	*token = next_token(scan);
	if (into)
	{
		if (!is_word(token, "into"))
			return false;
		*token = next_token(scan);
	}
	if (is_word(token, "only"))
	{
		*token = next_token(scan);
		if (is_char(token, '('))
			*token = next_token(scan);
	}
	return read_target(scan, token, target);
}

static bool
read_copy(Scan *scan, Token *token, StatementTarget *target)
{
	*token = next_token(scan);
	if (is_word(token, "binary"))
		*token = next_token(scan);
	if (!read_target(scan, token, target))
		return false;
	if (is_char(token, '('))
		skip_parentheses(scan, token);
	return is_word(token, "from");
}

/* One statement, from its first token. */
static bool
read_statement(Scan *scan, StatementTarget *target)
{
	Token		token = next_token(scan);

	if (is_word(&token, "with"))
		skip_with(scan, &token);
	else if (is_word(&token, "copy"))
		return read_copy(scan, &token, target);
	if (is_word(&token, "insert") || is_word(&token, "update") ||
		is_word(&token, "merge"))
		return read_write(scan, &token, target);
	return false;
}

/* The byte of a character position, which is from 1. */
static const char *
cursor_byte(const Scan *scan, int cursor)
{
	const char *p = scan->at;

	while (--cursor > 0 && p < scan->end)
		p += pg_encoding_mblen(scan->encoding, p);
	return Min(p, scan->end);
}

bool
statement_target(const char *sql, int cursor, int encoding,
				 bool standard_strings, StatementTarget *target)
{
	Scan		all = {sql, sql + strnlen(sql, SCAN_LIMIT + 1), encoding,
	standard_strings};
	Scan		found = {NULL, NULL, encoding, standard_strings};
	const char *wanted = NULL;
	const char *start = NULL;
	bool		reached = false;
	int			depth = 0;
	Token		before = {TOKEN_END, NULL, NULL};
	Token		token;

	if (all.end - all.at > SCAN_LIMIT)
		return false;
	if (cursor > 0)
		wanted = cursor_byte(&all, cursor);
	do
	{
		token = next_token(&all);
		if (is_word(&token, "atomic") && is_word(&before, "begin"))
			return false;		/* a function's body has semicolons */
		if (is_char(&token, '('))
			depth++;
		else if (is_char(&token, ')') && depth > 0)
			depth--;
		if (token.kind == TOKEN_END || (is_char(&token, ';') && depth == 0))
		{
			if (start != NULL && wanted == NULL && found.at != NULL)
				return false;	/* one of several */
			if (start != NULL && !reached)
			{
				/* Past all of them, it is the last one's. */
				found.at = start;
				found.end = token.start;
				reached = (wanted != NULL && wanted <= token.start);
			}
			start = NULL;
		}
		else if (start == NULL)
			start = token.start;
		before = token;
	} while (token.kind != TOKEN_END);

	return found.at != NULL && read_statement(&found, target);
}
