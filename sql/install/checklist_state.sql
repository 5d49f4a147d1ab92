-- Checklist: how each item is, and what sign-offs are bound to.

-- What a deployment is about; began is when its migrations began, as the ledger
-- has it, or else the phase.  Of no deployment: nothing.
CREATE FUNCTION deploydb.checklist_scope(deployment bigint)
RETURNS TABLE (migrations text[], since timestamptz, began timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF deployment IS NOT NULL THEN
		SELECT d.migrations, d.started_at INTO migrations, since
		FROM deploydb.deployment d WHERE d.id = deploydb.deployment_or_error(deployment);
	END IF;
	began := COALESCE(
		(SELECT min(l.started_at) FROM deploydb.ledger() l
			WHERE l.migration = ANY (migrations) AND l.state <> 'rolled_back'),
		(SELECT p.started_at FROM deploydb.deployment_phase p WHERE p.deployment = deployment AND p.phase = 'migration'));
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION deploydb.checklist_scope(bigint) IS
	'Checklist: the migrations of a deployment, when it began, and when they began; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.checklist_scope(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.checklist_scope(bigint) TO pg_monitor, pg_database_owner;

-- When a phase is to be over: as planned, from the newest phase up to it that
-- has begun, or else from the start.
CREATE FUNCTION deploydb.phase_due(deployment bigint, phase text)
RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	place integer := (SELECT p.position FROM deploydb.deployment_phase p
		WHERE p.deployment = deployment AND p.phase = phase);
	base record;
BEGIN
	SELECT p.position, p.started_at INTO base FROM deploydb.deployment_phase p
	WHERE p.deployment = deployment AND p.position <= place AND p.started_at IS NOT NULL
	ORDER BY p.position DESC LIMIT 1;
	RETURN (SELECT COALESCE(base.started_at, d.started_at) + make_interval(mins => sum(p.minutes)::integer)
		FROM deploydb.deployment d
			JOIN deploydb.deployment_phase p ON p.deployment = d.id AND p.position BETWEEN COALESCE(base.position, 1) AND place
		WHERE d.id = deployment GROUP BY d.started_at);
END
$$;
COMMENT ON FUNCTION deploydb.phase_due(bigint, text) IS
	'Checklist: when a phase of a deployment is to be over; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.phase_due(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.phase_due(bigint, text) TO pg_monitor, pg_database_owner;

-- One item as the server sees it; no state where it cannot.
CREATE FUNCTION deploydb.evaluate_item(item text, evaluator text, predicate text, deployment bigint, migrations text[],
	since timestamptz, began timestamptz, OUT state text, OUT evidence text, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	holds boolean;
BEGIN
	IF deployment IS NULL THEN
		evidence := deploydb.phrase('there is no deployment yet');
	ELSIF predicate IS NOT NULL THEN
		holds := deploydb.run_predicate(item);
		state := CASE WHEN holds THEN 'met' WHEN NOT holds THEN 'waiting' ELSE 'not_measured' END;
		evidence := CASE WHEN holds IS NULL THEN deploydb.phrase('the predicate gives NULL')
			ELSE format(deploydb.phrase('the predicate is %s'), holds) END;
		at := clock_timestamp();
	ELSIF evaluator IS NOT NULL THEN
		EXECUTE format('SELECT * FROM deploydb.%I($1, $2, $3, $4, $5)', evaluator)
		INTO state, evidence, at USING item, deployment, migrations, since, began;
	END IF;
EXCEPTION WHEN OTHERS THEN
	state := 'not_measured';
	evidence := SQLERRM;
	at := clock_timestamp();
END
$$;
COMMENT ON FUNCTION deploydb.evaluate_item(text, text, text, bigint, text[], timestamptz, timestamptz) IS
	'Checklist: an item as the server sees it; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.evaluate_item(text, text, text, bigint, text[], timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.evaluate_item(text, text, text, bigint, text[], timestamptz, timestamptz)
	TO pg_monitor, pg_database_owner;

-- How the items were when a deployment was finished: what is evaluated would
-- change ever after, and so may the items.  Of a target there is no state.
CREATE TABLE deploydb.checklist_result (
	deployment bigint NOT NULL,
	item text COLLATE "C" NOT NULL,
	definition jsonb NOT NULL,
	state text,
	evidence text,
	evidence_zh text,
	at timestamptz,
	PRIMARY KEY (deployment, item)
);
COMMENT ON TABLE deploydb.checklist_result IS
	'Checklist: each item as it was defined when a deployment was finished, and how it was';
GRANT SELECT ON deploydb.checklist_result TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.checklist_result', '');

CREATE FUNCTION deploydb.items_of(deployment bigint)
RETURNS TABLE (key text, definition jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.item, r.definition FROM deploydb.checklist_result r WHERE r.deployment = items_of.deployment
	UNION ALL
	SELECT i.key, to_jsonb(i) - '{built_in,added_at,added_by}'::text[] FROM deploydb.checklist_item i
	WHERE NOT EXISTS (SELECT FROM deploydb.checklist_result r WHERE r.deployment = items_of.deployment)
$$;
COMMENT ON FUNCTION deploydb.items_of(bigint) IS
	'Checklist: the items of a deployment, as they were at its end, or as they are; a part of checklist()';
REVOKE ALL ON FUNCTION deploydb.items_of(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.items_of(bigint) TO pg_monitor, pg_database_owner;

-- By item, in a language.
CREATE FUNCTION deploydb.checklist_in(deployment bigint, lang text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	outer_language text := deploydb.setting('language');
	items jsonb;
BEGIN
	PERFORM set_config('deploydb.language', lang, true);
	SELECT jsonb_object_agg(c.item, jsonb_build_object('state', c.state, 'evidence', c.evidence, 'at', c.at)) INTO items
	FROM deploydb.checklist(checklist_in.deployment) c
	WHERE c.section <> 'post.performance';
	PERFORM set_config('deploydb.language', outer_language, true);
	RETURN items;
END
$$;
COMMENT ON FUNCTION deploydb.checklist_in(bigint, text) IS
	'Checklist: each item but the targets in a language, English (en) or Chinese (zh); a part of deployment_finish()';
REVOKE ALL ON FUNCTION deploydb.checklist_in(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.checklist_in(bigint, text) TO pg_monitor, pg_database_owner;

-- deployment_finish() calls this.  Targets go on until their day has passed.
CREATE FUNCTION deploydb.keep_checklist(deployment bigint)
RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	english jsonb := deploydb.as_caller(format('SELECT deploydb.checklist_in(%s, ''en'')', deployment));
	chinese jsonb := deploydb.as_caller(format('SELECT deploydb.checklist_in(%s, ''zh'')', deployment));
	kept integer;
BEGIN
	INSERT INTO deploydb.checklist_result AS r (deployment, item, definition, state, evidence, evidence_zh, at)
	SELECT deployment, i.key, i.definition, english #>> ARRAY[i.key, 'state'], english #>> ARRAY[i.key, 'evidence'],
		chinese #>> ARRAY[i.key, 'evidence'], (english #>> ARRAY[i.key, 'at'])::timestamptz
	FROM deploydb.items_of(deployment) i;
	GET DIAGNOSTICS kept = ROW_COUNT;
	RETURN kept;
END
$$;
COMMENT ON FUNCTION deploydb.keep_checklist(bigint) IS
	'Checklist: keeps how each item is at the end of a deployment; a part of deployment_finish()';
REVOKE ALL ON FUNCTION deploydb.keep_checklist(bigint) FROM PUBLIC;

-- What the server knows counts; where it does not, what people say.  That an
-- item does not apply is for people to say.
CREATE FUNCTION deploydb.checklist(deployment bigint DEFAULT NULL)
RETURNS TABLE (item text, section text, title text, command text, expected text, kind text, state text,
	evidence text, at timestamptz, due timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted bigint := COALESCE(checklist.deployment, deploydb.current_deployment());
	scope record;
	zh boolean := deploydb.setting('language') = 'zh';
	i record;
	said deploydb.attestation;
	seen record;
	kept deploydb.checklist_result;
BEGIN
	SELECT s.* INTO scope FROM deploydb.checklist_scope(wanted) s;
	FOR i IN
		SELECT d.* FROM deploydb.items_of(wanted) c
			CROSS JOIN LATERAL jsonb_to_record(c.definition) AS d (key text, section text, kind text, title_en text,
				title_zh text, command text, expected text, phase text, evaluator text, predicate text,
				section_place integer, place integer)
		ORDER BY d.section_place, d.section COLLATE "C", d.place, d.key COLLATE "C"
	LOOP
		item := i.key;
		section := i.section;
		title := CASE WHEN zh THEN COALESCE(i.title_zh, i.title_en) ELSE i.title_en END;
		command := i.command;
		expected := deploydb.phrase(i.expected);
		kind := i.kind;
		due := CASE WHEN i.section = 'post.performance' THEN scope.since + interval '24 hours'
			ELSE deploydb.phase_due(wanted, i.phase) END;
		SELECT r.* INTO kept FROM deploydb.checklist_result r WHERE r.deployment = wanted AND r.item = i.key;
		IF kept.state IS NOT NULL THEN
			state := kept.state;
			evidence := CASE WHEN zh THEN kept.evidence_zh ELSE kept.evidence END;
			at := kept.at;
			RETURN NEXT;
			CONTINUE;
		END IF;
		SELECT a.* INTO said FROM deploydb.attestation a
		WHERE a.deployment = wanted AND a.item = i.key ORDER BY a.id DESC LIMIT 1;
		seen := deploydb.evaluate_item(i.key, i.evaluator, i.predicate, wanted, scope.migrations, scope.since, scope.began);
		-- what is known against an item that is attested is not said away
		IF said.id IS NOT NULL AND (said.met IS NULL AND i.kind = 'evaluated'
			OR COALESCE(seen.state, 'not_measured') = 'not_measured') THEN
			state := CASE WHEN said.met THEN 'met' WHEN NOT said.met THEN 'unmet' ELSE 'not_applicable' END;
			evidence := concat_ws(': ', format(deploydb.phrase('attested by %s'), said.who), said.note);
			at := said.at;
		ELSE
			state := COALESCE(seen.state, 'waiting');
			evidence := COALESCE(seen.evidence, deploydb.phrase('nobody has attested it'));
			at := seen.at;
		END IF;
		IF state = 'waiting' AND due <= clock_timestamp() THEN
			state := 'unmet';
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION deploydb.checklist(bigint) IS
	'Checklist: every item of a deployment, or the current one, with its state, the evidence and its time';
REVOKE ALL ON FUNCTION deploydb.checklist(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.checklist(bigint) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.checklist_hash(deployment bigint)
RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
	SELECT deploydb.text_hash(jsonb_build_object(
		'items', (SELECT jsonb_agg(i.definition ORDER BY i.key COLLATE "C") FROM deploydb.items_of(checklist_hash.deployment) i),
		'attestations', (SELECT jsonb_agg(jsonb_build_array(a.id, a.item, a.met, a.note, a.at, a.who) ORDER BY a.id)
			FROM deploydb.attestation a WHERE a.deployment = checklist_hash.deployment))::text)
	WHERE deployment IS NOT NULL
$$;
COMMENT ON FUNCTION deploydb.checklist_hash(bigint) IS
	'Checklist: SHA-256 over the items as they are defined and what was said of them in a deployment; sign-offs are bound to it';
REVOKE ALL ON FUNCTION deploydb.checklist_hash(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.checklist_hash(bigint) TO pg_monitor, pg_database_owner;
