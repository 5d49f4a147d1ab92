-- writes.sql
--		What the clients of Writes.pm write to.
--
-- Tables: w is plain; p has partitions, of which p_low is tracked too; child
-- refers to w, late has a deferred constraint, follower a foreign key's actions;
-- held is locked now and then, as by a migration.
CREATE EXTENSION IF NOT EXISTS deploydb;
CREATE ROLE nobody_writes;
CREATE TABLE w (id bigint PRIMARY KEY, v int NOT NULL CHECK (v >= 0), note text);
CREATE VIEW w_view AS SELECT id, v, note FROM w;
CREATE TABLE p (id bigint, v int NOT NULL) PARTITION BY RANGE (v);
CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p_high PARTITION OF p FOR VALUES FROM (100) TO (200);
CREATE TABLE untracked (id bigint);
CREATE TABLE parent (id bigint PRIMARY KEY);
CREATE TABLE child (id bigint REFERENCES parent (id));
CREATE TABLE late (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED);
GRANT SELECT ON w TO nobody_writes;
CREATE FUNCTION try_w(wanted bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO w VALUES (wanted, 1);
	RETURN true;
EXCEPTION WHEN unique_violation THEN
	RETURN false;
END $$;
CREATE FUNCTION fails_within(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE FUNCTION fails_when_planned(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM fails_within(n) FROM (SELECT 1) AS one;
	RETURN n;
END $$;
CREATE FUNCTION put_w(wanted bigint) RETURNS SETOF bigint LANGUAGE sql AS $$
	INSERT INTO w VALUES (wanted, 1), (wanted + 1, 1) RETURNING id
$$;
CREATE PROCEDURE put_some(first bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 0 .. 4 LOOP
		INSERT INTO w VALUES (first + n, 1);
		IF n % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
	END LOOP;
END $$;
CREATE FUNCTION put_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO w VALUES (NEW.id, 1);
	RETURN NEW;
END $$;
CREATE TABLE deferring (id bigint);
CREATE FUNCTION try_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM try_w(-1);
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER try_again AFTER INSERT ON deferring DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION try_again();
CREATE TABLE triggers (id bigint);
CREATE TRIGGER put_new AFTER INSERT ON triggers FOR EACH ROW EXECUTE FUNCTION put_new();
CREATE VIEW triggers_view AS SELECT id FROM w;
CREATE TRIGGER put_new INSTEAD OF INSERT ON triggers_view FOR EACH ROW EXECUTE FUNCTION put_new();
CREATE TABLE rules (id bigint);
CREATE RULE put_new AS ON INSERT TO rules DO ALSO INSERT INTO w VALUES (NEW.id, 1);
CREATE TABLE changing (id bigint PRIMARY KEY);
CREATE TABLE follower (id bigint REFERENCES changing (id) ON UPDATE CASCADE ON DELETE SET NULL);
CREATE TABLE held (id bigint);
INSERT INTO w SELECT -n, 1 FROM generate_series(1, 200) n;
SELECT deploydb.track(t) FROM unnest('{w,p,p_low,child,late,follower,held}'::text[]) t;
