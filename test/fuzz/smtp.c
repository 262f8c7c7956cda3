/*
 * smtp.c
 *		A mail server that says anything at any time: each message comes to one end, it is
 *		sent only if the server took it after its last octet, and in doubt only from there on.
 *
 * The input is what the server does, in steps: an octet that says how much it takes in and
 * whether it closes, the length of what it says, and that.
 */
#include "postgres.h"

#include "fuzz.h"
#include "utils/memutils.h"

#define CURL_DISABLE_TYPECHECK

/* The pools as they are, with what is static in them. */
#include "delivery/net/smtp.c"

#define MESSAGES 5
#define CONNECTIONS 2
#define STEPS 400

/* A connection of libcurl's. */
struct fake
{
	SmtpConnection *of;
	bool		added;
};

MemoryContext TopMemoryContext = NULL;
MaDeliveryApi *net_api = NULL;
CURLM	   *net_multi = NULL;

static MaOutgoing messages[MESSAGES];
static bool handed[MESSAGES];
static bool begun[MESSAGES];	/* some of the dot was taken ... */
static bool wholly[MESSAGES];	/* ... all of it */
static const uint8 *input;
static size_t left;
static int	can_take;
static bool closed;
static const uint8 *says;
static size_t to_say;
static int64 now;

static int	number_of(const MaOutgoing *message);

/* ---- what smtp.c and smtp_dialogue.c call ---- */

void
net_enter(void)
{
}

void
net_leave(void)
{
}

int64
net_now(void)
{
	return now;
}

void
net_watch(NetWatch *watch)
{
}

void
net_watch_change(NetWatch *watch, bool writing)
{
}

void
net_unwatch(NetWatch *watch)
{
}

bool
net_secret(const MaServerOptions *options, char *secret, const char **error)
{
	secret[0] = '\0';
	return true;
}

void
net_prepare(CURL *easy, const MaServerOptions *options, NetTransfer *transfer)
{
}

static int
number_of(const MaOutgoing *message)
{
	if (message < messages || message >= messages + MESSAGES)
		fuzz_fail("a message is one of ours");
	return message - messages;
}

static void
on_begun(MaOutgoing *message)
{
	if (handed[number_of(message)])
		fuzz_fail("what was handed over is not begun again");
}

static void
on_handed(MaOutgoing *message)
{
	handed[number_of(message)] = true;
}

void
net_finish(MaOutgoing *message, MaOutcome outcome, const char *answer)
{
	int			i = number_of(message);

	if (message->finished)
		fuzz_fail("a message ends once");
	message->finished = true;
	if (outcome == MA_OUTCOME_SENT && !wholly[i])
		fuzz_fail("what was not handed over wholly is not sent");
	if (outcome == MA_OUTCOME_UNKNOWN && !begun[i])
		fuzz_fail("what was not handed over is not in doubt");
	if (outcome == MA_OUTCOME_NONE && begun[i])
		fuzz_fail("what was handed over is not untried");
	if (answer != NULL && strlen(answer) > NET_ANSWER * 2)
		fuzz_fail("an answer is short");
}

CURL *
curl_easy_init(void)
{
	return palloc0(sizeof(struct fake));
}

void
curl_easy_cleanup(CURL *easy)
{
}

#undef curl_easy_setopt
CURLcode
curl_easy_setopt(CURL *easy, CURLoption option,...)
{
	va_list		arguments;

	va_start(arguments, option);
	if (option == CURLOPT_HEADERDATA)
		((struct fake *) easy)->of = va_arg(arguments, void *);
	va_end(arguments);
	return CURLE_OK;
}

#undef curl_easy_getinfo
CURLcode
curl_easy_getinfo(CURL *easy, CURLINFO info,...)
{
	va_list		arguments;

	va_start(arguments, info);
	if (info == CURLINFO_ACTIVESOCKET)
		*va_arg(arguments, curl_socket_t *) = 7;
	va_end(arguments);
	return CURLE_OK;
}

const char *
curl_easy_strerror(CURLcode code)
{
	return "an error";
}

CURLMcode
curl_multi_add_handle(CURLM *multi, CURL *easy)
{
	((struct fake *) easy)->added = true;
	return CURLM_OK;
}

CURLMcode
curl_multi_remove_handle(CURLM *multi, CURL *easy)
{
	return CURLM_OK;
}

