/*
 * alert_message.c
 *		What people read of an event.
 *
 * Locking: none.  Errors: none but out of memory.  Where the database's
 * encoding cannot hold Chinese, it is English.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "alerts/alert_message.h"
#include "alerts/rule.h"
#include "facts/escape.h"
#include "settings.h"

#define MESSAGE_MAX_BYTES 4000

typedef struct Phrase
{
	const char *en;
	const char *zh;				/* UTF-8 */
} Phrase;

static const Phrase firing_phrase = {
	"{metric} is {value} (rule: {condition})",
	"{metric} 当前为 {value}（规则：{condition}）"
};
static const Phrase trend_phrase = {
	"{metric} is {value}, and changes by {slope} a minute (rule: {condition})",
	"{metric} 当前为 {value}，每分钟变化 {slope}（规则：{condition}）"
};
static const Phrase no_data_phrase = {
	"{metric} has no data any more",
	"{metric} 已没有数据"
};
static const Phrase repeat_phrase = {
	"Still firing after {duration}: ",
	"已持续 {duration}，仍在告警："
};
static const Phrase resolved_phrase = {
	"Resolved after {duration}: {rule}; {metric} is {value}",
	"已恢复（持续 {duration}）：{rule}；{metric} 当前为 {value}"
};
static const Phrase data_gone_phrase = {
	"Ended after {duration}: {rule}; {metric} has no data any more",
	"已结束（持续 {duration}）：{rule}；{metric} 已没有数据"
};
static const Phrase rule_gone_phrase = {
	"Ended after {duration}: {rule} was changed or disabled",
	"已结束（持续 {duration}）：{rule} 已被修改或停用"
};
static const Phrase duration_phrases[] = {
	{"s", "秒"}, {"min", "分钟"}, {"h", "小时"}, {"d", "天"}
};
static const Phrase no_duration = {"less than 1 s", "不到 1 秒"};

static const char *
say(const Phrase *phrase)
{
	const char *zh = NULL;

	if (deploydb_language == LANGUAGE_ZH)
		zh = utf8_to_server(phrase->zh);
	return zh ? zh : phrase->en;
}

/* Up to so many decimals, without zeros at the end. */
static void
append_number(StringInfo out, double value, int decimals)
{
	if (isnan(value))
		appendStringInfoString(out, "NaN");
	else if (isinf(value))
		appendStringInfoString(out, value > 0 ? "Infinity" : "-Infinity");
	else if (value == rint(value) && fabs(value) < 1e15)
	{
		char		digits[MAXINT8LEN + 1];

		pg_lltoa((int64) value, digits);
		appendStringInfoString(out, digits);
	}
	else if (fabs(value) >= 1e15 ||
			 fabs(value) < pow(10, -decimals))
		appendStringInfo(out, "%.4g", value);
	else
	{
		appendStringInfo(out, "%.*f", decimals, value);
		while (out->data[out->len - 1] == '0')
			out->len--;
		if (out->data[out->len - 1] == '.')
			out->len--;
		out->data[out->len] = '\0';
	}
}

static void
append_duration(StringInfo out, int64 us)
{
	static const int64 lengths[] = {1, SECS_PER_MINUTE, SECS_PER_HOUR, SECS_PER_DAY};
	int64		seconds = Max(us, 0) / USECS_PER_SEC;
	int			unit = 0;

	if (seconds == 0)
	{
		appendStringInfoString(out, say(&no_duration));
		return;
	}
	/* "119 min" says more than "1 h" */
	while (unit + 1 < (int) lengthof(lengths) &&
		   seconds >= 2 * lengths[unit + 1])
		unit++;
	appendStringInfo(out, INT64_FORMAT " %s", seconds / lengths[unit],
					 say(&duration_phrases[unit]));
}

static void
append_condition(StringInfo out, const Condition *c)
{
	if (c == NULL)
		return;
	if (c->trend)
	{
		appendStringInfoString(out, c->decreasing ? "<= -" : ">= ");
		append_number(out, c->min_slope, 6);
		appendStringInfoString(out, "/min");
	}
	else
	{
		appendStringInfo(out, "%s ", comparison_name(c->comparison));
		append_number(out, c->threshold, 4);
	}
}

/* Is this where the placeholder stands?  Then *p is moved behind it. */
static bool
placeholder(const char **p, const char *name)
{
	size_t		length = strlen(name);

	if (strncmp(*p + 1, name, length) != 0 || (*p)[length + 1] != '}')
		return false;
	*p += length + 2;
	return true;
}

typedef enum NumberForm
{
	AS_NUMBER, AS_PERCENTAGE, AS_DURATION
} NumberForm;

