/*
 * spool.c
 *		The built-in transport: each message becomes a file.
 *
 * One directory a database, for its owner only: <spool_directory>/<OID of the
 * database>/<number and key of the message>.eml, .json for other channels.  A file is
 * written under a hidden name, flushed, and renamed, so who picks files up never sees
 * half of one, and a message written a second time takes the place of the first.  The
 * key, which depends on this shop's own, keeps messages of an extension that was
 * dropped and made again apart.
 */
#include "base/base.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "delivery/delivery_internal.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "worker/worker.h"

#define DEFAULT_DIRECTORY "marketing_automation_spool"

static char *directory(void);
static char *path_in(const char *folder, const char *before, int64 message_id, const char *key,
					 const char *channel);
static bool make_directory(const char *path, char **error);
static bool prepare(char **error);
static bool write_file(const char *path, const char *content, Size length, char **error);
static void send_all(MaOutgoing **messages, int n);

const MaTransport ma_spool = {.kind = -1, .send = send_all};

/* Relative paths are below the data directory, which is where we are. */
static char *
directory(void)
{
	const char *base = ma_guc_spool_directory && ma_guc_spool_directory[0] != '\0' ?
		ma_guc_spool_directory : DEFAULT_DIRECTORY;

	if (base[0] == '/')
		return psprintf("%s/%u", base, MyDatabaseId);
	return psprintf("%s/%s/%u", DataDir, base, MyDatabaseId);
}

static char *
path_in(const char *folder, const char *before, int64 message_id, const char *key,
		const char *channel)
{
	return psprintf("%s/%s" INT64_FORMAT "-%.8s.%s", folder, before, message_id, key,
					strcmp(channel, "email") == 0 ? "eml" : "json");
}

/* For who takes over from a process that died: half a file of it goes. */
bool
ma_spool_has(int64 message_id, const char *key, const char *channel, char **path)
{
	struct stat status;

	(void) unlink(path_in(directory(), ".", message_id, key, channel));
	*path = path_in(directory(), "", message_id, key, channel);
	return lstat(*path, &status) == 0 && S_ISREG(status.st_mode);
}

static bool
make_directory(const char *path, char **error)
{
	if (mkdir(path, S_IRWXU) == 0 || errno == EEXIST)
		return true;
	*error = psprintf("could not create directory \"%s\": %s", path, strerror(errno));
	return false;
}

/* The directory is there, and nobody else can read it or put links into it. */
static bool
prepare(char **error)
{
	char	   *path = directory();
	char	   *base = pnstrdup(path, strrchr(path, '/') - path);
	struct stat status;

	if (!make_directory(base, error) || !make_directory(path, error))
		return false;
	if (lstat(path, &status) != 0)
		*error = psprintf("could not look at directory \"%s\": %s", path, strerror(errno));
	else if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() ||
			 (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		*error = psprintf("\"%s\" is not a directory that only its owner, the server's user, can enter",
						  path);
	else
		return true;
	return false;
}

static bool
write_file(const char *path, const char *content, Size length, char **error)
{
	int			file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | PG_BINARY,
							S_IRUSR | S_IWUSR);
	Size		done = 0;
	bool		written;
	int			failure;

	while (file >= 0 && done < length)
	{
		ssize_t		n = write(file, content + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += n;
	}
	written = file >= 0 && done == length && pg_fsync(file) == 0;
	failure = errno;
	if (file >= 0 && close(file) != 0 && written)
	{
		written = false;
		failure = errno;
	}
	if (written)
		return true;
	*error = psprintf("could not write \"%s\": %s", path,
					  strerror(failure != 0 ? failure : ENOSPC));
	(void) unlink(path);
	return false;
}

/* Whatever goes wrong is certain: a file that has not been renamed is none. */
static void
send_all(MaOutgoing **messages, int n)
{
	char	   *error = NULL;
	bool		ready = prepare(&error);
	char	   *folder = directory();

	for (int i = 0; i < n && !ma_worker_is_ending(); i++)
	{
		MaOutgoing *message = messages[i];
		char	   *hidden = path_in(folder, ".", message->message_id, message->key,
								  message->channel);
		char	   *path = path_in(folder, "", message->message_id, message->key,
								  message->channel);

		message->outcome = MA_OUTCOME_RETRY;
		message->answer = error;
		errno = 0;
		ma_message_begun(message);
		if (!ready || !write_file(hidden, message->content, message->length, &message->answer))
			continue;
		ma_message_handed(message);
		if (durable_rename(hidden, path, LOG) != 0)
		{
			message->answer = psprintf("could not rename \"%s\": %s", hidden, strerror(errno));
			continue;
		}
		message->outcome = MA_OUTCOME_SENT;
		message->answer = path;
	}
}
