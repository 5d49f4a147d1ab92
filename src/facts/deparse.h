/*
 * deparse.h
 *		Settings under which expressions are turned into text.
 *
 * Gives: a scope in which search_path is (schema, pg_catalog, pg_temp) and
 * DateStyle, IntervalStyle, TimeZone, bytea_output, extra_float_digits and
 * quote_all_identifiers have fixed values, so that the same catalogs give the
 * same text for every caller.
 * Needs: nothing of the other modules.
 *
 * Errors: the settings are transaction-local at a GUC nest level of their
 * own, so an abort puts them back as well as deparse_end() does.
 */
#ifndef DEPLOYDB_DEPARSE_H
#define DEPLOYDB_DEPARSE_H

extern int	deparse_begin(Oid schema);
extern void deparse_end(int nest_level);

#endif							/* DEPLOYDB_DEPARSE_H */
