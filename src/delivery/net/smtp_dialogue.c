/*
 * smtp_dialogue.c
 *		One message over one connection: MAIL, RCPT, DATA, the message, the dot.
 *
 * A message is in doubt from the moment a byte of the closing dot is handed to the
 * socket until its reply is read, and only then: the dot is kept back until all else, but
 * for some kilobytes that go with it, is written and the server has had its chance to say
 * no.  With PIPELINING the envelope goes in one piece (RFC 2920), so a message costs two
 * round trips.
 *
 * Reading and writing make no threads, so signals are not blocked for them (see net.h).
 *
 * What stands in a command was checked when it was defined or attached; it is checked
 * here once more, right before use, since a line break in an address would be a command.
 */
#include "delivery/net/smtp.h"

#include "lib/stringinfo.h"

#define READ_SIZE 4096
#define LOCAL_MAX 64
#define PATH_MAX_OCTETS 254
#define DOT_LENGTH 3			/* with the line end behind it */
#define DOT_WITH 16384			/* the last octets of a body that go together with it */
#define BYTES_A_SECOND 1024		/* slower than that a message is not taken */

static bool address_ok(const char *address, bool utf8);
static char *return_path(const MaOutgoing *message);
static void stuff(SmtpConnection *connection);
static void send_envelope(SmtpConnection *connection, SmtpStage from);
static bool pump_out(SmtpConnection *connection);
static void note_dot(SmtpConnection *connection);
static void begin_dot(SmtpConnection *connection);
static bool read_replies(SmtpConnection *connection);
static bool take(SmtpConnection *connection, const char *data, size_t length);
static bool take_line(SmtpConnection *connection);
static bool on_reply(SmtpConnection *connection, int code);
static void note_refusal(SmtpConnection *connection, int code, MaOutcome outcome);
static bool next_stage(SmtpConnection *connection);
static bool begin_body(SmtpConnection *connection);
static void give_back(SmtpConnection *connection, MaOutcome outcome, const char *answer);
static bool done(SmtpConnection *connection, MaOutcome outcome, const char *answer);

/* ---- beginning ---- */

static bool
address_ok(const char *address, bool utf8)
{
	const char *at = address ? strrchr(address, '@') : NULL;

	if (at == NULL || at == address || at[1] == '\0' || at - address > LOCAL_MAX ||
		strlen(address) > PATH_MAX_OCTETS)
		return false;
	for (const unsigned char *p = (const unsigned char *) address; *p != '\0'; p++)
		if (*p <= ' ' || *p == 0x7f || *p == '<' || *p == '>' || (*p >= 0x80 && !utf8))
			return false;
	return true;
}

/* Where bounces go; with the message's key in it they say which message it was. */
static char *
return_path(const MaOutgoing *message)
{
	const MaServerOptions *options = message->options;
	const char *path = options->return_path ? options->return_path : message->from_address;
	const char *at = strrchr(path, '@');

	if (!options->verp || at == NULL)
		return pstrdup(path);
	return psprintf("%.*s+%s%s", (int) (at - path), path, message->key, at);
}

void
smtp_start(SmtpConnection *connection, MaOutgoing *message)
{
	MaServerOptions *options = connection->pool->options;
	MemoryContext previous = MemoryContextSwitchTo(message->context);
	char	   *path = return_path(message);
	bool		utf8 = connection->smtputf8;

	net_api->begun(message);
	connection->message = message;
	connection->outcome = MA_OUTCOME_NONE;
	connection->body_done = connection->dot_begun = connection->empty = false;
	connection->reply_length = 0;
	connection->line_begun = false;
	connection->lines = 0;
	connection->answer[0] = '\0';
	connection->deadline = net_now() + options->timeout * INT64CONST(1000) +
		(int64) (message->length / BYTES_A_SECOND) * 1000;
	if (!address_ok(message->to_address, utf8) || !address_ok(path, utf8))
	{
		bool		of_sender = !address_ok(path, utf8);

		MemoryContextSwitchTo(previous);
		/* Who defined the sender can mend it. */
		give_back(connection, of_sender ? MA_OUTCOME_RETRY : MA_OUTCOME_FAILED, of_sender ?
				  "its sender's address cannot stand in an SMTP command" :
				  "its recipient's address cannot stand in an SMTP command");
		connection->stage = SMTP_IDLE;
		return;
	}
	stuff(connection);
	send_envelope(connection, connection->need_reset ? SMTP_RSET : SMTP_MAIL);
	connection->need_reset = false;
	MemoryContextSwitchTo(previous);
	(void) pump_out(connection);
}

