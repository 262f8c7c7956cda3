/*
 * smtp_reply.c
 *		What a mail server's reply means for the message, by a table of stages and codes.
 *
 * The reply decides, never an error of the library.  4yz is tried again, 5yz is final.
 * What says that the server and we do not understand each other (a command it does not
 * know, a login it wants) is the fault of neither message nor recipient: the server is
 * left alone for a while and the message keeps its attempts.  Before MAIL every refusal
 * is of that kind, and libcurl reports it, see smtp.c.
 */
#include "delivery/net/smtp.h"

#define AT(stage) (1 << (stage))
#define ANY (AT(SMTP_RSET) | AT(SMTP_MAIL) | AT(SMTP_RCPT) | AT(SMTP_DATA) | AT(SMTP_DOT))
#define ENVELOPE (AT(SMTP_RSET) | AT(SMTP_MAIL) | AT(SMTP_RCPT) | AT(SMTP_DATA))

/* The first row that fits. */
static const struct
{
	int			stages;
	int			from;
	int			to;
	bool		goes_on;
	MaOutcome	outcome;
}			rows[] = {
	{AT(SMTP_RSET) | AT(SMTP_MAIL) | AT(SMTP_RCPT), 200, 299, true, MA_OUTCOME_NONE},
	{AT(SMTP_DATA), 300, 399, true, MA_OUTCOME_NONE},
	{AT(SMTP_DOT), 200, 299, false, MA_OUTCOME_SENT},
	{AT(SMTP_RSET), 400, 599, false, MA_OUTCOME_SERVER},
	{AT(SMTP_MAIL), 421, 421, false, MA_OUTCOME_SERVER},	/* it closes */
	{ANY, 400, 499, false, MA_OUTCOME_RETRY},
	{ENVELOPE, 500, 500, false, MA_OUTCOME_SERVER}, /* command unknown */
	{ENVELOPE, 502, 504, false, MA_OUTCOME_SERVER}, /* ... or out of place */
	{ENVELOPE, 530, 530, false, MA_OUTCOME_SERVER}, /* login or TLS is wanted */
	{ENVELOPE, 534, 538, false, MA_OUTCOME_SERVER},
	{ANY, 500, 599, false, MA_OUTCOME_FAILED},
	{AT(SMTP_DOT), 0, 399, false, MA_OUTCOME_UNKNOWN},
};

bool
smtp_judge(SmtpStage stage, int code, MaOutcome *outcome)
{
	for (int i = 0; i < lengthof(rows); i++)
		if ((rows[i].stages & AT(stage)) != 0 && code >= rows[i].from && code <= rows[i].to)
		{
			*outcome = rows[i].outcome;
			return rows[i].goes_on;
		}
	/* A reply that answers something else: the two sides are out of step. */
	*outcome = MA_OUTCOME_RETRY;
	return false;
}

const char *
smtp_stage_name(SmtpStage stage)
{
	switch (stage)
	{
		case SMTP_CONNECT:
			return "connecting";
		case SMTP_IDLE:
			return "waiting";
		case SMTP_RSET:
			return "RSET";
		case SMTP_MAIL:
			return "MAIL";
		case SMTP_RCPT:
			return "RCPT";
		case SMTP_DATA:
			return "DATA";
		case SMTP_DOT:
			return "the end of the message";
	}
	return "";
}
