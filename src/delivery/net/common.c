/*
 * common.c
 *		What SMTP and HTTP have in common: secrets, the options of every transfer, and
 *		how a message is given back.
 */
#include "delivery/net/net.h"

#include "storage/fd.h"

#define MAX_CA_FILE (1024 * 1024)

/* `secret` has NET_SECRET octets; who gets it wipes it. */
bool
net_secret(const MaServerOptions *options, char *secret, const char **error)
{
	char	   *content;
	Size		length;

	secret[0] = '\0';
	*error = NULL;
	if (options->password != NULL)
		strlcpy(secret, options->password, NET_SECRET);
	if (options->password_file == NULL)
		return true;
	content = net_api->read_credential(options->password_file, true, NET_SECRET - 1, &length,
									   error);
	if (content == NULL)
		return false;
	while (length > 0 && (content[length - 1] == '\n' || content[length - 1] == '\r'))
		content[--length] = '\0';
	if (length == 0 || strlen(content) != length || strpbrk(content, "\r\n") != NULL)
		*error = psprintf("file \"%s\" of the credentials must hold one line",
						  options->password_file);
	else
		strlcpy(secret, content, NET_SECRET);
	explicit_bzero(content, NET_SECRET - 1);
	pfree(content);
	return secret[0] != '\0';
}

/* Within net_enter(). */
void
net_prepare(CURL *easy, const MaServerOptions *options, NetTransfer *transfer)
{
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* A transfer that is given up does not wait for the name server; its thread ends by itself. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, options->connect_timeout * 1000L);
	if (options->ca_file != NULL)
	{
		const char *error;
		Size		length;
		char	   *content = net_api->read_credential(options->ca_file, false, MAX_CA_FILE,
													   &length, &error);
		struct curl_blob blob = {content ? content : "", length, CURL_BLOB_COPY};

		/* One that cannot be read certifies nobody. */
		curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
		if (content != NULL)
			pfree(content);
	}
}

char *
net_text(MemoryContext context, const char *text, Size length)
{
	Size		kept = Min(length, NET_ANSWER);
	char	   *result = MemoryContextAlloc(context, kept + 1);

	for (Size i = 0; i < kept; i++)
		result[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : ' ';
	while (kept > 0 && result[kept - 1] == ' ')
		kept--;
	result[kept] = '\0';
	return result;
}

/* `answer` may be NULL, and is copied. */
void
net_finish(MaOutgoing *message, MaOutcome outcome, const char *answer)
{
	message->outcome = outcome;
	message->answer = answer ? net_text(message->context, answer, strlen(answer)) : NULL;
	net_api->finished(message);
}
