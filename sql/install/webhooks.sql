-- Webhooks: who is told, and where.

CREATE TABLE deploydb.webhook (
	name text PRIMARY KEY,
	format text NOT NULL,
	min_severity text NOT NULL DEFAULT 'P3',
	enabled boolean NOT NULL DEFAULT true,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	created_by text NOT NULL DEFAULT session_user,
	-- by code, as no class of characters is the same in each locale
	CONSTRAINT webhook_name CHECK (name ~ E'^[^\\x01-\\x20\\x7f]([^\\x01-\\x1f\\x7f]{0,98}[^\\x01-\\x20\\x7f])?$'),
	CONSTRAINT webhook_format CHECK (format IN ('generic', 'slack', 'teams',
		'dingtalk', 'feishu', 'wecom', 'alertmanager', 'heartbeat')),
	CONSTRAINT webhook_min_severity CHECK (min_severity IN ('P0', 'P1', 'P2', 'P3'))
);
COMMENT ON TABLE deploydb.webhook IS
	'Webhooks: who is told of what; their addresses are in webhook_secret';
GRANT SELECT ON deploydb.webhook TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.webhook', '');

-- What waits goes by the name; renamed, its webhook would seem to be dropped.
CREATE FUNCTION deploydb.webhook_keeps_name()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'feature_not_supported',
		MESSAGE = format('webhook "%s" cannot be renamed', OLD.name),
		DETAIL = 'Its messages go by its name.',
		HINT = 'Add another one by deploydb.add_webhook(), and drop this one once nothing waits for it: deploydb.drop_webhook().';
END
$$;
COMMENT ON FUNCTION deploydb.webhook_keeps_name() IS
	'Webhooks: refuses another name';
REVOKE ALL ON FUNCTION deploydb.webhook_keeps_name() FROM PUBLIC;
CREATE TRIGGER webhook_keeps_name BEFORE UPDATE ON deploydb.webhook
	FOR EACH ROW WHEN (NEW.name <> OLD.name) EXECUTE FUNCTION deploydb.webhook_keeps_name();

-- Only the owner reads it, not even members of pg_read_all_data, and no dump
-- holds it.  Its keys show no more of a row than a name in an error.
CREATE TABLE deploydb.webhook_secret (
	webhook text PRIMARY KEY REFERENCES deploydb.webhook ON DELETE CASCADE,
	url text NOT NULL,
	secret text,
	previous_secret text,
	previous_until timestamptz
);
COMMENT ON TABLE deploydb.webhook_secret IS
	'Webhooks: addresses and keys; the previous key signs, too, until it ends';
ALTER TABLE deploydb.webhook_secret ENABLE ROW LEVEL SECURITY;

-- Before NOT NULL is checked, whose error shows the row.
CREATE FUNCTION deploydb.webhook_secret_is_whole()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'not_null_violation',
		MESSAGE = 'webhook and url must not be NULL',
		HINT = 'A webhook without an address is one without a row.';
END
$$;
COMMENT ON FUNCTION deploydb.webhook_secret_is_whole() IS
	'Webhooks: refuses a row without an address, and does not show it';
REVOKE ALL ON FUNCTION deploydb.webhook_secret_is_whole() FROM PUBLIC;
CREATE TRIGGER webhook_secret_is_whole BEFORE INSERT OR UPDATE ON deploydb.webhook_secret
	FOR EACH ROW WHEN (NEW.webhook IS NULL OR NEW.url IS NULL) EXECUTE FUNCTION deploydb.webhook_secret_is_whole();

-- What became of the last attempts, which decides when the next one is due.
CREATE TABLE deploydb.webhook_state (
	webhook text PRIMARY KEY REFERENCES deploydb.webhook ON DELETE CASCADE,
	failures integer NOT NULL DEFAULT 0,
	greeted boolean NOT NULL DEFAULT false,
	dead_told boolean NOT NULL DEFAULT false,
	paused_until timestamptz,
	opened_at timestamptz,
	probe_at timestamptz,
	tokens double precision,
	tokens_at timestamptz,
	last_attempt_at timestamptz,
	last_success_at timestamptz,
	last_status integer,
	last_stage text,
	last_error text,
	last_ms double precision
) WITH (fillfactor = 50);
COMMENT ON TABLE deploydb.webhook_state IS
	'Webhooks: how the last attempts went; opened_at is when it was left alone, tokens what its rate allows, greeted: it was told what fired when it came, dead_told: the others know of dead letters';
GRANT SELECT ON deploydb.webhook_state TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.hide_statement()
RETURNS boolean
AS 'MODULE_PATHNAME', 'deploydb_hide_statement'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION deploydb.hide_statement() IS
	'Webhooks: keeps the statement that calls it out of the log and of pg_stat_activity';
REVOKE ALL ON FUNCTION deploydb.hide_statement() FROM PUBLIC;