/* How many decimals it takes to tell a value from its threshold. */
static int
telling_decimals(double value, double threshold, int decimals)
{
	while (decimals < 9 && value != threshold &&
		   rint(value * pow(10, decimals)) == rint(threshold * pow(10, decimals)))
		decimals++;
	return decimals;
}

/* A question mark where there is none; beside is what it is told from. */
static void
append_value(StringInfo out, bool known, double value, double beside,
			 NumberForm form)
{
	if (!known)
		appendStringInfoChar(out, '?');
	else if (form == AS_PERCENTAGE)
	{
		append_number(out, value * 100,
					  telling_decimals(value * 100, beside * 100, 2));
		appendStringInfoChar(out, '%');
	}
	else if (form == AS_DURATION && value >= 0 && value < 1e12)
		append_duration(out, (int64) (value * USECS_PER_SEC));
	else
		append_number(out, value, telling_decimals(value, beside, 4));
}

static void
fill(StringInfo out, const char *phrase, const AlertText *text,
	 const AlertEvent *event, TimestampTz now)
{
	const Condition *c = text->condition;
	bool		has_threshold = (c != NULL && !c->trend);
	double		threshold = has_threshold ? c->threshold : event->value;
	double		value = event->has_value ? event->value : threshold;

	for (const char *p = phrase; *p;)
	{
		if (*p != '{')
		{
			int			length = pg_mblen(p);

			appendBinaryStringInfo(out, p, length);
			p += length;
		}
		else if (placeholder(&p, "rule"))
			appendStringInfoString(out, text->rule);
		else if (placeholder(&p, "metric"))
			appendStringInfoString(out, text->metric);
		else if (placeholder(&p, "series"))
			appendStringInfoString(out, text->series);
		else if (placeholder(&p, "note"))
			appendStringInfoString(out, text->note);
		else if (placeholder(&p, "severity"))
			appendStringInfoString(out, severity_name(event->severity));
		else if (placeholder(&p, "value"))
			append_value(out, event->has_value, value, threshold, AS_NUMBER);
		else if (placeholder(&p, "value%"))
			append_value(out, event->has_value, value, threshold, AS_PERCENTAGE);
		else if (placeholder(&p, "value_time"))
			append_value(out, event->has_value, value, threshold, AS_DURATION);
		else if (placeholder(&p, "threshold"))
			append_value(out, has_threshold, threshold, value, AS_NUMBER);
		else if (placeholder(&p, "threshold%"))
			append_value(out, has_threshold, threshold, value, AS_PERCENTAGE);
		else if (placeholder(&p, "threshold_time"))
			append_value(out, has_threshold, threshold, value, AS_DURATION);
		else if (placeholder(&p, "slope"))
			append_value(out, event->has_slope, event->slope, event->slope, AS_NUMBER);
		else if (placeholder(&p, "condition"))
			append_condition(out, c);
		else if (placeholder(&p, "duration"))
			append_duration(out, now - event->started_at);
		else
			appendStringInfoChar(out, *p++);
	}
}

static const char *
template_of(const AlertText *text)
{
	if (deploydb_language == LANGUAGE_ZH && text->template_zh != NULL)
		return text->template_zh;
	return text->template_en;
}

/* A message that ends in ": {note}" ends before that without a note. */
static void
trim(StringInfo out)
{
	while (out->len > 0 && strchr(" :\t\n", out->data[out->len - 1]) != NULL)
		out->len--;
	if (out->len > MESSAGE_MAX_BYTES)
	{
		out->len = pg_mbcliplen(out->data, out->len, MESSAGE_MAX_BYTES);
		appendStringInfoString(out, " ...");
	}
	out->data[out->len] = '\0';
}

char *
alert_message(const AlertText *text, const AlertEvent *event, TimestampTz now)
{
	const char *template = template_of(text);
	const Phrase *phrase = NULL;
	StringInfoData out;

	initStringInfo(&out);
	if (event->resolved)
		phrase = event->reason == REASON_NO_DATA ? &data_gone_phrase :
			event->has_value ? &resolved_phrase : &rule_gone_phrase;
	else if (event->reason == REASON_NO_DATA || !event->has_value)
		phrase = &no_data_phrase;
	else if (template == NULL)
		phrase = text->condition != NULL && text->condition->trend ?
			&trend_phrase : &firing_phrase;

	if (event->reason == REASON_REPEAT)
		fill(&out, say(&repeat_phrase), text, event, now);
	fill(&out, phrase ? say(phrase) : template, text, event, now);

	/* Which of them, where the words do not say so. */
	if (text->series[0] != '\0' &&
		(phrase != NULL || strstr(template, "{series}") == NULL))
	{
		trim(&out);
		appendStringInfo(&out, " [%s]", text->series);
	}
	trim(&out);
	return out.data;
}
