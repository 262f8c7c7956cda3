/*
 * credentials.c
 *		Files of the directory of credentials: passwords, keys and certificates.
 *
 * A file is opened below the directory without following a link, and what is secret must
 * be readable by the server's user alone, so that a name in CREATE SERVER opens no other
 * file.  Also called while no transaction is open: nothing here looks at the database.
 */
#include "base/base.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "delivery/delivery_internal.h"

static char *read_content(int file, const char *name, bool is_secret, Size most, Size *length,
						  const char **error);

char *
ma_credential_read(const char *name, bool is_secret, Size most, Size *length, const char **error)
{
	const char *directory = ma_guc_credentials_directory;
	int			folder;
	int			file;
	char	   *content;

	*length = 0;
	*error = "marketing_automation.credentials_directory is not set";
	if (directory == NULL || directory[0] != '/')
		return NULL;
	folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*error = psprintf("file \"%s\" of the credentials cannot be read", name);
	if (folder < 0)
		return NULL;
	file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	close(folder);
	if (file < 0)
		return NULL;
	content = read_content(file, name, is_secret, most, length, error);
	close(file);
	return content;
}

/* With a NUL behind it; NULL and an English reason if it is not what it must be. */
static char *
read_content(int file, const char *name, bool is_secret, Size most, Size *length,
			 const char **error)
{
	struct stat status;
	char	   *content;

	if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > (off_t) most)
	{
		*error = psprintf("file \"%s\" of the credentials is not a plain file of at most %zu octets",
						  name, most);
		return NULL;
	}
	if (is_secret && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
	{
		*error = psprintf("file \"%s\" of the credentials can be read by others: chmod 0400", name);
		return NULL;
	}
	content = palloc0(most + 1);
	while (*length < most)
	{
		ssize_t		n = read(file, content + *length, most - *length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		*length += n;
	}
	content[*length] = '\0';
	return content;
}
