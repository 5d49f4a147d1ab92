/*
 * words.c
 *		The words and sentences of messages and of metrics' notes, in Chinese.
 *
 * Where there are places to fill, they come in the English order.
 *
 * Locking: none.  Errors: none.  What has no Chinese, or none that the
 * database's encoding can hold, stays English.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "facts/escape.h"
#include "settings.h"

static const struct
{
	const char *english;
	const char *chinese;
}			words[] =

{
	{"FIRING", "告警中"},
	{"RESOLVED", "已恢复"},
	{"NOTICE", "通知"},
	{"firing", "告警中"},
	{"resolved", "已恢复"},
	{"notice", "通知"},
	{"Status", "状态"},
	{"Metric", "指标"},
	{"Value", "值"},
	{"Threshold", "阈值"},
	{"Trend", "趋势"},
	{"min", "分钟"},
	{"Runbook", "处理手册"},
	{"This is a test of deploydb.", "这是 deploydb 的测试消息。"},
	{"webhook %s keeps failing (%s); its messages wait",
	"webhook %s 持续失败（%s）；发给它的消息正在等待"},
	{"webhook %s works again", "webhook %s 已恢复正常"},
	{"%s messages (firing: %s, resolved: %s): ",
	"共 %s 条消息（告警：%s，恢复：%s）："},

	/* deployments */
	{"Deployment %s has started.", "部署 %s 已开始。"},
	{"Deployment %s: its migrations are verified.", "部署 %s：迁移已验证。"},
	{"Deployment %s is finished: %s.", "部署 %s 已结束：%s。"},
	{"Deployment %s after 24 hours: %s.", "部署 %s 24 小时后：%s。"},
	{"Migration %s was rolled back by %s: %s", "迁移 %s 已由 %s 回滚：%s"},
	{"all targets are met", "所有目标均已达成"},
	{"succeeded", "成功"},
	{"rolled_back", "已回滚"},
	{"aborted", "已中止"},

	/* notes */
	{"%s is missing", "%s 缺失"},
	{"%s is unexpected", "%s 不应存在"},
	{"%s: %s is %s, expected %s", "%s：%s 为 %s，应为 %s"},
	{"none", "无"},
	{"and more", "等等"},
	{"could not be looked at", "无法查看"},
	{"Prisma migrates", "Prisma 正在迁移"},
	{"most often %s", "最常见：%s"},
	{"%s (%s, %s times)", "%s（%s，%s 次）"},
	{"an error", "错误"},
	{"too few to tell: %s writes in 15 minutes",
	"数据太少，无法判断：15 分钟内写入 %s 次"},
	{"%s of %s in 15 minutes failed", "15 分钟内失败 %s 次（共 %s 次）"},
	{"%s of %s in 5 minutes failed", "5 分钟内失败 %s 次（共 %s 次）"},
	{"%s and %s times as fast as allowed, limit %s",
	"速度为允许值的 %s 倍和 %s 倍（上限 %s 倍）"},
	{"pushed at %s", "推送于 %s"},
	{"no decision in an hour", "一小时内没有决策"},
	{"%s of %s decisions in an hour lack theirs",
	"一小时内 %s 个决策缺少洞察（共 %s 个）"},
	{"no decision in 5 minutes", "5 分钟内没有决策"},
	{"%s for %s", "%s 条待发往 %s"},
};

PG_FUNCTION_INFO_V1(deploydb_word);

Datum
deploydb_word(PG_FUNCTION_ARGS)
{
	const char *english = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *chinese = NULL;

	if (deploydb_language == LANGUAGE_ZH)
		for (size_t i = 0; i < lengthof(words) && chinese == NULL; i++)
			if (strcmp(words[i].english, english) == 0)
				chinese = utf8_to_server(words[i].chinese);
	PG_RETURN_TEXT_P(cstring_to_text(chinese ? chinese : english));
}
