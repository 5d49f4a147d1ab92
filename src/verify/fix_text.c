/*
 * fix_text.c
 *		Text from the catalogs, made fit for a statement that anyone may run
 *		under any search_path.
 *
 * Facts are deparsed with the schema in front of the search_path, so names of
 * the schema's own objects stand in them bare.  Here they get the schema's
 * name again, token by token; text in quotes is left as it is.  What is not
 * known as the schema's own stays bare: it is pg_catalog's.
 *
 * Locking: none.  Errors: out of memory.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"

#include "verify/fix_context.h"

typedef enum TokenKind
{
	TOKEN_END,
	TOKEN_NAME,					/* identifier or keyword, quoted or not */
	TOKEN_LITERAL,
	TOKEN_CAST,					/* :: */
	TOKEN_DOT,
	TOKEN_OTHER
} TokenKind;

typedef struct Token
{
	TokenKind	kind;
	const char *start;
	int			length;
} Token;

static bool
is_name_char(unsigned char c)
{
	return IS_HIGHBIT_SET(c) || isalnum(c) || c == '_' || c == '$';
}

/* End of a quoted text that starts at p; a doubled quote is part of it. */
static const char *
skip_quoted(const char *p, bool backslashes)
{
	char		quote = *p++;

	while (*p)
	{
		if (backslashes && *p == '\\' && p[1])
			p += 2;
		else if (*p != quote)
			p++;
		else if (p[1] == quote)
			p += 2;
		else
			return p + 1;
	}
	return p;
}

/* The token at or after p, white space skipped. */
static Token
next_token(const char *p)
{
	Token		token;
	const char *end;

	while (isspace((unsigned char) *p))
		p++;
	token.start = p;
	if (*p == '\0')
	{
		token.kind = TOKEN_END;
		end = p;
	}
	else if (*p == '\'' || ((*p == 'E' || *p == 'B' || *p == 'X') && p[1] == '\''))
	{
		bool		prefixed = (*p != '\'');

		token.kind = TOKEN_LITERAL;
		end = skip_quoted(p + prefixed, *p == 'E');
	}
	else if (*p == '"')
	{
		token.kind = TOKEN_NAME;
		end = skip_quoted(p, false);
	}
	else if (is_name_char((unsigned char) *p))
	{
		/* A number is read as a name that is nobody's. */
		token.kind = TOKEN_NAME;
		for (end = p; is_name_char((unsigned char) *end); end++)
			;
	}
	else
	{
		token.kind = *p == '.' ? TOKEN_DOT : TOKEN_OTHER;
		end = p + 1;
		if (p[0] == ':' && p[1] == ':')
		{
			token.kind = TOKEN_CAST;
			end = p + 2;
		}
	}
	token.length = end - p;
	return token;
}

static bool
token_is(const Token *token, const char *text)
{
	return token->length == (int) strlen(text) &&
		pg_strncasecmp(token->start, text, token->length) == 0;
}

static char *
token_text(const Token *token)
{
	return pnstrdup(token->start, token->length);
}

static bool
known_in_either(const FixContext *fix, const char *object_type,
				const char *object)
{
	return fix_has_object(fix->expected, object_type, object) ||
		fix_has_object(fix->actual, object_type, object);
}

static bool
is_known_relation(const FixContext *fix, const char *name)
{
	return known_in_either(fix, "table", name) ||
		known_in_either(fix, "view", name) ||
		known_in_either(fix, "sequence", name);
}

static bool
is_known_type(const FixContext *fix, const char *name)
{
	return known_in_either(fix, "enum", name) ||
		known_in_either(fix, "domain", name) ||
		known_in_either(fix, "composite type", name) ||
		known_in_either(fix, "table", name);
}

static bool
set_has_function(const FactSet *set, const char *name)
{
	size_t		length = strlen(name);

	for (int i = 0; i < set->count; i++)
	{
		const Fact *fact = &set->facts[i];

		if (strcmp(fact->object_type, "function") == 0 &&
			strncmp(fact->object, name, length) == 0 &&
			fact->object[length] == '(')
			return true;
	}
	return false;
}

/* Is it a keyword that a relation's name follows? */
static bool
starts_relation(const Token *token)
{
	return token_is(token, "from") || token_is(token, "join") ||
		token_is(token, "only");
}

