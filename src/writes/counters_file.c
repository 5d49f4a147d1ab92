/*
 * counters_file.c
 *		The counters across a clean restart of the server.
 *
 * The file holds good for the very shutdown that wrote it: it names the
 * shutdown's checkpoint, so that neither an immediate stop nor time spent
 * without this library can bring old counts back.  It names itself, too, by its
 * inode: a copy of the data directory that becomes a standby, or is recovered
 * further, must not go on with the counters of the server that was copied.
 * It is removed once it is read.
 *
 * Locking: none; only the postmaster comes here, alone.  Errors: a file that
 * cannot be written or read is a LOG line, and counting begins anew.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "compat.h"
#include "settings.h"
#include "writes/counters.h"

#define COUNTERS_FILE "pg_stat/deploydb.stat"
#define COUNTERS_MAGIC 0x64646205	/* the last byte is the format */

typedef struct CountersHeader
{
	uint32		magic;
	uint32		server_version;
	uint64		system_identifier;
	uint64		checkpoint;		/* the shutdown's, 0 when it was none */
	uint64		inode;			/* the file's own, which a copy does not have */
	int32		nslots;
	uint64		size;			/* of what follows */
	pg_crc32c	crc;			/* of that */
} CountersHeader;

static Size
body_size(int nslots)
{
	return offsetof(WritesShared, slots) + nslots * sizeof(WriteSlot);
}

/* Of the last shutdown, as pg_control says. */
static void
header_shutdown(CountersHeader *header)
{
	bool		intact;
	ControlFileData *control = get_controlfile(DataDir, &intact);

	header->system_identifier = control->system_identifier;
	if (intact && (control->state == DB_SHUTDOWNED ||
				   control->state == DB_SHUTDOWNED_IN_RECOVERY))
		header->checkpoint = control->checkPoint;
	pfree(control);
}

static uint64
inode_of(FILE *file)
{
	struct stat self;

	return fstat(fileno(file), &self) == 0 ? (uint64) self.st_ino : 0;
}

/* Will this start go on with WAL that it need not have written itself? */
static bool
start_recovers(void)
{
	return access(STANDBY_SIGNAL_FILE, F_OK) == 0 ||
		access(RECOVERY_SIGNAL_FILE, F_OK) == 0;
}

static void
header_fill(CountersHeader *header, const WritesShared *body, int nslots)
{
	memset(header, 0, sizeof(*header));
	header->magic = COUNTERS_MAGIC;
	header->server_version = DEPLOYDB_SERVER_MAJOR;
	header_shutdown(header);
	header->nslots = nslots;
	header->size = body_size(nslots);
	INIT_CRC32C(header->crc);
	COMP_CRC32C(header->crc, (const char *) body, header->size);
	FIN_CRC32C(header->crc);
}

void
counters_save(void)
{
	CountersHeader header;
	FILE	   *file;
	bool		written;

	header_fill(&header, writes_shared, writes_shared->nslots);
	if (header.checkpoint == 0)
		return;
	file = AllocateFile(COUNTERS_FILE ".tmp", PG_BINARY_W);
	if (file != NULL)
		header.inode = inode_of(file);
	written = file != NULL &&
		fwrite(&header, sizeof(header), 1, file) == 1 &&
		fwrite(writes_shared, header.size, 1, file) == 1;
	if (file != NULL && FreeFile(file) != 0)
		written = false;
	if (!written)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m",
						COUNTERS_FILE ".tmp")));
		unlink(COUNTERS_FILE ".tmp");
		return;
	}
	(void) durable_rename(COUNTERS_FILE ".tmp", COUNTERS_FILE, LOG);
}

static void
book_load(WriteBook *to, WriteBook *from)
{
	for (int i = 0; i < WRITE_COUNTS; i++)
		pg_atomic_write_u64(&to->counts[i],
							pg_atomic_read_u64(&from->counts[i]));
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		pg_atomic_write_u64(&to->latency[i],
							pg_atomic_read_u64(&from->latency[i]));
	failure_kinds_copy(&to->failures, &from->failures);
}

static void
database_load(DatabaseCounters *to, DatabaseCounters *from)
{
	pg_atomic_write_u32(&to->database, pg_atomic_read_u32(&from->database));
	pg_atomic_write_u64(&to->slow_statements,
						pg_atomic_read_u64(&from->slow_statements));
	for (int i = 0; i < LOG_CLASSES; i++)
	{
		pg_atomic_write_u64(&to->log_classes[i].lines,
							pg_atomic_read_u64(&from->log_classes[i].lines));
		pg_atomic_write_u64(&to->log_classes[i].last_at,
							pg_atomic_read_u64(&from->log_classes[i].last_at));
		to->log_classes[i].application = from->log_classes[i].application;
	}
}

/* Slots are loaded in their order; a smaller max_tracked leaves some out. */
static void
body_load(WritesShared *to, WritesShared *from, int nslots)
{
	int			used = 0;

	for (int i = 0; i < COUNTED_DATABASES; i++)
		database_load(&to->databases[i], &from->databases[i]);
	to->ring.appended = from->ring.appended;
	memcpy(to->ring.entries, from->ring.entries, sizeof(to->ring.entries));
	for (int i = 0; i < nslots && used < to->nslots; i++)
	{
		WriteSlot  *slot = &to->slots[used];

		/* Free, or a backend was ended while it changed it. */
		if (!OidIsValid(from->slots[i].key.database) ||
			pg_atomic_read_u32(&from->slots[i].generation) % 2 != 0)
			continue;
		slot->key = from->slots[i].key;
		slot->since = from->slots[i].since;
		book_load(&slot->books[0], &from->slots[i].books[0]);
		book_load(&slot->books[1], &from->slots[i].books[1]);
		used++;
	}
}

/* False when the file is not ours or not whole. */
static bool
file_load(FILE *file)
{
	CountersHeader header;
	CountersHeader expected;
	WritesShared *body;
	bool		loaded;

	if (fread(&header, sizeof(header), 1, file) != 1 ||
		header.magic != COUNTERS_MAGIC ||
		header.nslots < 0 || header.nslots > MAX_MAX_TRACKED ||
		header.size != body_size(header.nslots))
		return false;
	body = palloc(header.size);
	loaded = fread(body, header.size, 1, file) == 1;
	if (loaded)
	{
		header_fill(&expected, body, header.nslots);
		loaded = header.server_version == expected.server_version &&
			header.system_identifier == expected.system_identifier &&
			header.checkpoint != 0 &&
			header.checkpoint == expected.checkpoint &&
			(header.inode == inode_of(file) || !start_recovers()) &&
			EQ_CRC32C(header.crc, expected.crc);
	}
	if (loaded)
		body_load(writes_shared, body, header.nslots);
	pfree(body);
	return loaded;
}

void
counters_load(void)
{
	FILE	   *file = AllocateFile(COUNTERS_FILE, PG_BINARY_R);

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", COUNTERS_FILE)));
		return;
	}
	if (!file_load(file))
		ereport(LOG,
				(errmsg("deploydb counts from now on"),
				 errdetail("File \"%s\" is not of the last shutdown, or not whole.",
						   COUNTERS_FILE)));
	FreeFile(file);
	unlink(COUNTERS_FILE);
}
