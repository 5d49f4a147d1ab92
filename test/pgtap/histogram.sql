-- Histograms as texts: differences, percentiles, and what is none.  "AKB" is
-- ten empty buckets and one duration of 10 us.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION deploydb;

SELECT plan(24);

SELECT is(deploydb.histogram_subtract('AKiD', 'AKB'), 'AKhD', '97 of 98 are new');
SELECT is(deploydb.histogram_subtract('AKiDAUC', 'AKiD'), 'AfC', 'a bucket that was empty');
SELECT is(deploydb.histogram_subtract('AKiD', 'AKiD'), '', 'nothing is new');
SELECT is(deploydb.histogram_subtract('AKiD', ''), 'AKiD', 'all is new');
SELECT is(deploydb.histogram_subtract('', ''), '', 'nothing at all');
SELECT is(deploydb.histogram_subtract(NULL, 'AKB'), NULL, 'NULL gives NULL');
SELECT throws_ok($$ SELECT deploydb.histogram_subtract('AKB', 'AKC') $$, '22023', NULL, 'a count cannot have shrunk');
SELECT throws_ok($$ SELECT deploydb.histogram_subtract('AK', '') $$, '22P02', NULL, 'a run without a count behind it');
SELECT throws_ok($$ SELECT deploydb.histogram_subtract('', 'AhMB') $$, '22P02', NULL, 'a bucket too many');
SELECT throws_ok($$ SELECT deploydb.histogram_subtract('', 'é') $$, '22P02', 'invalid histogram: "é"', 'what is no digit');

SELECT results_eq($$ SELECT * FROM deploydb.histogram_quantiles('{AKB}') $$,
	$$ VALUES (0.01::double precision, 0.01::double precision, 0.01::double precision) $$, 'one duration');
SELECT results_eq($$ SELECT * FROM deploydb.histogram_quantiles('{AKiD,AUC}') $$,
	$$ VALUES (0.01::double precision, 0.01::double precision, 0.0205::double precision) $$, 'the 99th of a hundred');
SELECT results_eq($$ SELECT * FROM deploydb.histogram_quantiles('{{AKiD,NULL},{"",AUC}}') $$,
	$$ VALUES (0.01::double precision, 0.01::double precision, 0.0205::double precision) $$, 'however the array is shaped');
SELECT results_eq($$ SELECT * FROM deploydb.histogram_quantiles('{AK6CAJIAJC}') $$,
	$$ VALUES (0.01::double precision, 0.0205::double precision, 0.0305::double precision) $$, '90, 8 and 2: all three differ');
SELECT results_eq($$ SELECT * FROM deploydb.histogram_quantiles('{AgMB}') $$,
	$$ SELECT v, v, v FROM CAST(16.5 * 2 ^ 23 / 1000 AS double precision) v $$, 'longer than all buckets');
SELECT results_eq($$ SELECT * FROM deploydb.histogram_quantiles('{}') $$,
	$$ VALUES (NULL::double precision, NULL::double precision, NULL::double precision) $$, 'none: NULL');
SELECT results_eq($$ SELECT * FROM deploydb.histogram_quantiles('{"",NULL}') $$,
	$$ VALUES (NULL::double precision, NULL::double precision, NULL::double precision) $$, 'empty ones: NULL');
SELECT is(deploydb.histogram_quantiles(NULL) IS NULL, true, 'NULL gives NULL');
SELECT throws_ok($$ SELECT deploydb.histogram_quantiles('{AKB,B=}') $$, '22P02', 'invalid histogram: "B="', 'one that is none');
SELECT throws_ok($$ SELECT deploydb.histogram_quantiles('{////////////P,B}') $$, '22P02', NULL, 'more than can be counted');

SELECT is(deploydb.histogram_sum('{AKB,AKhD,NULL,""}'), 'AKiD', 'the sum of what was subtracted');
SELECT is(deploydb.histogram_sum('{}'), '', 'the sum of none');
SELECT is(deploydb.histogram_sum(NULL), NULL, 'NULL gives NULL');
SELECT throws_ok($$ SELECT deploydb.histogram_sum('{AKB,B=}') $$, '22P02', 'invalid histogram: "B="', 'one that is none in a sum');

SELECT * FROM finish();
