-- Deployment: the filled checklist as Markdown.
--
-- What people wrote goes through md_text() or md_block(), so that no name breaks
-- a line, a table or a block, and none becomes HTML.

CREATE FUNCTION deploydb.md_text(content text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT regexp_replace(
		replace(replace(
			regexp_replace(btrim(regexp_replace(content, '[[:space:][:cntrl:]]+', ' ', 'g')), E'([\\\\`*|~[\\]])', E'\\\\\\1', 'g'),
			'&', '&amp;'), '<', '&lt;'),
		'(?<![[:alnum:]])_|_(?![[:alnum:]])', E'\\\\_', 'g')
$$;
COMMENT ON FUNCTION deploydb.md_text(text) IS
	'Deployment: a text for one line of Markdown, as it is; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.md_text(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.md_text(text) TO pg_monitor, pg_database_owner;

-- The fence is longer than any run of backticks inside.
CREATE FUNCTION deploydb.md_block(language text, content text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT f.fence || language || E'\n' || rtrim(content, E'\n') || E'\n' || f.fence || E'\n'
	FROM (SELECT repeat('`', GREATEST(3, 1 + max(length(m[1])))) AS fence
		FROM (SELECT ARRAY[''] UNION ALL SELECT regexp_matches(content, '`+', 'g')) AS r (m)) AS f
$$;
COMMENT ON FUNCTION deploydb.md_block(text, text) IS
	'Deployment: a text as a block of code in Markdown; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.md_block(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.md_block(text, text) TO pg_monitor, pg_database_owner;

-- A row of a table; an empty cell where there is nothing.
CREATE FUNCTION deploydb.md_row(cells text[])
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '| ' || string_agg(COALESCE(deploydb.md_text(c.cell), ''), ' | ' ORDER BY c.n) || E' |\n'
	FROM unnest(cells) WITH ORDINALITY AS c (cell, n)
$$;
COMMENT ON FUNCTION deploydb.md_row(text[]) IS
	'Deployment: a row of a table in Markdown; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.md_row(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.md_row(text[]) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.md_head(titles text[])
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT deploydb.md_row(ARRAY(SELECT deploydb.phrase(t.title) FROM unnest(titles) WITH ORDINALITY AS t (title, n) ORDER BY t.n))
		|| '|' || repeat('---|', cardinality(titles)) || E'\n'
$$;
COMMENT ON FUNCTION deploydb.md_head(text[]) IS
	'Deployment: the head of a table in Markdown, in deploydb.language; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.md_head(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.md_head(text[]) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.md_time(at timestamptz)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT to_char(at, 'YYYY-MM-DD HH24:MI:SS')
$$;
COMMENT ON FUNCTION deploydb.md_time(timestamptz) IS
	'Deployment: a time in the session''s time zone, which the report names; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.md_time(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.md_time(timestamptz) TO pg_monitor, pg_database_owner;

-- A key in words; names that are the same in both languages stay as they are.
CREATE FUNCTION deploydb.label(key text)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE key WHEN 'dba' THEN 'DBA' WHEN 'devops' THEN 'DevOps' ELSE replace(deploydb.phrase(key), '_', ' ') END
$$;
COMMENT ON FUNCTION deploydb.label(text) IS
	'Deployment: a state, a phase or a role in words of deploydb.language; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.label(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.label(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_head(deployment bigint)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN (
		SELECT format(E'# %s\n\n', deploydb.md_text(concat_ws(' - ', d.version, d.title)))
			|| string_agg(format(E'**%s**: %s\n', deploydb.phrase(f.name), COALESCE(deploydb.md_text(f.value), '')), E'\n' ORDER BY f.n)
		FROM deploydb.deployment d
			CROSS JOIN LATERAL (VALUES (1, 'Version', d.version), (2, 'Target date', d.target_date), (3, 'Deployment owner', d.owner),
				(4, 'Migrations', array_to_string(d.migrations, ', ')), (5, 'Commit', d.commit_hash),
				(6, 'Started', deploydb.md_time(d.started_at) || ', ' || d.started_by),
				(7, 'Finished', deploydb.md_time(d.finished_at) || ', ' || d.finished_by),
				(8, 'Outcome', COALESCE(deploydb.label(d.outcome), deploydb.phrase('open')))) AS f (n, name, value)
		WHERE d.id = deployment AND f.value IS NOT NULL
		GROUP BY d.id);
END
$$;
COMMENT ON FUNCTION deploydb.report_head(bigint) IS
	'Deployment: what it is about; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_head(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_head(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_targets(deployment bigint)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	zh boolean := deploydb.setting('language') = 'zh';
BEGIN
	RETURN deploydb.md_head(ARRAY['Metric', 'Target', 'Actual', 'Samples', 'Status', 'How it is measured'])
		|| COALESCE((SELECT string_agg(deploydb.md_row(ARRAY[COALESCE(CASE WHEN zh THEN i.title_zh END, i.title_en, t.metric),
				t.target, t.actual, t.samples::text, deploydb.label(t.verdict), i.command]), '')
			FROM deploydb.targets(deployment) t
				LEFT JOIN deploydb.builtin_checklist_item i ON i.key = 'target.' || t.metric), '') || E'\n';
END
$$;
COMMENT ON FUNCTION deploydb.report_targets(bigint) IS
	'Deployment: how the targets are; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_targets(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_targets(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_items(deployment bigint)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	zh boolean := deploydb.setting('language') = 'zh';
	s record;
	chapter text;
	document text := '';
BEGIN
	FOR s IN
		SELECT c.section, min(e.place) AS place, COALESCE(min(e.chapter), 'Own items') AS chapter,
			COALESCE(CASE WHEN zh THEN min(e.title_zh) END, min(e.title_en), c.section) AS title, min(e.minutes) AS minutes,
			string_agg(format(E'- [%s] %s %s (%s)\n%s%s', CASE WHEN c.state IN ('met', 'not_applicable') THEN 'x' ELSE ' ' END,
				-- what is met there is a reason to roll back: nothing to tick off in green
				deploydb.label(CASE WHEN c.section <> 'rollback.triggers' THEN c.state WHEN c.state = 'met' THEN 'a reason'
					WHEN c.state = 'unmet' THEN 'no reason' ELSE c.state END), deploydb.md_text(c.title), deploydb.md_text(c.item),
				format(E'  - %s\n', concat_ws(', ', deploydb.md_text(c.evidence), deploydb.md_time(c.at))),
				'  - ' || deploydb.phrase('Expected') || ': ' || deploydb.md_text(c.expected) || E'\n'), '' ORDER BY c.n) AS items,
			string_agg(format(E'# %s\n%s\n', c.item, c.command), '' ORDER BY c.n) FILTER (WHERE c.command <> '') AS commands
		FROM (SELECT k.*, row_number() OVER () AS n FROM deploydb.checklist(deployment) k) c
			LEFT JOIN deploydb.checklist_section e ON e.section = c.section
		GROUP BY c.section ORDER BY min(e.place) NULLS LAST, c.section
	LOOP
		IF s.chapter IS DISTINCT FROM chapter THEN
			chapter := s.chapter;
			document := document || format(E'## %s\n\n', deploydb.phrase(chapter));
		END IF;
		document := document || format(E'### %s\n\n%s\n', deploydb.md_text(s.title), s.items);
		IF s.section = 'post.performance' THEN
			document := document || deploydb.report_targets(deployment);
		ELSIF s.commands IS NOT NULL THEN
			document := document || format(E'**%s**:\n', deploydb.phrase('Commands')) || deploydb.md_block('bash', s.commands) || E'\n';
		END IF;
		IF s.minutes IS NOT NULL THEN
			document := document || format(E'**%s**: %s\n\n', deploydb.phrase('Time needed'), format(deploydb.phrase('%s minutes'), s.minutes));
		END IF;
		IF s.section = 'rollback.steps' THEN
			document := document || deploydb.report_rollback(deployment) || E'\n';
		END IF;
	END LOOP;
	RETURN document;
END
$$;
COMMENT ON FUNCTION deploydb.report_items(bigint) IS
	'Deployment: the items, by chapter and section; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_items(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_items(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_rollback(deployment bigint)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN format(E'### %s\n\n', deploydb.phrase('Rollback script')) || COALESCE((
		SELECT string_agg(format(E'%s:\n', deploydb.md_text(k.migration))
			|| COALESCE(deploydb.md_block('sql', k.rollback_ddl), deploydb.phrase('there is none') || E'\n'), E'\n' ORDER BY l.n)
		FROM deploydb.deployment d
			CROSS JOIN LATERAL unnest(d.migrations) WITH ORDINALITY AS l (name, n)
			JOIN deploydb.known_migration k ON k.migration = l.name
		WHERE d.id = deployment), deploydb.phrase('there is none') || E'\n');