/* The message as it goes over the wire: whatever its lines end with, CR LF; dots doubled. */
static void
stuff(SmtpConnection *connection)
{
	MaOutgoing *message = connection->message;
	const char *at = message->content;
	const char *end = at + message->length;
	StringInfoData out;

	initStringInfo(&out);
	enlargeStringInfo(&out, (int) Min(message->length + message->length / 32 + 16,
									  MaxAllocSize / 2));
	while (at < end)
	{
		const char *feed = memchr(at, '\n', end - at);
		const char *stop = feed ? feed : end;
		const char *carriage = memchr(at, '\r', stop - at);

		if (carriage != NULL)
			stop = carriage;
		if (*at == '.')
			appendStringInfoChar(&out, '.');
		appendBinaryStringInfo(&out, at, stop - at);
		appendBinaryStringInfo(&out, "\r\n", 2);
		at = end - stop > 1 && stop[0] == '\r' && stop[1] == '\n' ? stop + 2 : stop + 1;
	}
	connection->body_length = out.len;
	appendBinaryStringInfo(&out, ".\r\n", DOT_LENGTH);
	connection->body = out.data;
}

/* The commands from that stage on: all of them, or the next one. */
static void
send_envelope(SmtpConnection *connection, SmtpStage from)
{
	MaOutgoing *message = connection->message;
	MemoryContext previous = MemoryContextSwitchTo(message->context);
	StringInfoData out;

	initStringInfo(&out);
	connection->stage = from;
	for (SmtpStage stage = from; stage <= SMTP_DATA; stage++)
	{
		char	   *path = return_path(message);

		if (stage == SMTP_RSET)
			appendStringInfoString(&out, "RSET\r\n");
		else if (stage == SMTP_MAIL)
		{
			appendStringInfo(&out, "MAIL FROM:<%s>", path);
			if (connection->size)
				appendStringInfo(&out, " SIZE=%zu", connection->body_length);
			if (!address_ok(path, false) || !address_ok(message->to_address, false))
				appendStringInfoString(&out, " SMTPUTF8");
			appendStringInfoString(&out, "\r\n");
		}
		else if (stage == SMTP_RCPT)
			appendStringInfo(&out, "RCPT TO:<%s>\r\n", message->to_address);
		else
			appendStringInfoString(&out, "DATA\r\n");
		if (!connection->pipelining)
			break;
	}
	connection->out = out.data;
	connection->out_length = out.len;
	connection->out_done = 0;
	MemoryContextSwitchTo(previous);
}

/* ---- writing ---- */

/* Writes what there is; false when the connection is gone. */
static bool
pump_out(SmtpConnection *connection)
{
	for (;;)
	{
		size_t		written = 0;
		CURLcode	result;

		if (connection->stage == SMTP_DOT && !connection->body_done &&
			connection->out_length - connection->out_done <= DOT_WITH)
		{
			/* The last moment at which nothing is in doubt. */
			if (!read_replies(connection))
				return false;
			begin_dot(connection);
		}
		else if (connection->out_done == connection->out_length)
			break;
		result = curl_easy_send(connection->easy, connection->out + connection->out_done,
								connection->out_length - connection->out_done, &written);
		if (result == CURLE_OK)
			connection->out_done += written;
		if (connection->body_done)
			note_dot(connection);
		if (result == CURLE_AGAIN)
		{
			net_watch_change(&connection->watch, true);
			return true;
		}
		if (result != CURLE_OK)
		{
			smtp_lost(connection, "the connection was lost");
			return false;
		}
	}
	net_watch_change(&connection->watch, false);
	return true;
}

/* Has any of it been taken?  What TLS has made of it may be under way though it says no. */
static void
note_dot(SmtpConnection *connection)
{
	connection->dot_begun = !connection->empty &&
		(connection->pool->options->tls != MA_TLS_NONE ||
		 connection->out_done + DOT_LENGTH > connection->out_length);
}

/* It stands behind the body already, where there is one. */
static void
begin_dot(SmtpConnection *connection)
{
	connection->body_done = true;
	if (connection->empty)
	{
		connection->out = ".\r\n";
		connection->out_length = DOT_LENGTH;
		connection->out_done = 0;
		return;
	}
	connection->out_length = connection->body_length + DOT_LENGTH;
	net_api->handed(connection->message);
}

