/*
 * journal.c
 *		How far each message under way has come, in memory that outlives the process.
 *
 * What is `sending` when its process dies may have been sent or not.  Of most of it that
 * can be known: the message was still waiting for a connection, its envelope was being
 * sent, or the server's answer was there and only not settled.  The process writes that
 * down here, in a file of shared memory: the kernel keeps it when the process is killed and
 * the server starts anew, and nothing is written to a disk.  Only what was handed over
 * without an answer is left in doubt.
 *
 * It says as well which messages a crash may be the fault of: those that somebody had begun
 * to send, and the one that was being composed, whose claim is not even committed then.  Those
 * that waited for their turn have nothing to do with it, however often they were claimed.
 *
 * It cannot say of a message that it was not handed over when it was:
 *
 * - The place of a message is written before its claim commits, and says that it was handed
 *   over before the octet that ends it is given to the socket.
 * - Places are found by the message's number and the time of its claim, in a file named
 *   by system, data directory and database.  What is not found is in doubt as before: after
 *   the machine has started anew or another one has taken over, and when a later message has
 *   taken the place.
 * - A database that was set back to an earlier time finds what really happened since, as
 *   the file is not set back with it.
 */
#include "base/base.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "delivery/delivery_internal.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#define PLACES 8192				/* many more than can be under way */
#define ANSWER 108				/* octets of an answer, with its NUL */
#define FILE_SIZE sizeof(Journal)

typedef struct Place
{
	int64		message_id;
	TimestampTz claimed_at;
	uint32		phase;			/* MaPhase; written last */
	char		answer[ANSWER];
} Place;

typedef struct Journal
{
	Place		places[PLACES];
	int64		contact_id;		/* of the message that is being composed */
	int64		message_id;		/* 0: none, or MA_SEVERAL; written last */
} Journal;

static Journal *journal = NULL; /* NULL: there is none */
static int	file = -1;
static bool in_use = false;		/* something may be under way */
static bool held = false;		/* we are who delivers */
static bool several = false;	/* who delivered before has crashed in what it did for several */

static const char *file_name(void);
static bool open_file(const char **what);
static void close_file(void);
static void at_exit(int code, Datum arg);
static Place *place_of(int64 message_id);

/* The same for each process of this database, and for no other database. */
static const char *
file_name(void)
{
	static char name[128];
	struct stat status;

	if (stat(DataDir, &status) != 0)
		return NULL;
	snprintf(name, sizeof(name), "/marketing_automation." UINT64_FORMAT ".%lu.%lu.%u",
			 GetSystemIdentifier(), (unsigned long) status.st_dev, (unsigned long) status.st_ino,
			 MyDatabaseId);
	return name;
}

/* Its pages are there before they are used: without room for them a write is a SIGBUS. */
static bool
open_file(const char **what)
{
	const char *name = file_name();
	struct stat status;

	*what = "open";
	file = name ? shm_open(name, O_RDWR | O_CREAT, S_IRUSR | S_IWUSR) : -1;
	if (file < 0)
		return false;
	*what = "lock";
	if (fstat(file, &status) != 0 || status.st_uid != geteuid() ||
		flock(file, LOCK_EX | LOCK_NB) != 0)
		return false;
	*what = "extend";
	if (status.st_size != FILE_SIZE && ftruncate(file, FILE_SIZE) != 0)
		return false;
	errno = posix_fallocate(file, 0, FILE_SIZE);
	if (errno != 0)
		return false;
	*what = "map";
	journal = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (journal != MAP_FAILED)
		return true;
	journal = NULL;
	return false;
}

static void
close_file(void)
{
	if (journal != NULL)
		(void) munmap(journal, FILE_SIZE);
	if (file >= 0)
		close(file);
	journal = NULL;
	file = -1;
}

/* An end in order is no crash.  With nothing under way nobody will ask for the file. */
static void
at_exit(int code, Datum arg)
{
	const char *name = file_name();

	ma_journal_composing(0, 0);
	if (journal != NULL && !in_use && name != NULL && flock(file, LOCK_EX | LOCK_NB) == 0)
		(void) shm_unlink(name);
}

/*
 * For who delivers from now on.  Without a journal everything works as well, with more in
 * doubt after a crash: so what goes wrong here is logged and no error.
 */
void
ma_journal_open(void)
{
	static bool told = false;
	static bool registered = false;
	struct stat status;
	const char *what;

	in_use = held = true;
	several = false;
	/* Who ended last while we had nothing to do has removed it. */
	if (journal != NULL && (fstat(file, &status) != 0 || status.st_nlink == 0 ||
							flock(file, LOCK_EX | LOCK_NB) != 0))
		close_file();
	if (journal != NULL)
		return;
	if (!open_file(&what))
	{
		if (!told)
			ereport(LOG,
					(errmsg("could not %s the journal of delivery in shared memory: %m", what),
					 errdetail("If a process that delivers is killed, all it has claimed will be in doubt.")));
		told = true;
		close_file();
		return;
	}
	if (!registered)
		on_proc_exit(at_exit, 0);
	registered = true;
}

/* Another process may deliver. */
void
ma_journal_rest(bool under_way)
{
	ma_journal_composing(0, 0);
	in_use = under_way;
	held = false;
	if (journal != NULL)
		(void) flock(file, LOCK_UN);
}

bool
ma_journal_is_open(void)
{
	return journal != NULL;
}

static Place *
place_of(int64 message_id)
{
	return journal ? &journal->places[(uint64) message_id % PLACES] : NULL;
}

/* Before the commit of a claim. */
void
ma_journal_claimed(int64 message_id, TimestampTz claimed_at)
{
	Place	   *place = place_of(message_id);

	if (place == NULL)
		return;
	place->phase = MA_PHASE_UNKNOWN;
	pg_write_barrier();
	place->message_id = message_id;
	place->claimed_at = claimed_at;
	place->answer[0] = '\0';
	pg_write_barrier();
	place->phase = MA_PHASE_CLAIMED;
	pg_write_barrier();
}

/* A callback of libcurl calls it: no memory, no error. */
void
ma_journal_set(int64 message_id, MaPhase phase, const char *answer)
{
	Place	   *place = place_of(message_id);

	/* Another one may have taken the place since. */
	if (place == NULL || place->message_id != message_id)
		return;
	if (answer != NULL)
		strlcpy(place->answer, answer, ANSWER);
	pg_write_barrier();
	place->phase = phase;
	pg_write_barrier();
}

MaPhase
ma_journal_find(int64 message_id, TimestampTz claimed_at, char **answer)
{
	Place	   *place = place_of(message_id);

	*answer = NULL;
	if (place == NULL || place->message_id != message_id || place->claimed_at != claimed_at)
		return MA_PHASE_UNKNOWN;
	if (place->answer[0] != '\0')
		*answer = pnstrdup(place->answer, ANSWER - 1);
	return place->phase;
}

void
ma_journal_composing(int64 contact_id, int64 message_id)
{
	if (journal == NULL || !held)
		return;
	journal->message_id = 0;
	pg_write_barrier();
	journal->contact_id = contact_id;
	pg_write_barrier();
	journal->message_id = message_id;
	pg_write_barrier();
}

/* One that is to blame; that it is one of several is kept for ma_journal_several(). */
bool
ma_journal_composed(int64 *contact_id, int64 *message_id)
{
	if (journal == NULL || journal->message_id == 0)
		return false;
	several = journal->message_id == MA_SEVERAL;
	*contact_id = journal->contact_id;
	*message_id = journal->message_id;
	return !several;
}

bool
ma_journal_several(void)
{
	return several;
}