END
$$;
COMMENT ON FUNCTION deploydb.report_rollback(bigint) IS
	'Deployment: the rollback script of each migration; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_rollback(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_rollback(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_rollbacks(deployment bigint)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN COALESCE((
		SELECT format(E'## %s\n\n', deploydb.phrase('Rollbacks'))
			|| deploydb.md_head(ARRAY['Time', 'Migration', 'Status', 'Note'])
			|| string_agg(deploydb.md_row(ARRAY[deploydb.md_time(r.at), r.migration, deploydb.label(r.state), concat_ws(': ', r.who, r.reason)]),
				'' ORDER BY r.id)
		FROM deploydb.rollback r WHERE r.deployment = deployment
		HAVING count(*) > 0), '');
END
$$;
COMMENT ON FUNCTION deploydb.report_rollbacks(bigint) IS
	'Deployment: what was rolled back; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_rollbacks(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_rollbacks(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_timetable(deployment bigint)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN format(E'## %s\n\n', deploydb.phrase('Timetable'))
		|| deploydb.md_head(ARRAY['Phase', 'Time', 'Owner', 'Started', 'Finished'])
		|| COALESCE((
		SELECT string_agg(deploydb.md_row(ARRAY[deploydb.label(p.phase), concat_ws(' ', format(deploydb.phrase('%s minutes'), p.minutes), '(' || p.range || ')'), p.owner,
				deploydb.md_time(p.started_at), concat_ws(' ', deploydb.md_time(p.finished_at), deploydb.label(p.status))]),
				'' ORDER BY p.position)
			|| deploydb.md_row(ARRAY[deploydb.phrase('Total'), format(deploydb.phrase('%s minutes'), sum(p.minutes)), '-',
				deploydb.md_time(min(p.started_at)), deploydb.md_time(max(p.finished_at))])
		FROM deploydb.deployment_phase p WHERE p.deployment = deployment), '');