/* ---- reading ---- */

void
smtp_ready(NetWatch *watch, bool readable, bool writable)
{
	SmtpConnection *connection = (SmtpConnection *) watch;
	SmtpPool   *pool = connection->pool;

	if ((!readable || read_replies(connection)) && connection->message != NULL &&
		connection->out_done < connection->out_length)
		(void) pump_out(connection);
	smtp_dispatch(pool);
}

/* Reads what is there; false when the connection is not any more. */
static bool
read_replies(SmtpConnection *connection)
{
	char		data[READ_SIZE];

	for (;;)
	{
		size_t		length = 0;
		CURLcode	result;

		result = curl_easy_recv(connection->easy, data, sizeof(data), &length);
		if (result == CURLE_AGAIN)
			return true;
		if (result != CURLE_OK || length == 0)
		{
			if (connection->message == NULL)
				smtp_close(connection, false);
			else
				smtp_lost(connection, "the connection was lost");
			return false;
		}
		if (!take(connection, data, length))
			return false;
		/* What TLS has decrypted already, no event would tell of. */
		if (length < sizeof(data) && connection->pool->options->tls == MA_TLS_NONE)
			return true;
	}
}

/* Lines are kept as far as they fit; the rest of a long one is passed over. */
static bool
take(SmtpConnection *connection, const char *data, size_t length)
{
	if (connection->message == NULL)
	{
		/* Nothing was asked: it says that it closes. */
		smtp_close(connection, false);
		return false;
	}
	for (size_t i = 0; i < length; i++)
	{
		if (!connection->line_begun)
		{
			connection->line_begun = true;
			connection->line_length = 0;
			connection->line_octets = 0;
		}
		if (data[i] != '\n')
		{
			if (++connection->line_octets > SMTP_MAX_LINE)
			{
				smtp_lost(connection, "a line without end");
				return false;
			}
			if (connection->line_length < SMTP_LINE - 1)
				connection->line[connection->line_length++] = data[i];
			continue;
		}
		connection->line_begun = false;
		if (connection->line_length > 0 && connection->line[connection->line_length - 1] == '\r')
			connection->line_length--;
		connection->line[connection->line_length] = '\0';
		if (!take_line(connection))
			return false;
		if (connection->message == NULL && i + 1 < length)
		{
			smtp_close(connection, false);
			return false;
		}
	}
	return true;
}

/* A line; the last one of a reply has a space, or nothing, behind its code. */
static bool
take_line(SmtpConnection *connection)
{
	char	   *line = connection->line;
	int			code = 0;
	bool		is_reply = connection->line_length >= 3 && strspn(line, "0123456789") == 3;

	if (!is_reply || ++connection->lines > SMTP_MAX_LINES)
	{
		smtp_lost(connection, is_reply ? "a reply without end" : "what it says is not SMTP");
		return false;
	}
	code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0';
	if (connection->reply_length + connection->line_length + 2 < NET_ANSWER)
	{
		bool		first = connection->reply_length == 0;

		connection->reply_length += snprintf(connection->reply + connection->reply_length,
											 NET_ANSWER - connection->reply_length, "%s%s",
											 first ? "" : " ",
											 !first && line[3] != '\0' ? line + 4 : line);
	}
	if (line[3] == '-')
		return true;
	connection->lines = 0;
	if (!on_reply(connection, code))
		return false;
	connection->reply_length = 0;
	connection->reply[0] = '\0';
	return true;
}

