--
-- Deployment: the log is sealed
--
-- A seal is a SHA-256 over the entries since the last one, and that one's.  The
-- monitor adds them, and nobody waits for it: an entry that is not committed
-- yet can have a lower id than others, so a seal waits until all transactions
-- have ended that can have got such an id.
--

CREATE TABLE deploydb.log_seal (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	last_entry bigint NOT NULL,
	entries text[] NOT NULL,
	hashes text[] NOT NULL,
	hash text NOT NULL,
	CHECK (cardinality(entries) = cardinality(hashes))
);
COMMENT ON TABLE deploydb.log_seal IS
	'Deployment: seals of the log: each entry up to last_entry and its hash, and a hash over these and the seal before';
GRANT SELECT ON deploydb.log_seal TO pg_monitor, pg_database_owner;
GRANT SELECT ON SEQUENCE deploydb.log_seal_id_seq TO pg_monitor, pg_database_owner;
SELECT pg_extension_config_dump('deploydb.log_seal', '');
SELECT pg_extension_config_dump('deploydb.log_seal_id_seq', '');
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON deploydb.log_seal
	FOR EACH STATEMENT EXECUTE FUNCTION deploydb.only_added();

-- Ids up to seen were given away before transaction seen_by ended, so those up to
-- entry by transactions below the id in transactions, which came after that.  seal
-- is the newest one; a restored copy, where this begins anew, does not know it.
CREATE TABLE deploydb.log_horizon (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	seen bigint NOT NULL DEFAULT 0,
	seen_by bigint NOT NULL DEFAULT 0,
	entry bigint NOT NULL DEFAULT 0,
	transactions bigint NOT NULL DEFAULT 0,
	seal bigint
);
COMMENT ON TABLE deploydb.log_horizon IS
	'Deployment: no entry up to this one is added any more once all transactions before this id have ended; and the newest seal';
GRANT SELECT ON deploydb.log_horizon TO pg_monitor, pg_database_owner;
INSERT INTO deploydb.log_horizon DEFAULT VALUES;

CREATE FUNCTION deploydb.entry_hash(entry deploydb.log_entry)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT deploydb.text_hash(jsonb_build_array(entry.id, entry.deployment,
		(extract(epoch FROM entry.at) * 1000000)::bigint, entry.who, entry.application, entry.action, entry.status,
		entry.note)::text)
$$;
COMMENT ON FUNCTION deploydb.entry_hash(deploydb.log_entry) IS
	'Deployment: SHA-256 of an entry of the log';
REVOKE ALL ON FUNCTION deploydb.entry_hash(deploydb.log_entry) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.entry_hash(deploydb.log_entry) TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.seal_hash(before text, at timestamptz, last_entry bigint, entries text[], hashes text[])
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT deploydb.text_hash(jsonb_build_array(before, (extract(epoch FROM at) * 1000000)::bigint, last_entry, entries, hashes)::text)
$$;
COMMENT ON FUNCTION deploydb.seal_hash(text, timestamptz, bigint, text[], text[]) IS
	'Deployment: SHA-256 over a seal''s entries and the hash of the seal before';