END
$$;
COMMENT ON FUNCTION deploydb.report_timetable(bigint) IS
	'Deployment: phases, contacts; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_timetable(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_timetable(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_contacts(deployment bigint)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN format(E'## %s\n\n', deploydb.phrase('Contacts')) || deploydb.md_head(ARRAY['Role', 'Name', 'How to reach'])
		|| (SELECT string_agg(deploydb.md_row(ARRAY[deploydb.label(r.role), c.name, c.how]), '' ORDER BY r.n)
			FROM unnest(ARRAY['technical_lead', 'dba', 'devops', 'product_owner']) WITH ORDINALITY AS r (role, n)
				LEFT JOIN deploydb.contact c ON c.role = r.role);
END
$$;
COMMENT ON FUNCTION deploydb.report_contacts(bigint) IS
	'Deployment: whom to call; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_contacts(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_contacts(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_log(deployment bigint)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN format(E'## %s\n\n### %s\n\n', deploydb.phrase('Record'), deploydb.phrase('Deployment log'))
		|| deploydb.md_head(ARRAY['Time', 'Action', 'Status', 'Note'])
		|| COALESCE((SELECT string_agg(deploydb.md_row(ARRAY[deploydb.md_time(l.at),
				CASE WHEN l.action ~ '^phase (finished|failed): '
					THEN deploydb.phrase(split_part(l.action, ': ', 1)) || ': ' || deploydb.label(split_part(l.action, ': ', 2))
					ELSE deploydb.phrase(l.action) END,
				deploydb.label(l.status), concat_ws(' ', l.note, format('(%s)', l.who))]), '' ORDER BY l.id)
			FROM deploydb.log_entry l WHERE l.deployment = deployment), '')
		|| format(E'\n### %s\n\n', deploydb.phrase('Problems')) || deploydb.md_head(ARRAY['Problem', 'Impact', 'Solution', 'Status'])
		|| COALESCE((SELECT string_agg(deploydb.md_row(ARRAY[concat_ws(' ', p.severity, p.title), p.impact, p.solution,
				CASE WHEN p.resolved_at IS NULL THEN deploydb.phrase('open')
					ELSE concat_ws(' ', deploydb.phrase('resolved'), deploydb.md_time(p.resolved_at)) END]), '' ORDER BY p.id)
			FROM deploydb.problem p WHERE p.deployment = deployment), '');