/* A whole reply to what the stage says; false when the connection is gone. */
static bool
on_reply(SmtpConnection *connection, int code)
{
	MaOutcome	outcome;
	bool		goes_on = smtp_judge(connection->stage, code, &outcome);

	if (connection->stage == SMTP_DOT && !connection->empty &&
		(!connection->dot_begun || connection->out_done < connection->out_length))
	{
		/* Said in the midst of the message; the connection is of no use any more. */
		note_refusal(connection, code, code >= 500 ? MA_OUTCOME_FAILED :
					 code >= 400 || !connection->dot_begun ? MA_OUTCOME_RETRY : MA_OUTCOME_UNKNOWN);
		give_back(connection, connection->outcome, connection->answer);
		smtp_close(connection, false);
		return false;
	}
	if (connection->stage == SMTP_DOT)
	{
		if (connection->empty)
			return done(connection, connection->outcome, connection->answer);
		return done(connection, outcome, connection->reply);
	}
	if (!goes_on && connection->outcome == MA_OUTCOME_NONE)
		note_refusal(connection, code, outcome);
	if (code == 421 || (!goes_on && (code < 400 || connection->stage == SMTP_RSET)))
	{
		/* It closes, or is out of step. */
		if (connection->carried > 0 && connection->stage <= SMTP_MAIL)
		{
			smtp_lost(connection, "the connection was closed");
			return false;
		}
		give_back(connection, connection->outcome, connection->answer);
		smtp_close(connection, false);
		return false;
	}
	return next_stage(connection);
}

/* The first refusal counts; those of commands sent with it follow from it. */
static void
note_refusal(SmtpConnection *connection, int code, MaOutcome outcome)
{
	if (connection->outcome != MA_OUTCOME_NONE)
		return;
	connection->outcome = outcome;
	snprintf(connection->answer, sizeof(connection->answer), "%s (%s)", connection->reply,
			 smtp_stage_name(connection->stage));
}

static bool
next_stage(SmtpConnection *connection)
{
	bool		refused = connection->outcome != MA_OUTCOME_NONE;

	if (connection->stage == SMTP_DATA)
	{
		/* A server that wants the message all the same gets none. */
		if (refused && connection->reply[0] == '3')
			connection->empty = true;
		else if (refused)
			return done(connection, connection->outcome, connection->answer);
		return begin_body(connection);
	}
	if (connection->pipelining)
	{
		connection->stage++;
		return true;
	}
	if (refused)
		return done(connection, connection->outcome, connection->answer);
	send_envelope(connection, connection->stage + 1);
	return pump_out(connection);
}

static bool
begin_body(SmtpConnection *connection)
{
	connection->stage = SMTP_DOT;
	connection->out = connection->body;
	connection->out_length = connection->empty ? 0 : connection->body_length;
	connection->out_done = 0;
	connection->reply_length = 0;
	return pump_out(connection);
}

/* ---- ending ---- */

static void
give_back(SmtpConnection *connection, MaOutcome outcome, const char *answer)
{
	MaOutgoing *message = connection->message;

	connection->message = NULL;
	connection->out = connection->body = NULL;
	connection->out_length = connection->out_done = connection->body_length = 0;
	net_finish(message, outcome, answer);
}

/* The dialogue has come to its end; the connection takes the next one. */
static bool
done(SmtpConnection *connection, MaOutcome outcome, const char *answer)
{
	SmtpPool   *pool = connection->pool;
	bool		gone;

	connection->need_reset = outcome != MA_OUTCOME_SENT;
	connection->carried++;
	give_back(connection, outcome, answer);
	connection->stage = SMTP_IDLE;
	connection->deadline = net_now() + NET_IDLE_MS;
	gone = connection->retire || outcome == MA_OUTCOME_UNKNOWN ||
		connection->carried >= pool->options->messages_per_connection;
	if (gone)
		smtp_close(connection, true);
	else
		net_watch_change(&connection->watch, false);
	return !gone;
}

void
smtp_lost(SmtpConnection *connection, const char *what)
{
	SmtpPool   *pool = connection->pool;
	MaOutgoing *message = connection->message;
	char		answer[NET_ANSWER + 128];
	MaOutcome	outcome = connection->outcome;

	if (message == NULL)
	{
		smtp_close(connection, false);
		return;
	}
	if (connection->carried > 0 && connection->stage <= SMTP_MAIL)
	{
		/* The server closed a connection that was idle: nothing was tried. */
		connection->message = NULL;
		smtp_close(connection, false);
		smtp_requeue(pool, message);
		return;
	}
	snprintf(answer, sizeof(answer), "%s at %s%s%.300s", what, smtp_stage_name(connection->stage),
			 connection->answer[0] ? ": " : "", connection->answer);
	if (connection->dot_begun)
		outcome = MA_OUTCOME_UNKNOWN;
	else if (outcome == MA_OUTCOME_NONE)
		outcome = connection->stage <= SMTP_MAIL ? MA_OUTCOME_SERVER : MA_OUTCOME_RETRY;
	give_back(connection, outcome, answer);
	smtp_close(connection, false);
}
