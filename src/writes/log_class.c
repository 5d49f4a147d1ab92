/*
 * log_class.c
 *		Classes of SQLSTATEs that the log's lines are told apart by.
 *
 * Locking: none.  Errors: none.
 */
#include "postgres.h"

#include "writes/log_class.h"

/* As errcodes.txt has them, of all majors; what is of none comes after them. */
static const char server_classes[LOG_CLASSES - 1][3] = {
	"00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z",
	"10", "20", "21", "22", "23", "24", "25", "26", "27", "28", "2B", "2D",
	"2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54",
	"55", "57", "58", "72", "F0", "HV", "P0", "XX"
};

int
log_class(int sqlstate)
{
	int			class = 0;

	while (class < LOG_CLASSES - 1 &&
		   ERRCODE_TO_CATEGORY(sqlstate) !=
		   MAKE_SQLSTATE(server_classes[class][0], server_classes[class][1],
						 '0', '0', '0'))
		class++;
	return class;
}

const char *
log_class_name(int class)
{
	return class < LOG_CLASSES - 1 ? server_classes[class] : "other";
}