/* Does the token name an object of the schema's, where it stands? */
static bool
is_own_name(const FixContext *fix, const Token *token, const Token *before,
			const Token *after, bool types)
{
	char	   *name;
	bool		own = false;

	if (token->kind != TOKEN_NAME || before->kind == TOKEN_DOT ||
		after->kind == TOKEN_DOT)
		return false;
	name = token_text(token);
	if (before->kind == TOKEN_NAME && token_is(before, "references"))
		own = true;
	else if (before->kind == TOKEN_CAST)
		own = is_known_type(fix, name);
	else if (starts_relation(before))
		own = is_known_relation(fix, name);
	else if (types && (before->kind == TOKEN_NAME || after->kind != TOKEN_NAME))
		own = is_known_type(fix, name);
	if (!own && token_is(after, "("))
		own = set_has_function(fix->expected, name) ||
			set_has_function(fix->actual, name);
	pfree(name);
	return own;
}

/* 'name'::regclass, where name is one of the schema's own relations. */
static char *
qualify_regclass(const FixContext *fix, const Token *literal,
				 const Token *after)
{
	Token		type = next_token(after->start + after->length);
	char	   *text = token_text(literal);
	int			length = strlen(text);
	char	   *parts[2];
	StringInfoData raw;

	if (after->kind != TOKEN_CAST || !token_is(&type, "regclass") ||
		text[0] != '\'' || length < 3)
		return text;

	initStringInfo(&raw);
	for (int i = 1; i < length - 1; i++)
	{
		appendStringInfoChar(&raw, text[i]);
		if (text[i] == '\'' && i + 1 < length - 1)
			i++;
	}
	if (object_split(raw.data, parts) != 1 ||
		!is_known_relation(fix, raw.data))
		return text;
	return quote_literal_cstr(fix_qualified(fix, raw.data));
}

/*
 * Qualifies the schema's own types, functions and relations in an expression,
 * a constraint's definition or a query.  With "types", names that stand where
 * a list of "name type" has its types are looked at as well.
 */
char *
fix_qualify(const FixContext *fix, const char *text, bool types)
{
	Token		before = {TOKEN_END, text, 0};
	Token		token = next_token(text);
	const char *copied = text;
	StringInfoData out;

	initStringInfo(&out);
	while (token.kind != TOKEN_END)
	{
		Token		after = next_token(token.start + token.length);

		appendBinaryStringInfo(&out, copied, token.start - copied);
		copied = token.start + token.length;
		if (token.kind == TOKEN_LITERAL)
			appendStringInfoString(&out, qualify_regclass(fix, &token, &after));
		else
		{
			if (is_own_name(fix, &token, &before, &after, types))
				appendStringInfo(&out, "%s.", fix->schema);
			appendBinaryStringInfo(&out, token.start, token.length);
		}
		/* A join stands in parentheses: FROM (a JOIN b ON …) */
		if (!token_is(&token, "(") || !starts_relation(&before))
			before = token;
		token = after;
	}
	appendStringInfoString(&out, copied);
	return out.data;
}

char *
fix_type(const FixContext *fix, const char *type)
{
	return fix_qualify(fix, type, true);
}

/* The first token after the given keyword, or NULL. */
char *
fix_name_after(const char *text, const char *keyword)
{
	Token		token = next_token(text);

	while (token.kind != TOKEN_END)
	{
		Token		after = next_token(token.start + token.length);

		if (token_is(&token, keyword))
			return token_text(&after);
		token = after;
	}
	return NULL;
}

/*
 * Replaces a bare name by another where it first stands right after the given
 * keyword; NULL where it does not.
 */
char *
fix_replace_name(const char *text, const char *after, const char *name,
				 const char *replacement)
{
	Token		before = next_token(text);

	while (before.kind != TOKEN_END)
	{
		Token		token = next_token(before.start + before.length);

		if (token_is(&before, after) &&
			token.length == (int) strlen(name) &&
			strncmp(token.start, name, token.length) == 0)
			return psprintf("%.*s%s%s", (int) (token.start - text), text,
							replacement, token.start + token.length);
		before = token;
	}
	return NULL;
}

/* The parts (char *) between the commas outside quotes and parentheses. */
List *
fix_split_list(const char *text)
{
	List	   *parts = NIL;
	const char *start = NULL;
	const char *end = text;
	int			depth = 0;

	for (Token token = next_token(text);; token = next_token(end))
	{
		if (token.kind == TOKEN_END || (depth == 0 && token_is(&token, ",")))
		{
			if (start)
				parts = lappend(parts, pnstrdup(start, end - start));
			start = NULL;
			if (token.kind == TOKEN_END)
				return parts;
		}
		else if (start == NULL)
			start = token.start;
		if (token_is(&token, "(") || token_is(&token, "["))
			depth++;
		else if (token_is(&token, ")") || token_is(&token, "]"))
			depth--;
		end = token.start + token.length;
	}
}

char *
fix_strip_semicolon(const char *text)
{
	int			length = strlen(text);

	while (length > 0 && (isspace((unsigned char) text[length - 1]) ||
						  text[length - 1] == ';'))
		length--;
	return pnstrdup(text, length);
}
