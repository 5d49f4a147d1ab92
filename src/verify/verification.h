/*
 * verification.h
 *		One migration verified in one schema.
 *
 * Gives: verify_migration() and what it found.
 * Needs: facts, expectation, compare, fix, ledger, acceptance.
 */
#ifndef DEPLOYDB_VERIFICATION_H
#define DEPLOYDB_VERIFICATION_H

#include "facts/facts.h"
#include "verify/deviation.h"
#include "verify/expectation.h"
#include "verify/ledger.h"

typedef enum Outcome
{
	OUTCOME_UNKNOWN,			/* could not be found out */
	OUTCOME_VERIFIED,
	OUTCOME_DEVIATES
} Outcome;

typedef struct Verification
{
	const Expectation *expectation;
	const char *schema;			/* raw name, or NULL where there is none */
	List	   *deviations;		/* of Deviation *, in the order of the fixes */
	const char *fingerprint;	/* NULL where something is unknown */
	int			errors;
	int			warnings;
	int			infos;
	int			accepted;
	int			unknown;
	Outcome		outcome;
} Verification;

/* What of a verification does not depend on the migration. */
typedef struct VerificationScope
{
	List	   *expectations;	/* every known one */
	FactSet    *all_expected;
	const char *schema;			/* as the caller named it, or NULL */
	bool		everything;		/* also rows for facts that hold */
	TimestampTz deadline;		/* for all locks of this call */
	Ledger	   *ledger;			/* of ledger_schema, once it has been read */
	Oid			ledger_schema;
} VerificationScope;

extern VerificationScope *verification_scope(const char *schema,
											 bool everything);

/* The known migrations that the caller named: one, or NULL for all. */
extern List *verification_targets(VerificationScope *scope,
								  const char *migration);

extern Verification *verify_migration(VerificationScope *scope,
									  const Expectation *expectation);

/* Facts that are there about what a migration expects; *schema as resolved. */
extern FactReport *verification_actual(VerificationScope *scope,
									   const Expectation *expectation,
									   Oid *schema);

/*
 * The schema that the caller means for these roots; captured is the one that
 * they were captured in, or NULL.
 */
extern Oid	verification_schema(const char *schema, const char *captured,
								List *roots);

extern const char *deviation_status_name(DeviationStatus status);
extern const char *deviation_severity_name(DeviationSeverity severity);
extern const char *outcome_name(Outcome outcome);

#endif							/* DEPLOYDB_VERIFICATION_H */
