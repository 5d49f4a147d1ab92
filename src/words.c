/*
 * words.c
 *		What deploydb says to people, in Chinese.
 *
 * Locking: none.  Errors: see words.h.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "facts/escape.h"
#include "settings.h"
#include "words.h"

typedef struct Translation
{
	const char *english;
	const char *chinese;
} Translation;

static const Translation words[] = {
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
	{"%s on %s", "%s，集群 %s"},
	{"This is a test of deploydb.", "这是 deploydb 的测试消息。"},
	{"webhook %s keeps failing (%s); its messages wait",
	"webhook %s 持续失败（%s）；发给它的消息正在等待"},
	{"webhook %s has dead letters of alerts (%s)", "webhook %s 有告警成为死信（%s）"},
	{"metric %s could not be measured: %s", "指标 %s 无法测量：%s"},
	{"metric %s is not measured until it is enabled again: %s",
	"指标 %s 重新启用之前不再测量：%s"},
	{"nobody is told: no webhook takes %s", "无人收到通知：没有接收 %s 的 webhook"},
	{"webhook %s has no address", "webhook %s 没有地址"},
	{"webhook %s has no address; its messages wait",
	"webhook %s 没有地址；发给它的消息正在等待"},
	{"webhook %s is disabled; its messages wait",
	"webhook %s 已停用；发给它的消息正在等待"},
	{"webhook %s works again", "webhook %s 已恢复正常"},
	{"%s messages (firing: %s, resolved: %s): ",
	"共 %s 条消息（告警：%s，恢复：%s）："},

	/* deployments */
	{"Deployment %s has started.", "部署 %s 已开始。"},
	{"Deployment %s: its migrations are verified.", "部署 %s：迁移已验证。"},
	{"Deployment %s is finished: %s.", "部署 %s 已结束：%s。"},
	{"Deployment %s after 24 hours: %s.", "部署 %s 24 小时后：%s。"},
	{"Migration %s was rolled back by %s: %s", "迁移 %s 已由 %s 回滚：%s"},
	{"Migration %s was restored by %s.", "迁移 %s 已由 %s 恢复。"},
	{"all targets are met", "所有目标均已达成"},
	{"succeeded", "成功"},
	{"rolled_back", "已回滚"},
	{"aborted", "已中止"},

	/* status */
	{"version %s", "版本 %s"},
	{"library %s, SQL objects %s", "库 %s，SQL 对象 %s"},
	{"%s: stale", "%s：期望已过期"},
	{"%s: as expected", "%s：符合预期"},
	{"%s: %d not found out", "%s：%d 项无法确认"},
	{"%s: %s, %s", "%s：%s，%s"},
	{"%s: %s", "%s：%s"},
	{"%s, %s", "%s，%s"},
	{"%d error", "%d 个错误"},
	{"%d errors", "%d 个错误"},
	{"%d warning", "%d 个警告"},
	{"%d warnings", "%d 个警告"},
	{"%d info", "%d 条信息"},
	{"%d infos", "%d 条信息"},
	{"%d more", "另有 %d 个"},
	{"%d others as expected", "其余 %d 个符合预期"},
	{"none is registered", "尚未登记"},
	{"no _prisma_migrations here", "此处没有 _prisma_migrations"},
	{"it is locked", "被锁定"},
	{"no right to read it", "无权读取"},
	{"not a table of Prisma's", "不是 Prisma 的表"},
	{"empty", "为空"},
	{"%d %s", "%d 个%s"},
	{", ", "，"},
	{"applied", "已执行"},
	{"claimed", "手工标记为已执行"},
	{"running", "正在执行"},
	{"failed", "失败"},
	{"lock_left_behind", "遗留的锁"},
	{"fit for deploydb", "满足要求"},
	{"not counted: deploydb is not preloaded", "未计数：deploydb 未预加载"},
	{"not counted: switched off", "未计数：已关闭"},
	{"no table is tracked", "没有跟踪任何表"},
	{"%s: no write in 24 hours", "%s：24 小时内没有写入"},
	{"%s: %s %% of %s writes in 24 hours succeeded", "%s：24 小时内成功率 %s %%（共写入 %s 次）"},
	{"no room to count every tracked table", "没有足够空间为每个跟踪的表计数"},
	{"%s more tables, none worse", "另有 %s 个表，均不更差"},
	{"none runs on a standby", "备库上不运行"},
	{"none runs: not preloaded", "未运行：未预加载"},
	{"none runs in a template", "模板库中不运行"},
	{"switched off", "已关闭"},
	{"not in deploydb.databases", "不在 deploydb.databases 中"},
	{"not started: the server's log says why", "未启动：原因见服务器日志"},
	{"starts", "正在启动"},
	{"none runs after %s restarts: the server's log says why", "重启 %s 次后未运行：原因见服务器日志"},
	{"waits for newer SQL objects", "等待更新的 SQL 对象"},
	{"no tick since %s", "自 %s 起没有采集"},
	{"a copy: sends nothing", "副本：不发送消息"},
	{"the last tick took over %s", "最近一次采集超过 %s"},
	{"ticks every %s", "每 %s 采集一次"},
	{"%s %s fires", "%s %s 正在告警"},
	{"%s %s fires, and %s more", "%s %s 正在告警，另有 %s 条"},
	{"rule %s cannot be evaluated", "规则 %s 无法计算"},
	{"none is recorded", "没有备份记录"},
	{"none is finished and good", "没有已完成且完好的备份"},
	{"the newest is %s old", "最新的备份已有 %s"},
	{"the last one went wrong", "最近一次失败"},
	{"the newest is not verified", "最新的备份未校验"},
	{"none was ever restored", "从未做过恢复测试"},
	{"it is %s here", "此处的状态为 %s"},
	{"what it is based on is not recorded", "没有其所依据备份的记录"},
	{"it is listed more than once", "列出了不止一次"},
	{"it is of system %s, before the stanza was upgraded", "属于系统 %s，早于 stanza 的升级"},
	{"the document has it no more", "文档中已没有它"},
	{"it was pinned", "它曾被固定保留"},
	{"the newest is less than half as big as those before", "最新的备份不及之前的一半大"},
	{"finished %s", "完成于 %s"},
	{"none yet", "尚无"},
	{"no migration has a rollback script", "没有带回滚脚本的迁移"},
	{"%s: rehearsed", "%s：回滚已演练"},
	{"%s: not rehearsed", "%s：回滚未演练"},
	{"%s kept in deploydb_backup since %s", "%s 次回滚的表保留在 deploydb_backup 中（自 %s）"},
	{"the log: entry %s was %s", "日志：第 %s 条有问题（%s）"},
	{"the log: %s", "日志：%s"},
	{"changed", "被更改"},
	{"removed", "被删除"},
	{"put in between", "被插入"},
	{"the seal was changed, or one before it removed", "封印被更改，或之前的封印被删除"},
	{"the newest seal was removed", "最新的封印被删除"},
	{"%s: open since %s, %s missing", "%s：自 %s 起进行中，缺 %s 项"},

	/* notes */
	{"column", "列"},
	{"constraint", "约束"},
	{"index", "索引"},
	{"table", "表"},
	{"view", "视图"},
	{"sequence", "序列"},
	{"enum", "枚举"},
	{"domain", "域"},
	{"composite type", "复合类型"},
	{"function", "函数"},
	{"trigger", "触发器"},
	{"rule", "规则"},
	{"policy", "行级安全策略"},
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

const char *
word(const char *english)
{
	const char *chinese = NULL;

	if (deploydb_language == LANGUAGE_ZH)
		for (size_t i = 0; i < lengthof(words) && chinese == NULL; i++)
			if (strcmp(words[i].english, english) == 0)
				chinese = utf8_to_server(words[i].chinese);
	return chinese ? chinese : english;
}

PG_FUNCTION_INFO_V1(deploydb_word);

Datum
deploydb_word(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(word(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}