-- Scheme, host and port: all that is ever shown of an address.  A host is labels
-- that neither begin nor end with a hyphen, and may have _ in them as those of
-- containers do, or an address of IPv6.
CREATE FUNCTION deploydb.url_origin(url text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT lower(u.part[1] || u.part[2] || COALESCE(u.part[3], ''))
	FROM regexp_match(url, '^(https?://)(?:[^/?#@]*@)?'
		'([a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:[.][a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*[.]?|[[][0-9a-f:.]+[]])'
		'(:[0-9]{1,5})?(?:[/?#]|$)', 'i') AS u (part)
	WHERE COALESCE(substr(u.part[3], 2)::integer, 443) BETWEEN 1 AND 65535
$$;
COMMENT ON FUNCTION deploydb.url_origin(text) IS
	'Webhooks: scheme, host and port of an address; NULL where it is none';
REVOKE ALL ON FUNCTION deploydb.url_origin(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.url_origin(text) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.check_url(url text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF url IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'url must not be NULL';
	END IF;
	IF deploydb.url_origin(url) IS NULL OR url !~ '^[!-~]+$' OR url ~ '#' OR length(url) > 8000 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'invalid URL of a webhook',
			DETAIL = 'It is not shown, as it may hold a secret.',
			HINT = 'It begins with https:// or http://, names a host, perhaps a port of 1 to 65535, and has at most 8000 characters, no blanks, none that are not ASCII, and no # with what is never sent.';
	END IF;
	-- an owner that may not read the setting finds none here, where setting() fails
	IF url ~* '^http:' AND (SELECT s.setting FROM pg_settings s WHERE s.name = 'deploydb.webhook_allow') = '' THEN
		RAISE WARNING USING
			ERRCODE = '01000',
			MESSAGE = format('%s is not sent to, as it is not by https', deploydb.url_origin(url)),
			HINT = 'List its host in deploydb.webhook_allow.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_url(text) IS
	'Webhooks: true for an address that can be sent to, else an error that does not show it';
REVOKE ALL ON FUNCTION deploydb.check_url(text) FROM PUBLIC;

CREATE FUNCTION deploydb.check_secret(format text, secret text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF secret IS NULL THEN
		RETURN true;
	END IF;
	IF format IN ('wecom', 'heartbeat') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('messages of format %s are not signed', format);
	ELSIF format IN ('dingtalk', 'feishu') THEN
		IF secret !~ '^[!-~]{1,200}$' THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'invalid secret of a webhook',
				HINT = 'It is what the robot''s settings show.';
		END IF;
	ELSIF secret !~ '^whsec_([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
		OR octet_length(decode(substr(secret, 7), 'base64')) NOT BETWEEN 24 AND 64
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'invalid secret of a webhook',
			HINT = 'By Standard Webhooks it is whsec_ and 24 to 64 random bytes in base 64, as in: echo "whsec_$(openssl rand -base64 32)"';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.check_secret(text, text) IS
	'Webhooks: true for a key that the format can sign with, else an error that does not show it';
REVOKE ALL ON FUNCTION deploydb.check_secret(text, text) FROM PUBLIC;

-- Where arguments were mixed up, an address or a key is not what it is taken for.
CREATE FUNCTION deploydb.looks_secret(argument text)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT COALESCE(argument ~ '^(whsec_|SEC[0-9a-f]{20}|[Hh][Tt][Tt][Pp][Ss]?:)', false)
$$;
COMMENT ON FUNCTION deploydb.looks_secret(text) IS
	'Webhooks: whether an argument is an address or a key, by its looks';
REVOKE ALL ON FUNCTION deploydb.looks_secret(text) FROM PUBLIC;

-- The format of a webhook, which is not dropped before the transaction ends.
CREATE FUNCTION deploydb.webhook_or_error(name text)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	found text;
BEGIN
	IF name IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'name must not be NULL';
	END IF;
	SELECT w.format INTO found FROM deploydb.webhook w WHERE w.name = name FOR KEY SHARE;
	IF found IS NULL THEN
		IF deploydb.looks_secret(name) THEN
			PERFORM deploydb.hide_statement();
		END IF;
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = CASE WHEN deploydb.looks_secret(name) THEN 'there is no such webhook'
				ELSE format('webhook "%s" does not exist', name) END,
			HINT = 'View deploydb.webhook_health has those that do.';
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION deploydb.webhook_or_error(text) IS
	'Webhooks: the format of a webhook, or an error where there is none of that name';
REVOKE ALL ON FUNCTION deploydb.webhook_or_error(text) FROM PUBLIC;

CREATE FUNCTION deploydb.add_webhook(name text, format text, url text, secret text DEFAULT NULL,
	min_severity text DEFAULT 'P3')
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	broken text;
BEGIN
	PERFORM deploydb.hide_statement();
	IF num_nulls(name, format, min_severity) > 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'name, format and min_severity must not be NULL';
	ELSIF deploydb.looks_secret(name) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'invalid name of a webhook',
			DETAIL = 'It looks like an address or a key, and names are shown.';
	END IF;
	PERFORM deploydb.check_url(url);
	PERFORM deploydb.check_secret(format, secret);
	BEGIN
		INSERT INTO deploydb.webhook AS w (name, format, min_severity) VALUES (name, format, min_severity);
	EXCEPTION
		WHEN unique_violation THEN
			RAISE EXCEPTION USING
				ERRCODE = 'duplicate_object',
				MESSAGE = format('webhook "%s" already exists', name),
				HINT = 'Change its address by deploydb.set_webhook_url().';
		WHEN check_violation THEN
			GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				-- where arguments were mixed up, the value is an address or a key
				MESSAGE = CASE broken
					WHEN 'webhook_format' THEN 'invalid format of a webhook'
					WHEN 'webhook_min_severity' THEN 'invalid severity of a webhook'
					ELSE 'invalid name of a webhook' END,
				HINT = CASE broken
					WHEN 'webhook_format' THEN 'Use generic, slack, teams, dingtalk, feishu, wecom, alertmanager or heartbeat.'
					WHEN 'webhook_min_severity' THEN 'Severities are P0, P1, P2 and P3.'
					ELSE 'It has 1 to 100 characters, does not begin or end with a blank, and has no line breaks.' END;
	END;
	INSERT INTO deploydb.webhook_secret (webhook, url, secret) VALUES (name, url, secret);
	INSERT INTO deploydb.webhook_state (webhook) VALUES (name);
	PERFORM deploydb.wake_monitor();	-- which tells it what fires
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.add_webhook(text, text, text, text, text) IS
	'Webhooks: from now on a receiver is told what is at least as severe, and first what of that fires already';
REVOKE ALL ON FUNCTION deploydb.add_webhook(text, text, text, text, text) FROM PUBLIC;

-- What waits is sent to the new address, and soon.
CREATE FUNCTION deploydb.set_webhook_url(name text, url text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM deploydb.hide_statement();
	PERFORM deploydb.check_url(url);
	PERFORM deploydb.webhook_or_error(name);
	INSERT INTO deploydb.webhook_secret AS s (webhook, url) VALUES (name, url)
	ON CONFLICT ON CONSTRAINT webhook_secret_pkey DO UPDATE SET url = EXCLUDED.url;
	-- one that is left alone is so until a probe has arrived, which is due now
	INSERT INTO deploydb.webhook_state (webhook) VALUES (name)
	ON CONFLICT ON CONSTRAINT webhook_state_pkey DO UPDATE
		SET failures = 0, paused_until = NULL, probe_at = NULL, dead_told = false;
	UPDATE deploydb.outbox o SET next_attempt_at = clock_timestamp()
	WHERE o.webhook = name AND o.state = 'pending';
	PERFORM deploydb.wake_monitor();
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.set_webhook_url(text, text) IS
	'Webhooks: another address of a receiver; what waits for it is tried at once';
REVOKE ALL ON FUNCTION deploydb.set_webhook_url(text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.set_webhook_secret(name text, secret text, overlap text DEFAULT '24 hours')
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	until timestamptz;
BEGIN
	PERFORM deploydb.hide_statement();
	PERFORM deploydb.check_secret(deploydb.webhook_or_error(name), secret);
	BEGIN
		-- as long ahead as such a period began in the past
		until := clock_timestamp() + (clock_timestamp() - deploydb.grace_start(overlap));
	EXCEPTION WHEN invalid_parameter_value THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = CASE WHEN overlap IS NULL THEN 'overlap must not be NULL' ELSE 'invalid overlap' END,
			DETAIL = 'It is nothing or longer, and not infinite.',
			HINT = 'Write it as an interval, such as ''24 hours''.';
	END;
	-- the same key again changes nothing but the overlap of the one before
	UPDATE deploydb.webhook_secret s
	SET secret = secret, previous_until = until,
		previous_secret = CASE WHEN s.secret IS DISTINCT FROM secret THEN s.secret
			WHEN s.previous_until > clock_timestamp() THEN s.previous_secret END
	WHERE s.webhook = name;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('webhook "%s" has no address', name),
			HINT = 'Give it one by deploydb.set_webhook_url() first.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.set_webhook_secret(text, text, text) IS
	'Webhooks: another key; messages are signed with the previous one, too, until the overlap has passed';
REVOKE ALL ON FUNCTION deploydb.set_webhook_secret(text, text, text) FROM PUBLIC;

CREATE FUNCTION deploydb.drop_webhook(name text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF name IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'name must not be NULL';
	END IF;
	DELETE FROM deploydb.webhook w WHERE w.name = name;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	UPDATE deploydb.outbox o
	SET state = 'dead', finished_at = clock_timestamp(), last_error = 'the webhook was dropped'
	WHERE o.webhook = name AND o.state IN ('pending', 'sending');
	-- one that is added by that name is another
	UPDATE deploydb.outbox o SET ends_at = NULL WHERE o.webhook = name AND o.ends_at IS NOT NULL;
	RETURN true;
END
$$;
COMMENT ON FUNCTION deploydb.drop_webhook(text) IS
	'Webhooks: a receiver is told no more, and what waits for it is a dead letter; false where there is none';
REVOKE ALL ON FUNCTION deploydb.drop_webhook(text) FROM PUBLIC;
