--
-- The conventions that hold for every object of the extension
--
CREATE EXTENSION deploydb;

CREATE VIEW member AS
	SELECT classid, objid, pg_describe_object(classid, objid, 0) AS object
	FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'deploydb');
CREATE VIEW member_function AS
	SELECT p.*, l.lanname, n.nspname
	FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	JOIN pg_language l ON l.oid = p.prolang
	JOIN pg_namespace n ON n.oid = p.pronamespace;
CREATE VIEW member_relation AS
	SELECT c.* FROM pg_class c JOIN member m
	ON m.classid = 'pg_class'::regclass AND m.objid = c.oid;

-- everything is in schema deploydb but for two entry points
SELECT proname, pg_get_function_identity_arguments(oid) FROM member_function
	WHERE nspname <> 'deploydb' ORDER BY 1;
SELECT object FROM member m
	WHERE classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass,
		'pg_rewrite'::regclass)
	ORDER BY 1;

-- functions in SQL and PL/pgSQL pin the search_path
SELECT proname FROM member_function
	WHERE lanname IN ('sql', 'plpgsql')
	AND NOT ('search_path=pg_catalog, pg_temp' = ANY (COALESCE(proconfig, '{}')));
SELECT DISTINCT lanname FROM member_function ORDER BY 1;
-- and the one that cannot, as it commits, qualifies each type
SELECT f.proname, t.typname FROM member_function f,
	regexp_matches(regexp_replace(f.prosrc, '--[^\n]*', '', 'g'), '(?<!\.)\m\w+\M', 'g') AS w (word)
	JOIN pg_type t ON t.typname = w.word[1] AND t.typnamespace = 'pg_catalog'::regnamespace
	WHERE lanname IN ('sql', 'plpgsql') AND proconfig IS NULL AND NOT t.typname = ANY (f.proargnames);

-- settings of ours are read by what loads the library that defines them
SELECT proname FROM member_function WHERE prosrc ~ 'current_setting\(''deploydb';
SELECT relname FROM member_relation WHERE relkind = 'v' AND pg_get_viewdef(oid) ~ 'current_setting\(''deploydb';

-- literals with a backslash are E'', which no setting of the session changes
SELECT proname FROM member_function
	WHERE lanname IN ('sql', 'plpgsql')
	AND regexp_replace(prosrc, '\mE''([^''\\]|\\.|'''')*''', '', 'g') ~ '\\';

-- these run with their owner's rights, and no others
SELECT proname FROM member_function WHERE prosecdef ORDER BY 1;

-- nothing is granted to PUBLIC
SELECT proname FROM member_function WHERE proacl IS NULL;
SELECT proname, a.privilege_type FROM member_function, aclexplode(proacl) a WHERE a.grantee = 0;
SELECT relname, a.privilege_type FROM member_relation, aclexplode(relacl) a WHERE a.grantee = 0;
SELECT nspname FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'deploydb' AND a.grantee = 0;

-- what reads is granted to pg_monitor and pg_database_owner; what acts to nobody
SELECT proname,
	has_function_privilege('pg_monitor', oid, 'EXECUTE') AS pg_monitor,
	has_function_privilege('pg_database_owner', oid, 'EXECUTE') AS pg_database_owner
	FROM member_function ORDER BY 2 DESC, 3 DESC, 1;
SELECT relname, relkind, a.grantee::regrole, a.privilege_type
	FROM member_relation, aclexplode(relacl) a
	WHERE a.grantee <> relowner AND (a.privilege_type <> 'SELECT'
		OR a.grantee NOT IN ('pg_monitor'::regrole, 'pg_database_owner'::regrole));
SELECT relname, relkind FROM member_relation
	WHERE relkind IN ('r', 'v', 'S') AND NOT (
		has_table_privilege('pg_monitor', oid, 'SELECT') AND
		has_table_privilege('pg_database_owner', oid, 'SELECT'))
	ORDER BY 1;

