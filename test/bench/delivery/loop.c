/*
 * loop.c
 *		What libcurl alone can do: one multi handle, a few easy handles that are used again
 *		and again, each with the same content.  What delivery adds is measured against it.
 *
 *	loop smtp PORT CONNECTIONS MESSAGES FILE		the file as a mail
 *	loop post URL CONNECTIONS REQUESTS FILE			the file as the body of a POST
 *	loop get FILE CONNECTIONS REQUESTS				a GET of each URL of the file, in turn
 *
 * Prints how many a second were answered as they should be, and fails unless all were.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#define MAX_CONNECTIONS 100
#define MAX_URLS 10000

typedef struct Transfer
{
	CURL	   *easy;
	size_t		done;			/* octets of the content */
} Transfer;

static char *content = NULL;
static size_t content_length = 0;
static char *urls[MAX_URLS];
static int	nurls = 0;
static struct curl_slist *recipients = NULL;
static struct curl_slist *headers = NULL;

static void
read_content(const char *name)
{
	FILE	   *file = fopen(name, "rb");

	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
	{
		perror(name);
		exit(2);
	}
	content_length = ftell(file);
	rewind(file);
	content = malloc(content_length + 1);
	if (content == NULL || fread(content, 1, content_length, file) != content_length)
		exit(2);
	content[content_length] = '\0';
	fclose(file);
}

static size_t
on_read(char *buffer, size_t size, size_t n, void *arg)
{
	Transfer   *transfer = arg;
	size_t		length = content_length - transfer->done;

	if (length > size * n)
		length = size * n;
	memcpy(buffer, content + transfer->done, length);
	transfer->done += length;
	return length;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	return size * n;
}

static void
prepare(Transfer *transfer, const char *kind, const char *target)
{
	char		url[200];

	transfer->easy = curl_easy_init();
	curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, on_body);
	if (strcmp(kind, "smtp") == 0)
	{
		snprintf(url, sizeof(url), "smtp://127.0.0.1:%s/bench", target);
		curl_easy_setopt(transfer->easy, CURLOPT_URL, url);
		curl_easy_setopt(transfer->easy, CURLOPT_MAIL_FROM, "<hello@shop.example>");
		curl_easy_setopt(transfer->easy, CURLOPT_MAIL_RCPT, recipients);
		curl_easy_setopt(transfer->easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(transfer->easy, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(transfer->easy, CURLOPT_READDATA, transfer);
	}
	else if (strcmp(kind, "post") == 0)
	{
		curl_easy_setopt(transfer->easy, CURLOPT_URL, target);
		curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, content);
		curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE, (long) content_length);
		curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, headers);
	}
}

static void
begin(CURLM *multi, Transfer *transfer, int number)
{
	transfer->done = 0;
	if (nurls > 0)
		curl_easy_setopt(transfer->easy, CURLOPT_URL, urls[number % nurls]);
	curl_multi_add_handle(multi, transfer->easy);
}

static bool
well_done(CURLMsg *message, const char *kind)
{
	long		code = 0;

	curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &code);
	return message->data.result == CURLE_OK &&
		(strcmp(kind, "get") == 0 ? code == 302 || code == 200 : code == 200 || code == 250);
}

/* All of them, as many at once as there are connections; how many went well. */
static int
run(const char *kind, const char *target, int connections, int wanted)
{
	static Transfer transfers[MAX_CONNECTIONS];
	CURLM	   *multi = curl_multi_init();
	int			begun = 0;
	int			ended = 0;
	int			good = 0;

	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) MAX_CONNECTIONS);
	for (int i = 0; i < connections && begun < wanted; i++)
	{
		prepare(&transfers[i], kind, target);
		begin(multi, &transfers[i], begun++);
	}
	while (ended < wanted)
	{
		CURLMsg    *message;
		int			running;
		int			left;

		curl_multi_perform(multi, &running);
		while ((message = curl_multi_info_read(multi, &left)) != NULL)
		{
			CURL	   *easy = message->easy_handle;
			Transfer   *transfer;

			if (message->msg != CURLMSG_DONE)
				continue;
			good += well_done(message, kind);
			ended++;
			curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer);
			curl_multi_remove_handle(multi, easy);
			if (begun < wanted)
				begin(multi, transfer, begun++);
		}
		if (ended < wanted)
			curl_multi_poll(multi, NULL, 0, 100, NULL);
	}
	return good;
}

int
main(int argc, char **argv)
{
	struct timespec began;
	struct timespec ended;
	int			wanted;
	int			good;

	if (argc < 5 || atoi(argv[3]) < 1 || atoi(argv[3]) > MAX_CONNECTIONS)
		return 2;
	if (strcmp(argv[1], "get") == 0)
	{
		read_content(argv[2]);
		for (char *url = strtok(content, "\n"); url != NULL && nurls < MAX_URLS; url = strtok(NULL, "\n"))
			urls[nurls++] = url;
	}
	else
		read_content(argv[5]);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	recipients = curl_slist_append(NULL, "<somebody@example.com>");
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	wanted = atoi(argv[4]);
	clock_gettime(CLOCK_MONOTONIC, &began);
	good = run(argv[1], argv[2], atoi(argv[3]), wanted);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	printf("%.0f\n", wanted / (ended.tv_sec - began.tv_sec + (ended.tv_nsec - began.tv_nsec) / 1e9));
	if (good != wanted)
		fprintf(stderr, "%d of %d went well\n", good, wanted);
	return good == wanted ? 0 : 1;
}