END
$$;
COMMENT ON FUNCTION deploydb.report_log(bigint) IS
	'Deployment: the log, and problems; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_log(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_log(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_appendix(deployment bigint)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN format(E'## %s\n\n### A. %s\n\n', deploydb.phrase('Appendix'), deploydb.phrase('The migrations in full'))
		|| COALESCE((SELECT string_agg(format(E'%s\n\n- SHA-256: %s\n- %s: %s\n\n', deploydb.md_text(l.name),
				COALESCE(deploydb.known_checksum(l.name), '-'), deploydb.phrase('Fingerprint'),
				COALESCE(deploydb.migration_fingerprint(k.migration, deploydb.watched_schema(k.migration)), '-'))
				|| COALESCE(deploydb.md_block('sql', k.ddl), ''), E'\n' ORDER BY l.n)
			FROM deploydb.deployment d
				CROSS JOIN LATERAL unnest(d.migrations) WITH ORDINALITY AS l (name, n)
				LEFT JOIN deploydb.known_migration k ON k.migration = l.name
			WHERE d.id = deployment), '')
		|| format(E'\n### B. %s\n\n', deploydb.phrase('Configuration'))
		|| deploydb.md_head(ARRAY['Setting', 'Value'])
		|| (SELECT string_agg(deploydb.md_row(ARRAY[deploydb.phrase(v.name), v.value]), '' ORDER BY v.n)
			FROM (VALUES (1, 'PostgreSQL', current_setting('server_version')),
				(2, 'deploydb', (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'deploydb')),
				(3, 'Database', concat_ws(', ', NULLIF(deploydb.setting('environment'), ''), current_database(),
					NULLIF(current_setting('cluster_name'), ''))),
				(4, 'Time zone', current_setting('TimeZone')),
				(5, 'Standby', pg_is_in_recovery()::text),
				(6, 'Runbook', 'operations-runbook.md')) AS v (n, name, value))
		|| format(E'\n### C. %s\n\n', deploydb.phrase('Dashboards and links'))
		|| COALESCE((SELECT string_agg(format(E'- %s: %s\n', deploydb.md_text(k.key),
				CASE WHEN k.value ~ E'^https?://[^[:space:][:cntrl:]<>`|\\\\]+$' THEN '<' || k.value || '>' ELSE deploydb.md_text(k.value) END),
				'' ORDER BY k.key)
			FROM deploydb.deployment d, jsonb_each_text(d.links) k WHERE d.id = deployment),
			deploydb.phrase('there is none') || E'\n');
