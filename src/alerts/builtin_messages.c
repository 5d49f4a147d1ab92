/*
 * builtin_messages.c
 *		The Chinese messages of the built-in rules.
 *
 * They are here and not in the install script, which a database whose encoding
 * cannot hold them would refuse.
 *
 * Locking: none.  Errors: none.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "alerts/rule.h"
#include "compat.h"
#include "facts/escape.h"

static const struct
{
	const char *rule;
	const char *message;
}			messages[] =

{
	{"http_latency_p95_p0",
	"HTTP 响应缓慢：P95 延迟为 {value} 秒（阈值 {threshold} 秒）"},
	{"db_slow_queries_rate_p0",
	"慢查询过多：每分钟 {value} 条（阈值 {threshold}）"},
	{"http_5xx_rate_p1",
	"HTTP 错误：{value%} 的请求返回 5xx（阈值 {threshold%}）"},
	{"http_5xx_rate_trend_p1",
	"HTTP 错误上升：{value%} 的请求返回 5xx，每分钟增加 {slope}"},
	{"decision_confidence_low_p1",
	"决策置信度过低：中位数为 {value}（阈值 {threshold}）"},
	{"db_errors_rising",
	"服务器日志中的错误上升：每分钟 {value} 条，每分钟增加 {slope} 条"},
	{"migration_drift",
	"迁移 {series} 有偏差（{value} 处）: {note}"},
	{"insight_write_success_low",
	"decision_insights 写入失败：成功率仅 {value%}（目标 {threshold%}）: {note}"},
	{"insight_write_burn",
	"decision_insights 的错误预算消耗过快（{series}）: {note}"},
	{"insight_missing",
	"决策缺少洞察：仅 {value%} 的决策有洞察（目标 {threshold%}）: {note}"},
	{"rollback_error_rate",
	"建议回滚：{series} 错误率为 {value%}（阈值 {threshold%}）: {note}"},
	{"api_down",
	"API 已停止响应 5 分钟；如由部署引起，建议回滚: {note}"},
	{"webhook_backlog",
	"消息积压：{value} 条尚未送达（阈值 {threshold}）: {note}"},
	{"backup_too_old",
	"已有 {value_time} 没有新的有效备份（阈值 {threshold_time}）: {note}"},
};

const char *
builtin_message_zh(const char *rule)
{
	for (size_t i = 0; i < lengthof(messages); i++)
		if (strcmp(messages[i].rule, rule) == 0)
			return messages[i].message;
	return NULL;
}

PG_FUNCTION_INFO_V1(deploydb_builtin_message_zh);

Datum
deploydb_builtin_message_zh(PG_FUNCTION_ARGS)
{
	const char *message = NULL;

	if (!PG_ARGISNULL(0))
		message = builtin_message_zh(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (message != NULL)
		message = utf8_to_server(message);
	if (message == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(message));
}