REVOKE ALL ON FUNCTION deploydb.seal_hash(text, timestamptz, bigint, text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.seal_hash(text, timestamptz, bigint, text[], text[]) TO pg_monitor, pg_database_owner;

-- A part of the tick, one at a time.  Where nothing is new nothing is written.
CREATE FUNCTION deploydb.seal_log()
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	horizon deploydb.log_horizon;
	last deploydb.log_seal;
	newest bigint := (SELECT max(l.id) FROM deploydb.log_entry l);
	ids text[];
	hashes text[];
	now timestamptz := clock_timestamp();
BEGIN
	SELECT h.* INTO horizon FROM deploydb.log_horizon h;
	SELECT s.* INTO last FROM deploydb.log_seal s ORDER BY s.id DESC LIMIT 1;
	-- nothing is put over a seal that is gone, which would hide that
	IF horizon.seal <> COALESCE(last.id, 0) THEN
		RETURN 0;
	END IF;
	IF horizon.entry > COALESCE(last.last_entry, 0) THEN
		IF pg_snapshot_xmin(pg_current_snapshot())::text::bigint < horizon.transactions THEN
			RETURN 0;
		END IF;
		SELECT COALESCE(array_agg(l.id::text ORDER BY l.id), '{}'), COALESCE(array_agg(deploydb.entry_hash(l) ORDER BY l.id), '{}')
		INTO ids, hashes
		FROM deploydb.log_entry l WHERE l.id > COALESCE(last.last_entry, 0) AND l.id <= horizon.entry;
		WITH added AS (
			INSERT INTO deploydb.log_seal AS s (at, last_entry, entries, hashes, hash)
			VALUES (now, horizon.entry, ids, hashes, deploydb.seal_hash(last.hash, now, horizon.entry, ids, hashes))
			RETURNING s.id)
		UPDATE deploydb.log_horizon h SET seal = added.id FROM added;
	END IF;
	IF horizon.seen > horizon.entry AND pg_current_xact_id()::text::bigint > horizon.seen_by THEN
		UPDATE deploydb.log_horizon h SET entry = h.seen, transactions = pg_current_xact_id()::text::bigint;
	END IF;
	IF newest > horizon.seen THEN
		UPDATE deploydb.log_horizon h SET seen = newest, seen_by = pg_current_xact_id()::text::bigint;
	END IF;
	RETURN COALESCE(cardinality(ids), 0);
END
$$;
COMMENT ON FUNCTION deploydb.seal_log() IS
	'Deployment: seals the entries that no transaction can add to any more, and returns their number; a part of the tick';
REVOKE ALL ON FUNCTION deploydb.seal_log() FROM PUBLIC;

-- The seals whose hash is not what it must be, and entries that are not as sealed.
CREATE FUNCTION deploydb.broken_seals()
RETURNS TABLE (seal bigint, entry bigint, problem text)
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	WITH sealed AS (
		SELECT s.id AS seal, e.id::bigint AS entry, e.hash
		FROM deploydb.log_seal s, unnest(s.entries, s.hashes) AS e (id, hash)
	), chained AS (
		SELECT s.*, lag(s.hash) OVER (ORDER BY s.id) AS before,
			COALESCE(lag(s.last_entry) OVER (ORDER BY s.id), -9223372036854775808) AS first_entry
		FROM deploydb.log_seal s
	)
	SELECT c.seal, c.entry, c.problem FROM (
		SELECT x.id AS seal, NULL::bigint AS entry, x.first_entry AS position, 'the seal was changed, or one before it removed' AS problem
		FROM chained x WHERE x.hash IS DISTINCT FROM deploydb.seal_hash(x.before, x.at, x.last_entry, x.entries, x.hashes)
		UNION ALL
		SELECT x.seal, x.entry, x.entry, CASE WHEN l.id IS NULL THEN 'removed' ELSE 'changed' END
		FROM sealed x LEFT JOIN deploydb.log_entry l ON l.id = x.entry
		WHERE l.id IS NULL OR x.hash <> deploydb.entry_hash(l)
		UNION ALL
		SELECT c.id, l.id, l.id, 'put in between'
		FROM deploydb.log_entry l JOIN chained c ON l.id > c.first_entry AND l.id <= c.last_entry
		WHERE NOT EXISTS (SELECT FROM sealed x WHERE x.entry = l.id)
		UNION ALL
		SELECT h.seal, NULL, 9223372036854775807, 'the newest seal was removed'
		FROM deploydb.log_horizon h WHERE h.seal > COALESCE((SELECT max(s.id) FROM deploydb.log_seal s), 0)) AS c
	ORDER BY c.position, c.seal
$$;
COMMENT ON FUNCTION deploydb.broken_seals() IS
	'Deployment: each place where the log is not as it was sealed';
REVOKE ALL ON FUNCTION deploydb.broken_seals() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.broken_seals() TO pg_monitor, pg_database_owner;

CREATE FUNCTION deploydb.verify_log()
RETURNS TABLE (intact boolean, sealed bigint, unsealed bigint, entry bigint, problem text, head text)
LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT b.problem IS NULL,
		(SELECT COALESCE(sum(cardinality(s.entries)), 0) FROM deploydb.log_seal s)::bigint,
		(SELECT count(*) FROM deploydb.log_entry l
			WHERE l.id > COALESCE((SELECT max(s.last_entry) FROM deploydb.log_seal s), 0)),
		b.entry, b.problem,
		(SELECT s.hash FROM deploydb.log_seal s ORDER BY s.id DESC LIMIT 1)
	FROM (VALUES (1)) AS one LEFT JOIN LATERAL (SELECT * FROM deploydb.broken_seals() LIMIT 1) b ON true
$$;
COMMENT ON FUNCTION deploydb.verify_log() IS
	'Deployment: is the log as it was sealed?  If not, the first entry that was changed, removed or put in between';
REVOKE ALL ON FUNCTION deploydb.verify_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deploydb.verify_log() TO pg_monitor, pg_database_owner;