END
$$;
COMMENT ON FUNCTION deploydb.report_appendix(bigint) IS
	'Deployment: the migrations and what they ran on; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_appendix(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_appendix(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_signatures(deployment bigint)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN format(E'## %s\n\n', deploydb.phrase('Sign-offs'))
		|| (SELECT string_agg(format(E'- [%s] %s: %s %s: %s\n', CASE WHEN s.valid THEN 'x' ELSE ' ' END,
				deploydb.label(r.role), COALESCE(deploydb.md_text(s.person), '____________'), deploydb.phrase('Date'),
				concat_ws(', ', COALESCE(deploydb.md_time(s.at), '______'), deploydb.md_text(s.signed_by),
					CASE WHEN s.valid IS NOT TRUE THEN deploydb.label(s.state) END, deploydb.md_text(s.revoke_reason),
					CASE WHEN NOT s.distinct_signers THEN deploydb.phrase('one may sign for several roles') END,
					deploydb.md_text(s.note))), '' ORDER BY r.n)
			FROM unnest(ARRAY['technical_lead', 'dba', 'devops']) WITH ORDINALITY AS r (role, n)
				LEFT JOIN LATERAL (SELECT o.* FROM deploydb.sign_off_status o
					WHERE o.deployment = deployment AND o.role = r.role ORDER BY o.id DESC LIMIT 1) s ON true);
END
$$;
COMMENT ON FUNCTION deploydb.report_signatures(bigint) IS
	'Deployment: who signed; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_signatures(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_signatures(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.report_foot(deployment bigint)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN format(E'---\n\n*%s: %s (%s)*  \n*%s: %s*  \n*%s: %s*\n',
		deploydb.phrase('Written'), deploydb.md_time(clock_timestamp()), deploydb.md_text(current_setting('TimeZone')),
		deploydb.phrase('Items and attestations'), deploydb.checklist_hash(deployment),
		deploydb.phrase('Head of the log'), (SELECT concat_ws(', ', COALESCE(v.head, deploydb.phrase('not sealed yet')),
			CASE WHEN NOT v.intact THEN deploydb.phrase('it is not as it was sealed') END) FROM deploydb.verify_log() v));
END
$$;
COMMENT ON FUNCTION deploydb.report_foot(bigint) IS
	'Deployment: when it was written, and what it is bound to; a part of deployment_report()';
REVOKE ALL ON FUNCTION deploydb.report_foot(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.report_foot(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.deployment_report(deployment bigint DEFAULT NULL, lang text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	wanted bigint := deploydb.deployment_or_error(deployment);
	outer_language text := deploydb.setting('language');
	part text;
	written text;
	document text := '';
BEGIN
	IF lang NOT IN ('en', 'zh') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('unrecognized language: "%s"', lang),
			HINT = 'Languages are en and zh.';
	END IF;
	PERFORM set_config('deploydb.language', COALESCE(lang, outer_language), true);
	FOREACH part IN ARRAY ARRAY['report_head', 'report_items', 'report_rollbacks', 'report_timetable',
		'report_contacts', 'report_log', 'report_appendix', 'report_signatures', 'report_foot']
	LOOP
		BEGIN
			EXECUTE format('SELECT deploydb.%I($1)', part) INTO written USING wanted;
		EXCEPTION WHEN OTHERS THEN
			written := format(E'%s: %s\n', deploydb.label('not_measured'), deploydb.md_text(SQLERRM));
		END;
		document := document || written || E'\n';
	END LOOP;
	PERFORM set_config('deploydb.language', outer_language, true);
	RETURN document;
END
$$;
COMMENT ON FUNCTION deploydb.deployment_report(bigint, text) IS
	'Deployment: the filled checklist of a deployment, or the current one, as Markdown, in English (en) or Chinese (zh)';
REVOKE ALL ON FUNCTION deploydb.deployment_report(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.deployment_report(bigint, text) TO pg_monitor, pg_database_owner;