/* What goes over the wire: no octet of the dot before it is written down. */
CURLcode
curl_easy_send(CURL *easy, const void *data, size_t length, size_t *sent)
{
	SmtpConnection *connection = ((struct fake *) easy)->of;
	const char *text = data;

	*sent = 0;
	if (closed)
		return CURLE_SEND_ERROR;
	if (can_take == 0)
		return CURLE_AGAIN;
	*sent = Min(length, can_take);
	can_take -= *sent;
	for (size_t i = 0; i < *sent; i++)
		if (text[i] == '\n' && i > 0 && text[i - 1] != '\r')
			fuzz_fail("no line feed goes alone");
	if (connection->message != NULL && connection->stage == SMTP_DOT && connection->body_done)
	{
		int			i = number_of(connection->message);

		if (!connection->empty && !handed[i])
			fuzz_fail("the dot is written down before it goes");
		begun[i] |= !connection->empty && length - *sent < 3;
		wholly[i] = !connection->empty && *sent == length;
	}
	return CURLE_OK;
}

CURLcode
curl_easy_recv(CURL *easy, void *buffer, size_t size, size_t *got)
{
	*got = Min(size, to_say);
	if (*got == 0)
		return closed ? CURLE_RECV_ERROR : CURLE_AGAIN;
	memcpy(buffer, says, *got);
	says += *got;
	to_say -= *got;
	return CURLE_OK;
}

/* ---- a run ---- */

/* The next thing the server does; false at the end of the input. */
static bool
step(void)
{
	int			what;

	if (left < 2)
		return false;
	what = input[0];
	to_say = Min((size_t) input[1], left - 2);
	says = input + 2;
	input += 2 + to_say;
	left -= 2 + to_say;
	can_take = (what & 1) ? 100000 : (what >> 1) % 64;
	closed = what >= 0xf8;
	now += (what & 0x80) ? 50 : 0;
	return true;
}

static void
target(char *text, int length)
{
	static MaServerOptions options = {
		.name = "mail", .host = "h", .port = 25, .kind = MA_SERVER_SMTP, .holders = 1000000,
		.max_connections = CONNECTIONS, .messages_per_connection = 3, .timeout = 1,
		.connect_timeout = 1, .return_path = "b@shop.example", .verp = true
	};
	static MaDeliveryApi api = {.begun = on_begun, .handed = on_handed};

	net_api = &api;
	pools = NULL;
	ending = false;
	looked = 0;
	now = 1000;
	input = (const uint8 *) text;
	left = length;
	to_say = 0;
	closed = false;
	can_take = 100000;
	memset(messages, 0, sizeof(messages));
	memset(handed, 0, sizeof(handed));
	memset(begun, 0, sizeof(begun));
	memset(wholly, 0, sizeof(wholly));
	for (int i = 0; i < MESSAGES; i++)
	{
		messages[i].options = &options;
		messages[i].key = "0123456789abcdef0123456789abcdef";
		messages[i].from_address = "hello@shop.example";
		messages[i].to_address = i == 3 ? "no address" : "ada@example.com";
		messages[i].content = i == 1 ? ".\n..\r\nx" : "Subject: x\r\n\r\nHello.\r\n";
		messages[i].length = strlen(messages[i].content);
		net_smtp_begin(&messages[i]);
	}
	for (int n = 0; n < STEPS && step(); n++)
	{
		/* It goes with its last connection when nothing is left to send. */
		SmtpPool   *pool = pools;
		int			count = pool != NULL ? pool->n : 0;
		SmtpConnection *connection = count > 0 ? pool->connections[(left + n) % count] : NULL;

		if (connection != NULL && connection->stage == SMTP_CONNECT)
		{
			/* What it says is what libcurl hands on, line by line. */
			bool		goes_on = on_line((char *) says, 1, to_say, connection) == to_say;

			to_say = 0;
			on_connected(&connection->transfer, goes_on && !closed ? CURLE_OK : CURLE_RECV_ERROR);
		}
		else if (connection != NULL)
			smtp_ready(&connection->watch, true, can_take > 0);
		net_smtp_run();
	}
	net_smtp_end(false);
	net_smtp_end(true);
	for (int i = 0; i < MESSAGES; i++)
		if (!messages[i].finished)
			fuzz_fail("a message comes to an end");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_run(target, data, size);
}
