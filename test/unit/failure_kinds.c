/*
 * failure_kinds.c
 *		Several threads fail at once, in more ways than are told apart: each
 *		failure is counted, and what is read belongs together.
 *
 * Prints a line for what is wrong, and nothing when all is well.
 */
#include "postgres.h"

#include <pthread.h>

#include "writes/failure_kinds.h"

#define THREADS 4
#define ROUNDS 100000
#define STATES (WRITE_FAILURE_KINDS + 10)

static FailureKinds failures;

/* Each field says the same number, so that a torn one shows. */
static void
describe(WriteFailure *failure, int sqlstate)
{
	memset(failure, 0, sizeof(*failure));
	failure->sqlstate = sqlstate;
	failure->last_at = 1000 + sqlstate;
	failure->query_id = sqlstate;
	snprintf(NameStr(failure->constraint_name), NAMEDATALEN, "%d", sqlstate);
	snprintf(NameStr(failure->application), NAMEDATALEN, "%d", sqlstate);
}

static void *
fail_often(void *argument)
{
	int			thread = (int) (intptr_t) argument;

	for (int i = 0; i < ROUNDS; i++)
	{
		WriteFailure failure;

		describe(&failure, 1 + (i + thread) % STATES);
		failure_kinds_add(&failures, &failure, thread % 2 == 0);
	}
	return NULL;
}

static void
check(FailureKinds *read)
{
	uint64		sum = 0;
	bool		seen[STATES + 1] = {0};

	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
	{
		WriteFailure last;
		uint64		attempts = failure_kinds_read(read, i, &last);
		bool		is_last = i == WRITE_FAILURE_KINDS - 1;
		char		name[NAMEDATALEN];

		if (attempts == 0 && !is_last)	/* for one of the usual */
			continue;
		sum += attempts;
		if (attempts == 0 || (last.sqlstate == 0) != is_last)
			printf("kind %d: %llu attempts, SQLSTATE %d\n",
				   i, (unsigned long long) attempts, last.sqlstate);
		if (!is_last && seen[last.sqlstate])
			printf("%d has two kinds\n", last.sqlstate);
		seen[last.sqlstate] = true;
		if (!is_last && attempts - THREADS * (ROUNDS / STATES) > THREADS)
			printf("%d: %llu attempts\n", last.sqlstate,
				   (unsigned long long) attempts);
		snprintf(name, sizeof(name), "%lld", (long long) last.query_id);
		if (strcmp(name, NameStr(last.constraint_name)) != 0 ||
			strcmp(name, NameStr(last.application)) != 0 ||
			(!is_last && (last.query_id != last.sqlstate ||
						  last.last_at != 1000 + last.sqlstate)))
			printf("kind %d: evidence of %s and %s\n", i,
				   NameStr(last.constraint_name), NameStr(last.application));
	}
	if (sum != (uint64) THREADS * ROUNDS)
		printf("%llu of %d are counted\n", (unsigned long long) sum,
			   THREADS * ROUNDS);
}

/* That of a usual failure is told apart even so. */
static void
check_usual(void)
{
	WriteFailure failure;
	uint64		told = 0;

	describe(&failure, ERRCODE_UNIQUE_VIOLATION);
	failure_kinds_add(&failures, &failure, true);
	for (int i = 0; i < WRITE_FAILURE_KINDS; i++)
	{
		uint64		attempts = failure_kinds_read(&failures, i, &failure);

		if (failure.sqlstate == ERRCODE_UNIQUE_VIOLATION)
			told += attempts;
	}
	if (told != 1)
		printf("a usual failure is told %llu times\n",
			   (unsigned long long) told);
}

int
main(void)
{
	static FailureKinds copy;
	pthread_t	threads[THREADS];

	failure_kinds_init(&failures);
	for (intptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, fail_often, (void *) i) != 0)
			printf("no thread\n");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check(&failures);
	failure_kinds_init(&copy);
	failure_kinds_copy(&copy, &failures);
	check(&copy);
	check_usual();
	return 0;
}