-- results are of types that every driver knows
SELECT proname, format_type(t, NULL)
	FROM member_function, unnest(COALESCE(proallargtypes, ARRAY[prorettype]) || prorettype) t
	WHERE t NOT IN ('boolean'::regtype, 'integer'::regtype, 'bigint'::regtype,
		'double precision'::regtype, 'text'::regtype, 'text[]'::regtype,
		'jsonb'::regtype, 'timestamptz'::regtype)
	AND NOT (t = 'record'::regtype AND proallargtypes IS NOT NULL)
	AND NOT (t IN ('trigger'::regtype, 'event_trigger'::regtype) AND pronargs = 0);
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
	FROM member_relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relkind IN ('r', 'v')
	AND a.atttypid NOT IN ('boolean'::regtype, 'integer'::regtype, 'bigint'::regtype,
		'double precision'::regtype, 'text'::regtype, 'text[]'::regtype,
		'jsonb'::regtype, 'timestamptz'::regtype);

-- what a dump holds, with all of its sequences
SELECT c.relname, c.relkind FROM pg_extension e, unnest(e.extconfig) t
	JOIN pg_class c ON c.oid = t
	WHERE e.extname = 'deploydb' ORDER BY 1;
SELECT s.relname FROM pg_extension e, unnest(e.extconfig) t
	JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t
		AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
	JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
	WHERE e.extname = 'deploydb' AND NOT s.oid = ANY (e.extconfig);

-- a comment on everything, which begins with its section
SELECT object FROM member m
	WHERE classid IN ('pg_proc'::regclass, 'pg_namespace'::regclass)
	AND obj_description(objid, classid::regclass::name) IS NULL;
SELECT relname FROM member_relation
	WHERE relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL;
SELECT DISTINCT substring(obj_description(oid, 'pg_proc') FROM '^[^:]*:') AS section
	FROM member_function ORDER BY 1;
SELECT DISTINCT substring(obj_description(oid, 'pg_class') FROM '^[^:]*:') AS section
	FROM member_relation WHERE relkind IN ('r', 'v') ORDER BY 1;

-- settings are ours by prefix, and described
SELECT name, context, vartype, unit FROM pg_settings WHERE name LIKE 'deploydb.%' ORDER BY 1;
SET deploydb.no_such_setting = 1;

-- NULL for every argument crashes nothing
DO $$
DECLARE
	f record;
	state text;
BEGIN
	FOR f IN SELECT oid::regprocedure AS name, nspname, proname, proargtypes, pronargs, proretset
			 FROM member_function ORDER BY proname
	LOOP
		BEGIN
			EXECUTE format('SELECT count(*) FROM %I.%I(%s) AS r', f.nspname, f.proname,
				(SELECT string_agg(format('NULL::%s', format_type(t, NULL)), ', ' ORDER BY n)
				 FROM unnest(f.proargtypes) WITH ORDINALITY AS a (t, n)));
			state := 'ok';
		EXCEPTION WHEN OTHERS THEN
			state := SQLSTATE;
		END;
		RAISE INFO '%: %', f.proname, state;
	END LOOP;
END $$;

-- nor does an argument that says nothing reach a constraint of a table
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN SELECT m.*, blank FROM member_function m, unnest(ARRAY['', ' ']) AS blank
			 WHERE m.pronargs > 0 ORDER BY m.proname, blank
	LOOP
		BEGIN
			EXECUTE format('SELECT count(*) FROM %I.%I(%s) AS r', f.nspname, f.proname,
				(SELECT string_agg(format('%L::%s', CASE t WHEN 'text'::regtype THEN f.blank
						WHEN 'text[]'::regtype THEN ARRAY[f.blank]::text WHEN 'jsonb'::regtype THEN '{}'
						WHEN 'timestamptz'::regtype THEN '2999-01-01' ELSE '0' END,
					format_type(t, NULL)), ', ' ORDER BY n)
				 FROM unnest(f.proargtypes) WITH ORDINALITY AS a (t, n)));
			RAISE 'undo';
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE ~ '^(23|XX)' THEN
				RAISE INFO '%: % %', f.proname, SQLSTATE, SQLERRM;
			END IF;
		END;
	END LOOP;
END $$;
DROP VIEW member_relation, member_function, member;
DROP EXTENSION deploydb;

-- nor does the script; from 19 on there is no other setting
DO $$ BEGIN SET standard_conforming_strings = off; EXCEPTION WHEN OTHERS THEN NULL; END $$;
CREATE EXTENSION deploydb;
DROP EXTENSION deploydb;
